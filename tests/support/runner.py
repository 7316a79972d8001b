"""A runner for composite actions: the steps of action.yml, run as GitHub's runner runs them.

It does everything that a step can notice: inputs and their defaults, `if`, `env`, bash with its flags, the
files for outputs and the summary, commands in the printed text. It does not run other people's actions, but
keeps their names.
"""

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.support.checkout import ROOT
from tests.support.expressions import evaluate, filled

BASH = ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail")
COMMAND = re.compile(r"^::([\w-]+)((?: [^:]*)?)::(.*)$")


@dataclass(kw_only=True)
class Ran:
    """The result of an action."""

    failed: bool = False
    log: str = ""
    annotations: list[tuple[str, str]] = field(default_factory=list)  # ("error", its text)
    summary: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    used: list[str] = field(default_factory=list)  # actions of others
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)  # the context `steps`
    exit_codes: list[tuple[str, int]] = field(default_factory=list)  # of the steps that ran, by name


def run_action(
    inputs: Mapping[str, str], folder: Path, environment: Mapping[str, str], *, token: str = "ghs_test"
) -> Ran:
    """Run the action at the root of this repository.

    Args:
        inputs: as under `with:`.
        folder: an empty folder, for the runner's own files; it is also the workspace.
        environment: of the job, added to that of this process.
        token: what `github.token` is.
    """
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    known = action["inputs"]
    assert set(inputs) <= set(known), f"no inputs: {set(inputs) - set(known)}"
    missing = {name for name, each in known.items() if each.get("required") and name not in inputs}
    assert not missing, f"inputs are missing: {missing}"
    github = {"action_path": str(ROOT), "token": token}
    defaults = {name: filled(each.get("default", ""), {"github": github}) for name, each in known.items()}
    ran = Ran()
    names = {"inputs": defaults | dict(inputs), "github": github, "steps": ran.steps}
    for number, step in enumerate(action["runs"]["steps"]):
        functions = {"success": lambda: not ran.failed, "failure": lambda: ran.failed, "always": lambda: True}
        condition = step.get("if", "success()")
        if not re.search(r"\b(success|failure|always)\(\)", condition):
            condition = f"success() && ({condition})"
        if not evaluate(condition, names, functions):
            continue
        if "uses" in step:
            ran.used.append(step["uses"])
            continue
        _run_step(step, names, folder / f"step{number}", environment, ran)
    for name, output in action["outputs"].items():
        ran.outputs[name] = filled(output["value"], names)
    return ran


def _run_step(
    step: Mapping[str, Any], names: Mapping[str, Any], folder: Path, environment: Mapping[str, str], ran: Ran
) -> None:
    assert step["shell"] == "bash"
    assert "${{" not in step["run"]
    folder.mkdir(parents=True)
    files = {name: folder / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_ENV")}
    for path in files.values():
        path.touch()
    script = folder / "script.sh"
    script.write_text(step["run"])
    own = {name: filled(str(value), names) for name, value in step.get("env", {}).items()}
    runner = {"RUNNER_TEMP": str(folder.parent), "GITHUB_ACTIONS": "true", "CI": "true"}
    done = subprocess.run(
        (*BASH, str(script)),
        env=os.environ | runner | {name: str(path) for name, path in files.items()} | environment | own,
        cwd=folder.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=800,
    )
    ran.log += done.stdout
    ran.annotations += commands_in(done.stdout)
    ran.summary += files["GITHUB_STEP_SUMMARY"].read_text(encoding="utf-8")
    ran.exit_codes.append((step["name"], done.returncode))
    ran.failed = ran.failed or done.returncode != 0
    if "id" in step:
        ran.steps[step["id"]] = {"outputs": outputs_in(files["GITHUB_OUTPUT"].read_text(encoding="utf-8"))}


def commands_in(log: str) -> list[tuple[str, str]]:
    """The commands in a log with their texts, without those between `stop-commands` and its end."""
    found, until = [], None
    for line in log.splitlines():
        if until is not None:
            until = None if line == f"::{until}::" else until
        elif match := COMMAND.match(line):
            text = re.sub("%(0D|0A|3A|2C|25)", lambda code: chr(int(code[1], 16)), match[3])
            until = text if match[1] == "stop-commands" else None
            found.append((match[1], text))
    return found


def outputs_in(text: str) -> dict[str, str]:
    """Outputs from the file that GITHUB_OUTPUT names: `name=value` or `name<<border`."""
    outputs, lines = {}, iter(text.splitlines())
    for line in lines:
        name, border, end = line.partition("<<")
        if border and "=" not in name:
            value = []
            while (part := next(lines)) != end:
                value.append(part)
            outputs[name] = "\n".join(value)
        else:
            name, _, outputs_value = line.partition("=")
            outputs[name] = outputs_value
    return outputs
