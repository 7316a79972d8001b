"""The options of the command line, in groups that several commands share."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from hf_prune.recipe.formats import FORMATS
from hf_prune.recipe.parse import parse_quantity
from hf_prune.recipe.recipe import BRIDGES, DEFAULT_RATIO, DEFAULTS, KINDS, METHODS, OPTIONS, option_name
from hf_prune.recipe.words import SWITCHES
from hf_prune.records.jobs import TIMEOUT

Command = TypeVar("Command", bound=Callable[..., Any])
Decorator = Callable[[Any], Any]
Group = tuple[Decorator, ...]

PATHS = {"file": click.Path(dir_okay=False), "folder": click.Path(file_okay=False), "either": click.Path()}
FILE = click.Path(path_type=Path, dir_okay=False)
METAVARS = {  # what the help calls the values of some fields
    **dict.fromkeys(("gguf_file", "method", "bridge"), "NAME"),
    **dict.fromkeys(("layers", "protect", "depths", "formats"), "LIST"),
    **dict.fromkeys(("target_memory", "max_shard_size"), "SIZE"),
    "based_on": "NAME|FILE",
    "grow": "N|auto",
    "tasks": "TASK,TASK",
    "min_score": "TASK=VALUE",
    "max_loss": "NATS",
    "budget": "PASSES",
    "boundary_loss": "WEIGHT",
}
SECTIONS: dict[str, Group] = {}  # groups of options by their heading in the help, in its order


class Quantity(click.ParamType[int]):
    """A number of parameters or bytes, as people write it."""

    name = "quantity"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """5B, 8GB, 8GiB or 1.2e9 as a whole number."""
        try:
            return value if isinstance(value, int) else parse_quantity(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def recipe_options(**texts: str) -> Group:
    """The options of fields of the recipe, with a text for the help of each.

    Name, type and default are the field's. If the default is None, the text says what happens then.
    """
    return tuple(_recipe_option(field, text) for field, text in texts.items())


def _recipe_option(field: str, text: str) -> Decorator:
    option, kind, default = OPTIONS[field], KINDS[field], getattr(DEFAULTS, field)
    if option.negative:
        return click.option("/".join(SWITCHES[field]), field, default=default, help=text)
    value_type: Any = PATHS[option.path] if option.path else kind
    if option.choices or option.quantity:
        value_type = click.Choice(option.choices) if option.choices else Quantity()
    metavar = METAVARS.get(field, "N" if kind is int else None)
    settings: dict[str, Any] = {"type": value_type, "metavar": metavar, "show_default": default is not None}
    if kind is bool:
        settings = {"is_flag": True}
    if option.repeatable:
        settings |= {"multiple": True, "callback": _joined}
    return click.option(option_name(field), field, default=default, help=text, **settings)


def _joined(context: click.Context, parameter: click.Parameter, values: Sequence[str] | str) -> str | None:
    """One list of what was given once or several times."""
    return values if isinstance(values, str) else ",".join(values) or None


def section(heading: str, *options: Decorator, **texts: str) -> Group:
    """A group of options that the help shows under a heading, after those of earlier sections."""
    SECTIONS[heading] = (*options, *recipe_options(**texts))
    return SECTIONS[heading]


def options_of(*groups: Sequence[Decorator]) -> Callable[[Command], Command]:
    """Groups of options, in the order in which the help shows them."""

    def add(command: Command) -> Command:
        for option in reversed([option for group in groups for option in group]):
            command = option(command)
        return command

    return add


SOURCE = section(
    "The model",
    click.argument("model"),
    revision="Branch, tag or commit on the Hub.",
    gguf_file="Use this GGUF file of MODEL.",
    allow_pickle="Read pytorch_model.bin if there is no safetensors file. Code in it is refused, not run.",
    trust_remote_code="Run the Python code that MODEL brings. Read it first.",
)
TRUSTING = SOURCE[-2:]
RECIPE = section(
    "Recipe",
    based_on="Use the options of a paper (`hf-prune recipes`) or a .yaml file. Your own options win.",
)
TARGET = section(
    "What to remove",
    ratio=f"Share of the layers to remove.  [default: {DEFAULT_RATIO}]",
    drop_layers="Number of layers to remove.",
    layers="Layers to remove, counted from 0: 21-28,30.",
    target_params="Largest parameter count of the result: 5B.",
    target_memory="Largest memory of the result, for weights and KV cache: 8GB.",
    context_length="Tokens in that KV cache.",
    max_loss="Make the deepest cut whose loss rises by at most this, in nats per token. "
    "Publish nothing worse.",
)
CHOICE = section(
    "How to choose",
    method=f"Criterion: {', '.join(METHODS)}. auto tries what all others propose.",
    protect="Layers to keep: first:4,last:2,11.",
    contiguous="Remove one block, or the best layers anywhere.  [default: as in the method's paper]",
    budget="What auto may cost, in passes over the calibration text.",
)
CALIBRATION = section(
    "Calibration",
    calibration="Text (.txt or .jsonl, also .gz) for choosing and repairing, or a folder of images.  "
    "[default: built-in text]",
    samples="Number of calibration windows.",
    sequence_length="Tokens per window.",
    seed="Seed for the order of the calibration text and for random choices.",
)
REPAIR = section(
    "Repair without training",
    bridge=f"Repair: {', '.join(BRIDGES)}. auto tries all others and keeps the best.",
)
GROWTH = section(
    "New layers",
    grow="Insert N layers into the shallow half and train only them (SLayer). auto: after every second.",
)
DEPTHS = section(
    "Depths",
    depths="Train the first 12, 16, 20 layers as models too (Sorted LLaMA): 12,16,20.",
    sample_depths="Train one depth per step, drawn at random.",
)
TRAINING = recipe_options(
    heal_tokens="Training tokens.  [default: all, at most 10M]",
    lr="Learning rate.  [default: the method's]",
    heal_batch="Windows per step.  [default: 1 to 16]",
)
HEALING = section(
    "Healing",
    *recipe_options(heal="What to train. auto: lora on a GPU, or qlora if only that fits."),
    click.option(
        "--heal-data",
        "--inject",
        "heal_data",
        metavar="FILE|self",
        help="Training text: .txt or .jsonl, also .gz. self: MODEL answers prompts.  [default: built in]",
    ),
    *TRAINING,
    prompts='Prompts for --heal-data self: .jsonl with a field "prompt".',
    rank="Rank of LoRA.  [default: 64]",
    lora_alpha="LoRA is scaled by N / rank.  [default: the rank]",
    heal_targets="Projections that LoRA trains.",
    last_layers="Layers that partial trains.",
    train_head="Whether partial trains the head. A tied head is untied first.  [default: if not tied]",
    distill="Learn MODEL's predictions, or the text.  [default: predictions, if they fit on the disk]",
    boundary_loss="Also learn MODEL's hidden states after each gap.",
)
HELD_OUT = section(
    "Held-out data",
    eval_data="Held-out text for perplexity, or a folder of images.  [default: built-in text]",
    eval_elsewhere="Held-out text from another domain.  [default: built in]",
    eval_samples="Number of held-out windows.",
    choices="Multiple-choice items: .jsonl, also .gz.  [default: made from the held-out text]",
    choice_items="Number of those items. 0: none.",
)
TASKS = section(
    "Tasks and quality gates",
    tasks="Tasks or groups of lm-evaluation-harness: arc_easy,gsm8k.",
    limit="Items per task.  [default: all]",
    fewshot="Examples before each item.  [default: the task's own]",
    tasks_from="Your own tasks: .yaml files for the harness. Code in the folder is run.",
    min_score="Publish nothing worse, and exit with 3. TASK:METRIC=VALUE names the metric.",
)
DRAFT = section(
    "Speculative decoding",
    draft="Also measure the result as a draft of MODEL; a sorted one as its own draft.",
)
EXPORT = section(
    "Output formats",
    formats=f"Formats, comma-separated: {', '.join(FORMATS)}. safetensors is always written.",
    max_shard_size="Maximum size of one safetensors file: 2GB.  [default: same shards as MODEL]",
)
PLACE = (
    *recipe_options(device="Where to compute: auto, cpu, cuda or cuda:1."),
    click.option(
        "--max-memory",
        type=Quantity(),
        metavar="SIZE",
        help="Memory for hidden states; the rest goes to a file.  [default: half of what is free]",
    ),
    click.option("--output", type=click.Path(path_type=Path), help="Folder for the results."),
    click.option("--fresh", is_flag=True, help="Discard what an earlier run left in that folder."),
)
DRY_RUN = click.option(
    "--dry-run", is_flag=True, help="Only show what a run would do and need. Downloads only headers."
)
REPORT_TO = click.option(
    "--report-to", metavar="NAME", default="none", help="Training tracker that transformers knows: trackio."
)
section("Device and output", *PLACE, DRY_RUN, REPORT_TO)
CARD = section(
    "Card",
    click.option(
        "--template",
        type=FILE,
        metavar="FILE",
        help='Your Jinja template for blocks of the card: {% extends "model_card.md.j2" %}.',
    ),
    click.option(
        "--notes", type=FILE, metavar="FILE", help="Markdown for the end of the card, before the citation."
    ),
)
DESTINATION = (
    click.option("--repo-id", metavar="ID", help="Repository.  [default: USER/BASE-24L]"),
    click.option("--private/--public", default=True, show_default=True, help="Who can see it."),
    click.option("--branch", metavar="NAME", help="Branch, created if missing.  [default: main]"),
    click.option("--create-pr", is_flag=True, help="Open a pull request instead, a new one for each run."),
    click.option("--collection", metavar="SLUG", help="Add it to this collection too."),
    click.option("--yes", is_flag=True, help="Overwrite a repository that hf-prune did not make."),
)
PUSH = (click.option("--push", is_flag=True, help="Publish the result on the Hub."), *DESTINATION)
IF_CHANGED = click.option(
    "--if-changed",
    is_flag=True,
    help="Do nothing if the published result was made from the same commit of MODEL in the same way.",
)
PUBLISHING = section("Publishing", *PUSH, IF_CHANGED)
JOB = (
    click.option(
        "--on",
        "flavor",
        metavar="FLAVOR",
        help="Run on this machine of Hugging Face Jobs (`hf jobs hardware` lists them): a10g-small.",
    ),
    click.option("--timeout", default=TIMEOUT, show_default=True, help="Longest time for the job."),
    click.option("--namespace", metavar="ORG", help="Who pays for the job.  [default: you]"),
)
DETACHABLE_JOB = section(
    "Hugging Face Jobs", *JOB, click.option("--detach", is_flag=True, help="Do not wait for the job.")
)
MANNER = section(
    "Messages",
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
    click.option("-q", "--quiet", is_flag=True, help="Show no progress."),
    click.option("-v", "--verbose", is_flag=True, help="Show where an error came from.", expose_value=False),
)

COMPARISON = (
    click.option("--baseline", metavar="MODEL", help="Measure this model too, and compare MODEL with it."),
    *recipe_options(
        max_loss="Exit with 3 if its loss is further above the baseline's, in nats per token.",
        sequence_length="Tokens per window.",
    ),
    *HELD_OUT,
    *TASKS,
)
EVALUATION = (*HELD_OUT, *TASKS, *DRAFT)
CUTTING = (
    *(*RECIPE, *TARGET, *CHOICE, *CALIBRATION, *REPAIR),
    *(*EVALUATION, *GROWTH, *DEPTHS, *HEALING),
)
RESULT = (*EXPORT, REPORT_TO, *PLACE, DRY_RUN, *CARD)
OUTCOME = (*RESULT, *PUBLISHING, *DETACHABLE_JOB, *MANNER)
TRAINED = (*TRAINING, *CALIBRATION, *EVALUATION, *OUTCOME)
