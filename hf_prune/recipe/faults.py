"""Everything that is wrong with a recipe, said at once and before anything is touched."""

import re
from collections.abc import Iterator

from hf_prune.errors import RecipeError
from hf_prune.recipe.criteria import AUTO, CRITERIA
from hf_prune.recipe.formats import parse_formats
from hf_prune.recipe.gates import parse_gates
from hf_prune.recipe.recipe import OPTIONS, SELF, SIZES, TARGETS, Recipe, option_name
from hf_prune.records import IMAGE_ENCODER, Anatomy

UNHEALED = (
    "nothing was trained: an encoder learns by a task, and none is given; fine-tune the result on yours"
)
LAYER_LIST = r"\d+(-\d+)?(,\d+(-\d+)?)*"
PROTECTED_LIST = r"(first:\d+|last:\d+|\d+(-\d+)?)(,(first:\d+|last:\d+|\d+(-\d+)?))*"
DEPTH_LIST = r"\d+(,\d+)*"
TASK_LIST = r"[^\s,]+(,[^\s,]+)*"


def check_recipe(recipe: Recipe) -> None:
    """Make sure that a recipe can be followed.

    Raises:
        RecipeError: with one sentence for each fault.
    """
    faults = [
        *_faults_of_target(recipe),
        *_faults_of_choice(recipe),
        *_faults_of_growth(recipe),
        *_faults_of_healing(recipe),
        *_faults_of_tasks(recipe),
        *_faults_of_values(recipe),
    ]
    if faults:
        raise RecipeError("; ".join(faults))


def _faults_of_target(recipe: Recipe) -> Iterator[str]:
    chosen = [option_name(size) for size in SIZES if getattr(recipe, size) is not None]
    if len(chosen) > 1:
        yield f"{' and '.join(chosen)} each say what to remove: give one of them"
    if recipe.ratio is not None and not 0 < recipe.ratio < 1:
        yield f"--ratio {recipe.ratio:g} is not between 0 and 1: 0.25 removes a quarter of the layers"
    if recipe.drop_layers is not None and recipe.drop_layers < 1 and not keeps_all(recipe):
        yield f"--drop-layers {recipe.drop_layers} removes nothing: give 1 or more"
    if recipe.layers is not None and not re.fullmatch(LAYER_LIST, recipe.layers):
        yield f"--layers {recipe.layers!r} is not a list like 21-28,30"
    if recipe.max_loss is not None and not 0 < recipe.max_loss < float("inf"):
        yield f"--max-loss {recipe.max_loss:g} is not a rise in loss: 0.05 allows 0.05 nats per token"


def _faults_of_choice(recipe: Recipe) -> Iterator[str]:
    if recipe.contiguous and recipe.method == "greedy":
        yield "--method greedy removes layers one at a time, not one block: leave --contiguous out"
    if recipe.protect is not None and not re.fullmatch(PROTECTED_LIST, recipe.protect):
        yield f"--protect {recipe.protect!r} is not a list like first:4,last:2,11"
    if not 0 < recipe.budget < float("inf"):
        yield f"--budget {recipe.budget:g} is not a number of forward passes above 0"


def keeps_all(recipe: Recipe) -> bool:
    """Whether all layers stay: the model is only grown, sorted or trained."""
    if recipe.depths is not None:
        return True
    trained = recipe.heal in ("lora", "qlora", "partial")
    return recipe.drop_layers == 0 and (recipe.grow is not None or trained)


def _faults_of_growth(recipe: Recipe) -> Iterator[str]:
    if recipe.grow is not None and not re.fullmatch(r"auto|[1-9]\d*", recipe.grow):
        yield f"--grow {recipe.grow} is neither auto nor a number of layers above 0"
    if recipe.grow is not None and recipe.heal not in ("auto", "none"):
        yield f"--grow trains only the new layers, --heal {recipe.heal} others: leave one of them out"
    if recipe.draft and keeps_all(recipe) and recipe.depths is None:
        yield "--draft is for a result with fewer layers than its original, or a sorted one: leave it out"
    if recipe.depths is None:
        return
    if not re.fullmatch(DEPTH_LIST, recipe.depths):
        yield f"--depths {recipe.depths!r} is not a list like 12,16,20,24"
    removes = any(getattr(recipe, target) for target in TARGETS)
    if removes or recipe.grow is not None:
        yield "--depths trains a model as it is: neither remove layers from it nor grow it"
    if recipe.heal != "auto":
        yield f"--depths trains the whole model, --heal {recipe.heal} parts of it: leave one of them out"


def _faults_of_healing(recipe: Recipe) -> Iterator[str]:
    if recipe.lr is not None and not 0 < recipe.lr < 1:
        yield f"--lr {recipe.lr:g} is not a learning rate: 3e-4 is one"
    if not 0 <= recipe.boundary_loss < float("inf"):
        yield f"--boundary-loss {recipe.boundary_loss:g} is not a weight: 0 leaves it out, 1 is much"
    if recipe.prompts is not None and recipe.heal_data != SELF:
        yield "--prompts is for --heal-data self, where the original model answers them"
    if recipe.train_head is not None and recipe.heal != "partial":
        yield "--train-head and --keep-head are for --heal partial"


def _faults_of_tasks(recipe: Recipe) -> Iterator[str]:
    if not re.fullmatch(TASK_LIST, recipe.tasks):
        yield f"--eval {recipe.tasks!r} is not a list of tasks like arc_easy,gsm8k, nor none"
    if recipe.tasks != "none":
        return
    for field in ("limit", "fewshot", "tasks_from", "min_score"):
        if getattr(recipe, field) is not None:
            yield f"{option_name(field)} needs tasks: name some with --eval"


def _faults_of_values(recipe: Recipe) -> Iterator[str]:
    """Words that an option does not know, and numbers that are too small for it."""
    for field, option in OPTIONS.items():
        value = getattr(recipe, field)
        if option.choices is not None and value not in option.choices:
            yield f"{option_name(field)} {value!r} is not one of {', '.join(option.choices)}"
        if option.least is not None and value is not None and value < option.least:
            yield f"{option_name(field)} {value} is too small: give {option.least} or more"
    for parse, text in ((parse_formats, recipe.formats), (parse_gates, recipe.min_score or "")):
        try:
            parse(text)
        except RecipeError as error:
            yield str(error)


def refuse_what_needs_a_loss(recipe: Recipe, anatomy: Anatomy) -> None:
    """Stop where an encoder is asked for what only a decoder has.

    Raises:
        RecipeError: with one sentence for each fault.
    """
    faults = list(_faults_for_an_encoder(recipe, anatomy.kind))
    if faults:
        raise RecipeError("; ".join(faults))


def _faults_for_an_encoder(recipe: Recipe, kind: str) -> Iterator[str]:
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
