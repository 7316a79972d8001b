"""Recipe files: the options of a paper, or of the user, as a short YAML text.

    title: "The Unreasonable Ineffectiveness of the Deeper Layers"
    paper: "2403.17887"
    citation: |
      @inproceedings{...}
    options:
      method: angular
      heal-tokens: 164M

Only `options` is required. They have the names and meanings of the command line. The recipes of papers come
with the package, in `papers/NAME.yaml`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from hf_prune.errors import RecipeError, first_line
from hf_prune.recipe.faults import check_recipe
from hf_prune.recipe.parse import parse_quantity
from hf_prune.recipe.recipe import KINDS, OPTIONS, Recipe, option_name
from hf_prune.recipe.words import merged_options, non_default_fields, option_words
from hf_prune.records import Citation

FIELDS = {option_name(name)[2:]: name for name, option in OPTIONS.items() if option.in_files}
KIND_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
ABOUT = ("based-on", "title", "paper", "citation")
ARXIV = "https://arxiv.org/abs/"
PAPERS = resources.files("hf_prune.recipe").joinpath("papers")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeFile:
    """The content of a recipe file."""

    name: str  # of a built-in recipe, or of the file
    options: Mapping[str, Any]  # by field of the recipe
    cited: Citation | None = None  # what a card cites


@cache
def built_in_names() -> tuple[str, ...]:
    """The recipes that come with the package."""
    names = (entry.name for entry in PAPERS.iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


def built_in_text(name: str) -> str:
    """The file of a built-in recipe.

    Raises:
        RecipeError: there is none of this name.
    """
    if name not in built_in_names():
        raise RecipeError(f"there is no recipe {name!r}: {', '.join(built_in_names())}")
    return PAPERS.joinpath(f"{name}.yaml").read_text(encoding="utf-8")


def read_recipe_file(name: str) -> RecipeFile:
    """A recipe by its built-in name, or else by the path of its file.

    Raises:
        RecipeError: there is no such recipe or file, or the file is no recipe.
    """
    if name in built_in_names():
        return parse_recipe_file(built_in_text(name), name)
    path = Path(name)
    if not path.is_file():
        known = ", ".join(built_in_names())
        raise RecipeError(f"--recipe {name}: there is no such file, and no recipe of that name: {known}")
    try:
        return parse_recipe_file(path.read_text(encoding="utf-8"), path.name)
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path.name} is not UTF-8 text: {error}") from error


def parse_recipe_file(text: str, name: str) -> RecipeFile:
    """The content of a recipe file.

    Args:
        name: the recipe's, unless the file itself says which recipe it is based on.

    Raises:
        RecipeError: it is not YAML, or has unknown keys or options, or options that cannot be met.
    """
    content = _load_yaml(text, name)
    if not isinstance(content, dict) or not isinstance(content.get("options"), dict):
        raise RecipeError(f'{name} is no recipe: it needs "options:" and below that lines like "ratio: 0.25"')
    if unknown := [key for key in content if key not in (*ABOUT, "options")]:
        raise RecipeError(f"{name}: {_shown(unknown[0])} is not one of {', '.join((*ABOUT, 'options'))}")
    based_on, *about = (_check_text(content.get(key), key, name) for key in ABOUT)
    options = dict(_parse_option(key, value, name) for key, value in content["options"].items())
    try:
        check_recipe(Recipe(model="", **options))
    except RecipeError as error:
        raise RecipeError(f"{name}: {error}") from error
    title, paper, bibtex = about
    cited = (
        Citation(title=title, paper=paper, bibtex=bibtex) if any(each is not None for each in about) else None
    )
    return RecipeFile(name=based_on or name, options=options, cited=cited)


def _load_yaml(text: str, name: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        line = f", line {mark.line + 1}," if mark else ""
        raise RecipeError(f"{name}{line} is not YAML: {problem or first_line(error)}") from error


def _check_text(value: Any, key: str, name: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise RecipeError(f"{name}: {key} {_shown(value)} is not text: put it in quotes")
    return value


def _parse_option(key: Any, value: Any, name: str) -> tuple[str, Any]:
    """The field of the recipe that an option of a file sets, and its value."""
    if key not in FIELDS:
        raise RecipeError(f"{name}: {_shown(key)} is no option of a recipe; there are {', '.join(FIELDS)}")
    field = FIELDS[key]
    try:
        return field, _converted(field, value)
    except ValueError:
        kind = "a quantity like 164M" if OPTIONS[field].quantity else KIND_WORDS[KINDS[field]]
        raise RecipeError(f"{name}: {key} {_shown(value)} is not {kind}") from None


def _converted(field: str, value: Any) -> Any:
    """The value that the same words have on the command line: YAML reads 3e-4 as text, and 21 as a number.

    Raises:
        ValueError: the field cannot have such a value.
    """
    kind = KINDS[field]
    if isinstance(value, bool) or kind is bool:
        if kind is not bool or not isinstance(value, bool):
            raise ValueError
        return value
    if not isinstance(value, str | int | float):
        raise ValueError
    return parse_quantity(f"{value}") if OPTIONS[field].quantity else kind(f"{value}")


def _shown(value: Any) -> str:
    """A value on one line; only the type of a list or mapping."""
    simple = value is None or isinstance(value, str | int | float)
    return repr(value) if simple else f"({type(value).__name__})"


def options_of_builtin(recipe: Recipe) -> Mapping[str, Any]:
    """The options of the built-in recipe that a recipe is based on, by field.

    {} if there is none, or if `hf-prune MODEL --recipe NAME` with other options cannot ask for this recipe.
    Recipe(model="m", based_on="gromov", method="bi") is such a one: "gromov" sets `rank`, and no option
    can set it back to None.
    """
    if recipe.based_on not in built_in_names():
        return {}
    builtin = read_recipe_file(recipe.based_on).options
    outside = {name: getattr(recipe, name) for name, option in OPTIONS.items() if not option.in_files}
    stated = non_default_fields(recipe, FIELDS.values(), builtin)
    return builtin if Recipe(**outside, **merged_options(builtin, stated)) == recipe else {}


def recipe_text(recipe: Recipe, cited: Citation | None, comment: str) -> str:
    """A recipe file that asks for a recipe again, for any model, without defaults."""
    content: dict[str, Any] = {"based-on": recipe.based_on} if recipe.based_on else {}
    if cited:
        about = {"title": cited.title, "paper": cited.paper, "citation": cited.bibtex}
        content |= {key: value for key, value in about.items() if value is not None}
    stated = non_default_fields(recipe, FIELDS.values(), {})
    content["options"] = {option_name(field)[2:]: value for field, value in stated.items()}
    dumped = yaml.dump(content, Dumper=_Readable, sort_keys=False, allow_unicode=True, width=110)
    return f"# {' '.join(comment.splitlines())}\n{dumped}"


class _Readable(yaml.SafeDumper):
    """Writes text of several lines as it is read."""


_Readable.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    ),
)


def listing() -> str:
    """Every built-in recipe: its name and title, its paper, its options."""
    lines = []
    for file in map(read_recipe_file, built_in_names()):
        assert file.cited is not None
        lines.append(f"{file.name}: {file.cited.title} ({ARXIV}{file.cited.paper})")
        lines.append(f"    {' '.join(option_words(file.options))}")
    return "\n".join(lines)
