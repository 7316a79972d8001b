"""The cut stage: the checkpoint without the removed layers, and the proof that it computes what it should."""

from collections.abc import Mapping

from torch import Tensor

from hf_prune.machine.disk import check_room, whole_folder
from hf_prune.model.proof import expected_logits, proof_tokens, prove
from hf_prune.records import Checkpoint, Plan, Proof, Proved
from hf_prune.stages.cut.checkpoint import write_checkpoint
from hf_prune.stages.work import Work

CUT = "cut"


def cut(work: Work, plan: Plan) -> Proved:
    """Remove the layers of a plan from the original's files."""

    def compute() -> Proved:
        checkpoint, proof = write_and_prove(work, plan, CUT, {})
        return Proved(checkpoint=checkpoint, proof=proof)

    return work.folder.stage(CUT, Proved, work.inputs, compute, lambda _: work.folder.checkpoints / CUT)


def write_and_prove(
    work: Work, plan: Plan, variant: str, replacements: Mapping[str, Tensor]
) -> tuple[Checkpoint, Proof]:
    """Write the original's kept layers as a checkpoint, reload it, and prove it.

    Args:
        variant: the name of the checkpoint and of its folder.
        replacements: new tensors by their name in the original; all others are copied byte for byte.
    """
    target, original = work.folder.checkpoints / variant, work.original.anatomy
    removed = sum(original.parameters_per_layer[layer] for layer in plan.removed)
    needed = original.size_bytes * (original.parameters - removed) // original.parameters
    check_room(target.parent, needed, f"writing the {variant} checkpoint")
    with whole_folder(target) as unfinished:
        checkpoint = write_checkpoint(
            work.original.folder,
            unfinished,
            kept=plan.kept,
            variant=variant,
            replacements=replacements,
            progress=work.reporter.progress,
            trust_remote_code=work.recipe.trust_remote_code,
        )
    tokens, decoder = proof_tokens(work.original.calibration.ids), work.original.decoder
    expected = expected_logits(decoder, tokens, plan.kept, replacements)
    return checkpoint, prove(target, variant, tokens, expected, decoder, work.reporter.progress)
