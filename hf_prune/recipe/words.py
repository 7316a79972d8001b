"""A recipe as the words of a command line."""

import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from hf_prune.recipe.recipe import DEFAULTS, SIZES, TARGETS, Recipe

ANALYSED = (
    "revision",
    "gguf_file",
    "allow_pickle",
    "trust_remote_code",
    "calibration",
    "samples",
    "sequence_length",
    "seed",
    "device",
)
EVALUATED = (
    "revision",
    "gguf_file",
    "allow_pickle",
    "trust_remote_code",
    "max_loss",
    "sequence_length",
    "eval_data",
    "eval_samples",
    "eval_elsewhere",
    "choices",
    "choice_items",
    "tasks",
    "limit",
    "fewshot",
    "tasks_from",
    "min_score",
    "device",
)
SWITCHES = {  # fields that are yes, no, or left to the tool
    "contiguous": ("--contiguous", "--scattered"),
    "distill": ("--distill", "--no-distill"),
    "train_head": ("--train-head", "--keep-head"),
}
GOES_WITH = {"train_head": "heal", "prompts": "heal_data", "contiguous": "method"}  # of no use without
OTHER_WORDS = {
    "sequence_length": "seq-len",
    "based_on": "recipe",
    "formats": "format",
    "tasks": "eval",
}  # for fields, on the command line


def shown_name(path: str) -> str:
    """A model or a file as it may be published: of what is on this disk the name alone."""
    return Path(path).resolve().name if Path(path).exists() else path


def without_folders(recipe: Recipe) -> Recipe:
    """The recipe as it may be published: of local files and folders the name alone."""
    shown = shown_name
    return replace(
        recipe,
        model=shown(recipe.model),
        calibration=shown(recipe.calibration) if recipe.calibration else None,
        heal_data=shown(recipe.heal_data) if recipe.heal_data else None,
        prompts=shown(recipe.prompts) if recipe.prompts else None,
        eval_data=shown(recipe.eval_data) if recipe.eval_data else None,
        eval_elsewhere=shown(recipe.eval_elsewhere) if recipe.eval_elsewhere else None,
        choices=shown(recipe.choices) if recipe.choices else None,
        tasks_from=shown(recipe.tasks_from) if recipe.tasks_from else None,
    )


def command_line(recipe: Recipe, beginning: str | None = None, given: Mapping[str, Any] | None = None) -> str:
    """The command that asks for this recipe, defaults left out.

    Args:
        recipe: what is asked for.
        beginning: of the command, where that says which model it is; None: `hf-prune MODEL`.
        given: what the built-in recipe says that it is based on, where the command is to name that one.
    """
    known = {"model", "gguf_file", "based_on"} if beginning else {"model", "based_on"}
    named = ["--recipe", f"{recipe.based_on}"] if given else []
    words = named + option_words(unlike(recipe, _all_fields(but=known), given or {}))
    return " ".join([beginning or shlex.join(["hf-prune", recipe.model]), shlex.join(words)]).strip()


def analysis_command_line(recipe: Recipe, permutations: int) -> str:
    """The command that makes an analysis, defaults left out, and what the recipe says of cutting.

    Args:
        recipe: the model and the text.
        permutations: of Shapley sampling.
    """
    sampled = ["--shapley", f"{permutations}"] if permutations else []
    words = option_words(unlike(recipe, ANALYSED, {}))
    return shlex.join(["hf-prune", "analyze", recipe.model, *words, *sampled])


def evaluation_command_line(recipe: Recipe, baseline: str | None) -> str:
    """The command that makes an evaluation, defaults left out, and what the recipe says of cutting.

    Args:
        recipe: the model, and how it is measured.
        baseline: the model that it is compared with.
    """
    compared = ["--baseline", baseline] if baseline else []
    words = option_words(unlike(recipe, EVALUATED, {}))
    return shlex.join(["hf-prune", "eval", recipe.model, *compared, *words])


def _all_fields(but: Collection[str]) -> Iterator[str]:
    return (field.name for field in fields(Recipe) if field.name not in but)


def unlike(recipe: Recipe, names: Iterable[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a recipe that have to be said, for they are not so anyway; None cannot be said.

    Args:
        recipe: what is asked for.
        names: of the fields that count.
        given: what is so without being said, by field; of other fields the defaults are.
    """
    anyway = {name: given.get(name, getattr(DEFAULTS, name)) for name in names}
    return {
        name: value
        for name, default in anyway.items()
        if (value := getattr(recipe, name)) != default
        and value is not None
        and (value is not False or name in SWITCHES)
    }


def overridden(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Options with others in their place, by field.

    A target in `upper` replaces any in `lower`; but a loss that only limits what a size in `lower` leaves
    goes on to limit what another size leaves. What only goes with an option that `upper` changes is left
    out: who follows a recipe but heals otherwise never asked for its --train-head.

    Args:
        lower: options.
        upper: those that win.
    """
    changed = {name for name, value in upper.items() if value != lower.get(name)}
    gone = {name for name, other in GOES_WITH.items() if other in changed}
    if any(target in upper for target in TARGETS):
        gone.update(TARGETS if not any(size in lower for size in SIZES) else SIZES)
    return {name: value for name, value in lower.items() if name not in gone} | dict(upper)


def option_words(options: Mapping[str, Any]) -> list[str]:
    """The words of the command line for some options, by field."""
    words = []
    for name, value in options.items():
        if name in SWITCHES:
            words.append(SWITCHES[name][0 if value else 1])
        else:
            words += [option_name(name)] if value is True else [option_name(name), f"{value}"]
    return words


def option_name(field: str) -> str:
    """The command-line option of a field of the recipe."""
    return "--" + OTHER_WORDS.get(field, field.replace("_", "-"))
