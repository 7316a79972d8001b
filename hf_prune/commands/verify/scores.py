"""The scores of lm-evaluation-harness, measured again on the same items."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

from hf_prune.commands.verify.claims import Claim, near, unchecked, within
from hf_prune.commands.verify.figures import ITEMS_SHARE, Models, checked
from hf_prune.errors import HfPruneError, UnusableTask
from hf_prune.recipe.recipe import Recipe
from hf_prune.records import AskedTasks, TaskScore
from hf_prune.stages.evaluate.tasks import ask, measured_model, score


def score_claims(models: Models) -> Iterator[Claim]:
    """Every score of the published model and of its original, measured without the cache.

    The weights of other variants are not published, so their scores are not checked.
    """
    claimed = models.run.evaluated.scores.found
    if not claimed:
        return
    try:
        recipe = _recipe(models)
        asked = ask(recipe, models.progress)
    except HfPruneError as error:
        yield from (unchecked(_name(one), one.value, str(error)) for one in claimed)
        return
    for variant, scores in groupby(claimed, key=lambda one: one.variant):
        every = tuple(scores)
        measure = partial(_measured, models, variant, every, asked, recipe)
        yield from checked(measure, {_name(one): one.value for one in every})


def _recipe(models: Models) -> Recipe:
    """The recorded recipe with the path of its own tasks here.

    Raises:
        UnusableTask: the folder of its own tasks is not here.
    """
    recipe = replace(models.published.recipe, min_score=None)
    if recipe.tasks_from is None:
        return recipe
    folder = models.data / Path(recipe.tasks_from).name  # the record may be anyone's
    if not folder.is_dir():
        raise UnusableTask(f"there is no {folder.name} in {models.data}: name its folder with --data")
    return replace(recipe, tasks_from=str(folder))


def _measured(
    models: Models, variant: str, claimed: Iterable[TaskScore], asked: AskedTasks, recipe: Recipe
) -> Iterator[Claim]:
    """The claimed scores of a variant beside those of now.

    Raises:
        HfPruneError: its weights are not available, or it cannot run here.
    """
    model = models.model_of(variant)
    measured = measured_model(variant, model.folder)
    with TemporaryDirectory(prefix="hf-prune-") as nothing_kept:
        trial = score(measured, asked, recipe, str(model.device), Path(nothing_kept), models.progress)
    if trial.reason is not None:
        raise UnusableTask(trial.reason)
    yield from (_compared(one, trial.found, models.tolerance) for one in claimed)


def _name(one: TaskScore) -> str:
    return f"{one.task} {one.metric} ({one.answer_filter}), {one.variant}"


def _compared(claimed: TaskScore, found: tuple[TaskScore, ...], tolerance: float) -> Claim:
    """A figure from 0 to 1 may be off by a few items, as in multiple choice; others as a perplexity may."""
    name = _name(claimed)
    key = (claimed.task, claimed.metric, claimed.answer_filter)
    same = next((one for one in found if (one.task, one.metric, one.answer_filter) == key), None)
    if same is None:
        harness = found[0].harness if found else "here"
        return unchecked(name, claimed.value, f"lm-evaluation-harness {harness} gives no such figure")
    if same.sha256 != claimed.sha256:
        return unchecked(name, claimed.value, f"{claimed.task} has different items here")
    if not 0 <= claimed.value <= 1:
        return near(name, claimed.value, same.value, tolerance)
    few = max(1, round(ITEMS_SHARE * claimed.num_items))
    words = f"{few} of {claimed.num_items} items"
    return within(name, claimed.value, same.value, few / claimed.num_items, words)
