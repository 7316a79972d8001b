"""What a command that prunes was asked for: its parsed options, split once by what they decide."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from hf_prune.commands.jobs.spec import GivenOption
from hf_prune.errors import RecipeError
from hf_prune.recipe.recipe import OPTIONS, Publication, Recipe
from hf_prune.recipe.words import merged_options
from hf_prune.records import Citation

if TYPE_CHECKING:
    from hf_prune.commands.jobs.handover import JobOptions

OF_JOBS = ("timeout", "namespace", "detach")
# Parameters that say how a run is handed over, not what it does.
OF_THE_JOB_ALONE = (*OF_JOBS, "flavor", "dry_run", "as_json", "cron", "on_change", "replaces")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The options of a command that prunes."""

    recipe: Recipe
    cited: Citation | None  # the work that the recipe file follows
    publication: Publication | None  # None: nothing is published
    job: "JobOptions | None"  # None: the run is made here
    output: Path | None  # the run folder
    fresh: bool
    max_memory: int | None  # bytes
    report_to: str
    template: Path | None
    notes: Path | None
    if_changed: bool = False
    dry_run: bool
    detach: bool = False
    as_json: bool
    quiet: bool


def read_request(options: Mapping[str, Any], own: Mapping[str, Any] | None = None) -> Request:
    """The request that a command line makes.

    The user's options win over those of a recipe file, these over the command's own, and these over defaults.

    Args:
        own: fields of the recipe that this command sets unless the user or a recipe file does.

    Raises:
        RecipeError: the recipe file is none, or options of a job are given without one.
    """
    options, cited = _with_recipe_file(options, own or {})
    as_given = {each.name: options[each.name] for each in fields(Request) if each.name in options}
    return Request(
        recipe=Recipe(**{"model": ""} | {name: options[name] for name in OPTIONS if name in options}),
        cited=cited,
        publication=read_publication(options) if options.get("push") else None,
        job=_read_job(options),
        **as_given,
    )


def _with_recipe_file(
    options: Mapping[str, Any], own: Mapping[str, Any]
) -> tuple[dict[str, Any], Citation | None]:
    source = click.get_current_context().get_parameter_source
    stated = {name: options[name] for name in options if source(name) is not ParameterSource.DEFAULT}
    if options.get("based_on") is None:
        return {**options, **merged_options(own, stated)}, None
    from hf_prune.recipe.files import read_recipe_file

    file = read_recipe_file(options["based_on"])
    merged = merged_options(merged_options(own, file.options), stated)
    return {**options, **merged, "based_on": file.name}, file.cited


def read_publication(options: Mapping[str, Any]) -> Publication:
    """Where to publish."""
    names = ("repo_id", "private", "branch", "create_pr", "collection")
    return Publication(overwrite=options["yes"], **{name: options[name] for name in names})


def _read_job(options: Mapping[str, Any]) -> "JobOptions | None":
    if options.get("flavor") is not None:
        from hf_prune.commands.jobs.handover import JobOptions

        return JobOptions(**{name: options[name] for name in ("flavor", "timeout", "namespace")})
    given = [each for each in given_options(click.get_current_context()) if each.field in OF_JOBS]
    if given:
        raise RecipeError(f"{given[0].words[0]} says how a job runs: add --on FLAVOR, or leave it out")
    return None


def given_options(context: click.Context, but: Collection[str] = ()) -> tuple[GivenOption, ...]:
    """The parameters that the user gave to a command except `but`, with the words that state them again."""
    given = []
    for parameter in context.command.params:
        name = parameter.name or ""
        value = context.params.get(name, True)  # only flags are not exposed
        is_given = context.get_parameter_source(name) is not ParameterSource.DEFAULT
        if name in but or value is None or not is_given:
            continue
        if isinstance(parameter, click.Argument):
            words = [f"{value}"]
        elif isinstance(value, bool):
            words = [(parameter.opts if value else parameter.secondary_opts)[0]]
        else:
            words = [parameter.opts[0], f"{value}"]
        given.append(GivenOption(name, value, tuple(words)))
    return tuple(given)
