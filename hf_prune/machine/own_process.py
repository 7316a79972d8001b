"""Whole models run in a process of their own: the module that runs there prints one JSON object a line."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from hf_prune.machine.progress import Progress


def figures_from(
    module: str, words: Sequence[str], progress: Progress, label: str, total: int
) -> tuple[list[dict[str, Any]], str | None]:
    """What `python -m MODULE WORDS` prints, and why it failed where it did.

    Args:
        module: of this package, with a command line of its own.
        words: its arguments.
        progress: shows its objects going by.
        label: of that.
        total: how many objects it will print.
    """
    command = [sys.executable, "-m", module, *words]
    with (
        tempfile.TemporaryFile("w+") as errors,  # a pipe that nobody reads meanwhile could fill up
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdout is not None
        found = list(progress(_objects(process.stdout), label, total, "turn"))
        returncode = process.wait()
        errors.seek(0)
        said = errors.read().strip()
    if returncode != 0:
        last = (said.splitlines() or [f"exit {returncode}"])[-1]
        return found, f"the models could not be run: {last}"
    return found, None


def _objects(printed: Iterator[str]) -> Iterator[dict[str, Any]]:
    for line in printed:
        if line.startswith("{"):
            yield json.loads(line)
