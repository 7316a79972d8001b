"""The terminal: lines and progress bars on stderr, the result on stdout."""

import json
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hf_prune.machine.progress import Item, Reporter, silent
from hf_prune.records.numbers import rough_duration

WAITS = {
    "hf_prune.hub.retrying": r"going on in (\d+) s",
    "huggingface_hub.utils._http": r"Rate limited\. Waiting (\d+\.?\d*)s",  # during uploads and downloads
}


def reporter(*, quiet: bool) -> Reporter:
    """What shows the progress of a run; silent if `quiet`."""
    return Reporter() if quiet else Reporter(progress=_bar, tell=tell)


def tell(line: str) -> None:
    """Print a line for the person, not for programs."""
    click.echo(line, err=True)


def _bar(items: Iterable[Item], label: str, total: int, unit: str = "it") -> Iterator[Item]:
    if not sys.stderr.isatty():
        return silent(items, label, total, unit)
    from tqdm import tqdm

    return iter(tqdm(items, desc=f"{label:<22}", total=total, unit=f" {unit}", file=sys.stderr))


def quieten_libraries(*, quiet: bool) -> None:
    """Silence transformers and huggingface_hub, except for their errors.

    Their progress bars for slow steps (downloads, uploads, reading a GGUF file) stay on a terminal. When the
    Hub asks them to wait, the user is told.
    """
    import warnings

    watched = sys.stderr.isatty() and not quiet
    if not watched:
        os.environ["TQDM_DISABLE"] = "1"  # read when tqdm is first imported

    import transformers

    from hf_prune import hub

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    hub.quieten(bars=watched)
    _show_waits(quiet=quiet)
    warnings.filterwarnings("ignore")


def _show_waits(*, quiet: bool) -> None:
    """Show when the Hub asks to wait: each logger in WAITS says so in its own words."""
    for name, words in WAITS.items():
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [_Waits(words)], False
        logger.setLevel(logging.CRITICAL if quiet else logging.WARNING)


class _Waits(logging.Handler):
    """Shows log records about waits in one form, and drops all others."""

    def __init__(self, words: str) -> None:
        super().__init__(logging.WARNING)
        self.words = re.compile(words)

    def emit(self, record: logging.LogRecord) -> None:
        """Show a wait."""
        if match := self.words.search(record.getMessage()):
            tell(f"the Hub asks to slow down: going on in {rough_duration(float(match[1]))}")


def print_table(table: Table, *, to_stdout: bool = False) -> None:
    """Print a table for the person, or as the result itself."""
    Console(stderr=not to_stdout).print(table)


def print_rows(title: str, rows: Mapping[str, str]) -> None:
    """Print names and texts as the result itself."""
    table = Table(title=title, show_header=False)
    for name, text in rows.items():
        table.add_row(name, escape(text))
    print_table(table, to_stdout=True)


def print_result(content: Mapping[str, Any], line: str, *, as_json: bool) -> None:
    """Print the result on stdout: one JSON object, or a line for the person."""
    click.echo(json.dumps(content, sort_keys=True) if as_json else line)
