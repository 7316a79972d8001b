"""`--dry-run`: what a run would do, before anything but a description of the model is fetched."""

from pathlib import Path

from hf_prune.commands.estimate import estimate
from hf_prune.machine.environment import this_machine
from hf_prune.machine.progress import Reporter
from hf_prune.recipe.recipe import Recipe
from hf_prune.records import Estimate
from hf_prune.stages.choose.target import layers_to_remove
from hf_prune.stages.heal.plan import approximate_tokens
from hf_prune.stages.original import locate
from hf_prune.stages.source import find as source


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
    return estimate(
        recipe,
        dense,
        layers_to_remove(recipe, dense),
        model=located.found.name,
        download_bytes=source.download_size(located.found),
        healing_tokens=approximate_tokens(located.material.healing_text),
        machine=this_machine(located.device, dense, output or Path()),
    )
