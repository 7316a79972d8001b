"""The variants of one model, and what was measured of each."""

from dataclasses import dataclass

from hf_prune.records.attempt import NOT_ASKED_FOR, Attempt
from hf_prune.records.evaluated import Agreement, Choices, Depth, Perplexity, Speculation, Speed
from hf_prune.records.model import Anatomy
from hf_prune.records.scored import TaskScore, Writing


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
