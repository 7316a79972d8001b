"""`--dry-run`: what a run would do, before anything but a description of the model is fetched."""

from hf_prune import source
from hf_prune.anatomy import torch_dtype
from hf_prune.choose.target import layers_to_remove
from hf_prune.environment import choose_device, operations_per_second
from hf_prune.estimate import estimate
from hf_prune.original import read_texts
from hf_prune.progress import Reporter
from hf_prune.recipe import Recipe, check_recipe
from hf_prune.records import Estimate


def estimate_run(recipe: Recipe, reporter: Reporter | None = None) -> Estimate:
    """What `prune` would do with this recipe, from the configuration and the headers of the weights.

    Raises:
        HfPruneError: what `prune` would stop with before it fetches the weights.
    """
    check_recipe(recipe)
    device = choose_device(recipe.device)
    found = source.find(recipe.model, recipe.revision, recipe.gguf_file, allow_pickle=recipe.allow_pickle)
    (reporter or Reporter()).tell(found.notice or source.announce(found))
    read_texts(recipe)
    dense = source.fetch_anatomy(found, exact=True)
    wanted = layers_to_remove(recipe, dense)
    dtype = torch_dtype(dense.dtype, device)
    return estimate(
        recipe,
        dense,
        wanted,
        model=found.name,
        download_bytes=source.download_size(found),
        operations_per_second=operations_per_second(device, dtype, dense.hidden_size),
    )
