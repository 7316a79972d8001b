"""A recipe as the words of a command line."""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hf_prune.recipe.recipe import DEFAULTS, OPTIONS, SIZES, TARGETS, Recipe, option_name

SWITCHES = {  # fields that are yes, no, or left to the tool
    name: (option_name(name), f"--{option.negative}") for name, option in OPTIONS.items() if option.negative
}
LOCAL_PATHS = tuple(name for name, option in OPTIONS.items() if option.path)  # fields that may name one


def shown_name(path: str) -> str:
    """A model or a file as it may be published: only the name of what is on this disk."""
    return Path(path).resolve().name if Path(path).exists() else path


def without_folders(recipe: Recipe) -> Recipe:
    """The recipe as it may be published: only the names of local files and folders."""
    paths = {name: getattr(recipe, name) for name in ("model", *LOCAL_PATHS)}
    shown: dict[str, Any] = {name: shown_name(path) for name, path in paths.items() if path}
    return replace(recipe, **shown)


def command_line(recipe: Recipe, start: str | None = None, builtin: Mapping[str, Any] | None = None) -> str:
    """The command that asks for this recipe, without options that have their defaults.

    Args:
        start: the first words of a command that knows its model, as `hf-prune demo`; None: `hf-prune MODEL`.
        builtin: the options of the built-in recipe that this one is based on, if the command is to name it.
    """
    known = {"model", "gguf_file", "based_on"} if start else {"model", "based_on"}
    named = ["--recipe", f"{recipe.based_on}"] if builtin else []
    names = [name for name in OPTIONS if name not in known]
    words = named + option_words(non_default_fields(recipe, names, builtin or {}))
    return " ".join([start or shlex.join(["hf-prune", recipe.model]), shlex.join(words)]).strip()


def fields_of_command(command: str) -> tuple[str, ...]:
    """The fields of the recipe, besides the model, that `analyze` or `eval` takes."""
    return tuple(name for name, option in OPTIONS.items() if command in option.commands)


def analysis_command_line(recipe: Recipe, permutations: int) -> str:
    """The command that makes an analysis, without options that have their defaults or concern cutting."""
    sampled = ["--shapley", f"{permutations}"] if permutations else []
    words = option_words(non_default_fields(recipe, fields_of_command("analyze"), {}))
    return shlex.join(["hf-prune", "analyze", recipe.model, *words, *sampled])


def evaluation_command_line(recipe: Recipe, baseline: str | None) -> str:
    """The command that makes an evaluation, without options that have their defaults or concern cutting."""
    compared = ["--baseline", baseline] if baseline else []
    words = option_words(non_default_fields(recipe, fields_of_command("eval"), {}))
    return shlex.join(["hf-prune", "eval", recipe.model, *compared, *words])


def non_default_fields(
    recipe: Recipe, names: Iterable[str], other_defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """The fields of a recipe that a command has to state, by name.

    `Recipe(model="m", seed=3, samples=64)` gives {"seed": 3}: 64 samples are the default. With the other
    defaults {"seed": 3, "samples": 8} it gives {"samples": 64}. No option can state None, nor that a flag is
    off, so such fields are left out.

    Args:
        other_defaults: what holds without being stated, by field, in place of the recipe's own defaults.
    """
    stated = {}
    for name in names:
        value = getattr(recipe, name)
        can_be_stated = value is not None and (value is not False or name in SWITCHES)
        if can_be_stated and value != other_defaults.get(name, getattr(DEFAULTS, name)):
            stated[name] = value
    return stated


def merged_options(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Options by field, where those in `upper` win.

    What `upper` removes of {"ratio": 0.25, "max_loss": 0.3, "heal": "partial", "train_head": True}:
        {"drop_layers": 3} replaces the ratio, and the loss still limits the new size.
        {"max_loss": 0.1} replaces both, for now the loss decides the size.
        {"heal": "none"} removes `train_head` too, which only goes with the old `heal`.
    """
    changed = {name for name, value in upper.items() if value != lower.get(name)}
    removed = {name for name, option in OPTIONS.items() if option.needs in changed}
    if any(target in upper for target in TARGETS):
        removed.update(SIZES if any(size in lower for size in SIZES) else TARGETS)
    return {name: value for name, value in lower.items() if name not in removed} | dict(upper)


def option_words(options: Mapping[str, Any]) -> list[str]:
    """The words of the command line for some options, by field."""
    words = []
    for name, value in options.items():
        if name in SWITCHES:
            words.append(SWITCHES[name][0 if value else 1])
        else:
            words += [option_name(name)] if value is True else [option_name(name), f"{value}"]
    return words
