"""The frozen records that stages hand to each other, and their JSON form.

A record holds numbers, text and other records: never a tensor, a model or an open file. Layers are
numbered from 0 and blocks are half-open. The run folder is a list of these records; the card, `--json`
and other programs read the same thing.
"""

import hashlib
import json
import statistics
import types
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

Record = TypeVar("Record")
Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A model on this disk, and where it came from."""

    model: str  # what the user asked for
    repo_id: str | None
    revision: str | None
    commit: str | None
    folder: str
    gguf_file: str | None = None
    pickled: bool = False  # its weights were read from pytorch_model.bin
    own_code: tuple[str, ...] = ()  # files of code that its settings refer to, where it was loaded by them
    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    gated: bool = False
    languages: tuple[str, ...] = ()
    notice: str | None = None  # what the user should know about how the model was found


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """What the files of a checkpoint say about its decoder layers."""

    architecture: str
    auto_class: str  # of transformers, that loads it: "AutoModelForCausalLM"
    model_type: str
    num_layers: int
    layer_path: str  # of the decoder layers among the model's modules: "model.layers"
    hidden_size: int
    vocabulary_size: int
    dtype: str
    parameters: int
    parameters_per_layer: tuple[int, ...]
    size_bytes: int
    tied_embeddings: bool
    key_value_bytes_per_token: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTokens:
    """A text cut into windows of equal length; the token ids themselves are not kept."""

    name: str
    dataset: str | None  # its id on the Hub, where it has one
    num_sequences: int
    sequence_length: int
    num_tokens: int
    sha256: str  # of the token ids


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerScores:
    """What one criterion says of every layer: the one with the lowest score is the first to go."""

    criterion: str  # the name that --method knows it by
    values: tuple[float, ...]
    text: TextTokens | None  # what they were measured on; None where the weights alone were read


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalOrder:
    """Layers in the order in which a greedy search removes them."""

    layers: tuple[int, ...]
    losses: tuple[float, ...]  # nats per token after each removal
    width: int | None  # how many candidates each step tried; None: all
    text: TextTokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Similarity:
    """Distances between the residual stream at every pair of layer boundaries, and scores of layers.

    Boundary l is the input of layer l; boundary `num_layers` is the output of the last layer, before
    the final norm. Matrices are (num_layers + 1) x (num_layers + 1), symmetric.
    """

    num_layers: int
    calibration: TextTokens
    angular_last_token: Matrix  # Gromov et al., eq. 7: arccos / pi, at the last token
    angular_all_tokens: Matrix  # the same, over `sampled_tokens` positions of all
    cosine_all_tokens: Matrix
    sampled_tokens: int  # how many tokens the two all-token matrices average
    layer_scores: tuple[LayerScores, ...]  # of every criterion that was measured
    removal_order: RemovalOrder | None = None  # of a greedy search, where one was made

    def scores(self, criterion: str) -> tuple[float, ...] | None:
        """What a criterion says of each layer; None where it was not measured."""
        return next((s.values for s in self.layer_scores if s.criterion == criterion), None)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """What the choose stage leaves behind: the plan, and the similarity with the scores it rests on."""

    similarity: Similarity
    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a run would do and take, before it is made; times are about right, on this machine."""

    model: str
    num_layers: int
    layers_removed: int | None  # None: a loss decides
    parameters: int
    parameters_left: int | None
    size_bytes: int
    size_bytes_left: int | None
    download_bytes: int
    disk_bytes: int  # for checkpoints, beside the download
    memory_bytes: int  # above what Python and its libraries take
    measuring_seconds: float
    choosing_seconds: float
    repairing_seconds: float
    evaluating_seconds: float
    healing_method: str  # what would be trained, as --heal names it; "none"
    healing_reason: str | None  # why it is this, or nothing, where that was not asked for
    healing_memory_bytes: int
    healing_seconds: float
    operations_per_second: float  # of this machine, tried out for a moment

    @property
    def seconds(self) -> float:
        """Of the whole run, without the download."""
        repairing = self.repairing_seconds + self.healing_seconds
        return self.measuring_seconds + self.choosing_seconds + repairing + self.evaluating_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFile:
    """One safetensors file of a checkpoint."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A complete model folder that a stage wrote."""

    variant: str  # "cut", "bridged" or "healed"
    folder: str
    parameters: int
    size_bytes: int
    weights: tuple[WeightFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was proved, and the figure that proves it."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was compared after reloading a checkpoint from disk."""

    variant: str
    checks: tuple[Check, ...]
    left_out: str | None = None  # what could not be compared here, and why


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedBridge:
    """One tensor with new values, and how much of a gap they close."""

    block: Block
    layer: int  # numbered as in the original model
    tensor: str  # its name in the original checkpoint
    ridge: float | None = None  # of a least-squares fit with a penalty, as a share of the mean diagonal
    factor: float | None = None  # of a tensor that was multiplied by one
    num_tokens: int
    gap_unrepaired: float  # |target - state|^2 / |target|^2 on those tokens, position 0 left out
    gap_repaired: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeTrial:
    """How one form of bridge did on text that it was not fitted on."""

    method: str  # "none": the gap left open
    loss: float  # nats per token
    divergence: float  # KL(original || bridged), nats per token


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """Which forms of bridge were tried against each other, best first."""

    text: TextTokens  # calibration windows that nothing was fitted on
    trials: tuple[BridgeTrial, ...]


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

    method: str  # "lora", "qlora", "partial", "replace" or "none"
    reason: str | None  # why it is this one, or none, where that was not asked for
    objective: str = ""  # what is learnt: "predictions", "text" or "states"
    objective_reason: str | None = None  # why it is not the original's predictions
    boundary_loss: float = 0.0  # weight of the distance to the original's states after each gap
    targets: str = ""  # of LoRA
    rank: int = 0
    last_layers: int = 0  # of `partial`
    train_head: bool = False
    learning_rate: float = 0.0
    num_tokens: int = 0  # to train on, those seen again counted again
    sequence_length: int = 0
    batch: int = 0  # windows a step
    micro_batch: int = 0  # windows at once in each process; what a step needs beyond is accumulated
    gradient_checkpointing: bool = False
    memory_bytes: int = 0  # an estimate
    seconds: float = 0.0  # an estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class HealingStep:
    """A point of the curve of a training."""

    step: int
    loss: float | None  # of what is learnt, the mean since the last point; None before the first step
    watched_loss: float | None  # nats per token on text that is not trained on; None where not measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Healing:
    """How a training went, and whether what it learnt was kept."""

    plan: HealingPlan
    text: TextTokens | None = None  # that was trained on; None where nothing was
    watched: TextTokens | None = None  # windows of the same text that were set aside
    trained_parameters: int = 0
    tensors: int = 0  # of the checkpoint that changed
    curve: tuple[HealingStep, ...] = ()
    loss_before: float | None = None  # nats per token on the watched windows
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Perplexity:
    """How well one variant predicts held-out text."""

    variant: str  # "dense", "cut", "bridged" or "healed"
    perplexity: float
    loss: float  # nats per token
    loss_stderr: float  # of the mean over sequences
    num_predictions: int
    text: TextTokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """What one variant costs to run, measured in a process of its own."""

    variant: str
    decode_tokens_per_second: float  # median over `runs`, batch 1
    decode_tokens_per_second_range: tuple[float, float]
    prompt_tokens_per_second: float
    peak_memory_bytes: int
    runs: int
    prompt_tokens: int
    new_tokens: int
    device: str
    dtype: str
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedTrial:
    """Figures of every model that was tried, or the reason why there are none."""

    speeds: tuple[Speed, ...]
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Where and with what a run was made."""

    hf_prune: str
    python: str
    torch: str
    transformers: str
    platform: str
    processor: str
    device: str
    threads: int
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Where a run went on the Hub."""

    repo_id: str
    url: str
    commit: str
    private: bool


def to_json(record: Any) -> str:
    """A record as JSON, the same bytes for the same values."""
    content = asdict(record) if is_dataclass(record) and not isinstance(record, type) else record
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def fingerprint(*inputs: Any) -> str:
    """Sixteen hex digits that change when any of the records or values does."""
    joined = "\0".join(to_json(value) for value in inputs)
    return hashlib.sha256(joined.encode()).hexdigest()[:16]


def from_data(kind: type[Record], data: Any) -> Record:
    """Build a record of type `kind` from parsed JSON.

    Raises:
        ValueError: a field is unknown or missing.
    """
    if not isinstance(data, dict):
        raise ValueError(f"{kind.__name__} is made from an object, not from {type(data).__name__}")
    hints = get_type_hints(kind)
    if unknown := set(data) - set(hints):
        raise ValueError(f"{kind.__name__} has no field {', '.join(sorted(unknown))}")
    try:
        return kind(**{name: _value(hints[name], value) for name, value in data.items()})
    except TypeError as error:  # a required field is missing
        raise ValueError(str(error)) from error


def _value(hint: Any, value: Any) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if value is None:
        return None
    if origin in (types.UnionType,):
        return _value(next(kind for kind in arguments if kind is not types.NoneType), value)
    if origin is tuple:
        repeated = len(arguments) == 2 and arguments[1] is Ellipsis
        kinds = [arguments[0]] * len(value) if repeated else arguments
        return tuple(_value(kind, item) for kind, item in zip(kinds, value, strict=True))
    if isinstance(hint, type) and is_dataclass(hint):
        return from_data(hint, value)
    return float(value) if hint is float else value
