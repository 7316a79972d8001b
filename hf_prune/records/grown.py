"""New layers between those of a model: where, and why there."""

from dataclasses import dataclass

from hf_prune.records.chosen import Block
from hf_prune.records.measured import TextTokens
from hf_prune.records.model import Checkpoint, Proof


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """New layers that pass the residual stream on as it is until they are trained (SLayer, 2410.02330)."""

    after: tuple[int, ...]  # the layers, numbered before growing, that a new one follows
    layers: tuple[int, ...]  # the new ones, numbered after it
    silenced: tuple[str, ...]  # what makes a new layer nothing at first, as the tensors of layer 0 are called
    shallow: Block  # the layers among which new ones are put, numbered before growing
    removal_losses: tuple[float, ...]  # by how much the original's loss rises without each layer, nats
    expansion_losses: tuple[float, ...]  # by how much when each is run twice
    text: TextTokens  # that these were measured on


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvedGrowth:
    """What the grow stage leaves behind."""

    growth: Growth
    checkpoint: Checkpoint
    proof: Proof
