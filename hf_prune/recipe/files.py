"""Recipe files: the options of a paper, or of the user, as a short YAML text.

    title: "The Unreasonable Ineffectiveness of the Deeper Layers"
    paper: "2403.17887"
    citation: |
      @inproceedings{...}
    options:
      method: angular
      heal-tokens: 164M

Only `options` is needed. They have the names of the command line, and mean what they mean there. The recipes
of papers come with the package, in `recipes/NAME.yaml`.
"""

import types
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml

from hf_prune.errors import RecipeError, first_line
from hf_prune.recipe.faults import check_recipe
from hf_prune.recipe.parse import parse_quantity
from hf_prune.recipe.recipe import QUANTITIES, Recipe
from hf_prune.recipe.words import option_name, option_words, overridden, unlike
from hf_prune.records import Citation

NOT_A_RECIPES = (  # which model, and where
    "model",
    "revision",
    "gguf_file",
    "allow_pickle",
    "trust_remote_code",
    "device",
    "based_on",
)
FIELDS = {option_name(f.name)[2:]: f.name for f in fields(Recipe) if f.name not in NOT_A_RECIPES}
KINDS = {  # by field, what it is where it is not None
    name: next(kind for kind in get_args(hint) or (hint,) if kind is not types.NoneType)
    for name, hint in get_type_hints(Recipe).items()
}
KIND_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
ABOUT = ("based-on", "title", "paper", "citation")
ARXIV = "https://arxiv.org/abs/"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeFile:
    """What a recipe file says."""

    name: str  # of a built-in recipe, or of the file
    options: Mapping[str, Any]  # by field of the recipe
    title: str | None = None
    paper: str | None = None  # its arXiv number
    citation: str | None = None  # BibTeX

    @property
    def cited(self) -> Citation | None:
        """What a card has to cite; None where the file names no work."""
        if self.title is None and self.paper is None and self.citation is None:
            return None
        return Citation(title=self.title, paper=self.paper, bibtex=self.citation)


@cache
def built_in_names() -> tuple[str, ...]:
    """The recipes that come with the package."""
    names = (entry.name for entry in resources.files("hf_prune.recipe").joinpath("papers").iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


def built_in_text(name: str) -> str:
    """The file of a built-in recipe.

    Raises:
        RecipeError: there is none of this name.
    """
    if name not in built_in_names():
        raise RecipeError(f"there is no recipe {name!r}: {', '.join(built_in_names())}")
    return resources.files("hf_prune.recipe").joinpath(f"papers/{name}.yaml").read_text(encoding="utf-8")


def read_recipe_file(name: str) -> RecipeFile:
    """A recipe by its built-in name, or else by the path of its file.

    Raises:
        RecipeError: there is no such recipe or file, or it is not one.
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
    """What a recipe file says.

    Args:
        text: of the file.
        name: of the recipe, unless the file itself says which it is based on.

    Raises:
        RecipeError: it is not YAML, or says what no recipe can, or what cannot be met.
    """
    content = _loaded(text, name)
    if not isinstance(content, dict) or not isinstance(content.get("options"), dict):
        raise RecipeError(f'{name} is no recipe: it needs "options:" and below that lines like "ratio: 0.25"')
    if unknown := [key for key in content if key not in (*ABOUT, "options")]:
        raise RecipeError(f"{name}: {_shown(unknown[0])} is none of {', '.join((*ABOUT, 'options'))}")
    about = [_word(content.get(key), key, name) for key in ABOUT]
    based_on, title, paper, citation = about
    options = dict(_option(key, value, name) for key, value in content["options"].items())
    try:
        check_recipe(Recipe(model="", **options))
    except RecipeError as error:
        raise RecipeError(f"{name}: {error}") from error
    return RecipeFile(name=based_on or name, options=options, title=title, paper=paper, citation=citation)


def _loaded(text: str, name: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        line = f", line {mark.line + 1}," if mark else ""
        raise RecipeError(f"{name}{line} is not YAML: {problem or first_line(error)}") from error


def _word(value: Any, key: str, name: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise RecipeError(f"{name}: {key} {_shown(value)} is not text: put it in quotes")
    return value


def _option(key: Any, value: Any, name: str) -> tuple[str, Any]:
    """The field of the recipe that an option of a file sets, and to what."""
    if key not in FIELDS:
        raise RecipeError(f"{name}: {_shown(key)} is no option of a recipe; there are {', '.join(FIELDS)}")
    field = FIELDS[key]
    try:
        return field, _converted(field, value)
    except ValueError:
        wanted = "a quantity like 164M" if field in QUANTITIES else KIND_WORDS[KINDS[field]]
        raise RecipeError(f"{name}: {key} {_shown(value)} is not {wanted}") from None


def _converted(field: str, value: Any) -> Any:
    """The value that the same words have on the command line: YAML reads 3e-4 as text, and 21 as a number.

    Raises:
        ValueError: it cannot have such a value.
    """
    kind = KINDS[field]
    if isinstance(value, bool) or kind is bool:
        if kind is not bool or not isinstance(value, bool):
            raise ValueError
        return value
    if not isinstance(value, str | int | float):
        raise ValueError
    return parse_quantity(f"{value}") if field in QUANTITIES else kind(f"{value}")


def _shown(value: Any) -> str:
    """A value in a line; of what has parts, what it is alone."""
    return (
        repr(value) if isinstance(value, str | int | float) or value is None else f"({type(value).__name__})"
    )


def built_in_options(recipe: Recipe) -> Mapping[str, Any]:
    """The options of the built-in recipe that a recipe is based on, by field.

    None where there is no such, or where a command that names it could not say all that differs.
    """
    if recipe.based_on not in built_in_names():
        return {}
    given = read_recipe_file(recipe.based_on).options
    kept = {name: getattr(recipe, name) for name in NOT_A_RECIPES}
    said = unlike(recipe, FIELDS.values(), given)
    return given if Recipe(**kept, **overridden(given, said)) == recipe else {}


def recipe_text(recipe: Recipe, cited: Citation | None, comment: str) -> str:
    """A recipe file that asks for a recipe again, whatever the model, defaults left out.

    Args:
        recipe: what was asked for.
        cited: the work that it follows.
        comment: for its first line.
    """
    content: dict[str, Any] = {"based-on": recipe.based_on} if recipe.based_on else {}
    if cited:
        about = {"title": cited.title, "paper": cited.paper, "citation": cited.bibtex}
        content |= {key: value for key, value in about.items() if value is not None}
    said = unlike(recipe, FIELDS.values(), {})
    content["options"] = {option_name(field)[2:]: value for field, value in said.items()}
    dumped = yaml.dump(content, Dumper=_Readable, sort_keys=False, allow_unicode=True, width=110)
    return f"# {' '.join(comment.splitlines())}\n{dumped}"


class _Readable(yaml.SafeDumper):
    """Writes text of several lines as it is read."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        """Lines stay lines."""
        return self.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Readable.add_representer(str, _Readable.represent_text)


def listing() -> str:
    """Every built-in recipe: its name and title, its paper, its options."""
    found = [read_recipe_file(name) for name in built_in_names()]
    return "\n".join(
        f"{one.name}: {one.title} ({ARXIV}{one.paper})\n    {' '.join(option_words(one.options))}"
        for one in found
    )
