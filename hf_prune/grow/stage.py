"""The grow stage: where new layers go, the grown checkpoint, and the proof that it computes the same."""

from dataclasses import dataclass
from pathlib import Path

from hf_prune.disk import check_room, whole_folder
from hf_prune.grow.places import new_layers, places_for, shallow_half
from hf_prune.grow.silence import silencing
from hf_prune.grow.surgery import GROWN, write_grown
from hf_prune.measure.scores import Scores
from hf_prune.original import Original
from hf_prune.progress import Reporter
from hf_prune.prove import expected_logits, proof_tokens, prove
from hf_prune.records import Growth, ProvedGrowth
from hf_prune.run_folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class GrowStage:
    """What the steps of the stage share."""

    original: Original
    scores: Scores
    run: RunFolder
    start: Path  # the folder of the checkpoint that grows: the original's, cut or bridged
    inputs: str  # a fingerprint of everything that decides the result
    reporter: Reporter

    @property
    def target(self) -> Path:
        """The folder of the grown checkpoint."""
        return self.run.checkpoints / GROWN


def grow(stage: GrowStage) -> ProvedGrowth | None:
    """Add the layers that the recipe asks for; None where it asks for none."""
    if stage.original.recipe.grow is None:
        return None
    return stage.run.stage(
        GROWN, ProvedGrowth, stage.inputs, lambda: _grow(stage), lambda record: stage.target
    )


def _grow(stage: GrowStage) -> ProvedGrowth:
    original, progress = stage.original, stage.reporter.progress
    assert original.recipe.grow is not None
    decoder = original.open(stage.start)
    skeleton = decoder.skeleton
    after = places_for(original.recipe.grow, decoder.num_layers)
    silenced = {layer: silencing(decoder, layer) for layer in after}
    share = (decoder.num_layers + len(after)) / decoder.num_layers
    check_room(stage.target.parent, int(share * skeleton.index.size_bytes), f"writing the {GROWN} checkpoint")
    with whole_folder(stage.target) as partial:
        checkpoint = write_grown(skeleton, partial, after=after, silenced=silenced, progress=progress)
    tokens = proof_tokens(original.calibration[0])
    expected = expected_logits(decoder, tokens, tuple(range(decoder.num_layers)), {})
    removal, expansion = stage.scores.of_layers("loss"), stage.scores.of_layers("expansion")
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
    stage.reporter.tell(f"{len(after)} new layers, after layers {', '.join(map(str, after))}")
    proof = prove(stage.target, GROWN, tokens, expected, decoder, progress)
    return ProvedGrowth(growth=growth, checkpoint=checkpoint, proof=proof)
