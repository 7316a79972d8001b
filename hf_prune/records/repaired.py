"""How a cut was repaired: cut, bridged, healed."""

from dataclasses import dataclass

from hf_prune.records.chosen import Block
from hf_prune.records.measured import TextTokens
from hf_prune.records.model import Checkpoint, Proof


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedBridge:
    """One tensor with new values, and how much of a gap they close."""

    block: Block
    layer: int  # numbered as in the original model
    tensor: str  # its name in the original checkpoint
    ridge: float | None = None  # of a least-squares fit with a penalty, as a share of the mean diagonal
    factor: float | None = None  # of a tensor that was multiplied by one
    num_tokens: int
    # |target - state|^2 / |target|^2 on those tokens, position 0 left out; where an encoder's layer ends in a
    # norm, before that norm.
    gap_unrepaired: float
    gap_repaired: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeTrial:
    """How one form of bridge did on text that it was not fitted on."""

    method: str  # "none": the gap left open
    loss: float  # nats per token
    divergence: float  # KL(original || bridged), nats per token


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeAgreement:
    """The same where no loss can be had."""

    method: str
    cosine: float  # of the states behind the last layer with the original's, the mean over tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """Which forms of bridge were tried against each other, best first."""

    text: TextTokens  # calibration windows that nothing was fitted on
    trials: tuple[BridgeTrial, ...]
    agreements: tuple[BridgeAgreement, ...] = ()  # in place of the trials where there is no loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """How the gaps of a cut were closed; `reason` where one was left open."""

    method: str  # the name that --bridge knows it by
    folded: tuple[FoldedBridge, ...]
    reason: str | None
    contest: Contest | None = None  # where the form was not asked for by name


@dataclass(frozen=True, slots=True, kw_only=True)
class HealingPlan:
    """What is trained after the cut, by what, and how; decided before it begins."""

    method: str  # "lora", "qlora", "partial", "replace", "grown", "sorted" or "none"
    reason: str | None  # why it is this one, or none, where that was not asked for
    objective: str = ""  # what is learnt: "predictions", "text" or "states"
    objective_reason: str | None = None  # why it is not the original's predictions
    boundary_loss: float = 0.0  # weight of the distance to the original's states after each gap
    targets: str = ""  # of LoRA
    rank: int = 0
    alpha: int = 0  # of LoRA; 0: as the rank
    last_layers: int = 0  # of `partial`
    train_head: bool = False
    depths: tuple[int, ...] = ()  # of the models that `sorted` trains together
    sample_depths: bool = False  # one of them a step, drawn at random
    learning_rate: float = 0.0
    num_tokens: int = 0  # to train on, those seen again counted again
    sequence_length: int = 0
    batch: int = 0  # windows a step
    micro_batch: int = 0  # windows at once in each process; what a step needs beyond is accumulated
    gradient_checkpointing: bool = False
    memory_bytes: int = 0  # an estimate
    seconds: float = 0.0  # an estimate

    @property
    def adapter_scale(self) -> float:
        """What an adapter's B A is multiplied by: alpha / rank (LoRA, 2106.09685, section 4.1)."""
        return self.alpha / self.rank if self.alpha else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HealingStep:
    """A point of the curve of a training."""

    step: int
    loss: float | None  # of what is learnt, the mean since the last point; None before the first step
    watched_loss: float | None  # nats per token on text that is not trained on; None where not measured


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthLoss:
    """What a training did for a model of the first so many layers, on text that was set aside."""

    layers: int
    before: float | None  # nats per token; None: no number
    after: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Healing:
    """How a training went, and whether what it learnt was kept."""

    plan: HealingPlan
    text: TextTokens | None = None  # that was trained on; None where nothing was
    watched: TextTokens | None = None  # windows of the same text that were set aside
    trained_parameters: int = 0
    tensors: int = 0  # of the checkpoint that changed
    curve: tuple[HealingStep, ...] = ()
    loss_before: float | None = None  # nats per token on the watched windows; of a sorted model, the mean
    depths: tuple[DepthLoss, ...] = ()  # of a sorted model
    loss_after: float | None = None  # of the best step
    best_step: int | None = None
    kept: bool = False
    reason: str | None = None  # why it was not kept, or what went wrong
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvedHealing:
    """What the heal stage leaves behind; no checkpoint where nothing was trained or kept."""

    healing: Healing
    checkpoint: Checkpoint | None
    proof: Proof | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvedCut:
    """What the cut stage leaves behind."""

    checkpoint: Checkpoint
    proof: Proof


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvedBridge:
    """What the bridge stage leaves behind; no checkpoint where nothing was folded."""

    bridge: Bridge
    checkpoint: Checkpoint | None
    proof: Proof | None
