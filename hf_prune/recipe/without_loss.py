"""What cannot be asked for where a model predicts no next token, so that it has no loss on a plain text."""

from collections.abc import Iterator

from hf_prune.errors import RecipeError
from hf_prune.recipe.recipe import Recipe
from hf_prune.records import IMAGE_ENCODER, Anatomy
from hf_prune.stages.choose.criteria import AUTO, CRITERIA

UNHEALED = (
    "nothing was trained: an encoder learns by a task, and none is given; fine-tune the result on yours"
)


def refuse_what_needs_a_loss(recipe: Recipe, anatomy: Anatomy) -> None:
    """Stop where an encoder is asked for what only a decoder has.

    Raises:
        RecipeError: with one sentence for each fault.
    """
    faults = list(_faults(recipe, anatomy.kind))
    if faults:
        raise RecipeError("; ".join(faults))


def _faults(recipe: Recipe, kind: str) -> Iterator[str]:
    why = f"and this model is a{'n' if kind == IMAGE_ENCODER else ''} {kind}"
    if recipe.method != AUTO and CRITERIA[recipe.method].needs != "similarity":
        by_states = [name for name, criterion in CRITERIA.items() if criterion.needs == "similarity"]
        yield f"--method {recipe.method} needs a loss, {why}: give auto, {', '.join(by_states)}"
    if recipe.max_loss is not None:
        yield f"--max-loss needs a loss, {why}: give --ratio or --drop-layers"
    if recipe.heal not in ("auto", "none"):
        yield f"--heal {recipe.heal} needs a loss, {why}: leave it out, and fine-tune the result on your task"
    if recipe.eval_elsewhere is not None:
        yield f"--eval-elsewhere is for perplexity, which needs a loss, {why}: leave it out"
    if recipe.choices is not None or recipe.draft or recipe.tasks != "none":
        yield f"multiple choice, tasks and drafts need a model that writes, {why}"
    if recipe.grow is not None or recipe.depths is not None:
        yield f"new layers and depths are trained by a loss, {why}"
