"""The help of a command: options that many commands share stand under headings, in the order of a run."""

from collections.abc import Callable, Sequence
from typing import Any

import click

from hf_prune.cli import options
from hf_prune.cli.job_options import DETACH, JOB

SECTIONS = {
    "The model": options.SOURCE,
    "A recipe": options.RECIPE,
    "What to remove": options.TARGET,
    "How to choose": options.CHOICE,
    "Calibration": options.CALIBRATION,
    "Repair without training": options.REPAIR,
    "New layers": options.GROWTH,
    "Depths": options.DEPTHS,
    "Healing": options.HEALING,
    "Text to measure on": options.HELD_OUT,
    "Tasks and quality gates": options.TASKS,
    "Speculative decoding": options.EVALUATION[-1:],
    "Other forms": options.EXPORT,
    "Where it runs, and where to": (*options.PLACE, options.DRY_RUN, options.REPORT_TO),
    "The card": options.CARD,
    "Publishing": (*options.PUBLISHING, options.IF_CHANGED),
    "Hugging Face Jobs": (*JOB, DETACH),
    "What is printed": options.MANNER,
}
FEW = 20  # options that are taken in at a glance, without headings

Words = tuple[str, str]  # an option as the help writes it, and what it says of it


class Headed(click.Command):
    """A command whose help has headings where its options are many."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options of the command's own, and then those of each section."""
        rest = words_of(self, ctx)
        if len(rest) <= FEW:
            super().format_options(ctx, formatter)
            return
        *rest, of_help = rest  # click adds it behind all others
        headed = []
        for heading, decorators in SECTIONS.items():
            have = [words for words in shared_options(decorators) if words in rest]
            rest = [words for words in rest if words not in have]
            headed.append((heading, have))
        headed[-1][1].append(of_help)
        for heading, rows in (("Options", rest), *headed):
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)


def shared_options(decorators: Sequence[Callable[[Any], Any]]) -> list[Words]:
    """The options that a group of decorators would add to a command, without its arguments."""

    def command() -> None: ...

    for decorator in reversed(decorators):
        decorator(command)
    made = click.command(add_help_option=False)(command)
    return words_of(made, click.Context(made))


def words_of(command: click.Command, context: click.Context) -> list[Words]:
    """Each option of a command, as the help has it."""
    options = [p for p in command.get_params(context) if isinstance(p, click.Option)]
    return [words for option in options if (words := option.get_help_record(context))]
