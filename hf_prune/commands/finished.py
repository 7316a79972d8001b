"""A finished run, read from its folder or a copy of what was published: its card anew, its publication."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from hf_prune.errors import UnreadableRecord
from hf_prune.machine.disk import whole_folder, write_whole
from hf_prune.machine.progress import Reporter
from hf_prune.recipe.recipe import Publication
from hf_prune.records import Presentation, Published
from hf_prune.stages.card.card import render_depth_card
from hf_prune.stages.card.pictures import render_pictures
from hf_prune.stages.cut.checkpoint import depth_name
from hf_prune.stages.publish.folder import CARD, card_of, with_sections_of, write_card_and_record
from hf_prune.stages.publish.own_sections import without_own
from hf_prune.stages.publish.stage import check_publication, publish
from hf_prune.stages.run import MARKER, SCHEMA_VERSION, Recorded, read_record
from hf_prune.stages.source.licence import terms_of
from hf_prune.stages.work import RunFolder

PLOTS = "plots"  # in the published folder
OWN_ADDRESS = re.compile(r'^model_id = "(.*)"$', re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A finished run and its folders."""

    recorded: Recorded
    model: Path  # the folder that is, or was, published
    folder: RunFolder | None  # None: there is only a copy of what was published

    @property
    def repo_id(self) -> str | None:
        """The repository that its card names; None: the card names none."""
        card = self.model / CARD
        return address_on(card.read_text(encoding="utf-8"), str(card)) if card.is_file() else None


def read_finished(path: Path) -> Finished:
    """Read the finished run in a run folder, its `model/`, or a copy of what was published.

    Raises:
        UnreadableRecord: there is no finished run, or one that cannot be read.
    """
    if not path.is_dir():
        raise UnreadableRecord(f"there is no folder {path}: give the folder of a finished run")
    whole = path.resolve()
    folder = next((RunFolder(p) for p in (whole, whole.parent) if (p / "run.json").is_file()), None)
    if folder is not None and whole not in (folder.path, folder.model):
        folder = None
    model = folder.model if folder else whole
    if not (model / MARKER).is_file():
        raise UnreadableRecord(
            f"{path} holds no finished run of hf-prune ({MARKER} is missing): give the folder that --output "
            f"named, or what was published of it"
        )
    return Finished(recorded=read_record(model / MARKER), model=model, folder=folder)


def address_on(card: str, card_name: str = "the card") -> str | None:
    """The repository that a card names as its own; None: it names a folder, or nothing.

    Raises:
        BrokenSection: the marks do not say which text is the user's, which may name another repository.
    """
    match = OWN_ADDRESS.search(without_own(card, card_name))
    return match[1] if match and not match[1].startswith(".") else None


def rebuild(finished: Finished, presentation: Presentation | None = None) -> Path:
    """Write the card and pictures of a finished run anew, once all could be made, and return the card's path.

    Of a sorted run, the cards of its depths are written too.

    Args:
        presentation: the user's own words for the card; None: those that the run was given.

    Raises:
        UnreadableRecord: the record is of an older schema, which lacks parts of the card.
        BrokenSection: a section of the user's own could be lost.
    """
    recorded, model, repo_id = finished.recorded, finished.model, finished.repo_id
    _check_schema(recorded, model)
    run = replace(recorded.run, presentation=presentation) if presentation else recorded.run
    with_sections_of(model / CARD, card_of(run, repo_id))  # before anything is written: it may raise
    pictures = render_pictures(run)
    depth_cards: dict[Path, str] = {}
    if finished.folder is not None:
        for depth in run.evaluated.depths[:-1]:
            card = render_depth_card(run, depth.layers, repo_id)
            path = finished.folder.depths / depth_name(depth.layers) / CARD
            depth_cards[path] = with_sections_of(path, card)
    with whole_folder(model / PLOTS) as partial:
        for name, picture in pictures.items():
            (partial / Path(name).relative_to(PLOTS)).write_bytes(picture)
    for path, text in depth_cards.items():
        if path.parent.is_dir():
            write_whole(path, text)
    write_card_and_record(run, model, finished.folder, repo_id)
    return model / CARD


def push(finished: Finished, publication: Publication, reporter: Reporter) -> Published:
    """Publish a finished run from its own folder.

    Raises:
        UnreadableRecord: it is no run folder, or its record is of an older schema.
        AccessDenied: this user may not.
        PublishRefused: a repository of that name exists and hf-prune did not make it.
    """
    recorded, folder = finished.recorded, finished.folder
    if folder is None:
        raise UnreadableRecord(f"{finished.model} is what was published of a run: give the run folder itself")
    _check_schema(recorded, folder.path)
    run, source = recorded.run, recorded.run.source
    terms = terms_of(source.license, source.license_name)
    repo_id = check_publication(publication, run.name, terms, depths=bool(run.evaluated.depths))
    _, published = publish(run, folder, repo_id, publication, reporter)
    return published


def _check_schema(recorded: Recorded, folder: Path) -> None:
    if recorded.schema_version != SCHEMA_VERSION:
        raise UnreadableRecord(
            f"{folder} has schema {recorded.schema_version}, and a card is made from schema "
            f"{SCHEMA_VERSION}: give the command of the run again ({recorded.run.command})"
        )
