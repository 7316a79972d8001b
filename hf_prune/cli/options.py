"""The options of the command line, in groups that several commands share."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from hf_prune.recipe.formats import FORMATS
from hf_prune.recipe.parse import parse_quantity
from hf_prune.recipe.recipe import BRIDGES, DEFAULT_RATIO, DEFAULTS, HEAL_TARGETS, HEALS, METHODS

Command = TypeVar("Command", bound=Callable[..., Any])

BRIDGE_HELP = f"Repair without training: {', '.join(BRIDGES)}. auto tries all others and keeps the best."
METHOD_HELP = f"How to choose: {', '.join(METHODS)}. auto tries what all others propose."


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


TRUSTING = (
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
SOURCE = (
    click.argument("model"),
    click.option("--revision", help="Branch, tag or commit on the Hub."),
    click.option("--gguf-file", metavar="NAME", help="Take this GGUF file of MODEL."),
    *TRUSTING,
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
        help="The deepest cut whose loss rises by no more, in nats per token; publish nothing worse.",
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


def _joined(
    context: click.Context, parameter: click.Parameter, values: Sequence[str] | str | None
) -> str | None:
    """What was given once or several times as one list."""
    return values if isinstance(values, str) else ",".join(values or ()) or None


TASKS = (
    _defaulting(
        "--eval",
        field="tasks",
        metavar="TASK,TASK",
        help="Tasks or groups of lm-evaluation-harness: arc_easy,gsm8k.",
    ),
    click.option("--limit", type=int, metavar="N", help="Items of each task.  [default: all]"),
    click.option(
        "--fewshot", type=int, metavar="N", help="Items shown before each.  [default: the task's own]"
    ),
    click.option(
        "--tasks-from",
        type=click.Path(file_okay=False),
        metavar="FOLDER",
        help="Tasks of your own: .yaml files for the harness. Code in the folder is run.",
    ),
    click.option(
        "--min-score",
        metavar="TASK=VALUE",
        multiple=True,
        callback=_joined,
        help="Publish nothing worse, and exit with 3; TASK:METRIC=VALUE names the metric.",
    ),
)
HELD_OUT = (
    click.option(
        "--eval-data",
        type=click.Path(),
        help="Held-out text for perplexity, or a folder of images.  [default: built in]",
    ),
    click.option(
        "--eval-elsewhere",
        type=click.Path(dir_okay=False),
        help="Held-out text of another domain than the calibration text.  [default: built in]",
    ),
    _defaulting("--eval-samples", type=int, help="Held-out windows."),
    click.option(
        "--choices",
        type=click.Path(dir_okay=False),
        help="Multiple-choice items: .jsonl, also .gz.  [default: made from the held-out text]",
    ),
    _defaulting("--choice-items", type=int, metavar="N", help="How many of them; 0: none."),
)
EVALUATION = (
    *HELD_OUT,
    *TASKS,
    click.option(
        "--draft",
        is_flag=True,
        help="Also measure speculative decoding: the result proposes to MODEL, a sorted one to itself.",
    ),
)
EXPORT = (
    _defaulting(
        "--format",
        field="formats",
        metavar="LIST",
        help=f"Forms of the result: {', '.join(FORMATS)}; the first there always is.",
    ),
    click.option(
        "--max-shard-size",
        type=Quantity(),
        metavar="SIZE",
        help="Of a safetensors file: 2GB.  [default: divided as MODEL is]",
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
TRAINING = (
    click.option("--heal-tokens", type=Quantity(), metavar="N", help="To train on.  [default: all, to 10M]"),
    click.option("--lr", type=float, help="Learning rate.  [default: the method's]"),
    click.option("--heal-batch", type=int, metavar="N", help="Windows a step.  [default: 1 to 16]"),
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
    *TRAINING,
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
    click.option(
        "--distill/--no-distill",
        default=None,
        help="Learn MODEL's predictions, or the text.  [default: predictions, where the disk holds them]",
    ),
    _defaulting(
        "--boundary-loss", type=float, metavar="WEIGHT", help="Also learn MODEL's states after each gap."
    ),
)
BASELINE = (
    click.option("--baseline", metavar="MODEL", help="Measure this one too, and compare MODEL with it."),
    click.option(
        "--max-loss",
        type=float,
        metavar="NATS",
        help="Exit with 3 where its loss is further above the baseline's, in nats per token.",
    ),
    _defaulting("--seq-len", field="sequence_length", type=int, help="Tokens in a window."),
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
    click.option(
        "--branch", metavar="NAME", help="On this branch, made where there is none.  [default: main]"
    ),
    click.option("--create-pr", is_flag=True, help="Open a pull request instead: one for each run."),
    click.option("--collection", metavar="SLUG", help="Put it into this collection too."),
    click.option("--yes", is_flag=True, help="Overwrite a repository that hf-prune did not make."),
)
IF_CHANGED = click.option(
    "--if-changed",
    is_flag=True,
    help="Do nothing where what is published was made from the same commit of MODEL in the same way.",
)
CARD = (
    click.option(
        "--template",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help='A Jinja template that overrides blocks of the card: {% extends "model_card.md.j2" %}.',
    ),
    click.option(
        "--notes",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Markdown that the card ends with, before the citation.",
    ),
)
DRY_RUN = click.option(
    "--dry-run", is_flag=True, help="Say what would be done and what it takes; fetch headers alone."
)


def options_of(*groups: Sequence[Callable[[Any], Any]]) -> Callable[[Command], Command]:
    """Groups of options, in the order in which the help shows them."""

    def add(command: Command) -> Command:
        for option in reversed([option for group in groups for option in group]):
            command = option(command)
        return command

    return add
