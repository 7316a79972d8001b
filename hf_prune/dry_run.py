"""`--dry-run`: what a run would do, before anything but a description of the model is fetched."""

from pathlib import Path

from hf_prune import source
from hf_prune.anatomy import torch_dtype
from hf_prune.choose.target import layers_to_remove
from hf_prune.disk import free_disk
from hf_prune.environment import free_memory, operations_per_second
from hf_prune.estimate import estimate
from hf_prune.heal.settings import Machine, approximate_tokens
from hf_prune.original import locate
from hf_prune.progress import Reporter
from hf_prune.recipe import Recipe
from hf_prune.records import Estimate


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
    dense = located.anatomy
    dtype = torch_dtype(dense.dtype, located.device)
    machine = Machine(
        device=located.device.type,
        free_memory=free_memory(located.device),
        free_disk=free_disk(output or Path()),
        operations_per_second=operations_per_second(located.device, dtype, dense.hidden_size),
    )
    return estimate(
        recipe,
        dense,
        layers_to_remove(recipe, dense),
        model=located.found.name,
        download_bytes=source.download_size(located.found),
        healing_tokens=approximate_tokens(located.healing_text),
        machine=machine,
    )
