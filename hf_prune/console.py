"""The terminal: the result on stdout, everything else on stderr, bars only where someone watches."""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from hf_prune.progress import Item, Reporter, silent
from hf_prune.report import Run

if TYPE_CHECKING:
    from hf_prune.pipeline import Outcome


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

    Their bars for what takes long (downloads, uploads, reading a GGUF file) stay where someone watches.
    """
    import warnings

    watched = sys.stderr.isatty() and not quiet
    if not watched:
        os.environ["TQDM_DISABLE"] = "1"  # read when tqdm is first imported

    import transformers
    from huggingface_hub.utils import logging as hub_logging
    from huggingface_hub.utils.tqdm import disable_progress_bars

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    hub_logging.set_verbosity_error()
    warnings.filterwarnings("ignore")
    if not watched:
        disable_progress_bars()


def show(outcome: "Outcome", *, as_json: bool) -> None:
    """The result: one JSON object, or where the model is with a table of before and after."""
    if as_json:
        places = {"folder": str(outcome.folder), "model": str(outcome.model)}
        published = asdict(outcome.published) if outcome.published else None
        click.echo(json.dumps({**places, "published": published, "run": asdict(outcome.run)}, sort_keys=True))
        return
    _show_table(outcome.run)
    tell(f"card: {outcome.model / 'README.md'}")
    click.echo(outcome.published.url if outcome.published else str(outcome.model))


def _show_table(run: Run) -> None:
    from rich.console import Console
    from rich.table import Table

    blocks = ", ".join(map(str, run.plan.blocks))
    tell(f"{run.name}: layers {blocks} removed, {len(run.plan.kept)} kept")
    table = Table()
    table.add_column("")
    for perplexity in run.perplexities:
        table.add_column(perplexity.variant, justify="right")
    rows = {
        "perplexity": {p.variant: f"{p.perplexity:.2f}" for p in run.perplexities},
        "parameters": {
            p.variant: f"{(run.dense if p.variant == 'dense' else run.result).parameters / 1e6:,.1f} M"
            for p in run.perplexities
        },
        "tokens/s": {s.variant: f"{s.decode_tokens_per_second:.1f}" for s in run.speeds},
        "peak memory": {s.variant: f"{s.peak_memory_bytes / 1e6:,.0f} MB" for s in run.speeds},
    }
    for name, values in rows.items():
        if values:
            table.add_row(name, *(values.get(p.variant, "") for p in run.perplexities))
    Console(stderr=True).print(table)
    if run.speed_reason:
        tell(f"speed was not measured: {run.speed_reason}")
