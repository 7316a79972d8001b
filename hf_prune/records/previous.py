"""The version of a result that was published before it."""

from dataclasses import dataclass

from hf_prune.records.evaluated import Agreement, Choices, Perplexity
from hf_prune.records.scored import TaskScore


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviousVersion:
    """What was published in a place before, as far as a new version can be compared with it.

    Figures are those that the new version has too, on the same data by SHA-256.
    """

    commit: str  # in which it was published
    date: str  # of that commit, ISO 8601, UTC
    layers: int | None  # None: its record cannot be read, and nothing of it is known
    parameters: int | None
    source_commit: str | None  # of the original
    perplexity: Perplexity | None
    choices: Choices | None
    agreement: Agreement | None  # of an encoder
    scores: tuple[TaskScore, ...]
    left_out: tuple[str, ...]  # what cannot be compared, a sentence each
