"""docs/commands.md is what the command line says of itself; `pytest --update-golden` writes it anew."""

import inspect
from collections.abc import Callable, Iterator, Sequence

import click

from hf_prune.cli.help import SECTIONS, Words, shared_options, words_of
from hf_prune.cli.main import cli

PAGE = "../../docs/commands.md"  # from the golden files
HEAD = """\
# Commands

<!-- Written from the command line itself: pytest --update-golden tests/cli/test_command_reference.py -->

`hf prune` and `hf-prune` are one command, by two ways of [installing it](installing.md); `hf-prune MODEL` is
short for `hf-prune run MODEL`. The result, an address or a path (with `--json` one JSON object), goes to
stdout, all else to stderr.

| exit code | means |
|---:|---|
| 0 | done |
| 1 | failed; the last line on stderr says why and what to do. Of `verify`: a claim does not hold |
| 2 | wrong usage: nothing was done |
| 3 | a [quality gate](evaluation.md#quality-gates) refused: all is kept, nothing was pushed |
| 130 | interrupted: the same command goes on where it stopped |
"""


def told(command: click.Command) -> list[Words]:
    """Each option of a command but --help."""
    return [words for words in words_of(command, click.Context(command)) if "--help" not in words[0]]


def table(rows: Sequence[Words]) -> Iterator[str]:
    yield "| option | |"
    yield "|---|---|"
    for option, text in rows:
        yield " | ".join(["| `" + option.replace("|", r"\|") + "`", text.replace("|", r"\|") + " |"])


def link(subject: str) -> str:
    anchor = "".join(c for c in subject.lower().replace(" ", "-") if c.isalnum() or c == "-")
    return f"[{subject}](#{anchor})"


def section(name: str, command: click.Command, subjects: dict[str, list[Words]]) -> Iterator[str]:
    """One command: how it is called, what it does, the options of its own, and those that it shares."""
    context = click.Context(command, info_name=f"hf-prune {name}")
    yield f"## {name}"
    yield ""
    yield f"    {' '.join([context.command_path, *command.collect_usage_pieces(context)])}"
    yield ""
    yield inspect.cleandoc(command.help or "")
    yield ""
    examples = (command.epilog or "").partition(":\n")[2].strip().splitlines()
    yield from (f"    {example.strip()}" for example in examples)
    rest = told(command)
    shared = []
    for subject, group in subjects.items():
        have = [words for words in group if words in rest]
        rest = [words for words in rest if words not in have]
        if have:
            names = ", ".join(f"`{words[0].split(', ')[-1].split()[0]}`" for words in have)
            shared.append(link(subject) + ("" if have == group else f" ({names})"))
    if rest:
        yield ""
        yield from table(rest)
    if shared:
        yield ""
        yield f"Options: {' · '.join(shared)}"
    yield ""


def page() -> str:
    """The whole reference."""
    subjects = {subject: shared_options(group) for subject, group in SECTIONS.items()}
    lines = [HEAD]
    for name in cli.list_commands(click.Context(cli)):
        lines += section(name, cli.commands[name], subjects)
    lines += ["# Options that commands share", ""]
    for subject, rows in subjects.items():
        lines += [f"## {subject}", "", *table(rows), ""]
    return "\n".join(lines).rstrip() + "\n"


def test_the_page_is_what_the_command_line_says(golden: Callable[[str, str], None]) -> None:
    golden(PAGE, page())


def test_every_option_of_every_command_is_on_the_page() -> None:
    text = page()
    for command in cli.commands.values():
        for option, words in told(command):
            assert option.replace("|", r"\|") in text
            assert words.replace("|", r"\|") in text
