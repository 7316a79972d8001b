"""The grow stage: the grown checkpoint, and the proof that it still computes the same."""

from pathlib import Path

from hf_prune.machine.disk import check_room, whole_folder
from hf_prune.model.proof import expected_logits, proof_tokens, prove
from hf_prune.records import Growth, ProvedGrowth
from hf_prune.stages.grow.positions import new_layers, positions_for, shallow_half
from hf_prune.stages.grow.silence import silencing
from hf_prune.stages.grow.surgery import GROWN, write_grown
from hf_prune.stages.measure.measurements import Measurements
from hf_prune.stages.work import Work


def grow(work: Work, measurements: Measurements, start: Path) -> ProvedGrowth | None:
    """Add the layers that the recipe asks for to the checkpoint in `start`. None: it asks for none."""
    target = work.folder.checkpoints / GROWN
    if work.recipe.grow is None:
        return None
    return work.folder.stage(
        GROWN, ProvedGrowth, work.inputs, lambda: _grow(work, measurements, start, target), lambda _: target
    )


def _grow(work: Work, measurements: Measurements, start: Path, target: Path) -> ProvedGrowth:
    original, progress = work.original, work.reporter.progress
    assert work.recipe.grow is not None
    decoder = original.open(start)
    skeleton = decoder.skeleton
    after = positions_for(work.recipe.grow, decoder.num_layers)
    silenced = silencing(decoder, after)
    share = (decoder.num_layers + len(after)) / decoder.num_layers
    check_room(target.parent, int(share * skeleton.index.size_bytes), f"writing the {GROWN} checkpoint")
    with whole_folder(target) as partial:
        checkpoint = write_grown(skeleton, partial, after=after, silenced=silenced, progress=progress)
    tokens = proof_tokens(original.calibration.ids)
    expected = expected_logits(decoder, tokens, tuple(range(decoder.num_layers)), {})
    removal, expansion = measurements.layer_scores("loss"), measurements.layer_scores("expansion")
    assert removal.text is not None
    growth = Growth(
        after=after,
        layers=new_layers(after),
        silenced=tuple(skeleton.layer_numbers[name].renumbered(name, 0) for name in silenced[after[0]]),
        shallow=shallow_half(decoder.num_layers),
        removal_losses=removal.values,
        expansion_losses=expansion.values,
        text=removal.text,
    )
    work.reporter.tell(f"{len(after)} new layers, after layers {', '.join(map(str, after))}")
    proof = prove(target, GROWN, tokens, expected, decoder, progress)
    return ProvedGrowth(growth=growth, checkpoint=checkpoint, proof=proof)
