"""What a run would take, from the headers of the weights and a moment's trial of this machine."""

from dataclasses import replace
from pathlib import Path

from hf_prune.machine.environment import Machine, this_machine
from hf_prune.machine.progress import Reporter
from hf_prune.model.anatomy import torch_dtype
from hf_prune.recipe.criteria import AUTO, CRITERIA
from hf_prune.recipe.formats import parse_formats
from hf_prune.recipe.recipe import BRIDGES, Recipe
from hf_prune.records import Anatomy, Estimate, HealingPlan, LayerCount, NamedLayers, Removal, WithinLoss
from hf_prune.records.blocks import blocks_of
from hf_prune.stages.choose.criteria import probe_passes
from hf_prune.stages.choose.target import layers_to_remove
from hf_prune.stages.evaluate.items import OPTIONS, STRETCH, item_lengths
from hf_prune.stages.evaluate.speed import TIMED_TOKENS
from hf_prune.stages.evaluate.writing import BEGINNING, NEW_TOKENS, TEXTS
from hf_prune.stages.export.possible import check_exportable
from hf_prune.stages.grow.positions import positions_for
from hf_prune.stages.heal.cost import ELEMENT_BYTES, SHARE_OF_RATE
from hf_prune.stages.heal.plan import approximate_tokens, lessons_bytes, plan_healing
from hf_prune.stages.measure.similarity import SAMPLED_TOKENS
from hf_prune.stages.original import ELSEWHERE_SEQUENCES, PROBE_TOKENS, SELECTION_SEQUENCES, locate
from hf_prune.stages.source import find as source

BRIDGE_PASSES = {"none": 0.0, "auto": 4.0}  # of the calibration text; two for any other


def estimate(
    recipe: Recipe,
    dense: Anatomy,
    removal: Removal,
    *,
    model: str,
    download_bytes: int,
    healing_tokens: int,
    machine: Machine,
) -> Estimate:
    """What the run that a recipe asks for would do and take.

    Args:
        recipe: what is asked for.
        dense: the original.
        removal: what is to be removed.
        model: its name.
        download_bytes: what the Hub would send.
        healing_tokens: of the text to train on.
        machine: what there is.

    Raises:
        RecipeError: the cut cannot be healed in the way that is asked for.
    """
    count: int | None
    match removal:
        case NamedLayers(layers):
            count, gaps = len(layers), sum(block.start > 0 for block in blocks_of(layers))
        case LayerCount(count):
            gaps = 1
        case WithinLoss():
            count, gaps = None, 1
    left = _left(recipe, dense, removal)
    grown = left.num_layers - (dense.num_layers - (count or 0))
    healing = plan_healing(recipe, dense, left, gaps, healing_tokens, machine, grown)
    tokens = recipe.samples * recipe.sequence_length
    rate = SHARE_OF_RATE * machine.operations_per_second
    one_pass = 2 * sum(dense.parameters_per_layer) * tokens / rate
    head = 2 * dense.vocabulary_size * dense.hidden_size / rate  # seconds a token
    windows = recipe.eval_samples + min(recipe.eval_samples, ELSEWHERE_SEQUENCES)
    predicted = windows * recipe.sequence_length
    passage, continuation = item_lengths(min(STRETCH, recipe.sequence_length))
    options = OPTIONS * recipe.choice_items  # of a file they are thought to be as many and as long
    written = TEXTS * min(BEGINNING + NEW_TOKENS, recipe.sequence_length)
    evaluated = predicted + options * (passage + continuation) + written
    predicted += options * continuation + written
    bridges = "none" if count == 0 else recipe.bridge
    contest = len(BRIDGES) * SELECTION_SEQUENCES * recipe.sequence_length if bridges == AUTO else 0
    shorter = 2 if healing.method == "none" else 3  # cut, bridged and healed checkpoints
    depth = left.parameters / dense.parameters
    lessons = lessons_bytes(
        healing.objective, healing.boundary_loss, left, gaps, min(healing.num_tokens, healing_tokens)
    )
    return Estimate(
        model=model,
        num_layers=dense.num_layers,
        layers_removed=count,
        parameters=dense.parameters,
        parameters_left=None if count is None else left.parameters,
        size_bytes=dense.size_bytes,
        size_bytes_left=None if count is None else left.size_bytes,
        download_bytes=download_bytes,
        disk_bytes=shorter * left.size_bytes + _untied_head(healing, left) + lessons,
        memory_bytes=_memory(recipe, dense),
        measuring_seconds=one_pass,
        choosing_seconds=one_pass * choosing_passes(recipe, dense.num_layers, count),
        repairing_seconds=one_pass * BRIDGE_PASSES.get(bridges, 2.0) + contest * (one_pass / tokens + head),
        evaluating_seconds=(1 + shorter * depth) * one_pass * evaluated / tokens
        + (1 + depth) * one_pass * TIMED_TOKENS / tokens
        + (1 + shorter) * head * predicted,
        healing_method=healing.method,
        healing_reason=healing.reason,
        healing_memory_bytes=healing.memory_bytes,
        healing_seconds=healing.seconds,
        operations_per_second=machine.operations_per_second,
    )


def choosing_passes(recipe: Recipe, num_layers: int, count: int | None) -> float:
    """What choosing costs beside the measuring pass, in passes over the calibration text."""
    share = PROBE_TOKENS / (recipe.samples * recipe.sequence_length)
    if recipe.layers is not None or count == 0:
        return 2 * share * probe_passes("loss", num_layers, 1) if recipe.grow else 0.0
    steps = num_layers // 4 if count is None else count
    searched = SELECTION_SEQUENCES / recipe.samples * steps if recipe.is_sized_by_loss else 0.0
    if recipe.method == AUTO:
        return recipe.budget + searched
    return share * probe_passes(CRITERIA[recipe.method].needs, num_layers, steps) + searched


def _left(recipe: Recipe, dense: Anatomy, removal: Removal) -> Anatomy:
    """The shorter model: without the layers that are named, or the smallest, which is the least it can be.

    Where a loss decides how many go, it is the original: none may. New layers are as large as the largest.
    """
    sizes = dense.parameters_per_layer
    match removal:
        case NamedLayers(layers):
            removed = layers
        case LayerCount(count):
            removed = tuple(sorted(range(len(sizes)), key=sizes.__getitem__)[:count])
        case WithinLoss():
            removed = ()
    kept = [size for layer, size in enumerate(sizes) if layer not in removed]
    kept += [max(sizes)] * len(positions_for(recipe.grow, len(kept)) if recipe.grow else ())
    parameters = dense.parameters - sum(sizes) + sum(kept)
    return replace(
        dense,
        num_layers=len(kept),
        parameters=parameters,
        parameters_per_layer=tuple(kept),
        size_bytes=dense.size_bytes * parameters // dense.parameters,
    )


def _untied_head(healing: HealingPlan, left: Anatomy) -> int:
    """Bytes of a head that is trained apart from the embedding it was tied to."""
    if not (healing.train_head and left.tied_embeddings):
        return 0
    return left.vocabulary_size * left.hidden_size * ELEMENT_BYTES.get(left.dtype, 2)


def _memory(recipe: Recipe, dense: Anatomy) -> int:
    """Embeddings, two layers, and the hidden states that are kept at once."""
    element = ELEMENT_BYTES.get(dense.dtype, 2)
    tokens = recipe.samples * recipe.sequence_length
    remembered = (dense.num_layers + 1) * (min(tokens, SAMPLED_TOKENS) + recipe.samples)
    weights = dense.vocabulary_size * dense.hidden_size + 2 * max(dense.parameters_per_layer)
    return element * (weights + (tokens + remembered) * dense.hidden_size)


def estimate_run(recipe: Recipe, reporter: Reporter | None = None, output: Path | None = None) -> Estimate:
    """What `prune` would do with this recipe, from the configuration and the headers of the weights.

    Args:
        recipe: what would be done.
        reporter: is told where the model was found.
        output: where the run folder would be; None: here.

    Raises:
        HfPruneError: what `prune` would stop with before it fetches the weights.
    """
    located = locate(recipe, reporter, exact=True)
    check_exportable(parse_formats(recipe.formats), located.anatomy)
    dense = located.anatomy
    return estimate(
        recipe,
        dense,
        layers_to_remove(recipe, dense),
        model=located.found.name,
        download_bytes=source.download_size(located.found),
        healing_tokens=approximate_tokens(located.material.healing_text),
        machine=this_machine(
            located.device, torch_dtype(dense.dtype, located.device), dense.hidden_size, output or Path()
        ),
    )
