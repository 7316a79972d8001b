"""`hf-prune eval`: any model measured as the card of a result measures, alone or beside another."""

import shutil
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from hf_prune.errors import RecipeError, UnsupportedModel
from hf_prune.machine.clock import Clock
from hf_prune.machine.disk import write_whole
from hf_prune.machine.environment import describe_environment
from hf_prune.machine.processes import ALONE
from hf_prune.machine.progress import Reporter
from hf_prune.model import anatomy
from hf_prune.recipe import gates
from hf_prune.recipe.recipe import Recipe
from hf_prune.recipe.words import evaluation_command_line, shown_name, without_folders
from hf_prune.records import (
    DECODER,
    Choices,
    Evaluated,
    Perplexity,
    Source,
    Speed,
    TaskScore,
    Writing,
    fingerprint,
    to_json,
)
from hf_prune.stages.evaluate.stage import DENSE, ask_tasks, evaluate
from hf_prune.stages.original import Located, Original, locate, open_original
from hf_prune.stages.run import Evaluation
from hf_prune.stages.source import find as source
from hf_prune.stages.texts.material import task_folder_digest
from hf_prune.stages.work import RunFolder, Work

MODEL, BASELINE = "model", "baseline"  # the variants

OfVariant = TypeVar("OfVariant", Perplexity, Choices, Speed, TaskScore, Writing)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedModel:
    """What an evaluation leaves behind."""

    evaluation: Evaluation
    folder: Path
    refused: tuple[str, ...]  # in what the model is worse than is let through


def evaluate_model(
    recipe: Recipe,
    baseline: str | None = None,
    output: Path | None = None,
    *,
    fresh: bool = False,
    max_memory: int | None = None,
    reporter: Reporter | None = None,
) -> EvaluatedModel:
    """Measure a model the way the card of a result does.

    Args:
        recipe: the model, and how it is measured; how to cut and heal is ignored.
        baseline: a Hub id or a folder to compare with. `revision`, `gguf_file` and `allow_pickle` of the
            recipe are not for this one.
        output: the folder for evaluation.json; None: one named after the model.
        max_memory: bytes for hidden states, beyond which they go to a file; None: half of the free memory.

    Raises:
        HfPruneError: what went wrong, in one line.
    """
    clock, reporter = Clock(), reporter or Reporter()
    if recipe.max_loss is not None and baseline is None:
        raise RecipeError("--max-loss is how far the loss may be above the baseline's: give --baseline too")
    recipe = replace(recipe, heal="none")
    located = _located(recipe, reporter)
    other = None
    if baseline:
        others_recipe = replace(recipe, model=baseline, revision=None, gguf_file=None, allow_pickle=False)
        other = _located(others_recipe, reporter)
    folder = RunFolder(output or Path(f"{located.model.name}-evaluation"))
    folder.claim(fingerprint(recipe, baseline), fresh=fresh)
    asked = ask_tasks(recipe, None, folder, reporter)
    original = open_original(other or located, folder.checkpoints, max_memory=max_memory)
    work = Work(original, folder, _inputs(located, other), reporter, ALONE, asked)
    variants, model = {DENSE: original.folder}, original.source
    if other:
        model = source.fetch_weights(located.model, folder.checkpoints)
        variants[MODEL] = Path(model.folder)
        _refuse_other_tokens(original, Path(model.folder))
    evaluation = _evaluation(work, evaluate(work, variants, None), located, model, baseline)
    evaluation = replace(evaluation, started=clock.started, seconds=clock.seconds)
    write_whole(folder.path / "evaluation.json", to_json(evaluation))
    shutil.rmtree(folder.checkpoints, ignore_errors=True)
    refused = gates.refusals(MODEL, evaluation.recipe, evaluation.evaluated)
    return EvaluatedModel(evaluation=evaluation, folder=folder.path, refused=refused)


def _located(recipe: Recipe, reporter: Reporter) -> Located:
    located = locate(recipe, reporter)
    if located.anatomy.kind != DECODER:
        raise UnsupportedModel(
            f"{recipe.model} is a {located.anatomy.kind}: hf-prune eval measures models that write text"
        )
    return located


def _inputs(located: Located, other: Located | None) -> str:
    """Changes when something does that decides a figure."""
    recipe, found = located.recipe, [one.model.identity for one in (located, other) if one]
    digests = (located.material.digests, task_folder_digest(recipe))
    return fingerprint(recipe, found, *digests, version("hf-prune"))


def _refuse_other_tokens(baseline: Original, folder: Path) -> None:
    """Stop where two models do not read the held-out text as the same tokens: their losses say nothing."""
    model = replace(baseline, source=replace(baseline.source, folder=str(folder)))
    if model.heldout.record.sha256 != baseline.heldout.record.sha256:
        raise RecipeError(
            f"{folder.name} and the baseline {baseline.folder.name} make other tokens of the same text, so "
            f"that their losses cannot be compared: leave --baseline out"
        )


def _evaluation(
    work: Work, evaluated: Evaluated, located: Located, model: Source, baseline: str | None
) -> Evaluation:
    shown, original = without_folders(located.recipe), work.original
    opened = original.open(Path(model.folder)).skeleton if baseline else None
    return Evaluation(
        name=located.model.name,
        command=evaluation_command_line(shown, shown_name(baseline) if baseline else None),
        recipe=shown,
        environment=describe_environment(original.device),
        source=_published(model),
        anatomy=anatomy.describe(opened) if opened else original.anatomy,
        baseline=_published(original.source) if baseline else None,
        baseline_anatomy=original.anatomy if baseline else None,
        evaluated=_renamed(evaluated, BASELINE if baseline else MODEL),
    )


def _renamed(evaluated: Evaluated, first: str) -> Evaluated:
    """The same figures under the names that an evaluation has for its variants."""

    def renamed(records: tuple[OfVariant, ...]) -> tuple[OfVariant, ...]:
        names = {DENSE: first}
        return tuple(replace(each, variant=names.get(each.variant, MODEL)) for each in records)

    return Evaluated(
        perplexities=renamed(evaluated.perplexities),
        perplexities_elsewhere=renamed(evaluated.perplexities_elsewhere),
        choices=renamed(evaluated.choices),
        scores=replace(evaluated.scores, found=renamed(evaluated.scores.found)),
        writings=replace(evaluated.writings, found=renamed(evaluated.writings.found)),
        speeds=replace(evaluated.speeds, found=renamed(evaluated.speeds.found)),
    )


def _published(model: Source) -> Source:
    """A source as it may be published: of local folders the name alone."""
    name = shown_name(model.model)
    return replace(model, model=name, folder=Path(name).name)
