"""Whether the card and its pictures say what the record says."""

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
    """Compare README.md and its pictures with a card that is rendered from the record now.

    Args:
        version: of this hf-prune; another version may word the same card differently.
    """
    same_version = run.environment.hf_prune == version
    other_version = f"hf-prune {run.environment.hf_prune} wrote it, and this is {version}"
    path = folder / "README.md"
    if not path.is_file():
        yield broken(CARD, "README.md", "none", "the file is missing")
        return
    if run.presentation is not None and run.presentation.template is not None:
        # A template can run code, and this one came with the model.
        yield unchecked(CARD, "README.md", "its author used a template, which hf-prune does not run here")
        yield _pictures(run, folder, None if same_version else other_version)
        return
    card = path.read_text(encoding="utf-8")
    try:
        own = [section for section in own_sections(card, path.name) if not section.is_empty]
    except BrokenSection as error:
        yield broken(CARD, path.name, "none", str(error))
        return
    claim = compare_cards(without_own(card), without_own(card_of(run, address_on(card))))
    yield claim if claim.holds or same_version else unchecked(CARD, claim.claimed, other_version)
    if own:
        reason = "its author wrote them, and no figure in them is checked"
        yield unchecked("its author's own sections", f"{len(own)}", reason)
    yield _pictures(run, folder, None if same_version else other_version)


def compare_cards(card: str, rendered: str) -> Claim:
    """Compare the lines with figures of a published card with those of the rendered card."""
    pairs = different_lines(card, rendered)
    figures = [pair for pair in pairs if any(map(_has_figure, pair))]
    lines = sum(map(_has_figure, card.splitlines()))
    if not figures:
        prose = f"; {len(pairs)} lines without figures differ from the record" if pairs else ""
        return equal(CARD, f"{lines} lines with figures{prose}", f"{lines} lines with figures{prose}")
    ours, theirs = figures[0]
    more = f"and {len(figures) - 1} more lines" if len(figures) > 1 else "all other lines match the record"
    return broken(CARD, ours or "(no such line)", theirs or "(no such line)", more)


def different_lines(card: str, rendered: str) -> list[Pair]:
    """Pairs of lines in which two cards differ; "" stands for a missing line."""
    ours, theirs = card.splitlines(), rendered.splitlines()
    pairs: list[Pair] = []
    matcher = difflib.SequenceMatcher(a=ours, b=theirs, autojunk=False)
    for kind, start, end, first, last in matcher.get_opcodes():
        if kind != "equal":
            pairs += zip_longest(ours[start:end], theirs[first:last], fillvalue="")
    return pairs


def _has_figure(line: str) -> bool:
    return any(map(str.isdigit, line))


def _pictures(run: Run, folder: Path, reason: str | None) -> Claim:
    """Compare the pictures byte for byte; `reason` says why they may differ."""
    drawn = render_pictures(run)
    claimed = f"{len(drawn)} drawn from the record"
    missing = [name for name in drawn if not (folder / name).is_file()]
    differing = [
        name for name in drawn if name not in missing and (folder / name).read_bytes() != drawn[name]
    ]
    if missing:
        return broken(
            PICTURES, claimed, f"{len(drawn) - len(missing)} are there", f"missing: {listed(missing)}"
        )
    if differing and reason is None:
        programs = {_program((folder / name).read_bytes()) for name in differing}
        programs -= {_program(drawn[differing[0]])}
        reason = f"another program drew them: {listed(sorted(programs))}" if programs else None
    if differing and reason is not None:
        return unchecked(PICTURES, claimed, reason)
    found = f"{len(drawn) - len(differing)} drawn from the record"
    return equal(PICTURES, claimed, found, f"these differ: {listed(differing)}")


def _program(picture: bytes) -> str:
    """The program that a PNG file says it was written by."""
    try:
        with Image.open(io.BytesIO(picture)) as image:
            return str(image.info.get("Software", "a program without a name")).partition(",")[0]
    except OSError:
        return "none, for it is no picture"
