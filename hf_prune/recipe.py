"""What the user asks for: one frozen record, checked as a whole before anything is touched."""

import re
import shlex
from dataclasses import dataclass, fields

from hf_prune.errors import RecipeError

BRIDGES = ("auto", "refit", "none")
DEFAULT_RATIO = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides what a run computes.

    At most one of `ratio`, `drop_layers` and `layers` is set; with none, a quarter of the layers goes.
    """

    model: str  # Hub id or local folder
    revision: str | None = None
    gguf_file: str | None = None
    ratio: float | None = None
    drop_layers: int | None = None
    layers: str | None = None  # "21-28,30": 0-based, inclusive
    calibration: str | None = None  # a local text; None: the built-in one
    samples: int = 64
    sequence_length: int = 512
    seed: int = 0
    bridge: str = "auto"
    eval_data: str | None = None  # a local text; None: the built-in one
    eval_samples: int = 32
    device: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """Where a result is to go on the Hub."""

    repo_id: str | None = None  # None: USER/NAME
    private: bool = True
    overwrite: bool = False  # a repository that hf-prune did not make


def check_recipe(recipe: Recipe) -> None:
    """Say everything that is wrong with a recipe, at once.

    Raises:
        RecipeError: with one sentence for each fault.
    """
    faults = []
    chosen = [
        option
        for option, value in (
            ("--ratio", recipe.ratio),
            ("--drop-layers", recipe.drop_layers),
            ("--layers", recipe.layers),
        )
        if value is not None
    ]
    if len(chosen) > 1:
        faults.append(f"{' and '.join(chosen)} each say what to remove: give one of them")
    if recipe.ratio is not None and not 0 < recipe.ratio < 1:
        faults.append(
            f"--ratio {recipe.ratio:g} is not between 0 and 1: 0.25 removes a quarter of the layers"
        )
    if recipe.drop_layers is not None and recipe.drop_layers < 1:
        faults.append(f"--drop-layers {recipe.drop_layers} removes nothing: give 1 or more")
    if recipe.layers is not None and not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", recipe.layers):
        faults.append(f"--layers {recipe.layers!r} is not a list like 21-28,30")
    if recipe.bridge not in BRIDGES:
        faults.append(f"--bridge {recipe.bridge!r} is none of {', '.join(BRIDGES)}")
    for option, value, least in (
        ("--samples", recipe.samples, 1),
        ("--eval-samples", recipe.eval_samples, 1),
        ("--seq-len", recipe.sequence_length, 8),
    ):
        if value < least:
            faults.append(f"{option} {value} is too small: give {least} or more")
    if faults:
        raise RecipeError("; ".join(faults))


def command_line(recipe: Recipe, beginning: str | None = None) -> str:
    """The command that asks for this recipe, defaults left out.

    Args:
        recipe: what is asked for.
        beginning: of the command, where that says which model it is; None: `hf-prune MODEL`.
    """
    said = {"model", "gguf_file"} if beginning else {"model"}
    words = []
    for field in fields(Recipe):
        value = getattr(recipe, field.name)
        if field.name not in said and value != field.default:
            words += [option_name(field.name), f"{value}"]
    return " ".join([beginning or shlex.join(["hf-prune", recipe.model]), shlex.join(words)]).strip()


def option_name(field: str) -> str:
    """The command-line option of a field of the recipe."""
    return "--" + {"sequence_length": "seq-len"}.get(field, field.replace("_", "-"))


def parse_layers(text: str) -> tuple[int, ...]:
    """The layers that "21-28,30" names, in order, each once.

    Raises:
        RecipeError: a range runs backwards.
    """
    layers: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if last and int(last) < int(first):
            raise RecipeError(f"--layers {text}: {part} runs backwards; write {last}-{first} instead")
        layers.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(layers))
