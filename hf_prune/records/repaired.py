"""How a cut was repaired: bridged, grown, healed."""

from dataclasses import dataclass

from hf_prune.records.chosen import Block
from hf_prune.records.measured import TextTokens
from hf_prune.records.model import Checkpoint, Proof


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedBridge:
    """A tensor that a bridge changed, and how much of a gap it closes."""

    block: Block
    layer: int  # numbered as in the original model
    tensor: str  # its name in the original checkpoint
    ridge: float | None = None  # the penalty of a least-squares fit, as a share of the mean diagonal
    factor: float | None = None  # that the tensor was multiplied by
    num_tokens: int
    # |target - state|^2 / |target|^2 on those tokens without position 0; before the norm, if an encoder's
    # layer ends in one.
    gap_unrepaired: float
    gap_repaired: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeTrial:
    """The result of one form of bridge on text that it was not fitted on."""

    method: str  # "none": the gap left open
    loss: float  # nats per token
    divergence: float  # KL(original || bridged), nats per token


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeAgreement:
    """The result of one form of bridge for a model that has no loss."""

    method: str
    cosine: float  # of the states after the last layer with the original's, the mean over tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """The forms of bridge that were compared, best first."""

    text: TextTokens  # calibration windows that no bridge was fitted on
    trials: tuple[BridgeTrial, ...]
    agreements: tuple[BridgeAgreement, ...] = ()  # in place of the trials, for a model that has no loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """How the gaps of a cut were closed, and the reason if one was left open."""

    method: str  # its name for --bridge
    folded: tuple[FoldedBridge, ...]
    reason: str | None
    contest: Contest | None = None  # None: the recipe named the form


@dataclass(frozen=True, slots=True, kw_only=True)
class HealingPlan:
    """What is trained after the cut, and how; decided before the training begins."""

    method: str  # "lora", "qlora", "partial", "replace", "grown", "sorted" or "none"
    reason: str | None  # why this method, or none; None where the recipe names it
    objective: str = ""  # what is learnt: "predictions", "text" or "states"
    objective_reason: str | None = None  # why not the original's predictions
    boundary_loss: float = 0.0  # weight of the distance to the original's states after each gap
    targets: str = ""  # of LoRA: "all" or "ffn"
    rank: int = 0
    alpha: int = 0  # of LoRA; 0: as the rank
    last_layers: int = 0  # of `partial`
    train_head: bool = False
    depths: tuple[int, ...] = ()  # of the sub-models that `sorted` trains together
    sample_depths: bool = False  # train one of them at each step, drawn at random
    learning_rate: float = 0.0
    num_tokens: int = 0  # to train on; a token that is seen twice counts twice
    sequence_length: int = 0
    batch: int = 0  # windows per step
    micro_batch: int = 0  # windows at once in each process; a step accumulates several
    gradient_checkpointing: bool = False
    memory_bytes: int = 0  # an estimate
    seconds: float = 0.0  # an estimate

    @property
    def adapter_scale(self) -> float:
        """The factor of an adapter's B A: alpha / rank (LoRA, 2106.09685, section 4.1)."""
        return self.alpha / self.rank if self.alpha else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HealingStep:
    """A point of a training curve."""

    step: int
    loss: float | None  # of the objective, the mean since the last point; None before the first step
    watched_loss: float | None  # nats per token on text that is not trained on; None where not measured


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthLoss:
    """The loss at one depth, before and after a training, on text that was set aside."""

    layers: int
    before: float | None  # nats per token; None: not finite
    after: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Healing:
    """How a training went, and whether its weights were kept."""

    plan: HealingPlan
    text: TextTokens | None = None  # that was trained on; None: nothing was trained
    watched: TextTokens | None = None  # windows of the same text that were set aside
    trained_parameters: int = 0
    tensors: int = 0  # how many tensors of the checkpoint changed
    curve: tuple[HealingStep, ...] = ()
    loss_before: float | None = None  # nats per token on the watched windows; of a sorted model, the mean
    depths: tuple[DepthLoss, ...] = ()  # of a sorted model
    loss_after: float | None = None  # of the best step
    best_step: int | None = None
    kept: bool = False
    reason: str | None = None  # why the weights were not kept, or what went wrong
    seconds: float = 0.0


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
class Proved:
    """What the cut stage leaves behind, as do the stages after it; no checkpoint if no tensor changed."""

    checkpoint: Checkpoint | None = None
    proof: Proof | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvedBridge(Proved):
    """What the bridge stage leaves behind."""

    bridge: Bridge


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvedGrowth(Proved):
    """What the grow stage leaves behind."""

    growth: Growth


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvedHealing(Proved):
    """What the heal stage leaves behind; no checkpoint if nothing was trained or kept."""

    healing: Healing
