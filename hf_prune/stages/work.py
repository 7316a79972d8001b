"""What the stages of one run share."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hf_prune.errors import OutputOccupied
from hf_prune.machine.disk import write_whole
from hf_prune.machine.processes import Ranks
from hf_prune.machine.progress import Reporter
from hf_prune.recipe.recipe import Recipe
from hf_prune.records import Anatomy, AskedTasks, Checkpoint, Record, from_data, to_json
from hf_prune.stages.original import Original


@dataclass(frozen=True)
class RunFolder:
    """Where one run keeps what it has done."""

    path: Path

    @property
    def model(self) -> Path:
        """What is published."""
        return self.path / "model"

    @property
    def depths(self) -> Path:
        """The depths of a sorted model, each published on a branch of its own."""
        return self.path / "depths"

    @property
    def checkpoints(self) -> Path:
        """Complete checkpoints on the way."""
        return self.path / "checkpoints"

    def claim(self, recipe_fingerprint: str, *, fresh: bool) -> None:
        """Make sure that this folder is free, or holds this very run.

        Args:
            recipe_fingerprint: of what the user asked for.
            fresh: throw away what an earlier run of hf-prune left here.

        Raises:
            OutputOccupied: it holds something else.
        """
        marker = self.path / "stages" / "recipe.json"
        if self.path.exists() and not self.path.is_dir():
            raise OutputOccupied(f"{self.path} is a file: choose another --output")
        if marker.is_file() and fresh:
            for name in ("stages", "checkpoints", "model", "depths", "plots"):
                shutil.rmtree(self.path / name, ignore_errors=True)
            for name in ("run.json", "similarity.json", "analysis.json", "evaluation.json"):
                (self.path / name).unlink(missing_ok=True)
        elif marker.is_file():
            others = [*marker.parent.glob("*.json"), self.path / "analysis.json"]
            finished = any(path != marker and path.exists() for path in others)
            if finished and json.loads(marker.read_text())["fingerprint"] != recipe_fingerprint:
                raise OutputOccupied(
                    f"{self.path} holds a run with other settings: choose another --output, or replace "
                    f"it with --fresh"
                )
        elif self.path.is_dir() and any(self.path.iterdir()):
            raise OutputOccupied(
                f"{self.path} is not empty and was not made by hf-prune: choose another --output"
            )
        write_whole(marker, json.dumps({"fingerprint": recipe_fingerprint}) + "\n")

    def stage(
        self,
        name: str,
        kind: type[Record],
        inputs: str,
        compute: Callable[[], Record],
        left: Callable[[Record], Path | None] = lambda record: None,
    ) -> Record:
        """The record of a stage: read where it was finished with the same inputs, else computed.

        Args:
            name: of the stage.
            kind: of its record.
            inputs: a fingerprint of everything that decides the record.
            compute: makes the record.
            left: the folder that the stage leaves, if it leaves one; where it is gone, the stage is done
                again.
        """
        path = self.path / "stages" / f"{name}.json"
        if path.is_file():
            stored = json.loads(path.read_text(encoding="utf-8"))
            if stored["inputs"] == inputs:
                record = from_data(kind, stored["record"])
                folder = left(record)
                if folder is None or folder.is_dir():
                    return record
        record = compute()
        write_whole(path, f'{{"inputs": "{inputs}", "record": {to_json(record).rstrip()}}}\n')
        return record


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
