"""A run as a job of Hugging Face Jobs: its command, its machine, its price, and what its end means."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from hf_prune.errors import GateRefused, HfPruneError, JobFailed, RecipeError
from hf_prune.recipe.formats import PACKAGES, parse_formats
from hf_prune.recipe.recipe import SELF
from hf_prune.records.jobs import PUBLISHES, TIMEOUT, Job, JobSpec, Machine

PACKAGE = "HF_PRUNE_PACKAGE"  # the environment variable that says what a job installs
ON_THIS_DISK = (  # fields whose value is a file or a folder
    "calibration",
    "heal_data",
    "prompts",
    "eval_data",
    "eval_elsewhere",
    "choices",
    "tasks_from",
    "based_on",
    "template",
    "notes",
)
EXIT_CODE = re.compile(r"exit code:? (\d+)", re.IGNORECASE)
OWN_ERROR = re.compile(r"^hf-prune: (.+)$")
REFUSED_BY_A_GATE = ": nothing was pushed; see "  # in the last line of a run with exit code 3


@dataclass(frozen=True, slots=True)
class Given:
    """An option, or the model, as the user gave it."""

    field: str
    value: Any
    words: tuple[str, ...]  # that say it again


def machine_called(flavor: str, machines: Sequence[Machine]) -> Machine:
    """The machine of that name.

    Raises:
        RecipeError: the Hub offers none.
    """
    found = next((machine for machine in machines if machine.flavor == flavor), None)
    if found is None:
        offered = "; ".join(map(str, machines))
        raise RecipeError(f"--on {flavor}: Hugging Face Jobs have no such machine; they have {offered}")
    return found


def refuse_what_is_only_here(given: Iterable[Given], built_in_recipes: Sequence[str]) -> None:
    """Refuse options that name files of this disk, which a job on another machine cannot see.

    Raises:
        RecipeError: naming all of them.
    """
    elsewhere = {"heal_data": (SELF,), "based_on": built_in_recipes}
    local = [
        " ".join(each.words)
        for each in given
        if each.field in ON_THIS_DISK and each.value not in elsewhere.get(each.field, ())
    ]
    if local:
        raise RecipeError(
            f"{', '.join(local)}: a job runs on another machine, which cannot see files of this one: leave "
            f"that out, or run without --on"
        )


def check_timeout(timeout: str) -> None:
    """Make sure that a job's longest time is one.

    Raises:
        RecipeError: it is not.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", timeout)
    if match is None or float(match[1]) == 0:
        raise RecipeError(f"--timeout {timeout!r} is not a time like 90m, 6h or 1d")


def job_spec(
    words: Sequence[str],
    machine: Machine,
    *,
    repo_id: str,
    requirement: str,
    timeout: str = TIMEOUT,
    environment: Mapping[str, str] | None = None,
) -> JobSpec:
    """The job that runs `hf-prune WORDS`: on a machine with several GPUs, by a process for each.

    The command is the one of huggingface_hub's `run_uv_job`. That function takes every word which happens to
    be the name of a file here for one to be uploaded, so it is written out instead.

    Args:
        words: a command of hf-prune with its options.
        machine: that it runs on.
        repo_id: where it publishes.
        requirement: what is installed: see `requirement_for`.
        timeout: after which the Hub ends it.
        environment: variables that are no secrets.
    """
    launcher = ["python", "-m", "torch.distributed.run", "--nproc-per-node", f"{machine.gpus}"]
    started = ["hf-prune"] if machine.gpus < 2 else [*launcher, "-m", "hf_prune"]
    return JobSpec(
        command=("uv", "run", "--with", requirement, *started, *words),
        flavor=machine.flavor,
        timeout=timeout,
        name=f"hf-prune-{_as_label(repo_id)}",
        labels={"tool": "hf-prune", PUBLISHES: publishes_label(repo_id)},
        environment=environment or {},
    )


def requirement_for(version: str, formats: str, instead: str | None) -> str:
    """What a job installs: this version of hf-prune, with what the forms that are asked for need.

    Args:
        version: of hf-prune here.
        formats: as `--format` has them.
        instead: a requirement that the user names in its place, where the package index lacks this version.
    """
    if instead:
        return instead
    extra = "[onnx]" if any(form in PACKAGES for form in parse_formats(formats)) else ""
    return f"hf-prune{extra}=={version}"


def publishes_label(repo_id: str) -> str:
    """A label for a repository; labels have no slash and no dot, and without the hash two could be alike."""
    name = repo_id.lower()
    return f"{_as_label(name)}-{sha256(name.encode()).hexdigest()[:8]}"


def _as_label(text: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_-]", "-", text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the lines of a job's log say of its end."""

    address: str | None = None  # the result on its stdout
    error: str | None = None  # the line that hf-prune ends with when something is wrong

    def read(self, line: str, page: str) -> "Told":
        """With one more line of the log.

        Args:
            line: of stdout or stderr.
            page: of the repository that the job publishes to.
        """
        line = line.rstrip()
        if re.fullmatch(rf"{re.escape(page)}(/\S*)?", line):
            return Told(address=line, error=self.error)
        own = OWN_ERROR.match(line)
        return Told(address=self.address, error=own[1]) if own else self


def failure(job: Job, stage: str, message: str | None, told: Told) -> HfPruneError:
    """What to tell of a job that has not completed.

    Args:
        job: which.
        stage: that it ended in: "ERROR", "CANCELED", "DELETED".
        message: what the Hub says of that.
        told: what its log says.
    """
    code, error = EXIT_CODE.search(message or ""), told.error or ""
    if (code and int(code[1]) == GateRefused.exit_code) or REFUSED_BY_A_GATE in error:
        refusal = error.split(REFUSED_BY_A_GATE)[0] or "the result is worse than was let through"
        return GateRefused(f"{refusal}: the job published nothing, and its disk is gone ({job.url})")
    reason = error or message or "its log may say why"
    ended = {"CANCELED": "was cancelled", "DELETED": "was deleted"}.get(stage, "failed")
    return JobFailed(f"the job {ended} ({reason}): {job.url}")
