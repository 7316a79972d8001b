"""What is told as it goes on: lines and bars on stderr, bars only where someone watches."""

import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator

import click
from rich.console import Console
from rich.table import Table

from hf_prune.machine.progress import Item, Reporter, silent

WAITS = {
    "hf_prune.hub.waiting": r"going on in (\d+) s",
    "huggingface_hub.utils._http": r"Rate limited\. Waiting (\d+\.?\d*)s",  # while files go up and down
}


def reporter(*, quiet: bool) -> Reporter:
    """What a run tells its user; nothing where they want it quiet."""
    return Reporter() if quiet else Reporter(progress=_bar, tell=tell)


def tell(line: str) -> None:
    """A line for the person, not for programs."""
    click.echo(line, err=True)


def _bar(items: Iterable[Item], label: str, total: int, unit: str = "it") -> Iterator[Item]:
    if not sys.stderr.isatty():
        return silent(items, label, total, unit)
    from tqdm import tqdm

    return iter(tqdm(items, desc=f"{label:<22}", total=total, unit=f" {unit}", file=sys.stderr))


def quieten_libraries(*, quiet: bool) -> None:
    """Keep what transformers and huggingface_hub say to themselves; their errors still arrive.

    Their bars for what takes long (downloads, uploads, reading a GGUF file) stay where someone watches, and
    that the Hub lets them wait is told.
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
    _tell_of_waiting(quiet=quiet)
    warnings.filterwarnings("ignore")


def _tell_of_waiting(*, quiet: bool) -> None:
    """Show that the Hub asks to wait: by the name of who waits, and the words that say for how long."""
    for name, words in WAITS.items():
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [_Waits(words)], False
        logger.setLevel(logging.CRITICAL if quiet else logging.WARNING)


class _Waits(logging.Handler):
    """Tells the records of waits in one form, and drops all others."""

    def __init__(self, words: str) -> None:
        super().__init__(logging.WARNING)
        self.words = re.compile(words)

    def emit(self, record: logging.LogRecord) -> None:
        """Tell a wait."""
        if found := self.words.search(record.getMessage()):
            tell(f"the Hub asks to slow down: going on in {about(float(found[1]))}")


def print_table(table: Table, *, to_stdout: bool = False) -> None:
    """A table for the person, or as the result itself."""
    Console(stderr=not to_stdout).print(table)


def about(seconds: float) -> str:
    """A time in one unit: 80 s, 3 min, 2.1 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
