"""The action and the workflows, by the linters and by rules of our own; nothing here needs GitHub."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hf_prune.cli.main import cli
from hf_prune.commands.action.inputs import split_words
from tests.support.checkout import ROOT
from tests.support.expressions import evaluate, filled

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.yml"))
FILES = [ROOT / "action.yml", *WORKFLOWS, *EXAMPLES]


def checked(*words: str | Path) -> str:
    """What a command of this environment says; it must find nothing wrong."""
    command = [str(Path(sys.executable).parent / words[0]), *map(str, words[1:])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-actions", [ROOT / "action.yml"]),
        ("vendor.github-workflows", [*WORKFLOWS, *EXAMPLES]),
        ("vendor.dependabot", [ROOT / ".github" / "dependabot.yml"]),
    ],
)
def test_each_file_is_of_its_schema(schema: str, files: list[Path]) -> None:
    checked("check-jsonschema", "--builtin-schema", schema, *files)


def test_an_audit_of_security_finds_nothing() -> None:
    printed = checked("zizmor", "--offline", "--no-progress", "--color=never", ".", *EXAMPLES)
    assert "No findings to report" in printed
    for path in FILES:
        assert f"completed {'' if path in EXAMPLES else './'}{path.relative_to(ROOT)}" in printed.replace(
            f"{ROOT}/", ""
        )


def loaded(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.load(path.read_text(), yaml.BaseLoader)  # in which `on` is a word
    return content


def steps_of(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every step of an action or a workflow."""
    yield from content.get("runs", {}).get("steps", ())
    for job in content.get("jobs", {}).values():
        yield from job.get("steps", ())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_expression_is_written_into_a_script(path: Path) -> None:
    scripts = [step["run"] for step in steps_of(loaded(path)) if "run" in step]
    assert [script for script in scripts if "${{" in script] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_actions_of_others_are_pinned_and_their_version_is_told(path: Path) -> None:
    lines = [line.strip("- ") for line in path.read_text().splitlines() if re.match(r"[\s-]*uses:", line)]
    ours = re.compile(r"uses: (OWNER/hf-prune[\w./-]*@v1|\$/\S+|\./\.hf-prune # .*)")
    pinned = re.compile(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    assert [line for line in lines if not (ours.fullmatch(line) or pinned.fullmatch(line))] == []


@pytest.mark.parametrize("path", [*WORKFLOWS, *EXAMPLES], ids=lambda path: path.name)
def test_a_workflow_has_least_permissions_and_its_jobs_an_end(path: Path) -> None:
    workflow = loaded(path)
    assert workflow["permissions"] in ("", {}, {"contents": "read"})
    assert all("uses" in job or "timeout-minutes" in job for job in workflow["jobs"].values())


def test_every_input_of_the_action_reaches_a_step_and_every_output_comes_from_one() -> None:
    action = loaded(ROOT / "action.yml")
    values = [
        value for step in steps_of(action) for value in (step.get("if", ""), *step.get("env", {}).values())
    ]
    used = set(re.findall(r"inputs\.([\w-]+)", " ".join(values)))
    assert used == set(action["inputs"])
    assert all(
        each["value"] == f"${{{{ steps.compress.outputs.{name} }}}}"
        for name, each in action["outputs"].items()
    )


def test_the_inputs_named_after_options_are_options() -> None:
    from hf_prune.commands.action.inputs import SWITCHES, WITH_VALUE

    known = {name for each in cli.commands["run"].params for name in (*each.opts, *each.secondary_opts)}
    assert {f"--{name}" for name in (*WITH_VALUE, *SWITCHES)} <= known
    assert {"--repo-id", "--min-score", "--push", "--if-changed", "--json", "--output"} <= known


@pytest.mark.parametrize("path", [*WORKFLOWS, *EXAMPLES], ids=lambda path: path.name)
def test_whoever_uses_the_action_gives_it_inputs_that_it_has(path: Path) -> None:
    action, reusable = loaded(ROOT / "action.yml"), loaded(ROOT / ".github" / "workflows" / "compress.yml")
    for step in steps_of(loaded(path)):
        if re.match(r"OWNER/hf-prune@|\./\.hf-prune", step.get("uses", "")):
            assert set(step["with"]) <= set(action["inputs"])
    for job in loaded(path)["jobs"].values():
        if "compress.yml" in job.get("uses", ""):
            assert set(job["with"]) <= set(reusable["on"]["workflow_call"]["inputs"])
            wanted = reusable["jobs"]["compress"]["permissions"]
            assert job["permissions"] == wanted


def compressions(**contexts: Any) -> list[dict[str, Any]] | None:
    """The jobs of compress.yml, for what called it: what each gives the action; None: there are none."""
    job = loaded(ROOT / ".github" / "workflows" / "compress.yml")["jobs"]["compress"]
    names: dict[str, Any] = {"inputs": {}, "vars": {}, "secrets": {"HF_TOKEN": "hf_test"}, **contexts}
    if not evaluate(job["if"], names):
        return None
    entries = evaluate(job["strategy"]["matrix"]["entry"].strip("${} "), names)
    [given] = [step["with"] for step in job["steps"] if step["uses"].startswith("./")]
    found = []
    for entry in entries:
        each = names | {"matrix": {"entry": entry}}
        values = {name: filled(value, each) for name, value in given.items()}
        lock = filled(job["concurrency"]["group"], each)
        found.append(values | {"lock": lock, "runner": evaluate(job["runs-on"].strip("${} "), each)})
    return found


def test_a_list_of_models_is_a_matrix_of_compressions() -> None:
    models = json.dumps(["acme/a", {"model": "acme/b", "repo-id": "acme/b-4L", "arguments": "--layers 3"}])
    inputs = {"models": models, "arguments": "--ratio 0.3", "open-issue": False, "public": False}
    one, two = (
        compressions(inputs=inputs | {"timeout-minutes": 350, "runner": '["self-hosted", "gpu"]'}) or []
    )
    assert (one["model"], one["repo-id"], one["arguments"]) == ("acme/a", "", "--ratio 0.3")
    assert (two["model"], two["repo-id"], two["arguments"]) == ("acme/b", "acme/b-4L", "--layers 3")
    assert (one["open-issue"], one["public"], one["create-pr"]) == ("false", "false", "false")
    assert one["runner"] == ["self-hosted", "gpu"]


def test_one_at_a_time_writes_to_a_repository_and_others_do_not_wait() -> None:
    entries = [
        {"model": "acme/a", "arguments": "--layers 3"},
        {"model": "acme/a", "arguments": "--layers 3-4"},
        {"model": "acme/a", "repo-id": "acme/small", "arguments": "--layers 3"},
        {"model": "acme/b", "oidc-resource": "acme/small", "arguments": "--layers 4"},
    ]
    found = compressions(inputs={"models": json.dumps(entries)}) or []
    locks = [each["lock"] for each in found]
    assert len(set(locks)) == 3
    assert locks[2] == locks[3]


def test_by_the_clock_the_models_come_from_a_variable_or_nothing_is_done() -> None:
    assert compressions() is None
    [only] = compressions(vars={"HF_PRUNE_MODELS": '["acme/a"]'}) or []
    assert (only["model"], only["open-issue"], only["runner"]) == ("acme/a", "true", "ubuntu-latest")


def arguments_in(path: Path) -> Iterator[str]:
    """What an example gives to hf-prune beside the inputs."""
    for step in steps_of(loaded(path)):
        yield step.get("with", {}).get("arguments", "")
    for job in loaded(path)["jobs"].values():
        entries = json.loads(job.get("with", {}).get("models", "[]"))
        yield from (entry["arguments"] for entry in entries if "arguments" in entry)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_arguments_of_the_examples_are_options_with_values(path: Path) -> None:
    found = [split_words(arguments) for arguments in arguments_in(path) if arguments]
    assert found
    for words in found:
        cli.commands["run"].make_context("run", [*words, "--", "acme/base"])
