"""Modules that load whole models run in a process of their own, and print one JSON object per line."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stdout
from typing import Any

from hf_prune.machine.progress import Progress


def run_module(
    module: str, arguments: Sequence[str], progress: Progress, label: str, total: int
) -> tuple[list[dict[str, Any]], str | None]:
    """Run `python -m MODULE ARGUMENTS`.

    Returns:
        The objects that it prints, `total` if all goes well, and why it failed; None if it did not.
    """
    command = [sys.executable, "-m", module, *arguments]
    with (
        tempfile.TemporaryFile("w+") as stderr,  # a pipe could fill up, as nobody reads it meanwhile
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        assert process.stdout is not None
        printed = (json.loads(line) for line in process.stdout if line.startswith("{"))
        objects = list(progress(printed, label, total, "turn"))
        returncode = process.wait()
        stderr.seek(0)
        errors = stderr.read().strip()
    if returncode == 0:
        return objects, None
    last = (errors.splitlines() or [f"exit {returncode}"])[-1]
    return objects, f"the models could not be run: {last}"


def print_answers(answers: Callable[[dict[str, Any]], Iterable[dict[str, Any]]]) -> None:
    """The other side of `run_module`: print the answers to the request in the first argument."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    out = sys.stdout
    with redirect_stdout(sys.stderr):  # what libraries print is no answer
        for answer in answers(json.loads(sys.argv[1])):
            out.write(json.dumps(answer) + "\n")
            out.flush()
