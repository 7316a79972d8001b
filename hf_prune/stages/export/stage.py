"""The export stage: each form that is asked for, kept once it is made; what does not hold is left out."""

import shutil
from pathlib import Path

import numpy as np

from hf_prune.machine.disk import check_room, whole_folder
from hf_prune.machine.environment import reason_not_to_load
from hf_prune.machine.own_process import figures_from
from hf_prune.recipe.formats import GGUF, ONNX, ONNX_8BIT, parse_formats
from hf_prune.records import Attempt, Checkpoint, Export, from_data
from hf_prune.stages.export.one_form import TRUST
from hf_prune.stages.work import RunFolder, Work

BYTES_PER_PARAMETER = {ONNX: 4, ONNX_8BIT: 4, GGUF: 4}  # at most; embeddings stay in float32
COPIES_IN_MEMORY = 2  # of the weights in float32, while a graph is written or compared


def export(work: Work, result: Checkpoint) -> Attempt[Export]:
    """Write the result in every form that the recipe names, and compare each with it.

    Args:
        work: the run.
        result: the checkpoint that is published.
    """
    wanted = parse_formats(work.recipe.formats)
    trials: dict[str, Attempt[Export]] = {}
    for form in wanted:
        if form == ONNX_8BIT and ONNX not in trials:
            trials[ONNX] = _form(work, result, ONNX)  # it is made from this one
        if form == ONNX_8BIT and not trials[ONNX].found:
            reason = f"it is made from the graph in float32, which was left out: {trials[ONNX].reason}"
            trials[form] = Attempt(reason=reason)
        else:
            trials[form] = _form(work, result, form)
    missing = [f"{form}: {trials[form].reason}" for form in wanted if not trials[form].found]
    for line in missing:
        work.reporter.tell(f"not exported to {line}")
    exports = tuple(each for form in wanted for each in trials[form].found)
    return Attempt(found=exports, reason="; ".join(missing) or None)


def export_folder(folder: RunFolder, form: str) -> Path:
    """Where the files of one form are, under the paths that they have in what is published."""
    return folder.checkpoints / f"export-{form}"


def _form(work: Work, result: Checkpoint, form: str) -> Attempt[Export]:
    target = export_folder(work.folder, form)

    def compute() -> Attempt[Export]:
        if reason := reason_not_to_load(COPIES_IN_MEMORY * 4 * result.parameters, "cpu"):
            return Attempt(reason=reason)
        check_room(target.parent, BYTES_PER_PARAMETER[form] * result.parameters, f"the export to {form}")
        source = export_folder(work.folder, ONNX) if form == ONNX_8BIT else work.place(result)
        return _made(work, form, source, target)

    def left(trial: Attempt[Export]) -> Path | None:
        return target if trial.found else None

    return work.folder.stage(f"export-{form}", Attempt[Export], work.inputs, compute, left)


def _made(work: Work, form: str, source: Path, target: Path) -> Attempt[Export]:
    windows = work.folder.checkpoints / "held_out.npy"
    np.save(windows, work.original.heldout.ids.numpy())
    trusted = [TRUST] if work.recipe.trust_remote_code else []
    with whole_folder(target) as partial:
        words = [form, *map(str, (source, partial, windows)), *trusted]
        found, reason = figures_from(
            "hf_prune.stages.export.one_form", words, work.reporter.progress, f"exporting, {form}", 1
        )
    trial = from_data(Attempt[Export], found[0]) if found else Attempt(reason=reason)
    if not trial.found:
        shutil.rmtree(target)
    return trial
