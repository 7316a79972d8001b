"""The step that compresses a model: `python -m hf_prune.commands.action.compress`.

It runs `hf-prune run` with the inputs of the action, and reports the result to the workflow. It exits as
hf-prune does: with 0 if the result is published or nothing had changed, with 3 if a quality gate refused it.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryFile, mkdtemp

from hf_prune.commands.action.ending import Ending, outputs_of
from hf_prune.commands.action.inputs import Request, read_request
from hf_prune.commands.action.workflow import add_summary, annotate, set_outputs, without_commands
from hf_prune.errors import HfPruneError
from hf_prune.records import Published, from_data
from hf_prune.stages.card.job_summary import elsewhere_summary, failed_summary, run_summary, unchanged_summary
from hf_prune.stages.run import read_record

OWN_ERROR = re.compile("(?:hf-prune|Error): (.*)")  # a line on stderr; click writes the second


def main() -> int:
    """Compress a model; the exit code of hf-prune."""
    environment = os.environ
    try:
        request = read_request(environment)
    except HfPruneError as error:
        model, folder = environment.get("INPUT_MODEL", ""), Path()
        ending = Ending(code=error.exit_code, result={}, error=str(error))
    else:
        temporary = environment.get("RUNNER_TEMP")  # its content is deleted when the job ends
        folder = request.output or Path(mkdtemp(prefix="hf-prune-", dir=temporary)) / "run"
        model, ending = request.model, _run(request, folder)
    if ending.reason:
        annotate(f"hf-prune {model}", ending.reason)
    if output := environment.get("GITHUB_OUTPUT"):
        set_outputs(Path(output), outputs_of(ending, str(folder)))
    if summary := environment.get("GITHUB_STEP_SUMMARY"):
        add_summary(Path(summary), _summary(ending, model, folder))
    return ending.code if ending.code >= 0 else 1


def _run(request: Request, folder: Path) -> Ending:
    command, *words = request.words
    output = ("--output", str(folder)) if request.is_local else ()
    error = None
    with TemporaryFile("w+", encoding="utf-8") as stdout, without_commands():
        with subprocess.Popen(
            [sys.executable, "-m", "hf_prune", command, *output, *words],
            env=request.environment,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            for line in process.stderr:
                sys.stderr.write(line)
                sys.stderr.flush()
                if match := OWN_ERROR.match(line):
                    error = match[1]
        stdout.seek(0)
        printed = stdout.read()
    return Ending(code=process.returncode, result=json.loads(printed) if printed.strip() else {}, error=error)


def _summary(ending: Ending, model: str, folder: Path) -> str:
    if "run" in ending.result:
        published = from_data(Published, ending.published) if ending.published else None
        run, repo_id = read_record(folder / "run.json").run, published.repo_id if published else None
        refused = ending.result.get("refused", ())
        return run_summary(run, repo_id=repo_id, published=published, refused=refused)
    if ending.reason:
        return failed_summary(model, ending.reason)
    if "job" in ending.result:
        return elsewhere_summary(model, ending.result["job"], ending.published)
    return unchanged_summary(model, ending.published)


if __name__ == "__main__":
    sys.exit(main())
