"""What is published: the folder that a run leaves."""

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
RECIPE = "hf_prune_recipe.yaml"  # in a published repository: what makes the same of another model


def assemble(run: Run, folder: RunFolder, repo_id: str | None) -> None:
    """Make the folder that is published: the last checkpoint, its card, its pictures, its record.

    Args:
        run: what the card tells.
        folder: of the run, with its checkpoints.
        repo_id: where it is to be published; None: nowhere.
    """
    checkpoint = folder.checkpoints / run.result.folder
    record = to_json(run)
    with whole_folder(folder.model) as partial:
        for path in sorted(checkpoint.iterdir()):
            link(path, partial / path.name)
        write_notice(run.source, partial)
        for export in run.exports.found:
            _add(export_folder(folder, export.format), partial)
        for name, picture in render_pictures(run).items():
            (partial / name).parent.mkdir(exist_ok=True)
            (partial / name).write_bytes(picture)
        (partial / MARKER).write_text(record, encoding="utf-8")
        write_card(run, partial, repo_id, folder.model)
        made = f"{run.source.repo_id or run.source.folder}: {run.command}"
        (partial / RECIPE).write_text(recipe_text(run.recipe, run.cited, made), encoding="utf-8")
    for depth in run.evaluated.depths[:-1]:
        name = depth_name(depth.layers)
        with whole_folder(folder.depths / name) as partial:
            for path in sorted((folder.checkpoints / name).iterdir()):
                link(path, partial / path.name)
            write_notice(run.source, partial)
            card = render_depth_card(run, depth.layers, repo_id)
            card = with_sections_of(folder.depths / name / CARD, card)
            (partial / CARD).write_text(card, encoding="utf-8")
    write_whole(folder.path / "run.json", record)


def present(run: Run, model: Path, folder: RunFolder | None, repo_id: str | None) -> None:
    """Write the card and the record anew into a folder that was assembled: only what they say has changed.

    Args:
        run: what the card tells.
        model: the folder that is, or was, published.
        folder: of the run; None: what was published is all there is.
        repo_id: where it is to be published; None: nowhere.
    """
    write_card(run, model, repo_id)
    write_whole(model / MARKER, to_json(run))
    if folder is not None:
        write_whole(folder.path / "run.json", to_json(run))


def write_card(run: Run, place: Path, repo_id: str | None, before: Path | None = None) -> None:
    """Write the card into a folder, and what puts its figures on leaderboards of the Hub.

    Args:
        run: what the card tells.
        place: the folder.
        repo_id: where it is to be published; None: nowhere.
        before: the folder whose card this takes the place of, with its user's own sections; None: `place`.
    """
    write_whole(place / CARD, with_sections_of((before or place) / CARD, card_of(run, repo_id)))
    for name, text in leaderboard_files(run, repo_id).items():
        write_whole(place / name, text)


def with_sections_of(before: Path, card: str) -> str:
    """A card that was made anew, with its user's own sections of the file before it, where there is one.

    Raises:
        BrokenSection: it cannot be told which text is the user's.
    """
    if not before.is_file():
        return card
    return with_own(card, own_sections(before.read_text(encoding="utf-8"), str(before)))


def _add(exported: Path, target: Path) -> None:
    """What an export left, under the same paths in what is published."""
    for path in sorted(exported.rglob("*")):
        if path.is_file():
            place = target / path.relative_to(exported)
            place.parent.mkdir(exist_ok=True)
            link(path, place)


def card_of(run: Run, repo_id: str | None) -> str:
    """The text of README.md, of a decoder or an encoder."""
    return (render_card if run.dense.kind == DECODER else render_encoder_card)(run, repo_id)


def write_notice(source: Source, folder: Path) -> None:
    """Put into a folder the line that the original's licence wants in its "Notice" file, if it is not there.

    Args:
        source: the original.
        folder: with what was copied from it; a notice that is there is kept, and the line put below.
    """
    terms = terms_of(source.license, source.license_name)
    name = notice_file(terms, source.legal_files)
    if terms.notice is None or name is None:
        return
    there = (folder / name).read_bytes() if (folder / name).is_file() else b""
    if " ".join(terms.notice.split()) in " ".join(there.decode(errors="replace").split()):
        return
    changed = "The files of this model differ from those of the original: README.md says how.\n"
    write_whole(folder / name, b"\n".join(filter(None, (there, f"{terms.notice}\n\n{changed}".encode()))))
