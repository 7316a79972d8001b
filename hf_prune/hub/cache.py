"""What hf-prune keeps in the Hub's own cache."""

from pathlib import Path

from huggingface_hub import cached_assets_path


def kept_scores() -> Path:
    """Where the Hub's own cache keeps what hf-prune has measured."""
    return cached_assets_path("hf-prune", namespace="scores")


def kept_task_scores() -> Path:
    """Where the Hub's own cache keeps what models made of tasks."""
    return cached_assets_path("hf-prune", namespace="tasks")
