"""The terminal: lines, tables and progress bars on stderr, the result on stdout."""

import json
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import click

from hf_prune.machine.progress import Item, Reporter, silent
from hf_prune.records.numbers import rough_duration

WAITS = {
    "hf_prune.hub.retrying": r"going on in (\d+) s",
    "huggingface_hub.utils._http": r"Rate limited\. Waiting (\d+\.?\d*)s",  # during uploads and downloads
}


def process_number() -> int:
    """The number of this process among those that a launcher started; 0 without one."""
    return int(os.environ.get("RANK", "0"))


def start(*, quiet: bool) -> Reporter:
    """What shows the progress of a command: nothing if `quiet`, or in processes after the first.

    It also silences transformers and huggingface_hub, except for their errors. Their progress bars for slow
    steps (downloads, uploads, reading a GGUF file) stay on a terminal. When the Hub asks them to wait, the
    user is told.
    """
    import warnings

    quiet = quiet or process_number() > 0
    watched = sys.stderr.isatty()

    import transformers

    from hf_prune import hub

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    hub.quieten(bars=watched and not quiet)
    for name, words in WAITS.items():
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [_Waits(words)], False
        logger.setLevel(logging.CRITICAL if quiet else logging.WARNING)
    warnings.filterwarnings("ignore")
    return Reporter() if quiet else Reporter(progress=_bar if watched else silent, tell=tell)


def tell(line: str) -> None:
    """Print a line for the person, not for programs."""
    click.echo(line, err=True)


def _bar(items: Iterable[Item], label: str, total: int, unit: str = "it") -> Iterator[Item]:
    from tqdm import tqdm

    return iter(tqdm(items, desc=f"{label:<22}", total=total, unit=f" {unit}", file=sys.stderr))


class _Waits(logging.Handler):
    """Shows log records about waits in one form, and drops all others."""

    def __init__(self, words: str) -> None:
        super().__init__(logging.WARNING)
        self.words = re.compile(words)

    def emit(self, record: logging.LogRecord) -> None:
        """Show a wait."""
        if match := self.words.search(record.getMessage()):
            tell(f"the Hub asks to slow down: going on in {rough_duration(float(match[1]))}")


def print_table(
    title: str | None,
    columns: Sequence[str],
    rows: Iterable[Iterable[str]],
    *,
    left: int = 0,
    overflow: Literal["ellipsis", "fold"] = "ellipsis",
) -> None:
    """Print a table for the person, whose first `left` columns are flush left, the others flush right."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < left else "right", overflow=overflow)
    for row in rows:
        table.add_row(*row)
    Console(stderr=True).print(table)


def print_rows(title: str, rows: Mapping[str, str], content: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the result on stdout: one JSON object, or a table of names and texts without empty ones."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    if as_json:
        print_result(content, "", as_json=True)
        return
    table = Table(title=title, show_header=False)
    for name, text in rows.items():
        if text:
            table.add_row(name, escape(text))
    Console().print(table)


def print_result(content: Mapping[str, Any], line: str, *, as_json: bool) -> None:
    """Print the result on stdout: one JSON object, or a line for the person."""
    click.echo(json.dumps(content, sort_keys=True) if as_json else line)
