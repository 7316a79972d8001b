"""Every criterion of `--method`: what it is, what it needs to be measured, and the layers it would remove."""

import math
import random
from collections.abc import Callable, Collection, Sequence

from hf_prune.errors import RecipeError
from hf_prune.recipe.criteria import CRITERIA
from hf_prune.records import Matrix, Similarity
from hf_prune.records.blocks import all_but, block_starts, nearest_blocks

TAYLOR_PLUS_FIRST, TAYLOR_PLUS_LAST = 4, 2  # Shortened LLaMA, section 3.1
Possible = Callable[[tuple[int, ...]], bool]  # whether a model can lose some layers
NEVER_PROPOSED = (  # in a tournament
    "random",  # says nothing about the model
    "streamline",  # counts on training, which no trial has
)
CORNERSTONE = math.log(2)  # nats per token: without such a layer the perplexity more than doubles


def always(_: tuple[int, ...]) -> bool:
    """Every cut is possible where all layers are alike."""
    return True


def title_of(method: str, similarity: Similarity) -> str:
    """What a criterion goes by, with the token that was compared: an encoder's first."""
    return CRITERIA[method].title.replace("last token", f"{similarity.compared_token} token")


def allowed_layers(method: str, num_layers: int, protected: Collection[int]) -> tuple[int, ...]:
    """The layers that a method may remove: what neither the user nor its paper protects."""
    kept = set(protected)
    if method == "taylor+":
        kept |= {*range(TAYLOR_PLUS_FIRST), *range(num_layers - TAYLOR_PLUS_LAST, num_layers)}
    if method == "greedy":  # SLEB, section 3.2: the first and the last block stay
        kept |= {0, num_layers - 1}
    if method == "deepest":
        kept |= {num_layers - 1}
    if method == "streamline":  # something has to come before the block
        kept |= {0}
    return all_but(kept, num_layers)


def propose(
    method: str,
    similarity: Similarity,
    count: int,
    *,
    protected: Collection[int] = (),
    contiguous: bool | None = None,
    seed: int = 0,
    possible: Possible = always,
) -> tuple[int, ...]:
    """The layers that a criterion removes.

    Args:
        method: a name in `CRITERIA`.
        similarity: with the scores that the criterion needs.
        count: how many layers to remove.
        protected: layers that stay.
        contiguous: one block, or the best layers wherever they are; None: as the paper has it.
        seed: of `random`.
        possible: whether the model can lose some layers.

    Raises:
        RecipeError: that many unprotected layers, or such a block, do not exist, or the model cannot lose
            what the criterion would take.
    """
    criterion, num_layers = CRITERIA[method], similarity.num_layers
    allowed = allowed_layers(method, num_layers, protected)
    if count > len(allowed):
        raise RecipeError(
            f"{count} layers are to go, but --method {method} may take only {len(allowed)} of "
            f"{num_layers}: the others are protected"
        )
    one_block = criterion.contiguous if contiguous is None else contiguous
    if one_block:
        candidates = _blocks(method, similarity, count, allowed, seed)
    else:
        candidates = [_scattered(method, similarity, count, allowed, seed)]
    found = next((candidate for candidate in candidates if possible(candidate)), None)
    if found is None:
        what = "any such block" if one_block else "the layers that it takes"
        raise RecipeError(
            f"--method {method} finds no {count} layers to take: this family's pattern of layers does not "
            f"allow it to lose {what}; try another number of layers, or --layers"
        )
    return found


def _blocks(
    method: str, similarity: Similarity, size: int, allowed: Sequence[int], seed: int
) -> list[tuple[int, ...]]:
    """The blocks that a criterion may take, the one that it likes best first."""
    starts = block_starts(size, allowed, similarity.num_layers)
    if method == "greedy":
        raise RecipeError("--method greedy removes layers one at a time, not one block: leave --contiguous")
    if not starts:
        raise RecipeError(f"no {size} neighbouring layers are free of protection")
    if method in ("reverse", "deepest"):
        starts = starts[::-1]
    elif method == "random":
        starts = random.Random(seed).sample(starts, len(starts))
    else:
        starts = ranked_blocks(method, similarity, size, allowed)
    return [tuple(range(start, start + size)) for start in starts]


def _scattered(
    method: str, similarity: Similarity, count: int, allowed: Sequence[int], seed: int
) -> tuple[int, ...]:
    """The layers that a criterion takes wherever they are."""
    if method in ("reverse", "deepest"):
        return tuple(allowed[len(allowed) - count :])
    if method == "random":
        return tuple(sorted(random.Random(seed).sample(allowed, count)))
    if method == "greedy":
        order = similarity.removal_order
        if order is None or len(order.layers) < count:
            raise ValueError("the greedy order was not measured far enough")
        return tuple(sorted(order.layers[:count]))
    scores = layer_scores(method, similarity)
    return tuple(sorted(sorted(allowed, key=lambda layer: (scores[layer], layer))[:count]))


def ranked_blocks(method: str, similarity: Similarity, size: int, allowed: Collection[int]) -> list[int]:
    """Where the blocks of `size` allowed layers start, the one that a criterion likes best first.

    LLM-Streamline (2403.19135) takes the block of `size` + 1 layers whose ends are nearest, and puts one
    layer in its place that begins as the first of them: the layer before the block that goes.
    """
    if method == "streamline":
        distances = BLOCK_DISTANCES[method](similarity)
        starts = block_starts(size, allowed, similarity.num_layers)
        return sorted(starts, key=lambda start: (distances[start - 1][start + size], start))
    if method in BLOCK_DISTANCES:
        return nearest_blocks(BLOCK_DISTANCES[method](similarity), size, allowed)
    scores = layer_scores(method, similarity)
    starts = block_starts(size, allowed, similarity.num_layers)
    return sorted(starts, key=lambda start: (sum(scores[start : start + size]), start))


def layer_scores(method: str, similarity: Similarity) -> tuple[float, ...]:
    """What a criterion says of single layers; the lowest goes first."""
    if method in BLOCK_DISTANCES:
        distances = BLOCK_DISTANCES[method](similarity)
        return tuple(distances[layer][layer + 1] for layer in range(similarity.num_layers))
    scores = similarity.scores(CRITERIA[method].name.removesuffix("+"))
    if scores is None:
        raise ValueError(f"{method} was not measured")
    return scores


def probe_passes(needs: str, num_layers: int, count: int, width: int | None = None) -> float:
    """What it costs to measure what a criterion needs, in forward passes over the probe.

    A pass with gradients counts as three. Cuts that are tried together share the layers before the first
    that they lack: each adds half a pass, on average, to that of the whole model.

    Args:
        needs: "similarity", "taylor", "loss" or "greedy".
        num_layers: of the model.
        count: how many layers a greedy search removes.
        width: how many candidates each of its steps tries; None: all.
    """
    every_layer = 1 + num_layers / 2
    each_step = 1 + (width or num_layers) / 2
    passes = {
        "similarity": 0.0,
        "taylor": 3.0,
        "loss": every_layer,
        "greedy": every_layer + count * each_step,  # it tries the layers in the order of their loss
    }
    return passes[needs]


def cornerstones(similarity: Similarity) -> tuple[int, ...]:
    """The layers each of which the model cannot do without, even where every other stays.

    Zhang et al., "Investigating Layer Importance in Large Language Models" (2409.14381), call those layers
    cornerstones whose removal drops the model to chance. The threshold, a doubled perplexity, is ours.

    Args:
        similarity: with the scores of "loss".

    Raises:
        ValueError: the loss without each layer was not measured.
    """
    return tuple(layer for layer, rise in enumerate(layer_scores("loss", similarity)) if rise > CORNERSTONE)


def _cosine_distances(similarity: Similarity) -> Matrix:
    """Of a cosine the largest is the best; as a distance it is 1 - cosine."""
    return tuple(tuple(1 - value for value in row) for row in similarity.cosine_all_tokens)


BLOCK_DISTANCES: dict[str, Callable[[Similarity], Matrix]] = {
    "angular": lambda similarity: similarity.angular_last_token,
    "angular-all": lambda similarity: similarity.angular_all_tokens,
    "cosine": _cosine_distances,
    "streamline": _cosine_distances,
}
