"""A finished run as one record: what `run.json` holds and every figure of the card comes from."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from hf_prune.errors import UnreadableRecord
from hf_prune.recipe import gates
from hf_prune.recipe.recipe import Recipe
from hf_prune.records import (
    NOT_ASKED_FOR,
    Anatomy,
    Attempt,
    BlockDistance,
    Bridge,
    Checkpoint,
    Citation,
    Environment,
    Evaluated,
    Export,
    Growth,
    Healing,
    Plan,
    Presentation,
    PreviousVersion,
    Proof,
    Similarity,
    Source,
    Variant,
    from_data,
)

SCHEMA_VERSION = 6
NESTED_SINCE = 6  # the schema in which measurements moved into `evaluated`
ATTEMPTS = {  # by field of `evaluated`, the name that schema 5 had for the reason
    "speeds": "speed_reason",
    "speculations": "speculation_reason",
    "writings": "writings_reason",
    "scores": "scores_reason",
}
MAY_BE_LEFT_OUT = ("speeds", "speculations")  # of an older schema, where the rest can still be read
MARKER = "hf_prune.json"  # in a published repository: hf-prune made it


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRecord:
    """What the record of every finished command says."""

    schema_version: int = SCHEMA_VERSION
    command: str  # that does the same again
    recipe: Recipe
    environment: Environment
    source: Source
    started: str = ""  # ISO 8601, UTC; "" until the end
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(CommandRecord):
    """Everything that one run decided and measured, in the order of its stages.

    `run.json` is this record; `similarity.json` is its `similarity` alone.
    """

    name: str  # of the result: "SmolLM2-135M-22L"
    dense: Anatomy
    similarity: Similarity
    plan: Plan
    result: Checkpoint  # what is published
    result_anatomy: Anatomy
    proofs: tuple[Proof, ...]  # of the cut, and of the bridged and healed checkpoints where there are such
    bridge: Bridge
    healing: Healing
    evaluated: Evaluated
    intermediate: tuple[Variant, ...] = ()  # made on the way to the result, in this order
    growth: Growth | None = None  # new layers, where there are any
    cited: Citation | None = None  # whose recipe was followed
    exports: Attempt[Export] = NOT_ASKED_FOR
    chat_template: bool = False  # whether the tokenizer has one
    presentation: Presentation | None = None  # what the user put into the card
    digests: tuple[str, ...] = ()  # SHA-256 of each text, set of images or folder of tasks, in the order read
    before: PreviousVersion | None = None  # what was published in its place, where something was

    def anatomy_of(self, variant: str) -> Anatomy:
        """The figures of one variant; those of the result for one that the record does not describe."""
        if variant == "dense":
            return self.dense
        described = {each.name: each.anatomy for each in self.intermediate}
        return described.get(variant, self.result_anatomy)

    @property
    def before_healing(self) -> Anatomy:
        """The figures of the variant that was healed."""
        if not self.plan.removed and self.growth is None:
            return self.dense
        return self.intermediate[-1].anatomy if self.intermediate else self.result_anatomy

    @property
    def refusals(self) -> tuple[str, ...]:
        """Everything in which the result is worse than the recipe lets through: then it is not published."""
        return gates.refusals(self.result.variant, self.recipe, self.evaluated)

    @property
    def head_was_untied(self) -> bool:
        """Whether the result has a head of its own where the original used its embedding."""
        return self.dense.tied_embeddings and not self.result_anatomy.tied_embeddings


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis(CommandRecord):
    """What `hf-prune analyze` found out about a model that it left as it is."""

    dense: Anatomy
    similarity: Similarity
    best_blocks: tuple[BlockDistance, ...]  # one for each block size
    cornerstones: tuple[int, ...]  # layers whose removal alone doubles the perplexity


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation(CommandRecord):
    """What `hf-prune eval` found out about a model: `evaluation.json`.

    The variants are "model", and before it "baseline" where it is compared with another.
    """

    name: str  # of the model
    anatomy: Anatomy
    baseline: Source | None
    baseline_anatomy: Anatomy | None
    evaluated: Evaluated


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
    if version < NESTED_SINCE:
        data = _nested(data)
    left_out: tuple[str, ...] = ()
    with suppress(ValueError):
        return Recorded(run=from_data(Run, data), schema_version=version)
    if version < SCHEMA_VERSION:
        data, left_out = _without_old_speeds(data)
    try:
        return Recorded(run=from_data(Run, data), schema_version=version, left_out=left_out)
    except ValueError as error:
        environment = data.get("environment")
        maker = environment.get("hf_prune", "of then") if isinstance(environment, dict) else "of then"
        raise UnreadableRecord(
            f"{path} has schema {version}, and this hf-prune reads {SCHEMA_VERSION} ({error}): use hf-prune "
            f"{maker}, which made it"
        ) from error


def _nested(data: Mapping[str, Any]) -> dict[str, Any]:
    """A record of schema 5 or before, in which every measurement was a field of the run itself."""
    run = {name: value for name, value in data.items() if name in get_type_hints(Run)}
    evaluated = {name: data[name] for name in get_type_hints(Evaluated) if data.get(name)}
    evaluated["choices"] = [
        {name: value for name, value in choices.items() if not name.startswith("literal_")}
        for choices in evaluated.get("choices", ())
    ]
    for name, reason in ATTEMPTS.items():
        evaluated[name] = {"found": data.get(name) or (), "reason": data.get(reason)}
    exports = {"found": data.get("exports") or (), "reason": data.get("exports_reason")}
    return {**run, "evaluated": evaluated, "exports": exports}


def _without_old_speeds(data: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A record without its speeds, which older schemas measured otherwise, and the names of what it lost."""
    evaluated = dict(data["evaluated"])
    left_out = tuple(name for name in MAY_BE_LEFT_OUT if evaluated[name]["found"])
    evaluated |= {name: {**evaluated[name], "found": ()} for name in left_out}
    evaluated["depths"] = [{**depth, "speed": None} for depth in evaluated.get("depths", ())]
    return {**data, "evaluated": evaluated}, left_out
