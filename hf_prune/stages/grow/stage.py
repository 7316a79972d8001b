"""The grow stage: where new layers go, the grown checkpoint, and the proof that it computes the same."""

from pathlib import Path

from hf_prune.machine.disk import check_room, whole_folder
from hf_prune.model.proof import expected_logits, proof_tokens, prove
from hf_prune.records import Growth, ProvedGrowth
from hf_prune.stages.grow.places import new_layers, places_for, shallow_half
from hf_prune.stages.grow.silence import silencing
from hf_prune.stages.grow.surgery import GROWN, write_grown
from hf_prune.stages.measure.measurements import Scores
from hf_prune.stages.work import Work


def grow(work: Work, scores: Scores, start: Path) -> ProvedGrowth | None:
    """Add the layers that the recipe asks for; None where it asks for none.

    Args:
        work: the run.
        scores: of the original.
        start: the folder of the checkpoint that grows: the original's, cut or bridged.
    """
    target = work.folder.checkpoints / GROWN
    if work.recipe.grow is None:
        return None
    return work.folder.stage(
        GROWN, ProvedGrowth, work.inputs, lambda: _grow(work, scores, start, target), lambda _: target
    )


def _grow(work: Work, scores: Scores, start: Path, target: Path) -> ProvedGrowth:
    original, progress = work.original, work.reporter.progress
    assert work.recipe.grow is not None
    decoder = original.open(start)
    skeleton = decoder.skeleton
    after = places_for(work.recipe.grow, decoder.num_layers)
    silenced = silencing(decoder, after)
    share = (decoder.num_layers + len(after)) / decoder.num_layers
    check_room(target.parent, int(share * skeleton.index.size_bytes), f"writing the {GROWN} checkpoint")
    with whole_folder(target) as partial:
        checkpoint = write_grown(skeleton, partial, after=after, silenced=silenced, progress=progress)
    tokens = proof_tokens(original.calibration[0].ids)
    expected = expected_logits(decoder, tokens, tuple(range(decoder.num_layers)), {})
    removal, expansion = scores.of_layers("loss"), scores.of_layers("expansion")
    assert removal.text is not None
    growth = Growth(
        after=after,
        layers=new_layers(after),
        silenced=tuple(skeleton.places[name].moved(name, 0) for name in silenced[after[0]]),
        shallow=shallow_half(decoder.num_layers),
        removal_losses=removal.values,
        expansion_losses=expansion.values,
        text=removal.text,
    )
    work.reporter.tell(f"{len(after)} new layers, after layers {', '.join(map(str, after))}")
    proof = prove(target, GROWN, tokens, expected, decoder, progress)
    return ProvedGrowth(growth=growth, checkpoint=checkpoint, proof=proof)
