"""The user's own sections of a card: hf-prune keeps them, with their marks, when it writes the card anew.

Such a section is between the lines `<!-- hf-prune: yours -->` and `<!-- hf-prune: end of yours -->`. Every
card ends with an empty one. Users may add others anywhere, or named: `<!-- hf-prune: yours, evaluation -->`.
In a new card each goes behind the line it followed, else to the end of the part with its heading or the card.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter

from hf_prune.errors import BrokenSection

MARK = re.compile(r"\s*<!--\s*hf-prune:\s*(?P<end>end of )?yours\s*(?:,\s*(?P<name>[^<>]*?)\s*)?-->\s*")
MEANT_AS_MARK = re.compile(r"<!--\s*hf-prune:\s*(?:end of )?yours\b", re.IGNORECASE)
HINT = re.compile(r"\s*<!--.*\bhf-prune writes this card anew.*-->\s*")
HEADING = re.compile(r"#{1,6} ")
FENCE = re.compile(r"\s*(`{3,}|~{3,})")


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnSection:
    """A section of the user's own, and where it stood."""

    name: str | None
    lines: tuple[str, ...]  # with the two marks
    after: str | None  # the last line before it that is not blank; None: the card began with it
    heading: str | None  # it stood under this one

    @property
    def is_empty(self) -> bool:
        """Whether the user has written nothing into it."""
        return not any(line.strip() for line in self.lines[1:-1])

    @property
    def is_last(self) -> bool:
        """Whether it is the section that ends every card."""
        return self.name is None and self.after is not None and HINT.fullmatch(self.after) is not None

    @property
    def key(self) -> tuple[str | None, str | None]:
        """Sections of two cards with the same key are versions of one section."""
        return (self.name, None if self.name is not None else self.after)


def own_sections(card: str, card_name: str) -> tuple[OwnSection, ...]:
    """The user's own sections of a card, in their order.

    Raises:
        BrokenSection: a mark stands alone, inside another section, or not on a line of its own.
    """
    lines = _lines(card)
    sections, before, position = [], [], 0  # `before`: the lines before a section that are in none
    for begin, end, name in _find_sections(lines, card_name):
        before += lines[position:begin]
        position, headings = end + 1, _headings(before)
        sections.append(
            OwnSection(
                name=name,
                lines=tuple(lines[begin:position]),
                after=next((line.rstrip() for line in reversed(before) if line.strip()), None),
                heading=before[headings[-1]].rstrip() if headings else None,
            )
        )
    return tuple(sections)


def without_own(card: str, card_name: str = "the card") -> str:
    """A card without its user's own sections and their marks.

    Raises:
        BrokenSection: see `own_sections`.
    """
    lines = _lines(card)
    for begin, end, _ in reversed(_find_sections(lines, card_name)):
        del lines[begin : end + 1]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip("\n") + "\n"


def _lines(card: str) -> list[str]:
    return [line.removesuffix("\r") for line in card.rstrip("\n").split("\n")]  # an editor may write \r\n


def _find_sections(lines: Sequence[str], card_name: str) -> list[tuple[int, int, str | None]]:
    """The sections: the indices of the two lines with the marks, and the name."""
    marks: list[tuple[int, re.Match[str]]] = []
    for index, line in enumerate(lines):
        if mark := MARK.fullmatch(line):
            marks.append((index, mark))
        elif MEANT_AS_MARK.search(line):
            raise _broken(card_name, index, "a mark stands on a line of its own, as hf-prune writes it")
    sections, rest = [], iter(marks)
    for begin, first in rest:
        if first["end"]:
            raise _broken(card_name, begin, "a section ends that has not begun")
        end, last = next(rest, (begin, None))
        if last is None:
            raise _broken(card_name, begin, "a section begins that does not end")
        if not last["end"]:
            raise _broken(card_name, end, "a section begins before the one before it has ended")
        if last["name"] not in (None, first["name"]):
            name = f"is {first['name']!r}" if first["name"] else "has no name"
            raise _broken(card_name, end, f"the section that ends here {name}")
        sections.append((begin, end, first["name"] or None))
    return sections


def _broken(card_name: str, index: int, reason: str) -> BrokenSection:
    return BrokenSection(
        f"{card_name}, line {index + 1}: {reason}, and nothing is written anew so that no text of yours is "
        f"lost: a section of your own stands between <!-- hf-prune: yours --> and "
        f"<!-- hf-prune: end of yours -->; mend it and give the same command again"
    )


def merged(published: Sequence[OwnSection], local: Sequence[OwnSection]) -> tuple[OwnSection, ...]:
    """The sections of two versions of a card. Where both have a text, the published one wins."""
    written = {section.key for section in published if not section.is_empty}
    added = [section for section in local if not section.is_empty and section.key not in written]
    filled = {section.key for section in added}
    return (*(s for s in published if not s.is_empty or s.key not in filled), *added)


def overridden(published: Iterable[OwnSection], local: Iterable[OwnSection]) -> list[OwnSection]:
    """The local sections that lose against another text in the published version."""
    written = {section.key: section.lines for section in published if not section.is_empty}
    return [s for s in local if not s.is_empty and written.get(s.key, s.lines) != s.lines]


def with_own(card: str, sections: Iterable[OwnSection]) -> str:
    """A new card with the user's own sections of the card before it, also with empty ones."""
    lines = _lines(card)
    end = _hint_index(lines) + 1
    indices = [(end if s.is_last else min(end, _index_for(s, lines)), s) for s in sections]
    if any(section.is_last for _, section in indices):
        del lines[end:]  # the empty section
    bottom = len(lines)
    for index, section in reversed(sorted(indices, key=itemgetter(0))):  # so that indices stay right
        _insert(section, lines, index if index < end else bottom)
    return "\n".join(lines).rstrip("\n") + "\n"


def _insert(section: OwnSection, lines: list[str], index: int) -> None:
    """Put a section before a line, with blank lines around it; directly behind the hint."""
    above, below = lines[:index][-1:], lines[index : index + 1]
    before = [""] if any(line.strip() and not HINT.fullmatch(line) for line in above) else []
    after = [""] if any(line.strip() for line in below) else []
    lines[index:index] = [*before, *section.lines, *after]


def _hint_index(lines: Sequence[str]) -> int:
    """The index of the hint before the last section; the number of lines where there is no hint."""
    return max((index for index, line in enumerate(lines) if HINT.fullmatch(line)), default=len(lines))


def _index_for(section: OwnSection, lines: Sequence[str]) -> int:
    """The index of the line in a new card that a section goes before."""
    fences = _open_fences(lines)
    same = [index for index, line in enumerate(lines) if line == section.after]
    if len(same) == 1 and fences[same[0]] is None:
        index = same[0] + 1
        while index < len(lines) and lines[index].strip():  # no paragraph, list or table is divided
            index += 1
        return index
    hint, headings = _hint_index(lines), _headings(lines)
    same = [index for index in headings if lines[index] == section.heading]
    if len(same) != 1:
        return hint
    return min([hint, *(index for index in headings if index > same[0])])


def _headings(lines: Sequence[str]) -> list[int]:
    """The indices of the lines that are headings, and not comments in code."""
    fences = _open_fences(lines)
    return [index for index, line in enumerate(lines) if fences[index] is None and HEADING.match(line)]


def _open_fences(lines: Sequence[str]) -> list[str | None]:
    """For each line the fence of the block of code that is open after it; None: no block is open."""
    fences: list[str | None] = []
    for line in lines:
        fence, match = fences[-1] if fences else None, FENCE.match(line)
        if fence is None:
            fences.append(match[1] if match else None)
        else:
            closes = match and match[1].startswith(fence) and not line.strip().strip(fence[0])
            fences.append(None if closes else fence)
    return fences
