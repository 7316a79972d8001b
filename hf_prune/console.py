"""The terminal: the result on stdout, everything else on stderr, bars only where someone watches."""

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict

import click
from tqdm import tqdm

from hf_prune.progress import Item, Reporter, silent
from hf_prune.records import Published
from hf_prune.report import Run
from hf_prune.run_folder import RunFolder


def reporter(*, quiet: bool) -> Reporter:
    """What a run tells its user; nothing where they want it quiet."""
    return Reporter() if quiet else Reporter(progress=_bar, tell=tell)


def tell(line: str) -> None:
    """A line for the person, not for programs."""
    click.echo(line, err=True)


def _bar(items: Iterable[Item], label: str, total: int, unit: str = "it") -> Iterator[Item]:
    if not sys.stderr.isatty():
        return silent(items, label, total, unit)
    return iter(tqdm(items, desc=f"{label:<22}", total=total, unit=f" {unit}", file=sys.stderr))


def quieten_libraries() -> None:
    """Keep what transformers and huggingface_hub say to themselves; their errors still arrive."""
    import warnings

    import transformers
    from huggingface_hub.utils import disable_progress_bars
    from huggingface_hub.utils import logging as hub_logging

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    hub_logging.set_verbosity_error()
    warnings.filterwarnings("ignore")
    if not sys.stderr.isatty():
        disable_progress_bars()


def show_run(run: Run, folder: RunFolder, published: Published | None, *, as_json: bool) -> None:
    """The result: one JSON object, or where the model is with a table of before and after."""
    if as_json:
        place = asdict(published) if published else None
        result = {"folder": str(folder.path), "model": str(folder.model), "published": place}
        click.echo(json.dumps({**result, "run": asdict(run)}, sort_keys=True))
        return
    _show_table(run)
    tell(f"card: {folder.model / 'README.md'}")
    click.echo(published.url if published else str(folder.model))


def _show_table(run: Run) -> None:
    from rich.console import Console
    from rich.table import Table

    blocks = ", ".join(map(str, run.plan.blocks))
    table = Table(title=f"{run.name}: layers {blocks} removed, {len(run.plan.kept)} kept")
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
