"""Which layers are removed, and how they were chosen."""

import statistics
from dataclasses import dataclass

from hf_prune.records.measured import Similarity, TextTokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Decoder layers [start, end)."""

    start: int
    end: int

    def __str__(self) -> str:
        """The layers as people write them, both ends included."""
        last = self.end - 1
        return str(self.start) if last == self.start else f"{self.start}-{last}"


@dataclass(frozen=True, slots=True)
class NamedLayers:
    """The user named the layers to remove. With no layers, the model stays whole."""

    layers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LayerCount:
    """So many layers are removed, and a criterion chooses which."""

    count: int


@dataclass(frozen=True, slots=True)
class WithinLoss:
    """As many layers are removed as the loss allows."""

    max_loss: float  # nats per token above the original's


Removal = NamedLayers | LayerCount | WithinLoss  # what a recipe asks to remove


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockDistance:
    """The block of `size` layers whose two boundaries are nearest, and how near they are."""

    size: int
    block: Block
    distance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CutLosses:
    """The losses of one cut on each window of a text, in nats per token."""

    losses: tuple[float, ...]  # of predicting every token but the first
    divergences: tuple[float, ...]  # KL(original || cut) at the same positions

    @property
    def loss(self) -> float:
        """The mean over windows."""
        return statistics.fmean(self.losses)

    @property
    def divergence(self) -> float:
        """The mean over windows."""
        return statistics.fmean(self.divergences)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One cut that competed in a tournament: what it removes, who proposed it, and its loss."""

    removed: tuple[int, ...]
    proposed_by: tuple[str, ...]
    num_tokens: int  # how many tokens of the tournament's text it was tried on; losers leave early
    loss: float  # nats per token on those tokens
    divergence: float  # KL(original || cut) on the same tokens, nats per token
    behind: float  # its loss above the winner's on the same tokens
    behind_stderr: float  # of that difference, over the windows
    bridged: bool  # whether it was tried with its bridge


@dataclass(frozen=True, slots=True, kw_only=True)
class Tournament:
    """Cuts that were tried against each other, best first, and what that cost."""

    text: TextTokens  # calibration windows that nothing was fitted on
    original_loss: float  # nats per token
    trials: tuple[Trial, ...]
    budget: float  # in forward passes over the calibration text
    cost: float  # in the same unit


@dataclass(frozen=True, slots=True, kw_only=True)
class CutAgreement:
    """One of several cuts of a model that has no loss."""

    removed: tuple[int, ...]
    proposed_by: tuple[str, ...]
    cosine: float  # of the final hidden states with the original's, the mean over tokens
    bridged: bool  # whether it was tried with its bridge


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Which layers are removed, and by which criterion."""

    num_layers: int
    removed: tuple[int, ...]
    kept: tuple[int, ...]
    blocks: tuple[Block, ...]
    method: str  # the name of the criterion as --method takes it; "named": the user named the layers
    criterion: str  # the same in words
    distance: float | None  # angular, last token, across the block; None where there are several blocks
    best_blocks: tuple[BlockDistance, ...]  # one per block size
    tournament: Tournament | None = None
    agreements: tuple[CutAgreement, ...] = ()  # in place of a tournament where there is no loss, best first


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """The result of the choose stage: the plan, and the similarity with the scores behind it."""

    similarity: Similarity
    plan: Plan
