"""A finished run, read back from its folder or from what was published of it: told anew, or published."""

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
from hf_prune.stages.publish.folder import CARD, card_of, present, with_sections_of
from hf_prune.stages.publish.own_sections import without_own
from hf_prune.stages.publish.stage import check_publication, publish
from hf_prune.stages.run import MARKER, SCHEMA_VERSION, Recorded, read_record
from hf_prune.stages.source.licence import fitting_name, terms_of
from hf_prune.stages.work import RunFolder

PLOTS = "plots"  # in the published folder
OWN_ADDRESS = re.compile(r'^model_id = "(.*)"$', re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A run that has ended well, and where it left what."""

    recorded: Recorded
    model: Path  # the folder that is, or was, published
    folder: RunFolder | None  # None: what was published alone

    @property
    def repo_id(self) -> str | None:
        """Where its card says that it is published; None: nowhere."""
        card = self.model / CARD
        return address_on(card.read_text(encoding="utf-8"), str(card)) if card.is_file() else None


def read_finished(path: Path) -> Finished:
    """The finished run in a folder: a run folder, its `model/`, or a copy of what was published.

    Raises:
        UnreadableRecord: it holds no finished run, or one that cannot be read.
    """
    if not path.is_dir():
        raise UnreadableRecord(f"there is no folder {path}: give the folder of a finished run")
    whole, parent = path.resolve(), path.resolve().parent
    runs = [place for place in (whole, parent) if (place / "run.json").is_file()]
    folder = RunFolder(runs[0]) if runs and whole in (runs[0], RunFolder(runs[0]).model) else None
    model = folder.model if folder else whole
    record = model / MARKER
    if not record.is_file():
        raise UnreadableRecord(
            f"{path} holds no finished run of hf-prune ({MARKER} is missing): give the folder that "
            f"--output named, or what was published of it"
        )
    return Finished(recorded=read_record(record), model=model, folder=folder)


def address_on(card: str, where: str = "the card") -> str | None:
    """The repository that a card names as its own; None where it names a folder, or nothing.

    Raises:
        BrokenSection: it cannot be told which text is the user's, and may name another.
    """
    named = OWN_ADDRESS.search(without_own(card, where))
    return named[1] if named and not named[1].startswith(".") else None


def rebuild(finished: Finished, presentation: Presentation | None = None) -> Path:
    """Write the card and the pictures of a finished run anew; nothing is touched before all are made.

    Args:
        finished: the run; of a sorted one the cards of its depths are written too.
        presentation: what the user puts into the card; None: what the run was given.

    Returns:
        The card.

    Raises:
        UnreadableRecord: the record is of an older schema, which lacks what the card tells.
        BrokenSection: a section of the user's own could be lost.
    """
    recorded, model, repo_id = finished.recorded, finished.model, finished.repo_id
    _check_schema(recorded, model)
    run = replace(recorded.run, presentation=presentation) if presentation else recorded.run
    # So that a fault of a template, or of the marks around a section, leaves all as it was.
    with_sections_of(model / CARD, card_of(run, repo_id))
    pictures = render_pictures(run)
    of_depths: dict[Path, str] = {}
    if finished.folder is not None:
        for depth in run.evaluated.depths[:-1]:
            place = finished.folder.depths / depth_name(depth.layers)
            card = render_depth_card(run, depth.layers, repo_id)
            of_depths[place] = with_sections_of(place / CARD, card)
    with whole_folder(model / PLOTS) as partial:
        for name, picture in pictures.items():
            (partial / Path(name).relative_to(PLOTS)).write_bytes(picture)
    for place, text in of_depths.items():
        if place.is_dir():
            write_whole(place / CARD, text)
    present(run, model, finished.folder, repo_id)
    return model / CARD


def push(finished: Finished, publication: Publication, reporter: Reporter) -> Published:
    """Publish a finished run.

    Args:
        finished: the run, in its own folder.
        publication: where to, and who may see it.
        reporter: is told where it goes.

    Raises:
        UnreadableRecord: it is no run folder, or its record is of an older schema.
        AccessDenied: this user may not.
        PublishRefused: a repository of that name exists and hf-prune did not make it.
    """
    recorded, folder = finished.recorded, finished.folder
    if folder is None:
        raise UnreadableRecord(f"{finished.model} is what was published of a run: give the run folder itself")
    _check_schema(recorded, folder.path)
    source = recorded.run.source
    terms = terms_of(source.license, source.license_name)
    name, depths = fitting_name(terms, recorded.run.name), bool(recorded.run.evaluated.depths)
    repo_id = check_publication(publication, name, terms, depths=depths)
    assert repo_id is not None
    _, published = publish(recorded.run, folder, repo_id, publication, reporter)
    return published


def _check_schema(recorded: Recorded, place: Path) -> None:
    if recorded.schema_version != SCHEMA_VERSION:
        raise UnreadableRecord(
            f"{place} has schema {recorded.schema_version}, and a card is made from schema "
            f"{SCHEMA_VERSION}: give the command of the run again ({recorded.run.command})"
        )
