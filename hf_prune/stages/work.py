"""What the stages of one run share."""

from dataclasses import dataclass
from pathlib import Path

from hf_prune.machine.processes import Ranks
from hf_prune.machine.progress import Reporter
from hf_prune.recipe.recipe import Recipe
from hf_prune.records import Anatomy, AskedTasks, Checkpoint
from hf_prune.stages.original import Original
from hf_prune.stages.run_folder import RunFolder


@dataclass(frozen=True)
class Work:
    """What the stages share: the original, and where results go."""

    original: Original
    folder: RunFolder
    inputs: str  # a fingerprint of everything that decides the result
    reporter: Reporter
    ranks: Ranks
    tasks: AskedTasks | None  # those that are measured

    @property
    def recipe(self) -> Recipe:
        """What is asked for."""
        return self.original.recipe

    @property
    def dense(self) -> Anatomy:
        """The original's figures."""
        return self.original.dense

    def place(self, checkpoint: Checkpoint | None) -> Path:
        """Where a checkpoint is; None: the original."""
        return self.folder.checkpoints / checkpoint.folder if checkpoint else self.original.folder
