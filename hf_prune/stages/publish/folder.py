"""The folder that is published: the last checkpoint of a run with its card, pictures and record."""

from pathlib import Path

from hf_prune.machine.disk import link, whole_folder, write_whole
from hf_prune.recipe.files import recipe_text
from hf_prune.records import DECODER, Source, to_json
from hf_prune.stages.card.card import render_card, render_depth_card
from hf_prune.stages.card.encoder_card import render_encoder_card
from hf_prune.stages.card.metadata import leaderboard_files
from hf_prune.stages.card.pictures import render_pictures
from hf_prune.stages.cut.checkpoint import depth_name
from hf_prune.stages.export.stage import export_folder
from hf_prune.stages.publish.own_sections import own_sections, with_own
from hf_prune.stages.run import MARKER, Run
from hf_prune.stages.source.licence import notice_file, terms_of
from hf_prune.stages.work import RunFolder

CARD = "README.md"
RECIPE = "hf_prune_recipe.yaml"  # in a published repository, to prune another model the same way


def assemble(run: Run, folder: RunFolder, repo_id: str | None) -> None:
    """Make the folder that is published, and one for each smaller depth of a sorted model."""
    record = to_json(run)
    with whole_folder(folder.model) as partial:
        _link_files(folder.checkpoints / run.result.folder, partial)
        write_notice(run.source, partial)
        for export in run.exports.found:
            _link_files(export_folder(folder, export.format), partial)
        for name, picture in render_pictures(run).items():
            write_whole(partial / name, picture)
        write_whole(partial / MARKER, record)
        _write_card(run, partial, repo_id, previous=folder.model / CARD)
        origin = f"{run.source.repo_id or run.source.folder}: {run.command}"
        write_whole(partial / RECIPE, recipe_text(run.recipe, run.cited, origin))
    for depth in run.evaluated.depths[:-1]:
        name = depth_name(depth.layers)
        with whole_folder(folder.depths / name) as partial:
            _link_files(folder.checkpoints / name, partial)
            write_notice(run.source, partial)
            card = render_depth_card(run, depth.layers, repo_id)
            write_whole(partial / CARD, with_sections_of(folder.depths / name / CARD, card))
    write_whole(folder.path / "run.json", record)


def _link_files(folder: Path, target: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            copy = target / path.relative_to(folder)
            copy.parent.mkdir(exist_ok=True)
            link(path, copy)


def write_card_and_record(run: Run, model: Path, folder: RunFolder | None, repo_id: str | None) -> None:
    """Write the card and the record anew into a folder that was assembled before.

    Args:
        folder: the run's; None: `model` is a copy of what was published.
    """
    _write_card(run, model, repo_id, previous=model / CARD)
    write_whole(model / MARKER, to_json(run))
    if folder is not None:
        write_whole(folder.path / "run.json", to_json(run))


def _write_card(run: Run, model: Path, repo_id: str | None, *, previous: Path) -> None:
    """Write the card and the files for the Hub's leaderboards. The previous card may have own sections."""
    write_whole(model / CARD, with_sections_of(previous, card_of(run, repo_id)))
    for name, text in leaderboard_files(run, repo_id).items():
        write_whole(model / name, text)


def with_sections_of(previous: Path, card: str) -> str:
    """A new card with its user's own sections of the previous card, if there is one.

    Raises:
        BrokenSection: the marks do not say which text is the user's.
    """
    if not previous.is_file():
        return card
    return with_own(card, own_sections(previous.read_text(encoding="utf-8"), str(previous)))


def card_of(run: Run, repo_id: str | None) -> str:
    """The text of README.md, for a decoder or an encoder."""
    return (render_card if run.dense.kind == DECODER else render_encoder_card)(run, repo_id)


def write_notice(source: Source, folder: Path) -> None:
    """Put the line that the original's licence demands into a folder's "Notice" file, below what it holds."""
    terms = terms_of(source.license, source.license_name)
    name = notice_file(terms, source.legal_files)
    if terms.notice is None or name is None:
        return
    notice = (folder / name).read_bytes() if (folder / name).is_file() else b""
    if " ".join(terms.notice.split()) in " ".join(notice.decode(errors="replace").split()):
        return
    changed = "The files of this model differ from those of the original: README.md says how.\n"
    added = f"{terms.notice}\n\n{changed}".encode()
    write_whole(folder / name, notice + b"\n" + added if notice else added)
