"""The sections of a card that are its user's own: what stands between two marks stays when it is made anew.

    <!-- hf-prune: yours -->
    any Markdown
    <!-- hf-prune: end of yours -->

Every card ends with an empty pair. A user may put more of them anywhere, with a name where that helps:
`<!-- hf-prune: yours, evaluation -->`. A pair is carried from the old card to the new one whole, to where it
stood: behind the same line, else to the end of the section with the same heading, else to that of the card.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hf_prune.errors import BrokenSection

BEGIN = re.compile(r"\s*<!--\s*hf-prune:\s*yours\s*(?:,\s*(?P<name>[^<>]*?)\s*)?-->\s*")
END = re.compile(r"\s*<!--\s*hf-prune:\s*end of yours\s*(?:,\s*(?P<name>[^<>]*?)\s*)?-->\s*")
MARK = re.compile(r"<!--\s*hf-prune:\s*(?:end of )?yours\b", re.IGNORECASE)  # or what was meant to be one
# Before the pair that ends every card.
HINT = re.compile(r"\s*<!--.*\bhf-prune writes this card anew.*-->\s*")
HEADING = re.compile(r"#{1,6} ")
FENCE = re.compile(r"\s*(`{3,}|~{3,})")


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnSection:
    """A pair of marks with what stands between them, and where it stood."""

    name: str | None
    lines: tuple[str, ...]  # the marks among them
    after: str | None  # the last line before it that is not blank; None: it began the card
    heading: str | None  # that it stood under

    @property
    def is_empty(self) -> bool:
        """Whether nothing is written in it."""
        return not any(line.strip() for line in self.lines[1:-1])

    @property
    def is_last(self) -> bool:
        """Whether it is the pair that ends every card."""
        return self.name is None and self.after is not None and HINT.fullmatch(self.after) is not None

    @property
    def place(self) -> tuple[str | None, str | None]:
        """What two sections have in common of which one is the other's later form."""
        return (self.name, None if self.name is not None else self.after)


def own_sections(card: str, where: str) -> tuple[OwnSection, ...]:
    """The user's own sections of a card, in their order.

    Args:
        card: its text.
        where: it is, for the error.

    Raises:
        BrokenSection: a mark stands alone, inside another pair, or not on a line of its own.
    """
    found: list[OwnSection] = []
    after = heading = fence = None
    inside: list[str] = []
    name: str | None = None
    for number, line in enumerate(_lines(card), start=1):
        begin, end = BEGIN.fullmatch(line), END.fullmatch(line)
        if fault := _fault(line, begin, end, name if inside else None, open_section=bool(inside)):
            raise _broken(where, number, fault)
        if begin:
            name, began = begin["name"] or None, number
        if begin or inside:
            inside.append(line)
            if end:
                found.append(OwnSection(name=name, lines=tuple(inside), after=after, heading=heading))
                inside = []
            continue
        fence = _fence_after(fence, line)
        if line.strip():
            after = line.rstrip()
            heading = after if fence is None and HEADING.match(line) else heading
    if inside:
        raise _broken(where, began, "a section begins that does not end")
    return tuple(found)


def _fault(
    line: str, begin: re.Match[str] | None, end: re.Match[str] | None, name: str | None, *, open_section: bool
) -> str | None:
    """What is wrong with a line as a mark; None: nothing, or it is none."""
    if MARK.search(line) and not begin and not end:
        return "a mark stands on a line of its own, as hf-prune writes it"
    if begin and open_section:
        return "a section begins before the one before it has ended"
    if end and not open_section:
        return "a section ends that has not begun"
    if end and end["name"] not in (None, name):
        return f"the section that ends here is {name!r}" if name else "the section that ends here has no name"
    return None


def _lines(card: str) -> list[str]:
    """Of a text; an editor on the web may have ended them otherwise."""
    return [line.removesuffix("\r") for line in card.rstrip("\n").split("\n")]


def _broken(where: str, number: int, reason: str) -> BrokenSection:
    return BrokenSection(
        f"{where}, line {number}: {reason}, and nothing is written anew so that no text of yours is lost: a "
        f"section of your own stands between <!-- hf-prune: yours --> and <!-- hf-prune: end of yours -->; "
        f"mend it and give the same command again"
    )


def _fence_after(fence: str | None, line: str) -> str | None:
    """The fence of the block of code that goes on after a line; None outside of code."""
    found = FENCE.match(line)
    if fence is None:
        return found[1] if found else None
    closes = found is not None and found[1].startswith(fence) and not line.strip().strip(fence[0])
    return None if closes else fence


def without_own(card: str, where: str = "the card") -> str:
    """A card without its user's own sections, marks and all.

    Args:
        card: its text.
        where: it is, for the error.

    Raises:
        BrokenSection: see `own_sections`.
    """
    own_sections(card, where)
    left, inside = [], False
    for line in _lines(card):
        inside = inside or BEGIN.fullmatch(line) is not None
        if not inside:
            left.append(line)
        inside = inside and END.fullmatch(line) is None
    return re.sub(r"\n{3,}", "\n\n", "\n".join(left)).rstrip("\n") + "\n"


def joined(first: Sequence[OwnSection], then: Sequence[OwnSection]) -> tuple[OwnSection, ...]:
    """The sections of two cards; where both have text of their own in the same place, that of the first.

    Args:
        first: of the card that wins: the published one.
        then: of the other: the one in the run folder.
    """
    written = {section.place for section in first if not section.is_empty}
    more = [section for section in then if not section.is_empty and section.place not in written]
    filled = {section.place for section in more}
    return (*(s for s in first if not s.is_empty or s.place not in filled), *more)


def outdone(first: Iterable[OwnSection], then: Iterable[OwnSection]) -> list[OwnSection]:
    """The sections of `then` that say something else than those of `first` in the same place."""
    written = {section.place: section for section in first if not section.is_empty}
    return [
        section
        for section in then
        if not section.is_empty and section.place in written and written[section.place].lines != section.lines
    ]


def with_own(card: str, sections: Iterable[OwnSection]) -> str:
    """A card that was made anew, with its user's sections in it.

    Args:
        card: as the tool writes it, with an empty pair at its end.
        sections: of the card before it; the empty ones are kept too, for they mark a place.
    """
    bare = _lines(card)
    end = _last_pair(bare) + 1
    last: list[OwnSection] = []
    behind: list[OwnSection] = []
    before: dict[int, list[OwnSection]] = {}  # sections by the number of the line that they go before
    for section in sections:
        place = _place_in(bare, section)
        (last if section.is_last else before.setdefault(place, []) if place < end else behind).append(section)
    made: list[str] = []
    for number, line in enumerate(bare[:end]):
        for section in before.get(number, ()):
            made += [*_gap(made), *section.lines]
        made += [*(_gap(made) if line.strip() and number in before else []), line]
    made += last[0].lines if last else bare[end:]
    for section in (*last[1:], *behind):
        made += [*_gap(made), *section.lines]
    return "\n".join(made).rstrip("\n") + "\n"


def _gap(made: Sequence[str]) -> list[str]:
    """The blank line that goes before what is set apart, where there is none yet."""
    return [""] if made and made[-1].strip() else []


def _last_pair(lines: Sequence[str]) -> int:
    """The line of the comment before the pair that ends a card; the end where it has none."""
    hints = [number for number, line in enumerate(lines) if HINT.fullmatch(line)]
    return hints[-1] if hints else len(lines)


def _place_in(lines: Sequence[str], section: OwnSection) -> int:
    """The number of the line that a section goes before."""
    fences: list[str | None] = []
    for line in lines:
        fences.append(_fence_after(fences[-1] if fences else None, line))
    same = [n for n, line in enumerate(lines) if line == section.after]
    if len(same) == 1 and fences[same[0]] is None:
        return _end_of_paragraph(lines, same[0] + 1)
    headings = [n for n, line in enumerate(lines) if fences[n] is None and HEADING.match(line)]
    same = [n for n in headings if lines[n] == section.heading]
    last = _last_pair(lines)
    if len(same) != 1:
        return last
    following = [n for n in headings if n > same[0]]
    return min(following[0] if following else last, last)


def _end_of_paragraph(lines: Sequence[str], number: int) -> int:
    """The first blank line from this one on: no paragraph, list or table is torn apart."""
    while number < len(lines) and lines[number].strip():
        number += 1
    return number
