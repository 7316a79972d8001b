"""Which layers to remove. Pure: from the similarity and the recipe to a plan, no files, no tensors."""

import math

from hf_prune.errors import RecipeError
from hf_prune.recipe import DEFAULT_RATIO, Recipe, parse_layers
from hf_prune.records import Block, BlockDistance, Matrix, Plan, Similarity

ANGULAR = "angular distance at the last token"
CHOSEN_BY_USER = "named by the user"


def layers_to_remove(recipe: Recipe, num_layers: int) -> tuple[int, ...] | int:
    """The layers that the user named, or how many are to go.

    Raises:
        RecipeError: nothing, or no layer, would be left; or a layer does not exist.
    """
    if recipe.layers is not None:
        named = parse_layers(recipe.layers)
        if named[-1] >= num_layers:
            raise RecipeError(
                f"--layers {recipe.layers}: the model has {num_layers} layers, 0 to {num_layers - 1}"
            )
        _check_count(f"--layers {recipe.layers}", len(named), num_layers)
        return named
    if recipe.drop_layers is not None:
        _check_count(f"--drop-layers {recipe.drop_layers}", recipe.drop_layers, num_layers)
        return recipe.drop_layers
    ratio = DEFAULT_RATIO if recipe.ratio is None else recipe.ratio
    count = math.floor(ratio * num_layers + 0.5)
    _check_count(f"--ratio {ratio:g}", count, num_layers)
    return count


def _check_count(option: str, count: int, num_layers: int) -> None:
    if count >= num_layers:
        raise RecipeError(
            f"{option} would remove {count} of {num_layers} layers; at least one has to stay: remove "
            f"{num_layers - 1} or fewer"
        )
    if count == 0:
        raise RecipeError(
            f"{option} removes none of {num_layers} layers; the smallest ratio that removes one is "
            f"{math.ceil(50 / num_layers) / 100:g}"
        )


def best_blocks(distances: Matrix) -> tuple[BlockDistance, ...]:
    """For each block size, the block whose boundaries are nearest (Gromov et al., section 3.2).

    Args:
        distances: angular distances between boundaries, (layers + 1, layers + 1).
    """
    num_layers = len(distances) - 1
    found = []
    for size in range(1, num_layers):
        start = min(range(num_layers - size + 1), key=lambda first: distances[first][first + size])
        block = Block(start=start, end=start + size)
        found.append(BlockDistance(size=size, block=block, distance=distances[start][start + size]))
    return tuple(found)


def choose(similarity: Similarity, recipe: Recipe) -> Plan:
    """The plan that the recipe asks for.

    Raises:
        RecipeError: it cannot be met with this many layers.
    """
    num_layers = similarity.num_layers
    wanted = layers_to_remove(recipe, num_layers)
    best = best_blocks(similarity.angular_last_token)
    if isinstance(wanted, int):
        chosen = best[wanted - 1]
        removed = tuple(range(chosen.block.start, chosen.block.end))
        criterion = ANGULAR
    else:
        removed, criterion = wanted, CHOSEN_BY_USER
    blocks = blocks_of(removed)
    only = blocks[0] if len(blocks) == 1 else None
    distance = similarity.angular_last_token[only.start][only.end] if only else None
    return Plan(
        num_layers=num_layers,
        removed=removed,
        kept=tuple(layer for layer in range(num_layers) if layer not in removed),
        blocks=blocks,
        criterion=criterion,
        distance=distance,
        best_blocks=best,
    )


def blocks_of(layers: tuple[int, ...]) -> tuple[Block, ...]:
    """Runs of neighbouring layers, in order."""
    blocks: list[Block] = []
    for layer in sorted(layers):
        if blocks and blocks[-1].end == layer:
            blocks[-1] = Block(start=blocks[-1].start, end=layer + 1)
        else:
            blocks.append(Block(start=layer, end=layer + 1))
    return tuple(blocks)
