"""How good a variant is, and what it costs to run."""

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
class SpeedUp:
    """How many times as fast as the original a variant is, from turns in the same rounds."""

    median: float
    quartiles: tuple[float, float]  # half of the pairs lie between them


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """What one variant costs to run, measured in a process of its own."""

    variant: str
    decode_tokens_per_second: float  # median over `runs`, batch 1
    decode_tokens_per_second_range: tuple[float, float]
    first_token_seconds: float  # median over `runs`: reading the prompt, and one token
    first_token_seconds_range: tuple[float, float]
    batch_size: int | None  # of the next two; None: a batch was not tried
    batch_tokens_per_second: float | None  # all texts together, median over `runs`
    batch_tokens_per_second_range: tuple[float, float] | None
    peak_memory_bytes: int  # of a process that loads it and writes one text; on a GPU, of the tensors there
    runs: int
    prompt_tokens: int
    new_tokens: int
    device: str
    dtype: str
    threads: int
    # Against the original. None for the original, and if both were not loaded at once.
    decode_speed_up: SpeedUp | None = None
    first_token_speed_up: SpeedUp | None = None
    batch_speed_up: SpeedUp | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A model's answer to one multiple-choice item."""

    losses: tuple[float, ...]  # of each option, in nats per token
    is_right: bool  # whether the option with the lowest loss, summed over its tokens, is the right one


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """How often a variant finds the right option of several the likeliest.

    What compares it with the original, None of the original itself, is explained in `evaluate.stability`.
    """

    variant: str
    name: str  # of the file of items, or of the text that they were made from
    num_items: int
    sha256: str  # of the items, as token ids
    chance: float  # the accuracy of guessing
    accuracy: float
    accuracy_stderr: float  # over items
    agreement: float | None = None  # the share of items on which it is right where the original is
    stability: float | None = (
        None  # LLM-Streamline's: the same, weighted by the spread of the original's losses
    )
    stability_items: float | None = None  # how many items of equal weight its weights amount to


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
class Speculation:
    """Text that a model wrote from the proposals of a draft, checked several at once (2211.17192)."""

    draft: str  # the variant that proposed
    depth: int | None  # how many of its own first layers proposed, where the model was its own draft
    proposed_tokens: int
    accepted_tokens: int
    tokens_per_second: float  # median over `runs`, batch 1, reading the prompt included
    tokens_per_second_range: tuple[float, float]
    tokens_per_second_alone: float  # of the model without a draft, on the same prompts
    tokens_per_second_alone_range: tuple[float, float]
    runs: int  # over all prompts, of either way
    prompts: int
    prompt_tokens: int
    new_tokens: int  # after each prompt
    same_text: bool  # whether both wrote the same, token by token
    device: str
    dtype: str
    threads: int

    @property
    def acceptance_rate(self) -> float:
        """The share of proposed tokens that were kept; those after a wrong one are lost with it."""
        return self.accepted_tokens / self.proposed_tokens

    @property
    def verifications(self) -> int:
        """Passes of the model that checked proposals: each adds one token of its own to what it accepts."""
        return self.prompts * self.new_tokens - self.accepted_tokens

    @property
    def tokens_per_verification(self) -> float:
        """How many tokens a pass of the model wrote; alone it writes one."""
        return self.prompts * self.new_tokens / self.verifications

    @property
    def speed_up(self) -> float:
        """Against the model alone."""
        return self.tokens_per_second / self.tokens_per_second_alone

    @property
    def verdict(self) -> str:
        """Whether the draft paid: "faster", "slower", or "unclear" where the ranges of the runs overlap."""
        if self.tokens_per_second_range[0] > self.tokens_per_second_alone_range[1]:
            return "faster"
        return (
            "slower" if self.tokens_per_second_range[1] < self.tokens_per_second_alone_range[0] else "unclear"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How near the states behind a variant's last layer are to the original's, where no loss can be had."""

    variant: str
    cosine: float  # the mean over tokens
    cosine_stderr: float  # over sequences
    text: TextTokens
