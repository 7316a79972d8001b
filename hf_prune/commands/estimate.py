"""`--dry-run`: what a run would do and take, from the headers of the weights and a short speed trial."""

from dataclasses import replace
from pathlib import Path

from hf_prune.machine.environment import Machine, this_machine
from hf_prune.machine.progress import Reporter
from hf_prune.model.anatomy import torch_dtype
from hf_prune.recipe.criteria import AUTO, CRITERIA
from hf_prune.recipe.formats import parse_formats
from hf_prune.recipe.recipe import BRIDGES, Recipe
from hf_prune.records import Anatomy, Estimate, LayerCount, NamedLayers, Removal, WithinLoss
from hf_prune.records.blocks import blocks_of
from hf_prune.stages.choose.criteria import measuring_passes
from hf_prune.stages.choose.target import layers_to_remove
from hf_prune.stages.evaluate.items import OPTIONS, STRETCH, item_lengths
from hf_prune.stages.evaluate.speed import TIMED_TOKENS
from hf_prune.stages.evaluate.writing import BEGINNING, NEW_TOKENS, TEXTS
from hf_prune.stages.export.possible import check_exportable
from hf_prune.stages.grow.positions import positions_for
from hf_prune.stages.heal.cost import ELEMENT_BYTES, SHARE_OF_RATE
from hf_prune.stages.heal.plan import approximate_tokens, lessons_bytes, plan_healing
from hf_prune.stages.measure.similarity import SAMPLED_TOKENS
from hf_prune.stages.original import (
    ELSEWHERE_SEQUENCES,
    SELECTION_SEQUENCES,
    SHORT_CALIBRATION_TOKENS,
    locate,
)
from hf_prune.stages.source import find as source

BRIDGE_PASSES = {"none": 0.0, "auto": 4.0}  # over the calibration text; any other bridge takes two


def estimate(
    recipe: Recipe,
    original: Anatomy,
    removal: Removal,
    *,
    model: str,
    download_bytes: int,
    healing_tokens: int,
    machine: Machine,
) -> Estimate:
    """What a run would do, and the memory, disk and time it would take.

    Args:
        download_bytes: what the Hub would send.
        healing_tokens: in the text to train on.
        machine: what this machine has free, and how fast it is.

    Raises:
        RecipeError: the cut cannot be healed as the recipe asks.
    """
    count, gaps = _count_and_gaps(removal)
    shorter = _shorter(recipe, original, removal)
    grown = shorter.num_layers - (original.num_layers - (count or 0))
    healing = plan_healing(recipe, original, shorter, gaps, healing_tokens, machine, grown)
    seconds = _Seconds(recipe, original, machine)
    untied_head = 0  # bytes of a head that is trained apart from the embedding
    if healing.train_head and shorter.tied_embeddings:
        untied_head = shorter.vocabulary_size * shorter.hidden_size * ELEMENT_BYTES.get(shorter.dtype, 2)
    checkpoints = 2 if healing.method == "none" else 3  # cut, bridged and healed
    bridge = "none" if count == 0 else recipe.bridge
    tokens = min(healing.num_tokens, healing_tokens)
    lessons = lessons_bytes(healing.objective, healing.boundary_loss, shorter, gaps, tokens)
    return Estimate(
        model=model,
        num_layers=original.num_layers,
        layers_removed=count,
        parameters=original.parameters,
        parameters_left=None if count is None else shorter.parameters,
        size_bytes=original.size_bytes,
        size_bytes_left=None if count is None else shorter.size_bytes,
        download_bytes=download_bytes,
        disk_bytes=checkpoints * shorter.size_bytes + untied_head + lessons,
        memory_bytes=_memory(recipe, original),
        measuring_seconds=seconds.one_pass,
        choosing_seconds=seconds.one_pass * choosing_passes(recipe, original.num_layers, count),
        repairing_seconds=seconds.repairing(bridge),
        evaluating_seconds=seconds.evaluating(checkpoints, shorter.parameters / original.parameters),
        healing_method=healing.method,
        healing_reason=healing.reason,
        healing_memory_bytes=healing.memory_bytes,
        healing_seconds=healing.seconds,
        operations_per_second=machine.operations_per_second,
    )


def _count_and_gaps(removal: Removal) -> tuple[int | None, int]:
    """How many layers go (None: a loss decides), and how many gaps they leave."""
    match removal:
        case NamedLayers(layers):
            return len(layers), sum(block.start > 0 for block in blocks_of(layers))
        case LayerCount(count):
            return count, 1
        case WithinLoss():
            return None, 1


class _Seconds:
    """How long the parts of a run take, from the operations that they need."""

    def __init__(self, recipe: Recipe, original: Anatomy, machine: Machine) -> None:
        rate = SHARE_OF_RATE * machine.operations_per_second
        self.recipe = recipe
        self.per_token = 2 * sum(original.parameters_per_layer) / rate  # through all layers
        self.head_per_token = 2 * original.vocabulary_size * original.hidden_size / rate
        self.one_pass = self.per_token * recipe.samples * recipe.sequence_length  # over the calibration text

    def repairing(self, bridge: str) -> float:
        """For the bridges, and for the contest between them."""
        tried = len(BRIDGES) * SELECTION_SEQUENCES * self.recipe.sequence_length if bridge == AUTO else 0
        return self.one_pass * BRIDGE_PASSES.get(bridge, 2.0) + tried * (self.per_token + self.head_per_token)

    def evaluating(self, checkpoints: int, depth: float) -> float:
        """For the original and its checkpoints; `depth` is their share of the original's parameters."""
        recipe = self.recipe
        windows = recipe.eval_samples + min(recipe.eval_samples, ELSEWHERE_SEQUENCES)
        passage, continuation = item_lengths(min(STRETCH, recipe.sequence_length))
        options = OPTIONS * recipe.choice_items  # items of a file are assumed to be as many and as long
        written = TEXTS * min(BEGINNING + NEW_TOKENS, recipe.sequence_length)
        read = windows * recipe.sequence_length + options * (passage + continuation) + written
        predicted = windows * recipe.sequence_length + options * continuation + written
        layers = (1 + checkpoints * depth) * read + (1 + depth) * TIMED_TOKENS
        return layers * self.per_token + (1 + checkpoints) * predicted * self.head_per_token


def choosing_passes(recipe: Recipe, num_layers: int, count: int | None) -> float:
    """How many passes over the calibration text choosing takes, besides the measuring pass."""
    share = SHORT_CALIBRATION_TOKENS / (recipe.samples * recipe.sequence_length)
    if recipe.layers is not None or count == 0:
        return 2 * share * measuring_passes("loss", num_layers, 1) if recipe.grow else 0.0
    steps = num_layers // 4 if count is None else count
    searched = SELECTION_SEQUENCES / recipe.samples * steps if recipe.is_sized_by_loss else 0.0
    if recipe.method == AUTO:
        return recipe.budget + searched
    return share * measuring_passes(CRITERIA[recipe.method].needs, num_layers, steps) + searched


def _shorter(recipe: Recipe, original: Anatomy, removal: Removal) -> Anatomy:
    """The model without the named layers, or without the smallest ones if only their number is known.

    If a loss decides, it is the whole original, the largest it can be. New layers count as the largest layer.
    """
    sizes = original.parameters_per_layer
    match removal:
        case NamedLayers(layers):
            removed = layers
        case LayerCount(count):
            removed = tuple(sorted(range(len(sizes)), key=sizes.__getitem__)[:count])
        case WithinLoss():
            removed = ()
    kept = [size for layer, size in enumerate(sizes) if layer not in removed]
    kept += [max(sizes)] * len(positions_for(recipe.grow, len(kept)) if recipe.grow else ())
    parameters = original.parameters - sum(sizes) + sum(kept)
    return replace(
        original,
        num_layers=len(kept),
        parameters=parameters,
        parameters_per_layer=tuple(kept),
        size_bytes=original.size_bytes * parameters // original.parameters,
    )


def _memory(recipe: Recipe, original: Anatomy) -> int:
    """Embeddings, two layers, and the hidden states that are kept at once."""
    element = ELEMENT_BYTES.get(original.dtype, 2)
    tokens = recipe.samples * recipe.sequence_length
    remembered = (original.num_layers + 1) * (min(tokens, SAMPLED_TOKENS) + recipe.samples)
    weights = original.vocabulary_size * original.hidden_size + 2 * max(original.parameters_per_layer)
    return element * (weights + (tokens + remembered) * original.hidden_size)


def estimate_run(recipe: Recipe, reporter: Reporter | None = None, output: Path | None = None) -> Estimate:
    """What `prune` would do with this recipe, from the configuration and the headers of the weights.

    Raises:
        HfPruneError: what `prune` would stop with before it fetches the weights.
    """
    located = locate(recipe, reporter, exact=True)
    check_exportable(parse_formats(recipe.formats), located.anatomy)
    original, device = located.anatomy, located.device
    dtype = torch_dtype(original.dtype, device)
    return estimate(
        recipe,
        original,
        layers_to_remove(recipe, original),
        model=located.model.name,
        download_bytes=source.download_size(located.model),
        healing_tokens=approximate_tokens(located.material.healing_text),
        machine=this_machine(device, dtype, original.hidden_size, output or Path()),
    )
