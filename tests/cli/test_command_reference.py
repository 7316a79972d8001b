"""docs/commands.md is what the command line says of itself; `pytest --update-golden` writes it anew."""

import inspect
from collections.abc import Callable, Iterator, Sequence

import click

from hf_prune.cli.help import Words, shared_options, words_of
from hf_prune.cli.main import cli
from hf_prune.cli.options import SECTIONS

PAGE = "../../docs/commands.md"  # from the golden files
HEAD = """\
# Commands

<!-- Written from the command line itself: pytest --update-golden tests/cli/test_command_reference.py -->

`hf prune` and `hf-prune` are the same command, [installed](installing.md) in two ways. `hf-prune MODEL` is
short for `hf-prune run MODEL`. The result, an address or a path (with `--json` one JSON object), goes to
stdout, everything else to stderr.

| exit code | means |
|---:|---|
| 0 | done |
| 1 | failed: the last line on stderr says why and what to do. For `verify`: a claim does not hold |
| 2 | wrong usage: nothing was done |
| 3 | a [quality gate](evaluation.md#quality-gates) refused: everything is kept, nothing was pushed |
| 130 | interrupted: the same command continues where it stopped |
"""


def rows_of(command: click.Command) -> list[Words]:
    """Each option of a command but --help."""
    return [words for words in words_of(command, click.Context(command)) if "--help" not in words[0]]


def entries(rows: Sequence[Words]) -> Iterator[str]:
    """A list of options."""
    yield from (f"- `{option}`: {' '.join(text.split())}" for option, text in rows)


def link(heading: str) -> str:
    anchor = "".join(c for c in heading.lower().replace(" ", "-") if c.isalnum() or c == "-")
    return f"[{heading}](#{anchor})"


def names_of(rows: Sequence[Words]) -> str:
    return ", ".join(f"`{option.split(', ')[-1].split()[0]}`" for option, _ in rows)


def described(command: click.Command, sections: dict[str, list[Words]]) -> tuple[list[Words], str]:
    """The options that only this command has, and the sections of the others in a line."""
    own, listed, missing = rows_of(command), [], []
    for heading, group in sections.items():
        rows = [words for words in group if words in own]
        absent = [words for words in group if words not in own]
        own = [words for words in own if words not in rows]
        if rows:
            listed.append(link(heading) + (f" ({names_of(rows)})" if absent else ""))
        if 0 < len(absent) < len(rows):
            missing.append(names_of(absent))
        elif absent:
            missing.append(link(heading) + (f" (only {names_of(rows)})" if rows else ""))
    if len(missing) < len(listed):
        return own, "all" + (f" except {', '.join(missing)}" if missing else "")
    return own, ", ".join(listed)


def chapter(name: str, command: click.Command, sections: dict[str, list[Words]]) -> Iterator[str]:
    """One command: how it is called, what it does, and its options."""
    context = click.Context(command, info_name=f"hf-prune {name}")
    yield from (f"## {name}", "")
    yield f"    {' '.join([context.command_path, *command.collect_usage_pieces(context)])}"
    yield from ("", inspect.cleandoc(command.help or ""), "")
    examples = (command.epilog or "").partition(":\n")[2].strip().splitlines()
    yield from (f"    {example.strip()}" for example in examples)
    yield ""
    own, shared = described(command, sections)
    if own:
        yield from (*entries(own), "")
    if shared:
        yield from (f"[Shared options](#shared-options): {shared}.", "")


def page() -> str:
    """The whole reference."""
    sections = {heading: shared_options(group) for heading, group in SECTIONS.items()}
    lines = [HEAD]
    for name in cli.list_commands(click.Context(cli)):
        lines += chapter(name, cli.commands[name], sections)
    lines += ["# Shared options", ""]
    for heading, rows in sections.items():
        lines += [f"## {heading}", "", *entries(rows), ""]
    return "\n".join(lines).rstrip() + "\n"


def test_the_page_is_what_the_command_line_says(golden: Callable[[str, str], None]) -> None:
    golden(PAGE, page())


def test_every_option_of_every_command_is_on_the_page() -> None:
    text = page()
    for command in cli.commands.values():
        for option, words in rows_of(command):
            assert f"- `{option}`: {' '.join(words.split())}\n" in text
