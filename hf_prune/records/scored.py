"""Scores on tasks of lm-evaluation-harness, and what variants write on their own."""

from dataclasses import dataclass

from hf_prune.records.measured import TextTokens


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
    texts: tuple[tuple[int, ...], ...]  # token ids, up to the end of text or the limit
    reason: str | None  # why there are none


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
