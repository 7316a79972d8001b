"""The help of a command: shared options stand under headings, in the order of a run."""

from collections.abc import Sequence

import click

from hf_prune.cli.options import SECTIONS, Decorator, options_of

FEW = 20  # so many options or fewer need no headings

Words = tuple[str, str]  # an option and its text, as the help writes them


class Headed(click.Command):
    """A command whose help has headings if it has many options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options that only this command has, then those of each section."""
        rest = words_of(self, ctx)
        if len(rest) <= FEW:
            super().format_options(ctx, formatter)
            return
        *rest, help_option = rest  # click adds --help last
        headed = []
        for heading, decorators in SECTIONS.items():
            rows = [words for words in shared_options(decorators) if words in rest]
            rest = [words for words in rest if words not in rows]
            headed.append((heading, rows))
        headed[-1][1].append(help_option)
        for heading, rows in (("Options", rest), *headed):
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)


def shared_options(decorators: Sequence[Decorator]) -> list[Words]:
    """The options that a group of decorators would add to a command, without its arguments."""

    @click.command(add_help_option=False)
    @options_of(decorators)
    def command() -> None: ...

    return words_of(command, click.Context(command))


def words_of(command: click.Command, context: click.Context) -> list[Words]:
    """Each option of a command and its text."""
    options = [p for p in command.get_params(context) if isinstance(p, click.Option)]
    return [words for option in options if (words := option.get_help_record(context))]
