"""A run on Hugging Face Jobs: checked here before it costs money, started there, followed or scheduled."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version

from hf_prune import hub
from hf_prune.commands.jobs.spec import (
    PACKAGE,
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
from hf_prune.errors import AlreadyScheduled, JobFailed, JobGoesOn, RecipeError, SourceError
from hf_prune.machine.progress import Reporter
from hf_prune.recipe.faults import check_recipe
from hf_prune.recipe.files import built_in_names
from hf_prune.recipe.recipe import Publication, Recipe
from hf_prune.records import Published
from hf_prune.records.jobs import Job, JobSpec, Machine, Schedule
from hf_prune.stages.original import find_original
from hf_prune.stages.publish.naming import name_and_kind
from hf_prune.stages.publish.published import published_revisions
from hf_prune.stages.publish.stage import check_publication


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """On which machine a job runs, for how long, and who pays."""

    flavor: str
    timeout: str
    namespace: str | None  # None: the user pays


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedJob:
    """A job that can be started."""

    spec: JobSpec
    machine: Machine
    namespace: str | None
    original: str  # its id
    repo_id: str  # the job publishes there
    publication: Publication


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedJob:
    """A job and what it published; None: nobody waited for its end."""

    job: Job
    published: Published | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledJob:
    """A new schedule, and the job that was started with it, if any."""

    schedule: Schedule
    repo_id: str
    job: Job | None


def plan_job(
    recipe: Recipe,
    publication: Publication | None,
    command: str,
    given: Sequence[GivenOption],
    options: JobOptions,
    reporter: Reporter,
    *,
    added: Sequence[str] = (),
) -> PlannedJob:
    """Check everything that can be checked from here, and plan the job. Nothing is started.

    Args:
        command: of hf-prune: "run", "grow", "sort". `given` and then `added` are its words.

    Raises:
        RecipeError: a job cannot do this, or there is no such machine.
        AccessDenied: this user may not publish there.
        SourceError: the model cannot be had.
    """
    if publication is None:
        raise RecipeError(f"--on {options.flavor}: the disk of a job is lost when it ends: add --push")
    _check_environment(options.flavor)
    refuse_local_files(given, built_in_names())
    check_recipe(recipe)
    check_timeout(options.timeout)
    original = find_original(recipe, reporter)
    if original.repository is None:
        raise RecipeError(
            f"{recipe.model} is a folder here, which a job cannot see: `hf upload` it, and give its id"
        )
    if recipe.gguf_file is not None and publication.repo_id is None:
        raise RecipeError(
            "--on with --gguf-file needs --repo-id: the usual name counts the layers that are left, and the "
            "whole file would have to be fetched for that"
        )
    name, _ = name_and_kind(recipe, publication, original)
    repo_id = check_publication(publication, name, original.terms, depths=recipe.depths is not None)
    machine = find_machine(options.flavor, hub.machines())
    reporter.tell(f"{machine}; for {options.timeout} at most")
    words = [command, *(word for each in given for word in each.words), *added]
    requirement = requirement_for(version("hf-prune"), recipe.formats, os.environ.get(PACKAGE))
    spec = job_spec(words, machine, repo_id, requirement, options.timeout, hub.other_endpoint())
    return PlannedJob(
        spec=spec,
        machine=machine,
        namespace=options.namespace,
        original=original.repository.repo_id,
        repo_id=repo_id,
        publication=publication,
    )


def _check_environment(flavor: str) -> None:
    if "HF_OIDC_RESOURCE" in os.environ:
        raise RecipeError(
            f"--on {flavor} needs a token of yours: the one that HF_OIDC_RESOURCE brings lasts an hour and "
            f"may write to one repository, not start jobs: unset it, and set HF_TOKEN"
        )
    if "RANK" in os.environ:
        raise RecipeError(f"--on {flavor} starts the processes on its machine: leave the launcher out")


def run_job(planned: PlannedJob, reporter: Reporter, *, detach: bool) -> StartedJob:
    """Start a job. Unless `detach` is set, show its log as it comes and find what it published.

    Raises:
        JobFailed: it failed, or the Hub no longer says how it goes.
        GateRefused: a quality gate refused its result.
        JobGoesOn: the user interrupted the waiting.
    """
    job = hub.start_job(planned.spec, planned.namespace)
    reporter.tell(f"job {job.full_id}: {job.url}")
    if detach:
        return StartedJob(job=job)
    log = []
    try:
        for line in hub.job_log(job):
            reporter.tell(line)
            log.append(line)
        stage, message = hub.wait_for_end(job)
    except KeyboardInterrupt:
        raise JobGoesOn(
            f"the job goes on: `hf jobs logs --follow {job.full_id}` shows its log again, `hf jobs cancel "
            f"{job.full_id}` stops it"
        ) from None
    except SourceError as lost:
        raise JobFailed(f"the job was lost sight of, and may go on ({job.url}): {lost}") from lost
    address, error = read_outcome(log, hub.address_of(planned.repo_id))
    if stage != "COMPLETED":
        raise failure(job, stage, message, error)
    published = _find_published(planned, address)
    if published is None:
        raise JobFailed(f"the job ended well, and there is nothing of it in {planned.repo_id}: {job.url}")
    return StartedJob(job=job, published=replace(published, unchanged=False))


def _find_published(planned: PlannedJob, address: str | None) -> Published | None:
    """What is at the address in the job's log, else the newest pull request, else what is on the branch."""
    runs = [published for _, published in published_revisions(planned.repo_id, planned.publication)]
    logged = [run for run in runs if run.address == address]
    proposed = [run for run in runs if run.pull_request is not None]
    return next(iter((*logged, *proposed, *runs)), None)


def schedule_job(
    planned: PlannedJob, cron: str | None, reporter: Reporter, *, replaces: bool = False
) -> ScheduledJob:
    """Have the Hub start a job by the clock, or now and whenever its original changes.

    Args:
        cron: the schedule; None: whenever the original changes.
        replaces: end other schedules that publish to the same repository.

    Raises:
        AlreadyScheduled: there is such a schedule, and it is not to be replaced.
        RecipeError: the Hub refuses the schedule.
    """
    label, namespace = publishes_label(planned.repo_id), planned.namespace
    others = hub.schedules_for(label, namespace)
    if others and not replaces:
        known = "; ".join(f"{other.by} (`{other.removal}` ends it)" for other in others)
        raise AlreadyScheduled(
            f"{planned.repo_id} is published by a schedule already: {known}: give --replace to have this one "
            f"in its place"
        )
    if cron is None:
        schedule, job = hub.start_on_change(planned.spec, planned.original, namespace)
        reporter.tell(f"job {job.full_id} is the first, and runs now: {job.url}")
    else:
        schedule, job = hub.start_on_schedule(planned.spec, cron, namespace), None
    for other in others:  # only now, so that there is always one
        hub.end_schedule(other)
        reporter.tell(f"ended: {other.by} ({other.id})")
    reporter.tell(
        f"{planned.repo_id} is made again by {schedule.by}, where something changed: `{schedule.removal}` "
        f"ends that"
    )
    return ScheduledJob(schedule=schedule, repo_id=planned.repo_id, job=job)


def check_schedule(cron: str | None, *, on_change: bool) -> None:
    """Require one of `--cron` and `--on-change`.

    Raises:
        RecipeError: neither or both are given.
    """
    if (cron is None) is not on_change:
        raise RecipeError("give either --cron, a schedule like '0 3 * * 1', or --on-change")
