"""How the result of a run is called."""

from hf_prune.recipe.recipe import Publication, Recipe
from hf_prune.records import DECODER, LayerCount, NamedLayers, Removal, WithinLoss
from hf_prune.stages.choose.target import layers_to_remove
from hf_prune.stages.grow.positions import positions_for
from hf_prune.stages.source.find import LocatedModel, fetch_anatomy


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


def name_and_kind(recipe: Recipe, publication: Publication, original: LocatedModel) -> tuple[str, str]:
    """The name of the result, and the kind of model."""
    if recipe.gguf_file is not None and publication.repo_id is not None:
        return original.name, DECODER  # to count its layers, the whole file would have to be fetched
    anatomy = fetch_anatomy(original, exact=recipe.needs_sizes)
    removal = layers_to_remove(recipe, anatomy)
    return result_name(original.name, recipe, anatomy.num_layers, removal), anatomy.kind
