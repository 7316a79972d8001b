"""The removal that a recipe asks for: named layers, a number of layers, or a loss to stay within."""

import math
from collections.abc import Sequence

from hf_prune.errors import RecipeError
from hf_prune.recipe.faults import keeps_all
from hf_prune.recipe.parse import parse_layers, parse_protected
from hf_prune.recipe.recipe import DEFAULT_RATIO, Recipe
from hf_prune.records import Anatomy, LayerCount, NamedLayers, Removal, WithinLoss
from hf_prune.stages.choose.criteria import allowed_layers


def layers_to_remove(recipe: Recipe, original: Anatomy) -> Removal:
    """What a recipe asks to remove from the original.

    Raises:
        RecipeError: nothing would be removed, or every layer; or a layer does not exist; or the target
            cannot be reached.
    """
    if keeps_all(recipe):
        return NamedLayers(())
    num_layers = original.num_layers
    protected = parse_protected(recipe.protect, num_layers)
    if recipe.layers is not None:
        return NamedLayers(_named(recipe.layers, num_layers, protected))
    if recipe.is_sized_by_loss:
        assert recipe.max_loss is not None
        return WithinLoss(recipe.max_loss)
    option, count = _counted(recipe, original)
    _check_count(option, count, num_layers)
    allowed = len(allowed_layers(recipe.method, num_layers, protected))
    if count > allowed:
        raise RecipeError(
            f"{option} removes {count} of {num_layers} layers, but only {allowed} may be removed: "
            f"--method {recipe.method} or --protect keeps the others"
        )
    return LayerCount(count)


def _named(text: str, num_layers: int, protected: frozenset[int]) -> tuple[int, ...]:
    named = parse_layers(text)
    if named[-1] >= num_layers:
        raise RecipeError(f"--layers {text}: the model has {num_layers} layers, 0 to {num_layers - 1}")
    if both := sorted(protected.intersection(named)):
        raise RecipeError(f"--layers {text} names layer {both[0]}, which --protect keeps")
    _check_count(f"--layers {text}", len(named), num_layers)
    return named


def _counted(recipe: Recipe, original: Anatomy) -> tuple[str, int]:
    """The option that decides the number of layers, and that number."""
    if (target := recipe.target_params) is not None:
        option, sizes = f"--target-params {target}", sorted(original.parameters_per_layer)
        remaining = [original.parameters - sum(sizes[:count]) for count in range(original.num_layers + 1)]
        return option, _fewest(option, target, remaining, "parameters")
    if (target := recipe.target_memory) is not None:
        option, length = f"--target-memory {target}", recipe.context_length
        remaining = [memory_needed(original, count, length) for count in range(original.num_layers + 1)]
        return option, _fewest(option, target, remaining, "bytes")
    if recipe.drop_layers is not None:
        return f"--drop-layers {recipe.drop_layers}", recipe.drop_layers
    ratio = DEFAULT_RATIO if recipe.ratio is None else recipe.ratio
    return f"--ratio {ratio:g}", math.floor(ratio * original.num_layers + 0.5)


def _fewest(option: str, target: int, remaining: Sequence[int], unit: str) -> int:
    """The fewest layers to remove, whichever they are, if `remaining[n]` is the size without n layers."""
    for count, size in enumerate(remaining[:-1]):
        if size <= target:
            return count
    raise RecipeError(
        f"{option}: without any of its layers the model still comes to {remaining[-1]} {unit}, and one layer "
        f"has to stay: choose a larger target"
    )


def memory_needed(original: Anatomy, count: int, context_length: int) -> int:
    """Bytes of the weights and of one sequence's KV cache, without the `count` smallest layers."""
    removed = sum(sorted(original.parameters_per_layer)[:count])
    weights = original.size_bytes * (original.parameters - removed) // original.parameters
    cache = (original.key_value_bytes_per_token or 0) * context_length
    return weights + cache * (original.num_layers - count) // original.num_layers


def _check_count(option: str, count: int, num_layers: int) -> None:
    if count >= num_layers:
        raise RecipeError(
            f"{option} would remove {count} of {num_layers} layers, but at least one has to stay: remove "
            f"{num_layers - 1} or fewer"
        )
    if count == 0 and option.startswith("--target"):
        raise RecipeError(f"{option} is met by the original as it is: nothing has to be removed")
    if count == 0:
        raise RecipeError(
            f"{option} removes none of {num_layers} layers. The smallest ratio that removes one is "
            f"{math.ceil(50 / num_layers) / 100:g}"
        )
