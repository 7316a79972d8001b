"""The export stage: the result in each format that the recipe names, if it computes the same."""

import shutil
from pathlib import Path

import numpy as np

from hf_prune.machine.disk import check_room, whole_folder
from hf_prune.machine.environment import reason_not_to_load
from hf_prune.machine.own_process import run_module
from hf_prune.recipe.formats import ONNX, ONNX_8BIT, parse_formats
from hf_prune.records import Attempt, Checkpoint, Export, from_data
from hf_prune.stages.export.one_form import TRUST
from hf_prune.stages.work import RunFolder, Work

BYTES_PER_PARAMETER = 4  # on the disk, at most: embeddings stay in float32
COPIES_IN_MEMORY = 2  # of the weights in float32, while a graph is written or compared


def export(work: Work, result: Checkpoint) -> Attempt[Export]:
    """Write the checkpoint that is published in every format that the recipe names, and compare each."""
    formats = parse_formats(work.recipe.formats)
    attempts: dict[str, Attempt[Export]] = {}
    for form in formats:
        if form == ONNX_8BIT and ONNX not in attempts:
            attempts[ONNX] = _attempt(work, result, ONNX)  # it is made from this one
        if form == ONNX_8BIT and not attempts[ONNX].found:
            reason = f"it is made from the graph in float32, which was left out: {attempts[ONNX].reason}"
            attempts[form] = Attempt(reason=reason)
        else:
            attempts[form] = _attempt(work, result, form)
    missing = [f"{form}: {attempts[form].reason}" for form in formats if not attempts[form].found]
    for line in missing:
        work.reporter.tell(f"not exported to {line}")
    exports = tuple(each for form in formats for each in attempts[form].found)
    return Attempt(found=exports, reason="; ".join(missing) or None)


def export_folder(folder: RunFolder, form: str) -> Path:
    """The folder of one format's files, under the paths that they are published by."""
    return folder.checkpoints / f"export-{form}"


def _attempt(work: Work, result: Checkpoint, form: str) -> Attempt[Export]:
    target = export_folder(work.folder, form)

    def compute() -> Attempt[Export]:
        if reason := reason_not_to_load(COPIES_IN_MEMORY * BYTES_PER_PARAMETER * result.parameters, "cpu"):
            return Attempt(reason=reason)
        check_room(target.parent, BYTES_PER_PARAMETER * result.parameters, f"the export to {form}")
        source = export_folder(work.folder, ONNX) if form == ONNX_8BIT else work.folder_of(result)
        return _in_own_process(work, form, source, target)

    def folder_to_keep(attempt: Attempt[Export]) -> Path | None:
        return target if attempt.found else None

    return work.folder.stage(f"export-{form}", Attempt[Export], work.inputs, compute, folder_to_keep)


def _in_own_process(work: Work, form: str, source: Path, target: Path) -> Attempt[Export]:
    windows = work.folder.checkpoints / "held_out.npy"
    np.save(windows, work.original.heldout.ids.numpy())
    trusted = [TRUST] if work.recipe.trust_remote_code else []
    with whole_folder(target) as partial:
        arguments = [form, *map(str, (source, partial, windows)), *trusted]
        printed, reason = run_module(
            "hf_prune.stages.export.one_form", arguments, work.reporter.progress, f"exporting, {form}", 1
        )
    attempt = from_data(Attempt[Export], printed[0]) if printed else Attempt(reason=reason)
    if not attempt.found:
        shutil.rmtree(target)
    return attempt
