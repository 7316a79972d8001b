"""What variants make of the tasks of lm-evaluation-harness, and of writing on their own."""

from dataclasses import dataclass

from hf_prune.records.measured import TextTokens


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskScore:
    """One figure of one task, as lm-evaluation-harness reports it."""

    variant: str
    task: str
    version: str  # of the task
    metric: str  # as the harness names it: "acc_norm"
    answer_filter: str  # what is read out of the answer: "none", "strict-match"
    value: float
    stderr: float | None
    higher_is_better: bool
    generates: bool  # the model writes its answer; else it chooses among given ones
    num_fewshot: int  # of a group whose tasks differ the most
    num_items: int
    sha256: str  # of the items with their prompts, in order
    harness: str  # its version

    @property
    def asked(self) -> tuple[str, ...]:
        """What two of them have in common that can be compared: the figure, and the items it is of."""
        return (self.task, self.metric, self.answer_filter, self.sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuations:
    """How one variant goes on, greedily, from the beginnings of held-out texts."""

    variant: str
    texts: tuple[tuple[int, ...], ...]  # token ids, to the end of text or as many as were asked for
    reason: str | None  # why there are none


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """What one variant writes, greedily, after the beginnings of held-out texts."""

    variant: str
    repetition: float  # the share of its 4-grams that were in the same text before
    repetition_stderr: float  # over texts
    same_tokens: float | None  # alike from the first on in its text and the original's; None of itself
    written_tokens: float  # the end of text among them
    num_texts: int
    new_tokens: int  # at most, after each beginning
    sample: str  # the first text that it wrote
    text: TextTokens  # the beginnings


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedTask:
    """A task or group of tasks by the name that was asked for, and what it comes to here."""

    name: str
    figures_of: tuple[str, ...]  # the group itself where it has figures of its own, else each of its tasks
    sha256: str  # of the settings and items of all its tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedTasks:
    """Every task that was asked for: the harness knows it, and its items are on this disk."""

    tasks: tuple[AskedTask, ...]
    harness: str  # its version

    @property
    def figures_of(self) -> tuple[str, ...]:
        """The names that figures will have."""
        return tuple(name for task in self.tasks for name in task.figures_of)
