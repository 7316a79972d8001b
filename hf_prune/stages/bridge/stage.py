"""The bridge stage: the cut with its gaps closed, and the proof of the new checkpoint."""

from pathlib import Path

from torch import Tensor

from hf_prune.records import Bridge, Plan, ProvedBridge
from hf_prune.stages.bridge.choose import make_bridge
from hf_prune.stages.cut.stage import write_and_prove
from hf_prune.stages.work import Work

BRIDGED = "bridged"


def bridge(work: Work, plan: Plan) -> ProvedBridge:
    """Close the gaps of a cut as the recipe asks; the record says why if no bridge was kept."""

    def compute() -> ProvedBridge:
        fitted, solved = _fit(work, plan)
        if not solved:
            return ProvedBridge(bridge=fitted, checkpoint=None, proof=None)
        checkpoint, proof = write_and_prove(work, plan, BRIDGED, solved)
        return ProvedBridge(bridge=fitted, checkpoint=checkpoint, proof=proof)

    def folder(record: ProvedBridge) -> Path | None:
        return work.folder.checkpoints / BRIDGED if record.checkpoint else None

    finished = work.folder.stage("bridge", ProvedBridge, work.inputs, compute, folder)
    if finished.bridge.reason:
        work.reporter.tell(f"bridge: {finished.bridge.reason}")
    return finished


def _fit(work: Work, plan: Plan) -> tuple[Bridge, dict[str, Tensor]]:
    original, method = work.original, work.recipe.bridge
    if method == "none" or not plan.removed:
        reason = "not asked for" if plan.removed else None
        return Bridge(method="none", folded=(), reason=reason), {}
    windows = (original.calibration, original.selection)
    return make_bridge(original.decoder, windows, plan.blocks, method, work.reporter.progress)
