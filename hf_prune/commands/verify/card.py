"""What a card tells: is it what the record says, line by line and picture by picture?"""

import difflib
import io
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from PIL import Image

from hf_prune.commands.finished import address_on
from hf_prune.commands.verify.claims import Claim, broken, equal, listed, unchecked
from hf_prune.errors import BrokenSection
from hf_prune.stages.card.pictures import render_pictures
from hf_prune.stages.publish.folder import card_of
from hf_prune.stages.publish.own_sections import own_sections, without_own
from hf_prune.stages.run import Run

CARD = "figures on the card"
PICTURES = "pictures on the card"

Pair = tuple[str, str]  # a line of the card, and what the record says in its place


def card_claims(run: Run, folder: Path, version: str) -> Iterator[Claim]:
    """Whether README.md and its pictures are what the record is made into now.

    Args:
        run: the record.
        folder: what was published.
        version: of this hf-prune; another one may tell the same otherwise.
    """
    same_version = run.environment.hf_prune == version
    otherwise = f"it was written by hf-prune {run.environment.hf_prune}, and this is {version}"
    path = folder / "README.md"
    if not path.is_file():
        yield broken(CARD, "README.md", "none", "the file is missing")
        return
    if run.presentation is not None and run.presentation.template is not None:
        # A template can run code, and this one came with the model.
        yield unchecked(CARD, "README.md", "it was made by a template of its author's own, which is not run")
        yield _pictures(run, folder, None if same_version else otherwise)
        return
    card = path.read_text(encoding="utf-8")
    try:
        own = [section for section in own_sections(card, path.name) if not section.is_empty]
    except BrokenSection as error:
        yield broken(CARD, path.name, "none", str(error))
        return
    claim = compare_cards(without_own(card), without_own(card_of(run, address_on(card))))
    yield claim if claim.holds or same_version else unchecked(CARD, claim.claimed, otherwise)
    if own:
        reason = "marked as its author's own: hf-prune did not write them, and no figure in them is checked"
        yield unchecked("sections of its author's own", f"{len(own)}", reason)
    yield _pictures(run, folder, None if same_version else otherwise)


def compare_cards(card: str, rendered: str) -> Claim:
    """Whether a card's lines are those that the record gives, where either has a figure.

    Args:
        card: as it was published.
        rendered: as the record has it.
    """
    pairs = different_lines(card, rendered)
    figures = [pair for pair in pairs if any(map(_has_figure, pair))]
    lines = sum(map(_has_figure, card.splitlines()))
    if not figures:
        prose = f"; {len(pairs)} lines without figures are not the record's" if pairs else ""
        return equal(CARD, f"{lines} lines with figures{prose}", f"{lines} lines with figures{prose}")
    ours, theirs = figures[0]
    more = f"and {len(figures) - 1} more lines" if len(figures) > 1 else "all other lines are the record's"
    return broken(CARD, ours or "(no such line)", theirs or "(no such line)", more)


def different_lines(card: str, rendered: str) -> list[Pair]:
    """The lines in which two cards differ, side by side; the empty line stands for none."""
    ours, theirs = card.splitlines(), rendered.splitlines()
    pairs: list[Pair] = []
    matcher = difflib.SequenceMatcher(a=ours, b=theirs, autojunk=False)
    for kind, start, end, first, last in matcher.get_opcodes():
        if kind != "equal":
            pairs += zip_longest(ours[start:end], theirs[first:last], fillvalue="")
    return pairs


def _has_figure(line: str) -> bool:
    return any(map(str.isdigit, line))


def _pictures(run: Run, folder: Path, otherwise: str | None) -> Claim:
    drawn = render_pictures(run)
    claimed = f"{len(drawn)} drawn from the record"
    missing = [name for name in drawn if not (folder / name).is_file()]
    unlike = [name for name in drawn if name not in missing and (folder / name).read_bytes() != drawn[name]]
    if missing:
        return broken(
            PICTURES, claimed, f"{len(drawn) - len(missing)} are there", f"missing: {listed(missing)}"
        )
    if unlike and otherwise is None:
        makers = {_maker((folder / name).read_bytes()) for name in unlike} - {_maker(drawn[unlike[0]])}
        otherwise = f"{listed(sorted(makers))} drew them, and here is another" if makers else None
    if unlike and otherwise is not None:
        return unchecked(PICTURES, claimed, otherwise)
    found = f"{len(drawn) - len(unlike)} drawn from the record"
    return equal(PICTURES, claimed, found, f"others are {listed(unlike)}")


def _maker(picture: bytes) -> str:
    """The program that wrote a PNG file, where it says so."""
    try:
        with Image.open(io.BytesIO(picture)) as image:
            return str(image.info.get("Software", "a program without a name")).partition(",")[0]
    except OSError:
        return "what is no picture"
