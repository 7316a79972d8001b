"""The workflow of the newest versions keeps one issue; its step runs here with a stand-in for `gh`."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.checkout import ROOT

JOBS: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "newest.yml").read_text())["jobs"]
[STEP] = JOBS["issue"]["steps"]
TITLE = STEP["env"]["TITLE"]

# The issues in a file, for the four subcommands that the step uses. `list` does what the step's filter does.
GH = """#!{python}
import json, os, pathlib, sys
path = pathlib.Path(os.environ["ISSUES"])
issues = json.loads(path.read_text())
_, group, verb, *words = sys.argv
assert group == "issue", sys.argv
options = dict(zip(words, words[1:]))
if verb == "list":
    open_ones = [each for each in issues if each["state"] == options["--state"]]
    print("".join(str(each["number"]) for each in open_ones if each["title"] == os.environ["TITLE"]))
elif verb == "create":
    issue = dict(title=options["--title"], state="open", said=[options["--body"]])
    issues.append(dict(issue, number=len(issues) + 1))
else:
    issue = issues[int(words[0]) - 1]
    issue["said"].append(options["--comment" if verb == "close" else "--body"])
    issue["state"] = "closed" if verb == "close" else issue["state"]
path.write_text(json.dumps(issues))
"""


@pytest.fixture
def issues(tmp_path: Path) -> Path:
    program = tmp_path / "gh"
    program.write_text(GH.format(python=sys.executable))
    program.chmod(0o755)
    other = {"number": 1, "title": "Another", "state": "open", "said": []}
    path = tmp_path / "issues.json"
    path.write_text(json.dumps([other]))
    return path


def after(issues: Path, *results: str) -> list[dict[str, Any]]:
    """The issues after runs that ended so, but for the one that has nothing to do with them."""
    for number, result in enumerate(results):
        environment = {
            "RESULT": result,
            "RUN": f"https://run/{number}",
            "TITLE": TITLE,
            "ISSUES": str(issues),
        }
        path = f"{issues.parent}:/usr/bin:/bin"
        command = ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", STEP["run"])
        subprocess.run(command, env={**environment, "PATH": path}, check=True, capture_output=True)
    other, *ours = json.loads(issues.read_text())
    assert (other["state"], other["said"]) == ("open", [])
    return ours


def test_runs_that_fail_have_one_issue_with_the_command_to_try(issues: Path) -> None:
    [issue] = after(issues, "failure", "cancelled", "failure")
    assert (issue["title"], issue["state"], len(issue["said"])) == (TITLE, "open", 3)
    assert "https://run/0" in issue["said"][0]
    assert "`python3 .ci/versions.py newest python3 -m uv run pytest`" in issue["said"][0]
    assert "https://run/2" in issue["said"][2]


def test_a_run_that_passes_closes_it_and_the_next_failure_opens_another(issues: Path) -> None:
    first, second = after(issues, "failure", "success", "success", "failure")
    assert (first["state"], len(first["said"])) == ("closed", 2)
    assert second["state"] == "open"


def test_a_run_that_passes_opens_none(issues: Path) -> None:
    assert after(issues, "success") == []


def test_what_runs_new_packages_may_write_nothing() -> None:
    assert JOBS["newest"]["permissions"] == {"contents": "read"}
    assert JOBS["issue"]["needs"] == "newest"
    assert all("uses" not in step for step in JOBS["issue"]["steps"])
