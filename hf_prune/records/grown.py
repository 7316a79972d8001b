"""New layers between those of a model: their positions, and the losses that decided them."""

from dataclasses import dataclass

from hf_prune.records.chosen import Block
from hf_prune.records.measured import TextTokens
from hf_prune.records.model import Checkpoint, Proof


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """New layers that leave the residual stream unchanged until they are trained (SLayer, 2410.02330)."""

    after: tuple[int, ...]  # the layers, numbered before growing, that a new one follows
    layers: tuple[int, ...]  # the new ones, numbered after growing
    silenced: tuple[str, ...]  # the tensors that make a new layer do nothing at first, named as in layer 0
    shallow: Block  # the layers among which the new ones are, numbered before growing
    removal_losses: tuple[float, ...]  # the rise of the original's loss without each layer, nats
    expansion_losses: tuple[float, ...]  # its rise when each layer is run twice
    text: TextTokens  # that the losses were measured on


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvedGrowth:
    """What the grow stage leaves behind."""

    growth: Growth
    checkpoint: Checkpoint
    proof: Proof
