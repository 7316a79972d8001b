"""What a step writes for the workflow that runs it: annotations, outputs, the summary of the job.

GitHub reads commands out of everything that a step prints. `without_commands` keeps other programs from that.
"""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click


def annotate(title: str, text: str) -> None:
    """Put an error on the page of the workflow's run."""
    click.echo(f"::error title={_escaped(title, ':,')}::{_escaped(text)}")


def _escaped(text: str, also: str = "") -> str:
    for character in f"%\r\n{also}":
        text = text.replace(character, f"%{ord(character):02X}")
    return text


@contextmanager
def without_commands() -> Iterator[None]:
    """GitHub takes nothing that is printed in this block for a command."""
    word = secrets.token_hex(16)
    click.echo(f"::stop-commands::{word}")
    try:
        yield
    finally:
        click.echo(f"::{word}::")


def set_outputs(path: Path, outputs: Mapping[str, str]) -> None:
    """Add outputs, whose values may have several lines, to the file that GITHUB_OUTPUT names."""
    border = secrets.token_hex(16)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(f"{name}<<{border}\n{value}\n{border}\n" for name, value in outputs.items())


def add_summary(path: Path, markdown: str) -> None:
    """Add to the file that GITHUB_STEP_SUMMARY names."""
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{markdown}\n")
