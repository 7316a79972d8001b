"""How the result of a run is called."""

from hf_prune.recipe.recipe import Recipe
from hf_prune.stages.grow.places import places_for


def result_name(model: str, recipe: Recipe, num_layers: int, wanted: tuple[int, ...] | int | None) -> str:
    """The base's name and what becomes of it: the depth left, where that is known beforehand.

    Args:
        model: the name of the original, without its owner.
        recipe: what is asked for.
        num_layers: of the original.
        wanted: the layers that go, or how many; None: a loss decides.
    """
    if recipe.depths is not None:
        return f"{model}-sorted"
    if wanted is None:
        return f"{model}-within-{recipe.max_loss:g}"
    left = num_layers - (wanted if isinstance(wanted, int) else len(wanted))
    new = len(places_for(recipe.grow, left)) if recipe.grow else 0
    return f"{model}-{left + new}L" if wanted or new else f"{model}-{recipe.heal}"
