"""How many layers have to go to reach what the user asks for."""

import math
from collections.abc import Callable

from hf_prune.errors import RecipeError
from hf_prune.recipe.faults import keeps_all
from hf_prune.recipe.parse import parse_layers, parse_protected
from hf_prune.recipe.recipe import DEFAULT_RATIO, Recipe
from hf_prune.records import Anatomy
from hf_prune.stages.choose.criteria import allowed_layers


def layers_to_remove(recipe: Recipe, dense: Anatomy) -> tuple[int, ...] | int | None:
    """The layers that the user named (none: the model stays whole), or how many; None: a loss decides.

    Raises:
        RecipeError: nothing, or no layer, would be left; or a layer does not exist; or the target cannot
            be reached.
    """
    if keeps_all(recipe):
        return ()
    num_layers = dense.num_layers
    protected = parse_protected(recipe.protect, num_layers)
    if recipe.layers is not None:
        return _named(recipe.layers, num_layers, protected)
    if recipe.is_sized_by_loss:
        return None
    if recipe.target_params is not None:
        option, count = f"--target-params {recipe.target_params}", _to_parameters(recipe.target_params, dense)
    elif recipe.target_memory is not None:
        option, count = f"--target-memory {recipe.target_memory}", _to_memory(recipe, dense)
    elif recipe.drop_layers is not None:
        option, count = f"--drop-layers {recipe.drop_layers}", recipe.drop_layers
    else:
        ratio = DEFAULT_RATIO if recipe.ratio is None else recipe.ratio
        option, count = f"--ratio {ratio:g}", math.floor(ratio * num_layers + 0.5)
    _check_count(option, count, num_layers)
    free = len(allowed_layers(recipe.method, num_layers, protected))
    if count > free:
        raise RecipeError(
            f"{option} removes {count} of {num_layers} layers, but only {free} may go: "
            f"--method {recipe.method} or --protect keeps the others"
        )
    return count


def _named(text: str, num_layers: int, protected: frozenset[int]) -> tuple[int, ...]:
    named = parse_layers(text)
    if named[-1] >= num_layers:
        raise RecipeError(f"--layers {text}: the model has {num_layers} layers, 0 to {num_layers - 1}")
    if both := sorted(protected.intersection(named)):
        raise RecipeError(f"--layers {text} names layer {both[0]}, which --protect keeps")
    _check_count(f"--layers {text}", len(named), num_layers)
    return named


def _to_parameters(target: int, dense: Anatomy) -> int:
    return _fewest(
        dense,
        lambda removed: dense.parameters - sum(sorted(dense.parameters_per_layer)[:removed]) <= target,
        f"--target-params {target}: without any of its layers the model still has "
        f"{dense.parameters - sum(dense.parameters_per_layer)} parameters",
    )


def _to_memory(recipe: Recipe, dense: Anatomy) -> int:
    target, length = recipe.target_memory, recipe.context_length
    assert target is not None
    return _fewest(
        dense,
        lambda removed: memory_needed(dense, removed, length) <= target,
        f"--target-memory {target}: without any of its layers the model still needs "
        f"{memory_needed(dense, dense.num_layers, length)} bytes",
    )


def memory_needed(dense: Anatomy, removed: int, context_length: int) -> int:
    """Bytes that weights and the KV cache of one sequence take, the smallest `removed` layers gone."""
    gone = sum(sorted(dense.parameters_per_layer)[:removed])
    weights = dense.size_bytes * (dense.parameters - gone) // dense.parameters
    cache = (dense.key_value_bytes_per_token or 0) * context_length
    return weights + cache * (dense.num_layers - removed) // dense.num_layers


def _fewest(dense: Anatomy, reached: Callable[[int], bool], unreachable: str) -> int:
    """The fewest layers whose removal is enough, whichever layers they are."""
    if reached(0):
        return 0
    for count in range(1, dense.num_layers):
        if reached(count):
            return count
    raise RecipeError(unreachable + "; one layer has to stay: choose a larger target")


def _check_count(option: str, count: int, num_layers: int) -> None:
    if count >= num_layers:
        raise RecipeError(
            f"{option} would remove {count} of {num_layers} layers; at least one has to stay: remove "
            f"{num_layers - 1} or fewer"
        )
    if count == 0 and option.startswith("--target"):
        raise RecipeError(f"{option} is met by the original as it is: nothing has to be removed")
    if count == 0:
        raise RecipeError(
            f"{option} removes none of {num_layers} layers; the smallest ratio that removes one is "
            f"{math.ceil(50 / num_layers) / 100:g}"
        )
