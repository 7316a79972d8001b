"""Which layers go, and how that was decided."""

import statistics
from dataclasses import dataclass

from hf_prune.records.measured import Similarity, TextTokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Decoder layers [start, end)."""

    start: int
    end: int

    def __str__(self) -> str:
        """As people read it: inclusive."""
        last = self.end - 1
        return str(self.start) if last == self.start else f"{self.start}-{last}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockDistance:
    """The block of `size` layers whose two boundaries are nearest, and how near they are."""

    size: int
    block: Block
    distance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CutLosses:
    """How one cut does on each window of a text, in nats per token."""

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
    """One contender of a tournament: what it removes, who proposed it, and how it did."""

    removed: tuple[int, ...]
    proposed_by: tuple[str, ...]
    num_tokens: int  # of the tournament's text, as many as it was tried on; losers leave early
    loss: float  # nats per token on those tokens
    divergence: float  # KL(original || cut) on the same tokens, nats per token
    behind: float  # its loss above the winner's on the same tokens
    behind_stderr: float  # of that difference, over the windows
    bridged: bool  # whether it was tried with its bridge


@dataclass(frozen=True, slots=True, kw_only=True)
class Tournament:
    """Which cuts were tried against each other, best first, and what that cost."""

    text: TextTokens  # calibration windows that nothing was fitted on
    original_loss: float  # nats per token
    trials: tuple[Trial, ...]
    budget: float  # in forward passes over the calibration text
    cost: float  # the same


@dataclass(frozen=True, slots=True, kw_only=True)
class CutAgreement:
    """One cut of several that were tried where no loss can be had."""

    removed: tuple[int, ...]
    proposed_by: tuple[str, ...]
    cosine: float  # of the states behind the last layer with the original's, the mean over tokens
    bridged: bool  # whether it was tried with its bridge


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Which layers go."""

    num_layers: int
    removed: tuple[int, ...]
    kept: tuple[int, ...]
    blocks: tuple[Block, ...]
    method: str  # the name that --method knows it by; "named": the user named the layers
    criterion: str  # the same in words
    distance: float | None  # angular, last token, across the block, where it is one
    best_blocks: tuple[BlockDistance, ...]  # one for each block size
    tournament: Tournament | None = None
    agreements: tuple[CutAgreement, ...] = ()  # in place of a tournament where there is no loss, best first


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """What the choose stage leaves behind: the plan, and the similarity with the scores it rests on."""

    similarity: Similarity
    plan: Plan
