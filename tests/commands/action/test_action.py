"""The steps of action.yml, run as GitHub would, against the Hub on loopback."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hf_prune.commands.action.issue import Mark
from tests.loopback import LoopbackHub
from tests.support.issues import LoopbackIssues
from tests.support.runner import Ran, run_action
from tests.support.tool import BASE, FEW, README

TinyModels = Callable[..., Path]
PUBLISHED = "tester/tiny-4L"
ARGUMENTS = f"""
--drop-layers 2      # of six
{" ".join(FEW[:4])}
{" ".join(FEW[4:])} --choice-items 0
"""
HERE = {"version": "installed", "open-issue": "true"}


@pytest.fixture
def issues() -> Iterator[LoopbackIssues]:
    with LoopbackIssues() as server:
        yield server


@pytest.fixture
def base(home_hub: LoopbackHub, tiny_models: TinyModels) -> str:
    """A tiny model on the Hub."""
    home_hub.add_repository(BASE, {"README.md": README})
    HfApi().upload_folder(repo_id=BASE, folder_path=tiny_models("llama"), commit_message="the model")
    return BASE


@pytest.fixture
def act(tmp_path: Path, issues: LoopbackIssues) -> Callable[..., Ran]:
    """`act(model=…)`: run the action in a workspace of its own, with nobody logged in."""
    runs = iter(range(100))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # whose python3 has hf-prune
    job = issues.environment | {"PATH": path, "HF_TOKEN": ""}

    def run(environment: dict[str, str] | None = None, **inputs: str) -> Ran:
        folder = tmp_path / f"job{next(runs)}"
        given = HERE | {name.replace("_", "-"): value for name, value in inputs.items()}
        return run_action(given, folder, job | (environment or {}))

    return run


def commits_of(hub: LoopbackHub, repo_id: str) -> list[str]:
    repository = hub.repositories["model", repo_id.lower()]
    return [commit.oid for commit in repository.history(repository.find("main"))]


@pytest.mark.slow
def test_publishes_once_skips_the_second_time_and_publishes_again_after_the_base_changed(
    act: Callable[..., Ran], base: str, home_hub: LoopbackHub, issues: LoopbackIssues
) -> None:
    mark = Mark(model=base, repo_id="", times=2, first="2026-11-01T03:00:00+00:00", reason="no room")
    issues.add(title="it failed before", body=mark.hidden())
    inputs = {"model": base, "arguments": ARGUMENTS, "hf_token": "hf_test"}
    first = act(**inputs)
    assert not first.failed, first.log
    assert {name: first.outputs[name] for name in ("published", "unchanged", "refused", "reason")} == {
        "published": "true",
        "unchanged": "false",
        "refused": "false",
        "reason": "",
    }
    assert first.outputs["url"] == f"{home_hub.url}/{PUBLISHED}"
    assert home_hub.repositories["model", PUBLISHED.lower()].private
    once = commits_of(home_hub, PUBLISHED)
    assert first.outputs["commit"] == once[0]
    run = json.loads((Path(first.outputs["folder"]) / "run.json").read_text())
    perplexities = {each["variant"]: each["perplexity"] for each in run["evaluated"]["perplexities"]}
    assert float(first.outputs["original-perplexity"]) == perplexities["dense"]
    assert float(first.outputs["perplexity"]) == perplexities[run["result"]["variant"]]
    assert first.summary.startswith("# tiny-4L\n\n**Published** as")
    assert "🟦" in first.summary
    assert "hf_test" not in first.log + first.summary
    assert issues.open == []  # what failed before went well

    second = act(**inputs)
    assert not second.failed, second.log
    assert (second.outputs["published"], second.outputs["unchanged"]) == ("false", "true")
    assert second.outputs["url"] == first.outputs["url"]
    assert commits_of(home_hub, PUBLISHED) == once
    assert second.summary.startswith(f"# `{base}`: nothing to do\n")

    HfApi(token="hf_test").upload_file(path_or_fileobj=b"new", path_in_repo="NEWS.md", repo_id=base)
    third = act(**inputs)
    assert not third.failed, third.log
    assert third.outputs["published"] == "true"
    assert commits_of(home_hub, PUBLISHED)[1:] == once
    record = json.loads(home_hub.files(PUBLISHED)["hf_prune.json"])
    assert record["source"]["commit"] == commits_of(home_hub, base)[0]
    assert len(issues.issues) == 1


def test_many_failures_are_one_issue(
    act: Callable[..., Ran], base: str, issues: LoopbackIssues, home_hub: LoopbackHub
) -> None:
    failures = [act(model=base, repo_id="acme/small") for _ in range(2)]
    for ran in failures:
        assert ran.failed
        assert ran.exit_codes[1] == ("Compress", 1)
        assert "needs a login" in ran.outputs["reason"]
        # What hf-prune prints is kept from being a command; the annotation comes afterwards.
        names = [name for name, _ in ran.annotations]
        assert names == ["stop-commands", "error"]
        assert ran.annotations[1] == ("error", ran.outputs["reason"])
        assert ran.outputs["reason"] in ran.summary
    assert ("model", "acme/small") not in home_hub.repositories
    [issue] = issues.open
    assert "failed 2 times in a row" in issue["body"]
    assert failures[0].outputs["reason"] in issue["body"]


def test_a_token_that_may_only_read_stops_before_anything_is_fetched(
    act: Callable[..., Ran], base: str, home_hub: LoopbackHub
) -> None:
    home_hub.calls.clear()
    ran = act(model=base, hf_token="hf_read", repo_id="acme/small")
    assert ran.failed
    assert "may only read" in ran.outputs["reason"]
    assert home_hub.calls_to("GET", r"safetensors") == []


@pytest.mark.slow
def test_a_quality_gate_keeps_the_result_and_fails_the_step(
    act: Callable[..., Ran], trained_model: Path, home_hub: LoopbackHub, issues: LoopbackIssues
) -> None:
    home_hub.add_repository(BASE, {"README.md": README})
    api = HfApi(token="hf_test")
    api.upload_folder(repo_id=BASE, folder_path=trained_model, commit_message="the model")
    arguments = " ".join(("--layers 2-3 --bridge none", *FEW))
    ran = act(model=BASE, hf_token="hf_test", arguments=arguments, max_loss="1e-6")
    assert ran.failed
    assert ran.exit_codes[1] == ("Compress", 3)
    assert (ran.outputs["refused"], ran.outputs["published"]) == ("true", "false")
    assert "more than --max-loss 1e-06" in ran.outputs["reason"]
    assert "**Not published**, because it misses a limit that you set: the loss" in ran.summary
    assert ("model", PUBLISHED.lower()) not in home_hub.repositories
    assert len(issues.open) == 1


@pytest.mark.slow
def test_a_trusted_publisher_needs_no_secret(
    act: Callable[..., Ran], base: str, home_hub: LoopbackHub
) -> None:
    from tests.loopback.trust import ID_TOKEN, RUNNER_TOKEN

    home_hub.add_repository("acme/small", {}, private=True)
    home_hub.trusted[ID_TOKEN] = "acme/small"
    job = {
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{home_hub.url}/ci/id-token",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": RUNNER_TOKEN,
    }
    ran = act(job, model=base, oidc_resource="acme/small", arguments=ARGUMENTS)
    assert not ran.failed, ran.log
    assert (ran.outputs["published"], ran.outputs["repo-id"]) == ("true", "acme/small")
    assert "hf_prune.json" in home_hub.files("acme/small")


def test_what_is_asked_for_wrongly_is_said_whatever_lies_in_the_workspace(
    act: Callable[..., Ran], tmp_path: Path
) -> None:
    workspace = tmp_path / "job0"
    workspace.mkdir()
    (workspace / "click.py").write_text("raise RuntimeError('a module of the workspace was imported')")
    ran = act(model="acme/tiny", public="yes")
    assert ran.exit_codes[1] == ("Compress", 2)
    assert ("error", "the input public is 'yes': give true or false") in ran.annotations
    ran = act(model="acme/tiny", arguments="--no-such-option")
    assert ran.exit_codes[1] == ("Compress", 2)
    assert "No such option" in ran.outputs["reason"]


def test_an_installation_that_fails_is_told_in_the_issue_too(
    act: Callable[..., Ran], issues: LoopbackIssues, tmp_path: Path
) -> None:
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    ran = act(model=BASE, version=str(tmp_path / "nowhere"), torch_backend="", python=python)
    assert [(name, code == 0) for name, code in ran.exit_codes] == [
        ("Install hf-prune", False),
        ("Tell of the failure in one issue", True),
    ]
    [issue] = issues.open
    assert "hf-prune could not be installed: see the log" in issue["body"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_action_installs_itself_in_an_environment_of_its_own(act: Callable[..., Ran]) -> None:
    ran = act(model="", version="", torch_backend="", python=f"{sys.version_info[0]}.{sys.version_info[1]}")
    assert [name.split("@")[0] for name in ran.used] == ["astral-sh/setup-uv"]
    assert ran.exit_codes[0] == ("Install hf-prune", 0), ran.log
    assert ran.exit_codes[1] == ("Compress", 2)
    assert "the input model is empty" in ran.outputs["reason"]
    python = Path(ran.steps["install"]["outputs"]["python"])
    assert python.parent.parent.name == "hf-prune-environment"
    command = [str(python), "-I", "-c", "import hf_prune; print(hf_prune.__file__)"]
    imported = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert Path(imported).is_relative_to(python.parent.parent)
