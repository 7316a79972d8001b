"""The run folder with its finished stages, and the objects that all stages of a run share."""

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
from hf_prune.records import AskedTasks, Checkpoint, Record, from_data, to_json
from hf_prune.stages.original import Original


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run: its records, checkpoints and published model."""

    path: Path

    @property
    def model(self) -> Path:
        """The model to publish."""
        return self.path / "model"

    @property
    def depths(self) -> Path:
        """The depths of a sorted model. Each is published on its own branch."""
        return self.path / "depths"

    @property
    def checkpoints(self) -> Path:
        """Complete checkpoints between the stages."""
        return self.path / "checkpoints"

    def claim(self, recipe_fingerprint: str, *, fresh: bool) -> None:
        """Claim a folder that is free or holds this run already.

        Args:
            fresh: first delete the results of an earlier run.

        Raises:
            OutputOccupied: it holds another run, or other files.
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
        output_folder: Callable[[Record], Path | None] = lambda record: None,
    ) -> Record:
        """The record of a stage, read if the stage is finished with the same inputs, else computed.

        Args:
            inputs: a fingerprint of everything that decides the record.
            output_folder: the folder that the stage writes, or None. If it is missing, the stage runs again.
        """
        path = self.path / "stages" / f"{name}.json"
        if path.is_file():
            stored = json.loads(path.read_text(encoding="utf-8"))
            if stored["inputs"] == inputs:
                record = from_data(kind, stored["record"])
                folder = output_folder(record)
                if folder is None or folder.is_dir():
                    return record
        record = compute()
        write_whole(path, f'{{"inputs": "{inputs}", "record": {to_json(record).rstrip()}}}\n')
        return record


@dataclass(frozen=True)
class Work:
    """The objects that all stages of a run share."""

    original: Original
    folder: RunFolder
    inputs: str  # a fingerprint of everything that decides the result
    reporter: Reporter
    ranks: Ranks
    tasks: AskedTasks | None  # to measure

    @property
    def recipe(self) -> Recipe:
        """What the user asked for."""
        return self.original.recipe

    def folder_of(self, checkpoint: Checkpoint | None) -> Path:
        """The folder of a checkpoint. None stands for the original."""
        return self.folder.checkpoints / checkpoint.folder if checkpoint else self.original.folder
