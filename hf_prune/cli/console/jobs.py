"""A run on another machine: the job that it would be, what it came to, and its schedule."""

import json
import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from rich.markup import escape
from rich.table import Table

from hf_prune.cli.console.terminal import print_table
from hf_prune.records import Published

if TYPE_CHECKING:
    from hf_prune.commands.jobs.handover import HandedOver, Planned, Scheduled


def show_unchanged(published: Published, *, as_json: bool) -> None:
    """What is published already and stays: one JSON object, or the address."""
    told = {"unchanged": True, "published": asdict(published)}
    click.echo(json.dumps(told, sort_keys=True) if as_json else published.address)


def show_planned(planned: "Planned", by: str | None, *, as_json: bool) -> None:
    """A job that is not started: one JSON object, or a table.

    Args:
        planned: the job.
        by: what would start it; None: the user, now.
        as_json: print an object.
    """
    spec = planned.spec
    if as_json:
        told = asdict(spec) | {"secrets": ["HF_TOKEN"], "namespace": planned.namespace, "schedule": by}
        told |= {"publishes": planned.repo_id, "dollars_an_hour": planned.machine.price}
        click.echo(json.dumps(told, sort_keys=True))
        return
    rows = {
        "command": shlex.join(spec.command),
        "machine": str(planned.machine),
        "started": by or "when this is given without --dry-run",
        "ended": f"after {spec.timeout} at the latest",
        "image": spec.image,
        "environment": ", ".join(f"{name}={value}" for name, value in spec.environment.items()),
        "secrets": "HF_TOKEN, yours",
        "paid by": planned.namespace or "you",
        "publishes": planned.repo_id,
    }
    table = Table(title="Nothing was started", show_header=False)
    for name, text in rows.items():
        if text:
            table.add_row(name, escape(text))
    print_table(table, to_stdout=True)


def show_handed_over(handed: "HandedOver", *, as_json: bool) -> None:
    """What a job published, or the job where nobody waited: one JSON object, or the address."""
    published = handed.published
    if as_json:
        told = {"job": asdict(handed.job), "published": asdict(published) if published else None}
        click.echo(json.dumps(told, sort_keys=True))
        return
    click.echo(published.address if published else handed.job.url)


def show_scheduled(scheduled: "Scheduled", *, as_json: bool) -> None:
    """A schedule that was made: one JSON object, or its id."""
    if as_json:
        click.echo(json.dumps(asdict(scheduled), sort_keys=True))
        return
    click.echo(scheduled.schedule.id)
