"""The job that a run becomes: its words, its machine, and what its end means."""

from pathlib import Path
from typing import Any

import click
import pytest

from hf_prune.cli.main import cli
from hf_prune.cli.request import OF_THE_JOB_ALONE, given_options
from hf_prune.commands.jobs.spec import (
    GivenOption,
    check_timeout,
    failure,
    find_machine,
    job_spec,
    publishes_label,
    read_outcome,
    refuse_local_files,
    requirement_for,
)
from hf_prune.errors import GateRefused, JobFailed, RecipeError
from hf_prune.hub.jobs import per_hour
from hf_prune.records.jobs import Job, Machine

SMALL = Machine(flavor="a10g-small", parts="4 vCPU, 15 GB", gpus=1, price=1.0)
FOUR = Machine(flavor="a10g-largex4", parts="48 vCPU, 184 GB", gpus=4, price=5.0)
JOB = Job(id="f" * 24, owner="tester", url="https://hub/jobs/tester/ffff")
PAGE = "https://hub/tester/tiny-4L"
HANDED_OVER = ("run", "grow", "sort", "schedule")


# The words


def context_of(name: str, *words: str) -> click.Context:
    """A command's account of its words."""
    return cli.commands[name].make_context(name, list(words))


def example(parameter: click.Parameter) -> str | None:
    """Words that give a parameter a value; None: a flag, which has none."""
    if isinstance(parameter, click.Option) and parameter.is_flag:
        return None
    if isinstance(parameter.type, click.Choice):
        return str(parameter.type.choices[-1])
    by_type = {"integer": "3", "integer range": "3", "float": "3e-05", "quantity": "1.5GiB"}
    return by_type.get(parameter.type.name, "some,thing=0.5")


def every_option(name: str) -> list[tuple[str, ...]]:
    """Each option of a command with a value, and each side of a switch."""
    given = []
    for parameter in cli.commands[name].params:
        if parameter.name in OF_THE_JOB_ALONE or not isinstance(parameter, click.Option):
            continue
        for word in (*parameter.opts, *parameter.secondary_opts):
            value = example(parameter)
            given.append((word,) if value is None else (word, value))
    return given


@pytest.mark.parametrize("name", HANDED_OVER)
def test_a_job_is_given_every_option_as_the_user_gave_it(name: str) -> None:
    required = ("acme/base", *(("--depths", "2,3") if name == "sort" else ()))
    options = every_option(name)
    assert len(options) > 40
    for words in options:
        context = context_of(name, *required, *words)
        again = [word for each in given_options(context, OF_THE_JOB_ALONE) for word in each.words]
        assert context_of(name, *again).params == context.params


def test_what_the_user_did_not_say_is_not_said() -> None:
    (model,) = given_options(context_of("run", "acme/base"))
    assert model == GivenOption("model", "acme/base", ("acme/base",))


def test_several_gates_stay_several() -> None:
    context = context_of("run", "acme/base", "--min-score", "arc_easy=0.4", "--min-score", "piqa=0.5")
    _, gates = given_options(context)
    assert gates.words == ("--min-score", "arc_easy=0.4,piqa=0.5")


def test_files_of_this_disk_are_refused_and_all_are_named() -> None:
    given = [
        GivenOption("model", "acme/base", ("acme/base",)),
        GivenOption("calibration", "mine.txt", ("--calibration", "mine.txt")),
        GivenOption("heal_data", "self", ("--heal-data", "self")),
        GivenOption("based_on", "gromov", ("--recipe", "gromov")),
        GivenOption("notes", Path("n.md"), ("--notes", "n.md")),
    ]
    with pytest.raises(RecipeError) as raised:
        refuse_local_files(given, ("gromov",))
    assert str(raised.value).startswith("--calibration mine.txt, --notes n.md: a job runs on another machine")
    with pytest.raises(RecipeError, match=r"^--recipe gromov: "):
        refuse_local_files(given[3:4], ("another",))


def test_every_option_that_takes_a_path_is_known_to_be_of_this_disk() -> None:
    from hf_prune.commands.jobs.spec import ON_THIS_DISK

    written = {"output"}  # a job may write where it likes
    for name in HANDED_OVER:
        paths = {p.name for p in cli.commands[name].params if isinstance(p.type, click.Path)}
        assert paths - written <= set(ON_THIS_DISK)


# The job


def spec(machine: Machine = SMALL, **settings: Any) -> Any:
    words = ("run", "acme/base", "--push")
    return job_spec(words, machine, **({"repo_id": "tester/b", "requirement": "hf-prune==1.0"} | settings))


def test_the_command_installs_what_it_runs() -> None:
    command = ("uv", "run", "--with", "hf-prune==1.0", "hf-prune", "run", "acme/base", "--push")
    assert spec().command == command


def test_several_gpus_are_all_used() -> None:
    launched = ("python", "-m", "torch.distributed.run", "--nproc-per-node", "4", "-m", "hf_prune")
    assert spec(FOUR).command[4:] == (*launched, "run", "acme/base", "--push")


@pytest.mark.parametrize(
    ("formats", "instead", "installed"),
    [
        ("safetensors", None, "hf-prune==1.0"),
        ("safetensors,gguf", None, "hf-prune==1.0"),
        ("onnx-8bit", None, "hf-prune[onnx]==1.0"),
        ("onnx", "hf-prune[onnx] @ git+https://x/y", "hf-prune[onnx] @ git+https://x/y"),
        ("safetensors", "", "hf-prune==1.0"),
    ],
)
def test_a_job_installs_this_version_and_what_its_forms_need(
    formats: str, instead: str | None, installed: str
) -> None:
    assert requirement_for("1.0", formats, instead) == installed


def test_labels_tell_repositories_apart_that_differ_in_what_labels_cannot_hold() -> None:
    labels = {publishes_label(name) for name in ("a/b.c", "a/b-c", "a-b/c", "A/b-c")}
    assert len(labels) == 3  # capitals do not part repositories
    assert all(letter.isalnum() or letter in "-_" for label in labels for letter in label)


def test_a_machine_that_is_not_offered_is_refused_with_those_that_are() -> None:
    assert find_machine("a10g-small", (SMALL, FOUR)) is SMALL
    with pytest.raises(RecipeError) as raised:
        find_machine("a10g", (SMALL, FOUR))
    assert "a10g-largex4: 48 vCPU, 184 GB, $5.00 an hour" in str(raised.value)


def test_prices_are_by_the_hour_or_not_known() -> None:
    assert per_hour(0.016667, "minute") == pytest.approx(1.0, abs=1e-4)
    assert per_hour(2.5, "hour") == 2.5
    assert per_hour(2.5, "fortnight") is None
    assert str(Machine(flavor="x", parts="1 vCPU", gpus=0, price=None)).endswith("price unknown")


@pytest.mark.parametrize("timeout", ["90m", "6h", "1.5d", "30s"])
def test_lets_a_time_through(timeout: str) -> None:
    check_timeout(timeout)


@pytest.mark.parametrize("timeout", ["6", "0h", "six hours", "-6h", "6w", ""])
def test_refuses_what_is_no_time(timeout: str) -> None:
    with pytest.raises(RecipeError, match="90m, 6h or 1d"):
        check_timeout(timeout)


# Its end


def read(*lines: str) -> tuple[str | None, str | None]:
    return read_outcome(lines, PAGE)


def test_the_address_is_the_last_line_that_is_one() -> None:
    assert read("working", f"{PAGE}\n", "done")[0] == PAGE
    assert read(PAGE, f"{PAGE}/discussions/3")[0] == f"{PAGE}/discussions/3"
    assert read(f"{PAGE}-other", f"see {PAGE}", f"{PAGE} is old")[0] is None


def test_the_reason_is_what_hf_prune_said_last() -> None:
    _, reason = read("Installed 90 packages", "hf-prune: there is no model acme/x", "bye")
    error = failure(JOB, "ERROR", "Job failed with exit code: 1", reason)
    assert type(error) is JobFailed
    assert str(error) == f"the job failed (there is no model acme/x): {JOB.url}"


@pytest.mark.parametrize("message", ["Job failed with exit code: 3. Reason: Error", None, "exit code 1"])
def test_a_gate_inside_the_job_is_a_gate_here(message: str | None) -> None:
    _, reason = read("hf-prune: arc_easy acc 0.3 is below --min-score 0.45: nothing was pushed; see m/model")
    error = failure(JOB, "ERROR", message, reason)
    assert error.exit_code == 3
    assert str(error).startswith("arc_easy acc 0.3 is below --min-score 0.45: the job published nothing")


def test_a_gate_is_known_by_its_exit_code_alone() -> None:
    assert isinstance(failure(JOB, "ERROR", "Job failed with exit code: 3", None), GateRefused)
    assert not isinstance(failure(JOB, "ERROR", "Job failed with exit code: 137", None), GateRefused)


@pytest.mark.parametrize(
    ("stage", "message", "sentence"),
    [
        ("CANCELED", None, "the job was cancelled (its log may say why)"),
        ("DELETED", None, "the job was deleted"),
        ("ERROR", "Job timeout", "the job failed (Job timeout)"),
    ],
)
def test_other_ends_are_named(stage: str, message: str | None, sentence: str) -> None:
    assert str(failure(JOB, stage, message, None)).startswith(sentence)
