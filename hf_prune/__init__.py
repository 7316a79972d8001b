"""Make language models smaller by removing the layers they can best do without.

The names below are resolved when they are first used: importing `hf_prune` does not import torch.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "Analysis": "hf_prune.stages.run",
    "Evaluation": "hf_prune.stages.run",
    "HfPruneError": "hf_prune.errors",
    "Publication": "hf_prune.recipe.recipe",
    "Recipe": "hf_prune.recipe.recipe",
    "Reporter": "hf_prune.machine.progress",
    "Run": "hf_prune.stages.run",
    "Verification": "hf_prune.commands.verify.claims",
    "analyze": "hf_prune.commands.analyze",
    "estimate_run": "hf_prune.commands.estimate",
    "evaluate_model": "hf_prune.commands.evaluate",
    "prune": "hf_prune.commands.prune",
    "verify": "hf_prune.commands.verify.verify",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hf_prune' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
