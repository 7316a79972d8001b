"""What is published: the folder that a run leaves, and its way to the Hub."""

from pathlib import Path

from hf_prune import hub
from hf_prune.card import render_card, render_depth_card
from hf_prune.choose.blocks import ranges
from hf_prune.cut import depth_name
from hf_prune.disk import gigabytes, link, whole_folder, write_whole
from hf_prune.encoder_card import render_encoder_card
from hf_prune.export.stage import export_folder
from hf_prune.extract import publish_depth
from hf_prune.front_matter import leaderboard_files
from hf_prune.licence import Terms, refuse_by_licence
from hf_prune.notice import write_notice
from hf_prune.pictures import render_pictures
from hf_prune.progress import Reporter
from hf_prune.recipe import Publication
from hf_prune.recipe_files import recipe_text
from hf_prune.records import DECODER, Published, to_json
from hf_prune.report import MARKER, Run
from hf_prune.run_folder import RunFolder

RECIPE = "hf_prune_recipe.yaml"  # in a published repository: what makes the same of another model


def check_publication(publication: Publication | None, name: str, terms: Terms) -> str | None:
    """The name to publish under, once it is sure that this user may, by the Hub and by the licence."""
    if publication is None:
        return None
    refuse_by_licence(terms, publication.repo_id or name)
    repo_id = hub.check_may_publish(publication.repo_id, name)
    refuse_by_licence(terms, repo_id)
    hub.refuse_foreign(repo_id, MARKER, overwrite=publication.overwrite)
    return repo_id


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
        for export in run.exports:
            _add(export_folder(folder, export.format), partial)
        for name, picture in render_pictures(run).items():
            (partial / name).parent.mkdir(exist_ok=True)
            (partial / name).write_bytes(picture)
        (partial / MARKER).write_text(record, encoding="utf-8")
        write_card(run, partial, repo_id)
        made = f"{run.source.repo_id or run.source.folder}: {run.command}"
        (partial / RECIPE).write_text(recipe_text(run.recipe, run.cited, made), encoding="utf-8")
    for depth in run.depths[:-1]:
        name = depth_name(depth.layers)
        with whole_folder(folder.depths / name) as partial:
            for path in sorted((folder.checkpoints / name).iterdir()):
                link(path, partial / path.name)
            write_notice(run.source, partial)
            card = render_depth_card(run, depth.layers, repo_id)
            (partial / "README.md").write_text(card, encoding="utf-8")
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


def write_card(run: Run, place: Path, repo_id: str | None) -> None:
    """Write the card into a folder, and what puts its figures on leaderboards of the Hub."""
    write_whole(place / "README.md", card_of(run, repo_id))
    for name, text in leaderboard_files(run, repo_id).items():
        write_whole(place / name, text)


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


def publish(
    run: Run, folder: RunFolder, repo_id: str, publication: Publication, reporter: Reporter
) -> Published:
    """Put what `assemble` left on the Hub, and each depth of a sorted model on a branch of its own.

    Args:
        run: what its card tells.
        folder: of the run.
        repo_id: where to.
        publication: who may see it.
        reporter: is told where it goes.
    """
    write_card(run, folder.model, repo_id)
    reporter.tell(f"publishing {gigabytes(run.result.size_bytes)} to {repo_id}")
    origin = run.source.repo_id or run.source.folder
    done = f"layers {ranges(run.plan.removed)} of {origin} removed" if run.plan.removed else f"from {origin}"
    message = f"{run.name}: {done}"
    hub.keep_gate(repo_id, run.source.gate_to_keep, private=publication.private)
    url, commit = hub.upload(repo_id, folder.model, message, private=publication.private)
    for depth in run.depths[:-1]:
        place = folder.depths / depth_name(depth.layers)
        write_whole(place / "README.md", render_depth_card(run, depth.layers, repo_id))
        publish_depth(repo_id, place, depth.layers)
    return Published(repo_id=repo_id, url=url, commit=commit, private=publication.private)
