"""Runs handed to the Hub's machines, from the command line to the spec that the Hub receives, and back."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from transformers import AutoModelForCausalLM

from hf_prune.commands.jobs.handover import JobOptions, plan_job, run_job
from hf_prune.commands.jobs.spec import PACKAGE, GivenOption
from hf_prune.errors import JobGoesOn
from hf_prune.machine.progress import Reporter
from hf_prune.recipe.recipe import Publication, Recipe
from tests.loopback import Fault, JobEnd, LoopbackHub
from tests.loopback.jobs import Job
from tests.support.tool import BASE, FEW, Finished, Outcome, finished_push, hf_prune

PUBLISHED = "tester/tiny-4L"
ON = ("--drop-layers", "2", "--push", "--on", "a10g-small")
WEEKLY = ("--drop-layers", "2", "--cron", "0 3 * * 1", "--on", "a10g-small")
INSTALLED = f"hf-prune=={version('hf-prune')}"


@pytest.fixture
def pushed(
    home_hub: LoopbackHub, tiny_models: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    """`hf-prune acme/tiny --push` was run once; the Hub is as it was right afterwards."""
    finished = finished_push(home_hub, tiny_models("llama"), tmp_path_factory.getbasetemp() / "pushed")
    finished.restore(home_hub)
    home_hub.calls.clear()
    return finished


@pytest.fixture
def base(home_hub: LoopbackHub, tiny_models: Callable[..., Path]) -> str:
    """A model on the Hub, of which nothing was made yet."""
    files = {path.name: path.read_bytes() for path in tiny_models("llama").iterdir() if path.is_file()}
    home_hub.add_repository(BASE, files)
    return BASE


def only_job(hub: LoopbackHub) -> Job:
    (job,) = hub.jobs.values()
    return job


def started(hub: LoopbackHub) -> Sequence[Any]:
    """Everything that was asked of the Hub's machines."""
    return hub.calls_to("POST", "^/api/(jobs|scheduled-jobs|settings/webhooks)")


# Handing over


def test_the_job_is_the_users_own_command(base: str, home_hub: LoopbackHub) -> None:
    hf_prune("run", base, *ON, "--timeout", "90m", "--lr", "3e-5", "--no-distill", "--detach")
    job = only_job(home_hub)
    given = ["--drop-layers", "2", "--lr", "3e-05", "--no-distill", "--push"]
    command = ["uv", "run", "--with", INSTALLED, "hf-prune", "run", base]
    assert job.spec["command"][: len(command)] == command
    assert sorted(job.spec["command"][len(command) :]) == sorted(given)
    assert (job.spec["flavor"], job.spec["timeoutSeconds"]) == ("a10g-small", 5400)
    assert job.spec["dockerImage"] == "ghcr.io/astral-sh/uv:python3.12-bookworm"
    assert job.spec["labels"]["name"] == "hf-prune-tester-tiny-4L"


def test_the_token_is_a_secret_of_the_job_and_nowhere_else(base: str, home_hub: LoopbackHub) -> None:
    outcome = hf_prune(base, *ON, "--detach", "--json")
    spec = only_job(home_hub).spec
    assert spec.pop("secrets") == {"HF_TOKEN": "hf_test"}
    assert "hf_test" not in json.dumps(spec) + outcome.out + outcome.err


def test_the_words_of_the_job_are_those_of_its_command(base: str, home_hub: LoopbackHub) -> None:
    assert hf_prune("grow", base, "--layers", "1", "--push", "--on", "cpu-basic", "--detach").code == 0
    words = only_job(home_hub).spec["command"]
    assert words[words.index("hf-prune") :] == ["hf-prune", "grow", base, "--layers", "1", "--push"]


def test_a_word_that_is_a_file_here_is_still_a_word(
    base: str, home_hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # huggingface_hub's run_uv_job would upload files of these names.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "2").write_text("")
    (tmp_path / "hf-prune").write_text("")
    assert hf_prune(base, *ON, "--detach").code == 0
    assert "2" in only_job(home_hub).spec["command"]


def test_what_a_job_installs_can_be_named(
    base: str, home_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PACKAGE, "hf-prune @ git+https://example.invalid/hf-prune")
    hf_prune(base, *ON, "--detach")
    assert only_job(home_hub).spec["command"][3] == "hf-prune @ git+https://example.invalid/hf-prune"


def test_an_organisation_pays(base: str, home_hub: LoopbackHub) -> None:
    outcome = hf_prune(base, *ON, "--namespace", "acme", "--detach")
    job = only_job(home_hub)
    assert job.owner == "acme"
    assert outcome.out == f"{home_hub.url}/jobs/acme/{job.id}\n"


def test_the_price_is_told_before_the_job_is_started(base: str, home_hub: LoopbackHub) -> None:
    outcome = hf_prune(base, *ON, "--detach")
    machine = "a10g-small: 4 vCPU, 15 GB, 1 x Nvidia A10G (24 GB), $1.00 an hour; for 6h at most"
    assert machine in outcome.err.splitlines()


def test_a_dry_run_starts_nothing_and_shows_the_job(base: str, home_hub: LoopbackHub) -> None:
    outcome = hf_prune(base, *ON, "--dry-run", "--json")
    printed = json.loads(outcome.out)
    assert started(home_hub) == []
    assert printed["command"][:5] == ["uv", "run", "--with", INSTALLED, "hf-prune"]
    assert printed["secrets"] == ["HF_TOKEN"]
    assert (printed["publishes"], printed["dollars_an_hour"]) == (PUBLISHED, pytest.approx(1.0, abs=1e-3))
    shown = hf_prune(base, *ON, "--dry-run")
    assert "Nothing was started" in shown.out
    assert started(home_hub) == []


# Following


def test_the_log_is_told_and_the_result_is_the_address(pushed: Finished, home_hub: LoopbackHub) -> None:
    address = f"{home_hub.url}/{PUBLISHED}"
    home_hub.job_end = JobEnd(lines=("Installed 90 packages", "removing layers 2-3", address))
    outcome = hf_prune(BASE, *ON)
    assert (outcome.code, outcome.out) == (0, f"{address}\n")
    assert outcome.err.splitlines()[-3:-1] == ["Installed 90 packages", "removing layers 2-3"]
    assert "===== Job started" not in outcome.err


def test_the_result_as_json_names_job_and_model(pushed: Finished, home_hub: LoopbackHub) -> None:
    printed = json.loads(hf_prune(BASE, *ON, "--json", "--quiet").out)
    assert printed["job"]["id"] == only_job(home_hub).id
    assert printed["published"]["repo_id"] == PUBLISHED
    assert "--json" not in only_job(home_hub).spec["command"]


def test_a_job_that_fails_is_a_failure_with_its_link(base: str, home_hub: LoopbackHub) -> None:
    lines = ("hf-prune: the disk filled up",)
    home_hub.job_end = JobEnd(lines=lines, stage="ERROR", message="Job failed with exit code: 1")
    outcome = hf_prune(base, *ON)
    assert (outcome.code, outcome.out) == (1, "")
    page = f"{home_hub.url}/jobs/tester/{only_job(home_hub).id}"
    assert outcome.err.splitlines()[-1] == f"hf-prune: the job failed (the disk filled up): {page}"


def test_a_gate_in_the_job_gives_the_exit_code_of_a_gate(base: str, home_hub: LoopbackHub) -> None:
    lines = ("hf-prune: the loss on held-out text is 0.9 nats above: nothing was pushed; see x/model",)
    home_hub.job_end = JobEnd(lines=lines, stage="ERROR", message="Job failed with exit code: 3")
    outcome = hf_prune(base, *ON)
    assert outcome.code == 3
    assert "the job published nothing" in outcome.err.splitlines()[-1]


def test_a_job_that_ends_well_and_leaves_nothing_is_a_failure(base: str, home_hub: LoopbackHub) -> None:
    outcome = hf_prune(base, *ON)
    assert outcome.code == 1
    assert f"there is nothing of it in {PUBLISHED}" in outcome.error()


def test_a_job_that_proposes_has_published_its_proposal(base: str, home_hub: LoopbackHub) -> None:
    api = HfApi()
    api.create_repo(PUBLISHED)
    record = CommitOperationAdd("hf_prune.json", b"{}")
    commit = api.create_commit(PUBLISHED, [record], commit_message="proposed", create_pr=True)
    home_hub.job_end = JobEnd(lines=(commit.pr_url or "",))
    options = JobOptions(flavor="cpu-basic", timeout="1h", namespace=None)
    proposing, given = Publication(create_pr=True, repo_id=PUBLISHED), [GivenOption("model", base, (base,))]
    planned = plan_job(Recipe(model=base), proposing, "run", given, options, Reporter())
    handed = run_job(planned, Reporter(), detach=False)
    assert handed.published is not None
    assert (handed.published.pull_request, handed.published.commit) == (commit.pr_url, commit.oid)


def test_who_stops_watching_is_told_how_to_stop_the_job(base: str, home_hub: LoopbackHub) -> None:
    def interrupted(line: str) -> None:
        if line == "training":
            raise KeyboardInterrupt

    home_hub.job_end = JobEnd(lines=("training", "publishing"))
    options = JobOptions(flavor="cpu-basic", timeout="1h", namespace=None)
    recipe, given = Recipe(model=base), [GivenOption("model", base, (base,))]
    planned = plan_job(recipe, Publication(), "run", given, options, Reporter())
    with pytest.raises(JobGoesOn) as raised:
        run_job(planned, Reporter(tell=interrupted), detach=False)
    assert f"`hf jobs cancel tester/{only_job(home_hub).id}` stops it" in str(raised.value)
    assert raised.value.exit_code == 130


def test_a_job_that_is_lost_sight_of_may_go_on(base: str, home_hub: LoopbackHub) -> None:
    home_hub.inject(Fault(method="GET", path="/logs$", status=500))
    outcome = hf_prune(base, *ON)
    assert outcome.code == 1
    assert "the job was lost sight of, and may go on" in outcome.error()
    assert only_job(home_hub).id in outcome.err


def test_nothing_is_paid_for_where_nothing_changed(pushed: Finished, home_hub: LoopbackHub) -> None:
    outcome = hf_prune(BASE, *ON, *FEW, "--if-changed")
    assert (outcome.code, outcome.out) == (0, f"{home_hub.url}/{PUBLISHED}\n")
    assert started(home_hub) == []


# What is refused before anything is started


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((BASE, "--on", "a10g-small"), 2, "the disk of a job is lost when it ends: add --push"),
        (
            (BASE, "--push", "--on", "a10g"),
            2,
            "a10g-largex4: 48 vCPU, 184 GB, 4 x Nvidia A10G (96 GB), $5.00",
        ),
        (
            (BASE, "--push", "--on", "cpu-basic", "--calibration", "mine.txt"),
            2,
            "--calibration mine.txt: a job",
        ),
        ((BASE, "--push", "--on", "cpu-basic", "--timeout", "6"), 2, "--timeout '6' is not a time"),
        ((BASE, "--push", "--on", "cpu-basic", "--ratio", "2"), 2, "--ratio 2 is not between"),
        ((BASE, "--push", "--on", "cpu-basic", "--repo-id", "other/x"), 1, "other/x cannot be written"),
        ((BASE, "--push", "--on", "cpu-basic", "--gguf-file", "m.gguf"), 1, "has no file m.gguf"),
        (("acme/missing", "--push", "--on", "cpu-basic"), 1, "there is no model acme/missing"),
        ((BASE, "--push", "--timeout", "3h"), 2, "--timeout says how a job runs: add --on"),
        ((BASE, "--push", "--detach"), 2, "--detach says how a job runs: add --on"),
    ],
)
def test_what_cannot_end_well_is_not_started(
    base: str, home_hub: LoopbackHub, words: tuple[str, ...], code: int, message: str
) -> None:
    outcome = hf_prune(*words)
    assert outcome.code == code
    assert message in outcome.error()
    assert started(home_hub) == []


def test_a_folder_is_nothing_that_a_job_can_see(
    home_hub: LoopbackHub, tiny_models: Callable[..., Path]
) -> None:
    outcome = hf_prune(str(tiny_models("llama")), *ON)
    assert outcome.code == 2
    assert "is a folder here, which a job cannot see: `hf upload` it" in outcome.error()


def test_one_file_of_weights_is_not_fetched_to_count_its_layers(home_hub: LoopbackHub) -> None:
    home_hub.add_repository(BASE, {"m.gguf": b"GGUF"})
    on = (BASE, "--gguf-file", "m.gguf", *ON, "--detach")
    assert "needs --repo-id" in hf_prune(*on).error()
    assert hf_prune(*on, "--repo-id", "acme/small").code == 0
    assert home_hub.calls_to("GET", "m.gguf") == []


def test_a_launcher_is_for_machines_of_ones_own(
    base: str, home_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")
    assert "leave the launcher out" in hf_prune(base, *ON).error()


def test_the_token_of_a_trusted_publisher_starts_no_jobs(
    base: str, home_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_OIDC_RESOURCE", PUBLISHED)
    assert "unset it, and set HF_TOKEN" in hf_prune(base, *ON).error()
    assert home_hub.calls == []


def test_who_has_no_credit_is_told_where_to_get_some(base: str, home_hub: LoopbackHub) -> None:
    home_hub.inject(Fault(method="POST", path="^/api/jobs/", status=402))
    outcome = hf_prune(base, *ON)
    assert outcome.code == 1
    assert "/settings/billing" in outcome.error()


# Schedules


def scheduled(*words: str) -> Outcome:
    return hf_prune("schedule", BASE, *words)


def test_a_schedule_runs_the_same_command_only_where_something_changed(
    base: str, home_hub: LoopbackHub
) -> None:
    outcome = scheduled(*WEEKLY, "--samples", "8")
    (schedule,) = home_hub.schedules.values()
    words = schedule["jobSpec"]["command"]
    assert words[4:7] == ["hf-prune", "run", base]
    expected = ["--drop-layers", "2", "--samples", "8", "--push", "--if-changed"]
    assert words[7:] == expected
    assert (schedule["schedule"], schedule["concurrency"]) == ("0 3 * * 1", False)
    assert schedule["jobSpec"]["secrets"] == {"HF_TOKEN": "hf_test"}
    assert outcome.out == f"{schedule['id']}\n"
    assert f"`hf jobs scheduled delete {schedule['id']}` ends that" in outcome.err
    assert home_hub.jobs == {}


def test_one_schedule_for_each_repository(base: str, home_hub: LoopbackHub) -> None:
    first = json.loads(scheduled(*WEEKLY, "--json").out)["schedule"]["id"]
    again = scheduled(*WEEKLY[:3], "@daily", *WEEKLY[4:])
    assert again.code == 1
    assert f"0 3 * * 1 (`hf jobs scheduled delete {first}` ends it): give --replace" in again.err
    assert scheduled(*WEEKLY, "--repo-id", "acme/other").code == 0
    replaced = scheduled(*WEEKLY[:3], "@daily", *WEEKLY[4:], "--replace")
    assert replaced.code == 0
    kept = [schedule["schedule"] for schedule in home_hub.schedules.values()]
    assert sorted(kept) == ["0 3 * * 1", "@daily"]
    assert first not in home_hub.schedules


def test_an_organisation_has_schedules_of_its_own(base: str, home_hub: LoopbackHub) -> None:
    of_acme = (*WEEKLY, "--namespace", "acme")
    printed = json.loads(scheduled(*of_acme, "--json").out)["schedule"]
    again = scheduled(*of_acme)
    assert f"`hf jobs scheduled delete {printed['id']} --namespace acme` ends it" in again.err
    assert scheduled(*of_acme, "--replace").code == 0
    (schedule,) = home_hub.schedules.values()
    assert schedule["owner"]["name"] == "acme"


def test_a_change_of_the_base_starts_a_copy_of_the_job(base: str, home_hub: LoopbackHub) -> None:
    outcome = scheduled("--on-change", *WEEKLY[:2], *WEEKLY[4:])
    (webhook,) = home_hub.webhooks.values()
    job = only_job(home_hub)
    assert webhook["jobSourceId"] == job.id
    assert webhook["watched"] == [{"type": "model", "name": base}]
    assert webhook["domains"] == ["repo"]
    assert webhook["secrets"] == {"HF_TOKEN": "hf_test"}  # the job's own are not copied
    assert job.spec["command"][-2:] == ["--push", "--if-changed"]
    assert outcome.out == f"{webhook['id']}\n"
    assert f"`hf webhooks delete {webhook['id']}`" in outcome.err
    again = scheduled(*WEEKLY)
    assert f"changes of {base} (`hf webhooks delete {webhook['id']}` ends it)" in again.err
    assert scheduled(*WEEKLY, "--replace").code == 0
    assert (home_hub.webhooks, len(home_hub.schedules)) == ({}, 1)


def test_a_token_that_is_not_for_webhooks_can_schedule(base: str, home_hub: LoopbackHub) -> None:
    home_hub.inject(Fault(method="GET", path="/webhooks$", status=403))
    assert scheduled(*WEEKLY).code == 0


def test_a_dry_run_of_a_schedule_makes_none(base: str, home_hub: LoopbackHub) -> None:
    printed = json.loads(scheduled(*WEEKLY, "--dry-run", "--json").out)
    assert (printed["schedule"], printed["command"][-1]) == ("0 3 * * 1", "--if-changed")
    assert started(home_hub) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (WEEKLY[:4], "--on is missing"),
        ((*WEEKLY[:2], *WEEKLY[4:]), "give either --cron"),
        ((*WEEKLY, "--on-change"), "give either --cron"),
        ((*WEEKLY, "--notes", "n.md"), "--notes n.md: a job runs on another machine"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(
    base: str, home_hub: LoopbackHub, words: tuple[str, ...], message: str
) -> None:
    outcome = scheduled(*words)
    assert outcome.code == 2
    assert message in outcome.err
    assert started(home_hub) == []


@pytest.mark.parametrize("cron", ["0 25 * * *", "0 3 * *", "@fortnightly"])
def test_a_schedule_that_the_hub_refuses_is_named_and_ends_no_other(
    base: str, home_hub: LoopbackHub, cron: str
) -> None:
    assert scheduled(*WEEKLY).code == 0
    outcome = scheduled("--cron", cron, "--on", "cpu-basic", "--replace")
    assert outcome.code == 2
    assert f"--cron {cron!r}: the Hub refuses this schedule (" in outcome.error()
    assert f"Invalid schedule: {cron}" in outcome.error()
    (schedule,) = home_hub.schedules.values()
    assert schedule["schedule"] == "0 3 * * 1"


# The very same script, here


def run_here(spec: dict[str, Any], folder: Path) -> subprocess.CompletedProcess[str]:
    """The command of a job as the Hub got it, with the job's own secrets and variables and no others.

    uv finds that this environment has what `--with` asks for: the checkout, by its name and version.
    """
    # Where uv itself started the tests as a module, it would take its own interpreter for the environment's.
    left_out = ("HF_", "UV_INTERNAL")
    mine = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    here = {"VIRTUAL_ENV": sys.prefix, "HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        spec["command"],
        cwd=folder,
        env=mine | here | spec["environment"] | spec["secrets"],
        capture_output=True,
        text=True,
        check=False,
        timeout=800,
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_job_that_the_hub_got_publishes_the_model(
    base: str, home_hub: LoopbackHub, tmp_path: Path
) -> None:
    hf_prune(base, *ON, *FEW, "--detach")
    done = run_here(only_job(home_hub).spec, tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{home_hub.url}/{PUBLISHED}\n"), done.stderr
    assert "hf_test" not in done.stderr
    assert AutoModelForCausalLM.from_pretrained(PUBLISHED).config.num_hidden_layers == 4
    # By the clock: nothing changed, so nothing is done.
    scheduled(*WEEKLY, *FEW)
    (schedule,) = home_hub.schedules.values()
    home_hub.calls.clear()
    done = run_here(schedule["jobSpec"], tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{home_hub.url}/{PUBLISHED}\n"), done.stderr
    assert home_hub.calls_to("POST", "/commit/") == []
    assert home_hub.calls_to("GET", "^/storage/") == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_gate_ends_the_script_with_its_exit_code(base: str, home_hub: LoopbackHub, tmp_path: Path) -> None:
    gate = ("--max-loss", "0.000001")
    hf_prune(base, *ON, *FEW, *gate, "--method", "deepest", "--bridge", "none", "--detach")
    done = run_here(only_job(home_hub).spec, tmp_path)
    assert done.returncode == 3, done.stderr
    # The same lines as a job's log, and the same end.
    lines = tuple(done.stderr.splitlines())
    home_hub.job_end = JobEnd(lines=lines, stage="ERROR", message="Job failed with exit code: 3")
    outcome = hf_prune(base, *ON, *FEW, *gate)
    assert outcome.code == 3
    assert "more than --max-loss 1e-06: the job published nothing" in outcome.err.splitlines()[-1]
    assert ("model", PUBLISHED.lower()) not in home_hub.repositories


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_machine_with_several_gpus_has_a_process_for_each(
    base: str, home_hub: LoopbackHub, tmp_path: Path
) -> None:
    hf_prune(
        base, "--drop-layers", "2", "--push", "--on", "a10g-largex4", *FEW, "--device", "cpu", "--detach"
    )
    spec = only_job(home_hub).spec
    count = spec["command"].index("--nproc-per-node") + 1
    assert spec["command"][count] == "4"
    spec["command"][count] = "2"  # this machine is small
    done = run_here(spec, tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{home_hub.url}/{PUBLISHED}" in done.stdout.splitlines()
    # All of the processes see that nothing changed, and one of them says so.
    home_hub.calls.clear()
    done = run_here(spec | {"command": [*spec["command"], "--if-changed"]}, tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{home_hub.url}/{PUBLISHED}\n"), done.stderr
    assert home_hub.calls_to("GET", "^/storage/") == []
