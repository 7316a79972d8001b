"""The command line as a user runs it, in this process, and one finished run that many tests look at."""

import copy
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hf_prune.cli import main as cli
from tests.loopback import LoopbackHub
from tests.loopback.faults import Call

FEW = (  # what a context of 128 tokens allows
    *("--samples", "4", "--eval-samples", "2", "--choice-items", "4"),
    *("--seq-len", "32"),
)
BASE = "acme/tiny"
README = b"---\nlicense: apache-2.0\nlanguage: en\n---\n\n# Tiny\n"
NOT_NEEDED = {
    "README.md": README,
    "pytorch_model.bin": b"pickled",
    "consolidated.safetensors": b"Mistral's own format",
    "onnx/model.onnx": b"exported",
    "onnx/config.json": b"{}",
}


@dataclass(frozen=True)
class Outcome:
    """What a command came to."""

    code: int
    out: str
    err: str

    def error(self) -> str:
        """The one line that says what went wrong: the last on stderr, with nothing on stdout."""
        lines = self.err.splitlines()
        assert self.out == ""
        assert "Traceback" not in self.err
        assert [line for line in lines if line.startswith("hf-prune: ")] == lines[-1:]
        return lines[-1]


def hf_prune(*words: str) -> Outcome:
    """`hf-prune WORDS` through `main`, here."""
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    with (
        patch.object(sys, "argv", ["hf-prune", *words]),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
    return Outcome(code, out.getvalue(), err.getvalue())


def hf_prune_apart(*words: str, **environment: str) -> Outcome:
    """`python -m hf_prune WORDS` in a process of its own, for what is read when it starts."""
    command = [sys.executable, "-m", "hf_prune", *words]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=800
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def times_of(folder: Path) -> dict[str, int]:
    """When every file below a folder was last written."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_mtime_ns
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@dataclass(frozen=True)
class Finished:
    """A run that was pushed, and the Hub as it was then."""

    words: tuple[str, ...]  # without --output
    outcome: Outcome
    folder: Path
    hub: dict[str, Any]
    calls: tuple[Call, ...]

    @property
    def run(self) -> dict[str, Any]:
        """What run.json says."""
        content: dict[str, Any] = json.loads((self.folder / "run.json").read_text())
        return content

    def restore(self, hub: LoopbackHub, *, published: bool = True) -> None:
        """Give a Hub what it held after the run, or only the base model."""
        state = copy.deepcopy(self.hub)
        hub.repositories.update(state["repositories"])
        hub.objects.update(state["objects"])
        if not published:
            base = hub.repositories["model", BASE].find("main")
            assert base is not None
            kept = {blob.sha256 for blob in base.files.values()}
            del hub.repositories["model", "tester/tiny-4l"]
            for unwanted in hub.objects.keys() - kept:
                del hub.objects[unwanted]


_FINISHED: dict[Path, Finished] = {}


def finished_push(hub: LoopbackHub, model: Path, folder: Path) -> Finished:
    """`hf-prune acme/tiny --push` into `folder`: done the first time, afterwards remembered.

    The Hub is left as it was: `Finished.restore` puts the repositories back.
    """
    if folder not in _FINISHED:
        from huggingface_hub import HfApi, constants

        # What a run fetches must not depend on the tests before it in this process.
        shutil.rmtree(Path(constants.HF_HUB_CACHE) / f"models--{BASE.replace('/', '--')}", ignore_errors=True)
        hub.add_repository(BASE, NOT_NEEDED)
        HfApi().upload_folder(repo_id=BASE, folder_path=model, commit_message="the model")
        hub.calls.clear()
        words = (BASE, "--push", "--drop-layers", "2", *FEW)
        outcome = hf_prune(*words, "--output", str(folder))
        state = copy.deepcopy({"repositories": hub.repositories, "objects": hub.objects})
        _FINISHED[folder] = Finished(words, outcome, folder, state, tuple(hub.calls))
        hub.repositories.clear()
        hub.objects.clear()
        hub.calls.clear()
    return _FINISHED[folder]


@contextmanager
def nothing_changes(folder: Path) -> Iterator[None]:
    """What is in the folder stays as it is, to the byte and the time of writing."""
    before = bytes_of(folder), times_of(folder)
    yield
    assert (bytes_of(folder), times_of(folder)) == before
