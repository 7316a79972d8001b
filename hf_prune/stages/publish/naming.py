"""How the result of a run is called."""

from hf_prune.recipe.recipe import Recipe
from hf_prune.records import LayerCount, NamedLayers, Removal, WithinLoss
from hf_prune.stages.grow.positions import positions_for


def result_name(model: str, recipe: Recipe, num_layers: int, removal: Removal) -> str:
    """The base's name and what becomes of it: the depth left, where that is known beforehand."""
    if recipe.depths is not None:
        return f"{model}-sorted"
    match removal:
        case WithinLoss(max_loss):
            return f"{model}-within-{max_loss:g}"
        case NamedLayers(layers):
            removed = len(layers)
        case LayerCount(count):
            removed = count
    new = len(positions_for(recipe.grow, num_layers - removed)) if recipe.grow else 0
    return f"{model}-{num_layers - removed + new}L" if removed or new else f"{model}-{recipe.heal}"
