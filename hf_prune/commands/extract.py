"""`hf-prune extract`: the first layers of a model as an ordinary checkpoint of their own."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from hf_prune import hub
from hf_prune.errors import ModelNotFound, OutputOccupied, RecipeError, UnreadableRecord
from hf_prune.machine.disk import whole_folder
from hf_prune.machine.progress import Reporter
from hf_prune.records import Checkpoint
from hf_prune.stages.card.card import render_depth_card
from hf_prune.stages.cut.checkpoint import depth_name, write_depth
from hf_prune.stages.publish.stage import publish_depth, refuse_foreign
from hf_prune.stages.run import MARKER, Run, read_record
from hf_prune.stages.source import find as source
from hf_prune.stages.source.licence import refuse_by_licence


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """A depth that was written, and the address at which it was published."""

    folder: Path
    checkpoint: Checkpoint
    url: str | None


def extract(
    found: source.Found, depth: int, output: Path | None, *, push: str | None, reporter: Reporter
) -> Extracted:
    """Write the first `depth` layers of a model, with its norm and head, as a model of their own.

    Args:
        found: the model; one that `hf-prune sort` made, or its depths are worth little.
        depth: how many layers.
        output: an empty or new folder; None: one named after the model and the depth.
        push: the repository on whose branch `depth-N` it is published; None: not at all.
        reporter: is told what happens.

    Raises:
        RecipeError: the model has no such depth.
        OutputOccupied: the folder holds something.
        PublishRefused: the branch is there, in a repository that hf-prune did not make.
    """
    total = source.fetch_anatomy(found, exact=False).num_layers
    if not 1 <= depth < total:
        raise RecipeError(f"--layers {depth}: {found.name} has {total} layers; give 1 to {total - 1}")
    target = output or Path(f"{found.name}-{depth}L")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise OutputOccupied(f"{target} is not empty: choose another --output")
    if push is not None:
        refuse_by_licence(found.terms, push)
        hub.check_may_publish(push, found.name)
        _check_branch(push, depth)
    with TemporaryDirectory(prefix="hf-prune-") as workspace:
        folder = Path(source.fetch_weights(found, Path(workspace)).folder)
        run = sorted_run(found, folder)
        if run is None or depth not in {d.layers for d in run.evaluated.depths}:
            reporter.tell(
                f"{found.name} was not trained to be used at {depth} layers: expect little of what is written"
            )
        shutil.rmtree(target, ignore_errors=True)
        with whole_folder(target) as partial:
            checkpoint = write_depth(
                folder, partial, depth, reporter.progress, trust_remote_code=found.trust_remote_code
            )
            card = render_depth_card(run, depth, push) if run is not None else None
            if card is not None:
                (partial / "README.md").write_text(card, encoding="utf-8")
    if push is None:
        return Extracted(folder=target, checkpoint=checkpoint, url=None)
    publish_depth(push, target, depth, card, reporter)
    return Extracted(folder=target, checkpoint=checkpoint, url=hub.address_of(push, depth_name(depth)))


def _check_branch(repo_id: str, depth: int) -> None:
    """Make sure that a branch can be written: its repository is there, and nobody else's work is on it."""
    main = hub.look_at(repo_id)
    if main is None:
        raise ModelNotFound(
            f"there is no model {repo_id}, on whose branch depth {depth} could go: give the --push of the "
            f"whole model first, or another name"
        )
    if hub.look_at(repo_id, depth_name(depth)) is not None:
        refuse_foreign(main, overwrite=False)


def sorted_run(found: source.Found, folder: Path) -> Run | None:
    """The record of the `hf-prune sort` that made a model; None where none is there that can be read.

    Args:
        found: the model.
        folder: where its weights are.
    """
    if found.repository is not None and MARKER in found.repository.files:
        folder = hub.download(found.repository, (MARKER,))
    if not (folder / MARKER).is_file():
        return None
    try:
        run = read_record(folder / MARKER).run
    except UnreadableRecord:  # that of another version
        return None
    return run if run.evaluated.depths else None
