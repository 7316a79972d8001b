"""A finished run as one record: what `run.json` holds and every figure of the card comes from."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

from hf_prune.errors import UnreadableRecord
from hf_prune.recipe import gates
from hf_prune.recipe.recipe import Recipe
from hf_prune.records import (
    Agreement,
    Anatomy,
    BlockDistance,
    Bridge,
    Checkpoint,
    Choices,
    Citation,
    Depth,
    Environment,
    Export,
    Growth,
    Healing,
    Perplexity,
    Plan,
    Presentation,
    PreviousVersion,
    Proof,
    Similarity,
    Source,
    Speculation,
    Speed,
    TaskScore,
    Writing,
    from_data,
)

# What only tells of the run: where an older schema has it otherwise, the rest can still be read.
MAY_BE_LEFT_OUT = ("speeds", "speculations")

SCHEMA_VERSION = 5
MARKER = "hf_prune.json"  # in a published repository: hf-prune made it


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
    perplexities: tuple[Perplexity, ...]  # dense, cut, bridged and healed where there are such; no encoder's
    speeds: tuple[Speed, ...]  # dense and the result; empty where they could not be loaded
    speed_reason: str | None  # why speeds were not measured
    started: str  # ISO 8601, UTC
    seconds: float
    growth: Growth | None = None  # new layers, where there are any
    depths: tuple[Depth, ...] = ()  # of a sorted model, the shallowest first
    choices: tuple[Choices, ...] = ()  # of the variants in `perplexities`
    speculations: tuple[Speculation, ...] = ()
    agreements: tuple[Agreement, ...] = ()  # of an encoder: cut, and bridged where there is such
    cited: Citation | None = None  # whose recipe was followed
    speculation_reason: str | None = None  # why there are none, where one was asked for
    perplexities_elsewhere: tuple[Perplexity, ...] = ()  # of the same variants, on text of another domain
    writings: tuple[Writing, ...] = ()  # of the same variants
    writings_reason: str | None = None  # why there are none
    scores: tuple[TaskScore, ...] = ()  # of the same variants, by lm-evaluation-harness
    scores_reason: str | None = None  # why there are none, where some were asked for
    exports: tuple[Export, ...] = ()
    chat_template: bool = False  # whether the tokenizer has one
    presentation: Presentation | None = None  # what the user put into the card
    exports_reason: str | None = None  # why some that were asked for are missing
    digests: tuple[str, ...] = ()  # SHA-256 of each text, set of images or folder of tasks, in the order read
    before: PreviousVersion | None = None  # what was published in its place, where something was

    def anatomy_of(self, variant: str) -> Anatomy:
        """The figures of one variant: of the result's shape, but for what growing and healing added later."""
        if variant == "dense":
            return self.dense
        if variant == self.result.variant:
            return self.result_anatomy
        if self.growth is not None and variant in ("cut", "bridged"):
            return _without_layers(self.before_healing, self.growth.layers)
        return self.before_healing

    @property
    def before_healing(self) -> Anatomy:
        """The figures of what was healed: those of the result, but for a head untied in healing."""
        result = self.result_anatomy
        if not self.head_was_untied:
            return result
        head = self.dense.vocabulary_size * self.dense.hidden_size
        return replace(_smaller(result, head), tied_embeddings=True)

    @property
    def refusals(self) -> tuple[str, ...]:
        """Everything in which the result is worse than the recipe lets through: then it is not published."""
        return gates.refusals(
            self.result.variant,
            gates=gates.parse_gates(self.recipe.min_score),
            scores=self.scores,
            scores_reason=self.scores_reason,
            max_loss=self.recipe.max_loss,
            perplexities=self.perplexities,
        )

    @property
    def head_was_untied(self) -> bool:
        """Whether the result has a head of its own where the original used its embedding."""
        return self.dense.tied_embeddings and not self.result_anatomy.tied_embeddings


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What `hf-prune eval` found out about a model: `evaluation.json`.

    The variants are "model", and before it "baseline" where it is compared with another.
    """

    schema_version: int
    name: str  # of the model
    command: str  # that makes this evaluation again
    recipe: Recipe
    environment: Environment
    source: Source
    anatomy: Anatomy
    baseline: Source | None
    baseline_anatomy: Anatomy | None
    perplexities: tuple[Perplexity, ...]
    choices: tuple[Choices, ...]
    speeds: tuple[Speed, ...]
    speed_reason: str | None  # why speeds were not measured
    scores: tuple[TaskScore, ...]
    scores_reason: str | None
    perplexities_elsewhere: tuple[Perplexity, ...]
    writings: tuple[Writing, ...]
    writings_reason: str | None
    started: str  # ISO 8601, UTC
    seconds: float


def _without_layers(anatomy: Anatomy, layers: Collection[int]) -> Anatomy:
    """The figures of the same model without some of its layers."""
    each = anatomy.parameters_per_layer
    left = tuple(count for layer, count in enumerate(each) if layer not in layers)
    cached = anatomy.key_value_bytes_per_token
    return replace(
        _smaller(anatomy, sum(each) - sum(left)),
        num_layers=len(left),
        parameters_per_layer=left,
        # As if all layers cached alike: where some cache nothing, this is about right.
        key_value_bytes_per_token=cached and cached * len(left) // anatomy.num_layers,
    )


def _smaller(anatomy: Anatomy, parameters: int) -> Anatomy:
    """The figures of a model that has so many parameters fewer, stored as all others are."""
    left = anatomy.parameters - parameters
    return replace(anatomy, parameters=left, size_bytes=anatomy.size_bytes * left // anatomy.parameters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A run as its record has it."""

    run: Run
    schema_version: int  # that it was written in
    left_out: tuple[str, ...] = ()  # fields that an older schema has otherwise, and that are empty here


def read_record(path: Path) -> Recorded:
    """The record of a run; what an older schema has otherwise is left out where it only tells of the run.

    Raises:
        UnreadableRecord: it is no such record, or one that this version cannot read.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UnreadableRecord(f"{path} is not JSON: {error}") from error
    version = data.get("schema_version") if isinstance(data, dict) else None
    if not isinstance(version, int):
        raise UnreadableRecord(f"{path} is no record of a run: it states no schema_version")
    try:
        return Recorded(run=from_data(Run, data), schema_version=version)
    except ValueError as error:
        reason = error
    if version < SCHEMA_VERSION:
        known = {name: value for name, value in data.items() if name in get_type_hints(Run)}
        left_out = tuple(name for name in MAY_BE_LEFT_OUT if known.get(name))
        depths = [{**depth, "speed": None} for depth in known.get("depths") or ()]
        try:
            return Recorded(
                run=from_data(Run, {**known, **dict.fromkeys(left_out, ()), "depths": depths}),
                schema_version=version,
                left_out=left_out,
            )
        except ValueError as error:
            reason = error
    raise UnreadableRecord(
        f"{path} has schema {version}, and this hf-prune reads {SCHEMA_VERSION} ({reason}): use hf-prune "
        f"{_maker(data)}, which made it"
    ) from reason


def _maker(data: Mapping[str, Any]) -> str:
    environment = data.get("environment")
    return str(environment.get("hf_prune", "of then")) if isinstance(environment, dict) else "of then"
