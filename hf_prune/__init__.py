"""Make language models smaller by removing the layers they can best do without.

The names below are resolved when they are first used: importing `hf_prune` does not import torch.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "Analysis": "hf_prune.report",
    "Evaluation": "hf_prune.report",
    "HfPruneError": "hf_prune.errors",
    "Publication": "hf_prune.recipe",
    "Recipe": "hf_prune.recipe",
    "Reporter": "hf_prune.progress",
    "Run": "hf_prune.report",
    "Verification": "hf_prune.verification.claims",
    "analyze": "hf_prune.analysis",
    "estimate_run": "hf_prune.dry_run",
    "evaluate_model": "hf_prune.evaluation",
    "prune": "hf_prune.pipeline",
    "verify": "hf_prune.verification.stage",
}

__all__ = [
    "Analysis",
    "Evaluation",
    "HfPruneError",
    "Publication",
    "Recipe",
    "Reporter",
    "Run",
    "Verification",
    "analyze",
    "estimate_run",
    "evaluate_model",
    "prune",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hf_prune' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
