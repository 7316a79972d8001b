"""A run on a machine of Hugging Face Jobs: checked here, started there, followed to its end; or scheduled.

Nothing is computed here. What would fail there after minutes that cost money is found out before: the
options, the model, the right to publish.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version

from hf_prune import hub
from hf_prune.commands.jobs.cron import check_cron
from hf_prune.commands.jobs.spec import (
    PACKAGE,
    Given,
    Told,
    check_timeout,
    failure,
    job_spec,
    machine_called,
    publishes_label,
    refuse_what_is_only_here,
    requirement_for,
)
from hf_prune.errors import AlreadyScheduled, JobFailed, JobGoesOn, RecipeError, SourceError
from hf_prune.machine.progress import Reporter
from hf_prune.recipe.faults import check_recipe
from hf_prune.recipe.files import built_in_names
from hf_prune.recipe.recipe import Publication, Recipe
from hf_prune.records import Published
from hf_prune.records.jobs import Job, JobSpec, Machine, Schedule
from hf_prune.stages.choose.target import layers_to_remove
from hf_prune.stages.original import find_original
from hf_prune.stages.publish.naming import result_name
from hf_prune.stages.publish.published import standing
from hf_prune.stages.publish.stage import check_publication
from hf_prune.stages.source import find as source
from hf_prune.stages.source.licence import fitting_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a job runs, as the user wants it."""

    flavor: str
    timeout: str
    namespace: str | None  # who pays; None: the user


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A job that could be started."""

    spec: JobSpec
    machine: Machine
    namespace: str | None
    base: str  # the id of the original
    repo_id: str  # where the job publishes
    publication: Publication


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOver:
    """A job that was started, and what it published; None: nobody waited for that."""

    job: Job
    published: Published | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """A schedule that was made, and the job that was started with it, where there was one."""

    schedule: Schedule
    repo_id: str
    job: Job | None


def plan_job(
    recipe: Recipe,
    publication: Publication | None,
    command: str,
    given: Sequence[Given],
    place: Place,
    reporter: Reporter,
    *,
    added: Sequence[str] = (),
) -> Planned:
    """The job that makes a run, once all is checked that can be from here; nothing is started.

    Args:
        recipe: what the run does.
        publication: where it publishes.
        command: of hf-prune: "run", "grow", "sort".
        given: what the user gave of it; these are the words of the job.
        place: where it runs.
        reporter: is told what is found, and the price.
        added: words that the job has besides.

    Raises:
        RecipeError: the request cannot be met there; there is no such machine.
        AccessDenied: this user may not publish there.
        SourceError: the model cannot be had.
    """
    if publication is None:
        raise RecipeError(f"--on {place.flavor}: the disk of a job is lost when it ends: add --push")
    if "HF_OIDC_RESOURCE" in os.environ:
        raise RecipeError(
            f"--on {place.flavor} needs a token of yours: the one that HF_OIDC_RESOURCE brings lasts an hour "
            f"and may write to one repository, not start jobs: unset it, and set HF_TOKEN"
        )
    if "RANK" in os.environ:
        raise RecipeError(f"--on {place.flavor} starts the processes on its machine: leave the launcher out")
    refuse_what_is_only_here(given, built_in_names())
    check_recipe(recipe)
    check_timeout(place.timeout)
    found = find_original(recipe, reporter)
    if found.repository is None:
        raise RecipeError(
            f"{recipe.model} is a folder here, which a job cannot see: `hf upload` it, and give its id"
        )
    name, depths = _name(recipe, publication, found), recipe.depths is not None
    repo_id = check_publication(publication, fitting_name(found.terms, name), found.terms, depths=depths)
    assert repo_id is not None
    machine = machine_called(place.flavor, hub.machines())
    reporter.tell(f"{machine}; for {place.timeout} at most")
    spec = job_spec(
        [command, *(word for each in given for word in each.words), *added],
        machine,
        repo_id=repo_id,
        requirement=requirement_for(version("hf-prune"), recipe.formats, os.environ.get(PACKAGE)),
        timeout=place.timeout,
        environment=hub.other_endpoint(),
    )
    return Planned(
        spec=spec,
        machine=machine,
        namespace=place.namespace,
        base=found.repository.repo_id,
        repo_id=repo_id,
        publication=publication,
    )


def _name(recipe: Recipe, publication: Publication, found: source.Found) -> str:
    """Of the result; to count the layers of a GGUF file it would have to be fetched: there one is given."""
    if recipe.gguf_file is not None and publication.repo_id is None:
        raise RecipeError(
            "--on with --gguf-file needs --repo-id: the usual name says how many layers are left, and the "
            "file would have to be fetched to count them"
        )
    if recipe.gguf_file is not None:
        return found.name
    anatomy = source.fetch_anatomy(found, exact=recipe.needs_sizes)
    return result_name(found.name, recipe, anatomy.num_layers, layers_to_remove(recipe, anatomy))


def hand_over(planned: Planned, reporter: Reporter, *, detach: bool) -> HandedOver:
    """Start a job, show its log as it comes, and find what it published.

    Args:
        planned: the job.
        reporter: is told the job's address, and every line of its log.
        detach: do not wait for its end.

    Raises:
        JobFailed: it ended otherwise than well, or the Hub no longer tells how it goes.
        GateRefused: it ended well, and the result is worse than was let through.
        JobGoesOn: the user interrupted the waiting.
    """
    job = hub.start_job(planned.spec, planned.namespace)
    reporter.tell(f"job {job.full_id}: {job.url}")
    if detach:
        return HandedOver(job=job, published=None)
    told, page = Told(), hub.page_of(planned.repo_id)
    try:
        for line in hub.job_log(job):
            reporter.tell(line)
            told = told.read(line, page)
        stage, message = hub.end_of(job)
    except KeyboardInterrupt:
        raise JobGoesOn(
            f"the job goes on: `hf jobs logs --follow {job.full_id}` shows its log again, `hf jobs cancel "
            f"{job.full_id}` stops it"
        ) from None
    except SourceError as error:
        raise JobFailed(f"the job was lost sight of, and may go on ({job.url}): {error}") from error
    if stage != "COMPLETED":
        raise failure(job, stage, message, told)
    published = _published_by(planned, told)
    if published is None:
        raise JobFailed(f"the job ended well, and there is nothing of it in {planned.repo_id}: {job.url}")
    return HandedOver(job=job, published=replace(published, unchanged=False))


def _published_by(planned: Planned, told: Told) -> Published | None:
    """What is at the address that the job told; else what was proposed last, or is on the branch."""
    found = [each.published for each in standing(planned.repo_id, planned.publication)]
    named = [published for published in found if published.address == told.address]
    proposed = [published for published in found if published.pull_request is not None]
    return next(iter((*named, *proposed, *found)), None)


def schedule(planned: Planned, cron: str | None, reporter: Reporter, *, replaces: bool = False) -> Scheduled:
    """Have a job started by the clock, or now and whenever its original changes.

    Args:
        planned: the job.
        cron: when; None: when the original changes.
        reporter: is told what was made, and how to be rid of it.
        replaces: whether another schedule that publishes to the same repository is ended.

    Raises:
        AlreadyScheduled: there is such a schedule, and it is not to be replaced.
    """
    label, namespace = publishes_label(planned.repo_id), planned.namespace
    others = hub.schedules_for(label, namespace)
    if others and not replaces:
        known = "; ".join(f"{other.by} (`{other.removal}` ends it)" for other in others)
        raise AlreadyScheduled(
            f"{planned.repo_id} is published by a schedule already: {known}: give --replace to have this one "
            f"in its place"
        )
    job = None
    if cron is None:
        made, job = hub.start_on_change(planned.spec, planned.base, namespace)
        reporter.tell(f"job {job.full_id} is the first, and runs now: {job.url}")
    else:
        made = hub.start_on_schedule(planned.spec, cron, namespace)
    for other in others:  # only now, so that there is always one
        hub.end_schedule(other)
        reporter.tell(f"ended: {other.by} ({other.id})")
    reporter.tell(
        f"{planned.repo_id} is made again by {made.by}, where something changed: `{made.removal}` ends that"
    )
    return Scheduled(schedule=made, repo_id=planned.repo_id, job=job)


def check_schedule(cron: str | None, *, on_change: bool) -> None:
    """Make sure that one of the two is asked for, and can be had.

    Raises:
        RecipeError: neither or both are, or the schedule is none.
    """
    if (cron is None) is not on_change:
        raise RecipeError("give either --cron, a schedule like '0 3 * * 1', or --on-change")
    if cron is not None:
        check_cron(cron)
