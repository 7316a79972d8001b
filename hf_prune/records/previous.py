"""The published version that a new result replaces."""

from dataclasses import dataclass

from hf_prune.records.evaluated import Agreement, Choices, Perplexity
from hf_prune.records.scored import TaskScore


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
