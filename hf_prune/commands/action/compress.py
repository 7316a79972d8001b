"""The step that compresses a model: `python -m hf_prune.commands.action.compress`.

The inputs of the action are in the environment.

It runs `hf-prune run` as a person would, and tells the workflow what that came to. It ends as hf-prune does:
with 0 where the result is published or nothing had changed, with 3 where a quality gate refused it.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hf_prune.commands.action.ending import Ending, outputs_of
from hf_prune.commands.action.inputs import Request, read_request
from hf_prune.commands.action.workflow import add_summary, annotate, only_printed, set_outputs
from hf_prune.errors import HfPruneError
from hf_prune.records import Published, from_data
from hf_prune.stages.card.job_summary import elsewhere_summary, failed_summary, run_summary, unchanged_summary
from hf_prune.stages.run import read_record

OWN = re.compile("(?:hf-prune|Error): (.*)")  # on stderr: what went wrong; the second where usage was wrong


def main() -> int:
    """Compress; the exit code of hf-prune."""
    environment = os.environ
    try:
        request = read_request(environment)
    except HfPruneError as error:
        model, folder = environment.get("INPUT_MODEL", ""), Path()
        ending = Ending(code=error.exit_code, told={}, error=str(error))
    else:
        model, folder = request.model, request.output or _new_folder(environment)
        ending = _run(request, folder)
    if ending.reason:
        annotate(f"hf-prune {model}", ending.reason)
    if output := environment.get("GITHUB_OUTPUT"):
        set_outputs(Path(output), outputs_of(ending, str(folder)))
    if summary := environment.get("GITHUB_STEP_SUMMARY"):
        add_summary(Path(summary), _summary(ending, model, folder))
    return ending.code if ending.code >= 0 else 1


def _new_folder(environment: Mapping[str, str]) -> Path:
    """A run folder that goes when the job ends."""
    place = tempfile.mkdtemp(prefix="hf-prune-", dir=environment.get("RUNNER_TEMP"))
    return Path(place) / "run"


def _run(request: Request, folder: Path) -> Ending:
    """Run hf-prune, its messages in the log."""
    command, *words = request.words
    where = ("--output", str(folder)) if request.here else ()
    error = None
    with tempfile.TemporaryFile("w+", encoding="utf-8") as told, only_printed():
        with subprocess.Popen(
            [sys.executable, "-m", "hf_prune", command, *where, *words],
            env=request.environment,
            stdout=told,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            for line in process.stderr:
                sys.stderr.write(line)
                sys.stderr.flush()
                said = OWN.match(line)
                error = said[1] if said else error
        told.seek(0)
        printed = told.read()
    return Ending(code=process.returncode, told=json.loads(printed) if printed.strip() else {}, error=error)


def _summary(ending: Ending, model: str, folder: Path) -> str:
    if "run" in ending.told:
        published = from_data(Published, ending.published) if ending.published else None
        return run_summary(
            read_record(folder / "run.json").run,
            repo_id=published.repo_id if published else None,
            published=published,
            refused=ending.told.get("refused", ()),
        )
    if ending.reason:
        return failed_summary(model, ending.reason)
    if "job" in ending.told:
        return elsewhere_summary(model, ending.told["job"], ending.published)
    return unchanged_summary(model, ending.published)


if __name__ == "__main__":
    sys.exit(main())
