"""What a variant is worth and what it costs to run."""

from dataclasses import dataclass

from hf_prune.records.measured import TextTokens


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
class Choices:
    """How often a variant finds the right option of several the likeliest."""

    variant: str
    name: str  # of the items
    num_items: int
    sha256: str  # of the items
    accuracy: float
    accuracy_stderr: float  # over items
    stability: float | None  # LLM-Streamline's agreement with the original; None of the original itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """The first layers of a model, followed by its own norm and head, as a model of their own."""

    layers: int
    parameters: int
    size_bytes: int
    truncated: Perplexity  # of the original's first layers
    perplexity: Perplexity  # of those of the trained model
    speed: Speed | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthTable:
    """Every depth of a sorted model, the shallowest first."""

    depths: tuple[Depth, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Speculation:
    """Text that a model wrote from the proposals of a draft, checked several at once (2211.17192)."""

    draft: str  # what proposed: the published model, or the model's own first layers
    depth: int | None  # how many of its own layers, where it proposed to itself
    proposed_tokens: int
    accepted_tokens: int
    tokens_per_second: float
    tokens_per_second_alone: float  # of the model without a draft, on the same prompts
    prompts: int
    new_tokens: int  # after each prompt
    same_text: bool  # whether both wrote the same, token by token

    @property
    def acceptance_rate(self) -> float:
        """The share of proposed tokens that the model would have written itself."""
        return self.accepted_tokens / self.proposed_tokens

    @property
    def speed_up(self) -> float:
        """Against the model alone."""
        return self.tokens_per_second / self.tokens_per_second_alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How near the states behind a variant's last layer are to the original's, where no loss can be had."""

    variant: str
    cosine: float  # the mean over tokens
    cosine_stderr: float  # over sequences
    text: TextTokens
