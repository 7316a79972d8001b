"""`hf-prune extract`: the first layers of a model as a checkpoint of their own."""

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
from hf_prune.stages.publish.folder import CARD
from hf_prune.stages.publish.stage import publish_depth, refuse_foreign
from hf_prune.stages.run import MARKER, Run, read_record
from hf_prune.stages.source import find as source
from hf_prune.stages.source.licence import refuse_by_licence


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """A depth that was written; `url` is its address if it was published."""

    folder: Path
    checkpoint: Checkpoint
    url: str | None = None


def extract(
    model: source.LocatedModel, depth: int, output: Path | None, *, push: str | None, reporter: Reporter
) -> Extracted:
    """Write the first `depth` layers of a model, with its norm and head, as a model of their own.

    Args:
        model: best one that `hf-prune sort` made: the depths of others are worth little.
        output: an empty or new folder; None: one named after the model and the depth.
        push: the repository on whose branch `depth-N` it is published; None: it is not published.

    Raises:
        RecipeError: the model has no such depth.
        OutputOccupied: the folder is not empty.
        PublishRefused: the branch exists, in a repository that hf-prune did not make.
    """
    total = source.fetch_anatomy(model, exact=False).num_layers
    if not 1 <= depth < total:
        raise RecipeError(f"--layers {depth}: {model.name} has {total} layers; give 1 to {total - 1}")
    target = output or Path(f"{model.name}-{depth}L")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise OutputOccupied(f"{target} is not empty: choose another --output")
    if push is not None:
        refuse_by_licence(model.terms, push)
        hub.check_may_publish(push, model.name)
        _check_branch(push, depth)
    with TemporaryDirectory(prefix="hf-prune-") as workspace:
        folder = Path(source.fetch_weights(model, Path(workspace)).folder)
        run = _read_sorting(model, folder)
        if run is None or depth not in {each.layers for each in run.evaluated.depths}:
            reporter.tell(
                f"{model.name} was not trained to be used at {depth} layers: expect little of what is written"
            )
        shutil.rmtree(target, ignore_errors=True)
        with whole_folder(target) as partial:
            trusted = model.trust_remote_code
            checkpoint = write_depth(folder, partial, depth, reporter.progress, trust_remote_code=trusted)
            card = render_depth_card(run, depth, push) if run is not None else None
            if card is not None:
                (partial / CARD).write_text(card, encoding="utf-8")
    if push is None:
        return Extracted(folder=target, checkpoint=checkpoint)
    publish_depth(push, target, depth, card, reporter)
    return Extracted(folder=target, checkpoint=checkpoint, url=hub.address_of(push, depth_name(depth)))


def _check_branch(repo_id: str, depth: int) -> None:
    """Make sure that the repository exists and the branch holds nobody else's work."""
    main = hub.snapshot_of(repo_id)
    if main is None:
        raise ModelNotFound(
            f"there is no model {repo_id}, on whose branch depth {depth} could go: give the --push of the "
            f"whole model first, or another name"
        )
    if hub.snapshot_of(repo_id, depth_name(depth)) is not None:
        refuse_foreign(main, overwrite=False)


def _read_sorting(model: source.LocatedModel, folder: Path) -> Run | None:
    """The record of the `hf-prune sort` that made a model; None: there is none that can be read."""
    if model.repository is not None and MARKER in model.repository.files:
        folder = hub.download(model.repository, (MARKER,))
    try:
        run = read_record(folder / MARKER).run if (folder / MARKER).is_file() else None
    except UnreadableRecord:  # another version wrote it
        return None
    return run if run is not None and run.evaluated.depths else None
