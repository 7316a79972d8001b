"""A run on another machine: the planned job, what it published, and its schedule."""

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING

from hf_prune.cli.console.terminal import print_result, print_rows
from hf_prune.records import Published

if TYPE_CHECKING:
    from hf_prune.commands.jobs.handover import PlannedJob, ScheduledJob, StartedJob


def show_unchanged(published: Published, *, as_json: bool) -> None:
    """Show what is published already and stays: one JSON object, or the address."""
    content = {"unchanged": True, "published": asdict(published)}
    print_result(content, published.address, as_json=as_json)


def show_planned(planned: "PlannedJob", trigger: str | None, *, as_json: bool) -> None:
    """Show a job that is not started: one JSON object, or a table.

    Args:
        trigger: what would start it; None: the user, now.
    """
    spec = planned.spec
    content = asdict(spec) | {"secrets": ["HF_TOKEN"], "namespace": planned.namespace, "schedule": trigger}
    content |= {"publishes": planned.repo_id, "dollars_an_hour": planned.machine.price}
    rows = {
        "command": shlex.join(spec.command),
        "machine": str(planned.machine),
        "starts": trigger or "with this command, without --dry-run",
        "ends": f"after {spec.timeout} at the latest",
        "image": spec.image,
        "environment": ", ".join(f"{name}={value}" for name, value in spec.environment.items()),
        "secrets": "HF_TOKEN, yours",
        "paid by": planned.namespace or "you",
        "publishes": planned.repo_id,
    }
    if as_json:
        print_result(content, "", as_json=True)
    else:
        print_rows("Nothing was started", {name: text for name, text in rows.items() if text})


def show_job(job: "StartedJob", *, as_json: bool) -> None:
    """Show what a job published, or the job if nobody waited: one JSON object, or the address."""
    published = job.published
    content = {"job": asdict(job.job), "published": asdict(published) if published else None}
    print_result(content, published.address if published else job.job.url, as_json=as_json)


def show_scheduled(scheduled: "ScheduledJob", *, as_json: bool) -> None:
    """Show a new schedule: one JSON object, or its id."""
    print_result(asdict(scheduled), scheduled.schedule.id, as_json=as_json)
