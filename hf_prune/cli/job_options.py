"""The options that send a run to Hugging Face Jobs, and the words that say a run again."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from hf_prune.commands.jobs.spec import Given
from hf_prune.errors import RecipeError
from hf_prune.records.jobs import TIMEOUT

if TYPE_CHECKING:
    from hf_prune.commands.jobs.handover import Place

JOB = (
    click.option(
        "--on",
        "flavor",
        metavar="FLAVOR",
        help="Run on this machine of Hugging Face Jobs, as `hf jobs hardware` lists them: a10g-small.",
    ),
    click.option("--timeout", default=TIMEOUT, show_default=True, help="The longest that a job may take."),
    click.option("--namespace", metavar="ORG", help="Who pays for the job.  [default: you]"),
)
DETACH = click.option("--detach", is_flag=True, help="Do not wait for the job.")
OF_THE_JOB_ALONE = (  # parameters that say how a run is handed over, and not what it does
    *("flavor", "timeout", "namespace", "detach", "dry_run", "as_json"),
    *("cron", "on_change", "replaces"),
)


def given_options(context: click.Context, but: Collection[str] = ()) -> tuple[Given, ...]:
    """What the user gave of a command, by click's own account, with the words that say it again.

    Args:
        context: of the command.
        but: parameters that are left out.
    """
    unsaid = (ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)
    found = []
    for parameter in context.command.params:
        name = parameter.name or ""
        value = context.params.get(name)
        if name in but or context.get_parameter_source(name) in unsaid or value is None:
            continue
        found.append(Given(name, value, tuple(_words_for(parameter, value))))
    return tuple(found)


def _words_for(parameter: click.Parameter, value: Any) -> list[str]:
    if isinstance(parameter, click.Argument):
        return [f"{value}"]
    if isinstance(value, bool):
        return [(parameter.opts if value else parameter.secondary_opts)[0]]
    return [parameter.opts[0], f"{value}"]


def job_place(options: dict[str, Any]) -> "Place | None":
    """Where a job is to run, taken out of what was given; None: the run is made here.

    Raises:
        RecipeError: it is said how a job runs, and none is asked for.
    """
    flavor, timeout, namespace = (options.pop(name, None) for name in ("flavor", "timeout", "namespace"))
    if flavor is not None:
        from hf_prune.commands.jobs.handover import Place

        return Place(flavor=flavor, timeout=timeout, namespace=namespace)
    of_jobs = ("timeout", "namespace", "detach")
    given = [each for each in given_options(click.get_current_context()) if each.field in of_jobs]
    if given:
        raise RecipeError(f"{given[0].words[0]} says how a job runs: add --on FLAVOR, or leave it out")
    return None
