"""What is published: the folder that a run leaves, and its way to the Hub."""

import os
import shutil
from pathlib import Path

from hf_prune import hub
from hf_prune.card import render_card, render_depth_card, render_pictures
from hf_prune.choose.blocks import ranges
from hf_prune.cut import depth_name
from hf_prune.disk import gigabytes, whole_folder, write_whole
from hf_prune.encoder_card import render_encoder_card
from hf_prune.extract import publish_depth
from hf_prune.progress import Reporter
from hf_prune.recipe import Publication
from hf_prune.recipe_files import recipe_text
from hf_prune.records import DECODER, Published, to_json
from hf_prune.report import MARKER, Run
from hf_prune.run_folder import RunFolder

RECIPE = "hf_prune_recipe.yaml"  # in a published repository: what makes the same of another model


def check_publication(publication: Publication | None, name: str) -> str | None:
    """The name to publish under, once it is sure that this user may."""
    if publication is None:
        return None
    repo_id = hub.check_may_publish(publication.repo_id, name)
    hub.refuse_foreign(repo_id, MARKER, overwrite=publication.overwrite)
    return repo_id


def assemble(run: Run, folder: RunFolder, repo_id: str | None) -> None:
    """Make the folder that is published: the last checkpoint, its card, its pictures, its record.

    Args:
        run: what the card tells.
        folder: of the run, with its checkpoints.
        repo_id: where it is to be published; None: nowhere.
    """
    checkpoint = folder.checkpoints / run.result.variant
    record = to_json(run)
    with whole_folder(folder.model) as partial:
        for path in sorted(checkpoint.iterdir()):
            _link(path, partial / path.name)
        for name, picture in render_pictures(run).items():
            (partial / name).parent.mkdir(exist_ok=True)
            (partial / name).write_bytes(picture)
        (partial / MARKER).write_text(record, encoding="utf-8")
        (partial / "README.md").write_text(card_of(run, repo_id), encoding="utf-8")
        made = f"{run.source.repo_id or run.source.folder}: {run.command}"
        (partial / RECIPE).write_text(recipe_text(run.recipe, run.cited, made), encoding="utf-8")
    for depth in run.depths[:-1]:
        name = depth_name(depth.layers)
        with whole_folder(folder.depths / name) as partial:
            for path in sorted((folder.checkpoints / name).iterdir()):
                _link(path, partial / path.name)
            card = render_depth_card(run, depth.layers, repo_id)
            (partial / "README.md").write_text(card, encoding="utf-8")
    write_whole(folder.path / "run.json", record)


def card_of(run: Run, repo_id: str | None) -> str:
    """The text of README.md, of a decoder or an encoder."""
    return (render_card if run.dense.kind == DECODER else render_encoder_card)(run, repo_id)


def _link(path: Path, target: Path) -> None:
    """A second name for a file that is never changed; a copy where the disk has no such names."""
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)


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
    card = card_of(run, repo_id)
    write_whole(folder.model / "README.md", card)
    reporter.tell(f"publishing {gigabytes(run.result.size_bytes)} to {repo_id}")
    origin = run.source.repo_id or run.source.folder
    done = f"layers {ranges(run.plan.removed)} of {origin} removed" if run.plan.removed else f"from {origin}"
    message = f"{run.name}: {done}"
    url, commit = hub.upload(repo_id, folder.model, message, private=publication.private)
    for depth in run.depths[:-1]:
        place = folder.depths / depth_name(depth.layers)
        write_whole(place / "README.md", render_depth_card(run, depth.layers, repo_id))
        publish_depth(repo_id, place, depth.layers)
    return Published(repo_id=repo_id, url=url, commit=commit, private=publication.private)
