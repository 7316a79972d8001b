"""How good a variant is, what it writes, what it costs to run, and how it compares with one before."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from hf_prune.records.measured import TextTokens
from hf_prune.records.model import Anatomy

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt(Generic[Result]):
    """Results of one kind, and why some or all of them are missing.

    Without results and without a reason, nothing was asked for.
    """

    found: tuple[Result, ...] = ()
    reason: str | None = None


NOT_ASKED_FOR: Attempt[Any] = Attempt()


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


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskScore:
    """One figure of one task, as lm-evaluation-harness reports it."""

    variant: str
    task: str
    version: str  # of the task
    metric: str  # as the harness names it: "acc_norm"
    answer_filter: str  # how the answer is extracted: "none", "strict-match"
    value: float
    stderr: float | None
    higher_is_better: bool
    generates: bool  # the model writes its answer, and does not choose among given ones
    num_fewshot: int  # the largest in a group
    num_items: int
    sha256: str  # of the items with their prompts, in order
    harness: str  # its version

    @property
    def asked(self) -> tuple[str, ...]:
        """Two scores can be compared if this is equal: the figure and its items."""
        return (self.task, self.metric, self.answer_filter, self.sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuations:
    """How one variant continues the beginnings of held-out texts, greedily."""

    variant: str
    texts: tuple[tuple[int, ...], ...] = ()  # token ids, up to the end of text or the limit
    reason: str | None = None  # why there are none


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """Figures of one variant's greedy continuations of held-out texts."""

    variant: str
    repetition: float  # the share of 4-grams that occurred earlier in the same text
    repetition_stderr: float  # over texts
    same_tokens: float | None  # before the first that differs from the original's; None for the original
    written_tokens: float  # including the end of text
    num_texts: int
    new_tokens: int  # the limit after each beginning
    sample: str  # the first text that it wrote
    text: TextTokens  # the beginnings


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedTask:
    """A requested task or group of tasks."""

    name: str
    figures_of: tuple[str, ...]  # the group itself if it has figures of its own, else each of its tasks
    sha256: str  # of the settings and items of all its tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedTasks:
    """Every requested task. The harness knows it, and its items are on this disk."""

    tasks: tuple[AskedTask, ...]
    harness: str  # its version

    @property
    def figures_of(self) -> tuple[str, ...]:
        """The names that scores will have."""
        return tuple(name for task in self.tasks for name in task.figures_of)


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One of the models that a run makes of the original."""

    name: str  # "cut", "bridged", "grown" or "healed"
    anatomy: Anatomy


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """What was measured of each variant: the original first, the published one last.

    The variants of a run are "dense", "cut", "bridged", "grown" and "healed", as far as they exist.
    """

    perplexities: tuple[Perplexity, ...] = ()  # none of an encoder
    perplexities_elsewhere: tuple[Perplexity, ...] = ()  # on text of another domain
    agreements: tuple[Agreement, ...] = ()  # of an encoder, which has no perplexity
    choices: tuple[Choices, ...] = ()
    scores: Attempt[TaskScore] = NOT_ASKED_FOR  # by lm-evaluation-harness
    writings: Attempt[Writing] = NOT_ASKED_FOR
    depths: tuple[Depth, ...] = ()  # of a sorted model, the shallowest first
    speeds: Attempt[Speed] = NOT_ASKED_FOR  # of the original and the published variant
    speculations: Attempt[Speculation] = NOT_ASKED_FOR


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviousVersion:
    """The version that a result replaces, as far as the two can be compared.

    Figures are given only where the new version has them too, on the same data by SHA-256.
    """

    commit: str  # the one that published it
    date: str  # of that commit, ISO 8601, UTC
    layers: int | None = None  # None: its record cannot be read, so nothing of it is known
    parameters: int | None = None
    source_commit: str | None = None  # of the original
    perplexity: Perplexity | None = None
    choices: Choices | None = None
    agreement: Agreement | None = None  # of an encoder
    scores: tuple[TaskScore, ...] = ()
    left_out: tuple[str, ...] = ()  # what cannot be compared, a sentence each
