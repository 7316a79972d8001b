"""The criteria of `--method`: the layers that each would remove, and what it costs to measure its scores."""

import math
import random
from collections.abc import Callable, Collection, Sequence

from hf_prune.errors import RecipeError
from hf_prune.recipe.criteria import CRITERIA
from hf_prune.records import Matrix, Similarity
from hf_prune.records.blocks import all_but, block_starts, nearest_blocks

TAYLOR_PLUS_FIRST, TAYLOR_PLUS_LAST = 4, 2  # Shortened LLaMA, section 3.1
Possible = Callable[[tuple[int, ...]], bool]  # whether a model can lose these layers
NEVER_PROPOSED = (  # in a tournament
    "random",  # says nothing about the model
    "streamline",  # relies on training, which a trial does not include
)
CORNERSTONE = math.log(2)  # nats per token: without such a layer the perplexity more than doubles


def always_possible(_: tuple[int, ...]) -> bool:
    """Where all layers are alike, the model can lose any of them."""
    return True


def title_of(method: str, similarity: Similarity) -> str:
    """The title of a criterion, with the token that was compared: the last, or an encoder's first."""
    return CRITERIA[method].title.replace("last token", f"{similarity.compared_token} token")


def allowed_layers(method: str, num_layers: int, protected: Collection[int]) -> tuple[int, ...]:
    """The layers that neither the user nor the criterion's paper protects."""
    kept = set(protected)
    if method == "taylor+":
        kept |= {*range(TAYLOR_PLUS_FIRST), *range(num_layers - TAYLOR_PLUS_LAST, num_layers)}
    if method == "greedy":  # SLEB, section 3.2: the first and the last block stay
        kept |= {0, num_layers - 1}
    if method == "deepest":
        kept |= {num_layers - 1}
    if method == "streamline":  # a layer has to come before the block
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
    possible: Possible = always_possible,
) -> tuple[int, ...]:
    """The layers that a criterion removes.

    It removes one block if `contiguous` is true, the best layers wherever they are if it is false, and what
    its paper removes if it is None. The similarity must have the scores that the criterion needs.

    Raises:
        RecipeError: there are not so many unprotected layers, or no such block, or the model cannot lose
            the layers that the criterion would remove.
    """
    criterion, num_layers = CRITERIA[method], similarity.num_layers
    allowed = allowed_layers(method, num_layers, protected)
    if count > len(allowed):
        raise RecipeError(
            f"{count} layers are to be removed, but --method {method} may remove only {len(allowed)} of "
            f"{num_layers}: the others are protected"
        )
    one_block = criterion.contiguous if contiguous is None else contiguous
    if one_block:
        candidates = _blocks(method, similarity, count, allowed, seed)
    else:
        candidates = [_scattered(method, similarity, count, allowed, seed)]
    for candidate in candidates:
        if possible(candidate):
            return candidate
    removed = "any such block" if one_block else "the layers that it selects"
    raise RecipeError(
        f"--method {method} finds no {count} layers to remove: this family's pattern of layers does not "
        f"allow it to lose {removed}. Try another number of layers, or name them with --layers"
    )


def _blocks(
    method: str, similarity: Similarity, size: int, allowed: Sequence[int], seed: int
) -> list[tuple[int, ...]]:
    """The blocks that a criterion may remove, its first choice first."""
    if method == "greedy":
        raise RecipeError("--method greedy removes single layers, not one block: leave --contiguous out")
    starts = block_starts(size, allowed, similarity.num_layers)
    if not starts:
        raise RecipeError(f"no {size} neighbouring layers are unprotected: remove or protect fewer")
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
    """The layers that a criterion removes wherever they are."""
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
    """The starts of all blocks of `size` allowed layers, the criterion's first choice first.

    LLM-Streamline (2403.19135) selects the block of `size` + 1 layers whose ends are nearest, and replaces
    it by one layer. That layer is trained from the first of them, which therefore stays.
    """
    starts = block_starts(size, allowed, similarity.num_layers)
    if method == "streamline":
        distances = BLOCK_DISTANCES[method](similarity)
        return sorted(starts, key=lambda start: (distances[start - 1][start + size], start))
    if method in BLOCK_DISTANCES:
        return nearest_blocks(BLOCK_DISTANCES[method](similarity), size, allowed)
    scores = layer_scores(method, similarity)
    return sorted(starts, key=lambda start: (sum(scores[start : start + size]), start))


def layer_scores(method: str, similarity: Similarity) -> tuple[float, ...]:
    """A criterion's scores of single layers. The layer with the lowest is removed first."""
    if method in BLOCK_DISTANCES:
        distances = BLOCK_DISTANCES[method](similarity)
        return tuple(distances[layer][layer + 1] for layer in range(similarity.num_layers))
    scores = similarity.scores(CRITERIA[method].name.removesuffix("+"))
    if scores is None:
        raise ValueError(f"{method} was not measured")
    return scores


def measuring_passes(needs: str, num_layers: int, count: int, width: int | None = None) -> float:
    """The cost of what a criterion needs beside the similarity, in passes over the short calibration text.

    A pass with gradients counts as three. Cuts that are tried together share the layers before the first
    that is missing, so each adds half a pass, on average, to that of the whole model. A greedy search
    removes `count` layers and tries `width` candidates at each step (None: all).
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
    """The layers whose removal alone ruins the model.

    Zhang et al., "Investigating Layer Importance in Large Language Models" (2409.14381), call layers
    cornerstones if their removal drops the model to chance. The threshold, a doubled perplexity, is ours.

    Raises:
        ValueError: the loss without each layer was not measured.
    """
    return tuple(layer for layer, rise in enumerate(layer_scores("loss", similarity)) if rise > CORNERSTONE)


def _cosine_distances(similarity: Similarity) -> Matrix:
    """1 - cosine: a distance is best where it is smallest, a cosine where it is largest."""
    return tuple(tuple(1 - value for value in row) for row in similarity.cosine_all_tokens)


BLOCK_DISTANCES: dict[str, Callable[[Similarity], Matrix]] = {
    "angular": lambda similarity: similarity.angular_last_token,
    "angular-all": lambda similarity: similarity.angular_all_tokens,
    "cosine": _cosine_distances,
    "streamline": _cosine_distances,
}
