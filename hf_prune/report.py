"""A finished run as one record: what `run.json` holds and every figure of the card comes from."""

from dataclasses import dataclass

from hf_prune.recipe import Recipe
from hf_prune.records import (
    Anatomy,
    BlockDistance,
    Bridge,
    Checkpoint,
    Environment,
    Healing,
    Perplexity,
    Plan,
    Proof,
    Similarity,
    Source,
    Speed,
)

SCHEMA_VERSION = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Everything that one run decided and measured, in the order of its stages.

    `run.json` is this record; `similarity.json` is its `similarity` alone.
    """

    schema_version: int
    name: str  # of the result: "SmolLM2-135M-22L"
    command: str  # that makes this run again
    recipe: Recipe
    environment: Environment
    source: Source
    dense: Anatomy
    similarity: Similarity
    plan: Plan
    result: Checkpoint  # what is published
    result_anatomy: Anatomy
    proofs: tuple[Proof, ...]  # of the cut, and of the bridged and healed checkpoints where there are such
    bridge: Bridge
    healing: Healing
    perplexities: tuple[Perplexity, ...]  # dense, cut, bridged and healed where there are such
    speeds: tuple[Speed, ...]  # dense and the result; empty where they could not be loaded
    speed_reason: str | None  # why speeds were not measured
    started: str  # ISO 8601, UTC
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """What `hf-prune analyze` found out about a model that it left as it is."""

    schema_version: int
    command: str  # that makes this analysis again
    recipe: Recipe
    environment: Environment
    source: Source
    dense: Anatomy
    similarity: Similarity
    best_blocks: tuple[BlockDistance, ...]  # one for each block size
    cornerstones: tuple[int, ...]  # layers whose removal alone doubles the perplexity
    started: str  # ISO 8601, UTC
    seconds: float
