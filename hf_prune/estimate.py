"""What a run would take, from the headers of the weights and a moment's trial of this machine."""

from hf_prune.choose.criteria import AUTO, CRITERIA, probe_passes
from hf_prune.measure.similarity import SAMPLED_TOKENS
from hf_prune.original import PROBE_TOKENS, SELECTION_SEQUENCES
from hf_prune.recipe import BRIDGES, Recipe
from hf_prune.records import Anatomy, Estimate

SHARE_OF_RATE = (
    0.6  # of a bare matrix product's rate that whole layers are taken to reach; a guess, measured nowhere
)
BRIDGE_PASSES = {"none": 0.0, "auto": 4.0}  # of the calibration text; two for any other
ELEMENT_BYTES = {"F64": 4, "F32": 4}  # float64 is computed in float32


def estimate(
    recipe: Recipe,
    dense: Anatomy,
    wanted: tuple[int, ...] | int | None,
    *,
    model: str,
    download_bytes: int,
    operations_per_second: float,
) -> Estimate:
    """What the run that a recipe asks for would do and take.

    Args:
        recipe: what is asked for.
        dense: the original.
        wanted: the layers that go, or how many, or None where a loss decides.
        model: its name.
        download_bytes: what the Hub would send.
        operations_per_second: of matrix products on this machine.
    """
    count = len(wanted) if isinstance(wanted, tuple) else wanted
    gone = None if count is None else _parameters_gone(dense, wanted, count)
    left = None if gone is None else dense.parameters - gone
    left_bytes = None if left is None else dense.size_bytes * left // dense.parameters
    tokens = recipe.samples * recipe.sequence_length
    rate = SHARE_OF_RATE * operations_per_second
    one_pass = 2 * sum(dense.parameters_per_layer) * tokens / rate
    head = 2 * dense.vocabulary_size * dense.hidden_size / rate  # seconds a token
    evaluated = recipe.eval_samples * recipe.sequence_length
    depth = 1 if left is None else left / dense.parameters
    contest = len(BRIDGES) * SELECTION_SEQUENCES * recipe.sequence_length if recipe.bridge == AUTO else 0
    return Estimate(
        model=model,
        num_layers=dense.num_layers,
        layers_removed=count,
        parameters=dense.parameters,
        parameters_left=left,
        size_bytes=dense.size_bytes,
        size_bytes_left=left_bytes,
        download_bytes=download_bytes,
        disk_bytes=2 * (left_bytes or dense.size_bytes),  # the cut, and the cut with its bridges
        memory_bytes=_memory(recipe, dense),
        measuring_seconds=one_pass,
        choosing_seconds=one_pass * choosing_passes(recipe, dense.num_layers, count),
        repairing_seconds=one_pass * BRIDGE_PASSES.get(recipe.bridge, 2.0)
        + contest * (one_pass / tokens + head),
        evaluating_seconds=(1 + 2 * depth) * one_pass * evaluated / tokens + 3 * head * evaluated,
        operations_per_second=operations_per_second,
    )


def choosing_passes(recipe: Recipe, num_layers: int, count: int | None) -> float:
    """What choosing costs beside the measuring pass, in passes over the calibration text."""
    if recipe.layers is not None:
        return 0.0
    share = PROBE_TOKENS / (recipe.samples * recipe.sequence_length)
    steps = num_layers // 4 if count is None else count
    searched = SELECTION_SEQUENCES / recipe.samples * steps if recipe.max_loss is not None else 0.0
    if recipe.method == AUTO:
        return recipe.budget + searched
    return share * probe_passes(CRITERIA[recipe.method].needs, num_layers, steps) + searched


def _parameters_gone(dense: Anatomy, wanted: tuple[int, ...] | int | None, count: int) -> int:
    """Of the layers that are named, or of the smallest, which is the least it can be."""
    if isinstance(wanted, tuple):
        return sum(dense.parameters_per_layer[layer] for layer in wanted)
    return sum(sorted(dense.parameters_per_layer)[:count])


def _memory(recipe: Recipe, dense: Anatomy) -> int:
    """Embeddings, two layers, and the hidden states that are kept at once."""
    element = ELEMENT_BYTES.get(dense.dtype, 2)
    tokens = recipe.samples * recipe.sequence_length
    remembered = (dense.num_layers + 1) * (min(tokens, SAMPLED_TOKENS) + recipe.samples)
    weights = dense.vocabulary_size * dense.hidden_size + 2 * max(dense.parameters_per_layer)
    return element * (weights + (tokens + remembered) * dense.hidden_size)
