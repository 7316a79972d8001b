"""The specification of a job on Hugging Face Jobs, and the outcome that its log reports."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from hf_prune.errors import GateRefused, HfPruneError, JobFailed, RecipeError
from hf_prune.recipe.formats import PACKAGES, parse_formats
from hf_prune.recipe.recipe import SELF
from hf_prune.recipe.words import LOCAL_PATHS
from hf_prune.records.jobs import PUBLISHES, TIMEOUT, Job, JobSpec, Machine

PACKAGE = "HF_PRUNE_PACKAGE"  # the environment variable that says what a job installs
# Parameters whose value may be a file or a folder.
ON_THIS_DISK = (*LOCAL_PATHS, "based_on", "template", "notes")
EXIT_CODE = re.compile(r"exit code:? (\d+)", re.IGNORECASE)
OWN_ERROR = re.compile(r"hf-prune: (.+)")
REFUSED_BY_A_GATE = ": nothing was pushed; see "  # in the last line of a run with exit code 3


@dataclass(frozen=True, slots=True)
class GivenOption:
    """An option, or the model, as the user gave it."""

    field: str
    value: Any
    words: tuple[str, ...]  # that repeat it on a command line


def find_machine(flavor: str, machines: Sequence[Machine]) -> Machine:
    """The machine of a flavor.

    Raises:
        RecipeError: the Hub offers none.
    """
    for machine in machines:
        if machine.flavor == flavor:
            return machine
    offered = "; ".join(map(str, machines))
    raise RecipeError(f"--on {flavor}: Hugging Face Jobs have no such machine; they have {offered}")


def refuse_local_files(given: Iterable[GivenOption], built_in_recipes: Sequence[str]) -> None:
    """Refuse options that name local files, which a job on another machine cannot read.

    Raises:
        RecipeError: naming all of them.
    """
    no_files = {"heal_data": (SELF,), "based_on": built_in_recipes}
    local = [
        " ".join(each.words)
        for each in given
        if each.field in ON_THIS_DISK and each.value not in no_files.get(each.field, ())
    ]
    if local:
        raise RecipeError(
            f"{', '.join(local)}: a job runs on another machine, which cannot see files of this one: leave "
            f"that out, or run without --on"
        )


def check_timeout(timeout: str) -> None:
    """Make sure that a timeout is a time.

    Raises:
        RecipeError: it is not.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", timeout)
    if match is None or float(match[1]) == 0:
        raise RecipeError(f"--timeout {timeout!r} is not a time like 90m, 6h or 1d")


def job_spec(
    words: Sequence[str],
    machine: Machine,
    repo_id: str,
    requirement: str,
    timeout: str = TIMEOUT,
    environment: Mapping[str, str] | None = None,
) -> JobSpec:
    """The job that runs `hf-prune WORDS`, on a machine with several GPUs with one process for each.

    huggingface_hub's `run_uv_job` is not used: it would upload a local file that has the name of a word.
    """
    launcher = ["python", "-m", "torch.distributed.run", "--nproc-per-node", f"{machine.gpus}"]
    program = ["hf-prune"] if machine.gpus < 2 else [*launcher, "-m", "hf_prune"]
    return JobSpec(
        command=("uv", "run", "--with", requirement, *program, *words),
        flavor=machine.flavor,
        timeout=timeout,
        name=f"hf-prune-{_as_label(repo_id)}",
        labels={"tool": "hf-prune", PUBLISHES: publishes_label(repo_id)},
        environment=environment or {},
    )


def requirement_for(version: str, formats: str, override: str | None) -> str:
    """What a job installs: this version of hf-prune with the extra for its formats, or the `override`."""
    if override:
        return override
    extra = "[onnx]" if any(form in PACKAGES for form in parse_formats(formats)) else ""
    return f"hf-prune{extra}=={version}"


def publishes_label(repo_id: str) -> str:
    """A label for a repository. It ends in a hash, because labels may hold neither a slash nor a dot."""
    name = repo_id.lower()
    return f"{_as_label(name)}-{sha256(name.encode()).hexdigest()[:8]}"


def _as_label(text: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_-]", "-", text)


def read_outcome(log: Iterable[str], page: str) -> tuple[str | None, str | None]:
    """The address of a job's result and the last error of hf-prune, from its log of stdout and stderr.

    Args:
        page: the address of the repository that the job publishes to. The last line that begins there counts.
    """
    address = error = None
    for line in (each.rstrip() for each in log):
        if re.fullmatch(rf"{re.escape(page)}(/\S*)?", line):
            address = line
        elif match := OWN_ERROR.fullmatch(line):
            error = match[1]
    return address, error


def failure(job: Job, stage: str, message: str | None, error: str | None) -> HfPruneError:
    """The error for a job that ended in the stage "ERROR", "CANCELED" or "DELETED"."""
    code, refusal = EXIT_CODE.search(message or ""), error or ""
    if (code and int(code[1]) == GateRefused.exit_code) or REFUSED_BY_A_GATE in refusal:
        refusal = refusal.split(REFUSED_BY_A_GATE)[0] or "the result is worse than was let through"
        return GateRefused(f"{refusal}: the job published nothing, and its disk is gone ({job.url})")
    reason = error or message or "its log may say why"
    ended = {"CANCELED": "was cancelled", "DELETED": "was deleted"}.get(stage, "failed")
    return JobFailed(f"the job {ended} ({reason}): {job.url}")
