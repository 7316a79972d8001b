"""What a run would do and take, before it is made."""

import json
from dataclasses import asdict

import click
from rich.table import Table

from hf_prune.cli.console.terminal import about, print_table
from hf_prune.machine.disk import gigabytes
from hf_prune.records import Estimate


def show_estimate(estimate: Estimate, *, as_json: bool) -> None:
    """What a run would do and take: one JSON object, or a table."""
    if as_json:
        click.echo(json.dumps(asdict(estimate) | {"seconds": estimate.seconds}, sort_keys=True))
        return
    table = Table(title=f"{estimate.model}: nothing was fetched but headers", show_header=False)
    for name, text in _estimated(estimate).items():
        table.add_row(name, text)
    print_table(table, to_stdout=True)


def _estimated(estimate: Estimate) -> dict[str, str]:
    left, size_left = estimate.parameters_left, estimate.size_bytes_left
    removed = estimate.layers_removed
    depth = "as many as the loss allows" if removed is None else f"{removed} of {estimate.num_layers}"
    return {
        "layers to remove": depth,
        "parameters": f"{estimate.parameters / 1e6:,.1f} M"
        + ("" if left is None else f" -> {left / 1e6:,.1f} M"),
        "weights": gigabytes(estimate.size_bytes)
        + ("" if size_left is None else f" -> {gigabytes(size_left)}"),
        "download": gigabytes(estimate.download_bytes) if estimate.download_bytes else "none",
        "disk for checkpoints": gigabytes(estimate.disk_bytes),
        "memory": f"{gigabytes(estimate.memory_bytes)} above Python's own",
        "healing": _healing_foreseen(estimate),
        "time": f"about {about(estimate.seconds)}",
        "  measuring": about(estimate.measuring_seconds),
        "  choosing": about(estimate.choosing_seconds),
        "  repairing": about(estimate.repairing_seconds),
        "  healing": about(estimate.healing_seconds),
        "  evaluating": about(estimate.evaluating_seconds),
        "this machine": f"{estimate.operations_per_second / 1e9:,.0f} billion operations a second",
    }


def _healing_foreseen(estimate: Estimate) -> str:
    """What would be trained and the memory for that, or why nothing is."""
    if estimate.healing_method == "none":
        return (estimate.healing_reason or "none").replace("nothing was trained", "none", 1)
    reason = f" ({estimate.healing_reason})" if estimate.healing_reason else ""
    return f"{estimate.healing_method}{reason}, in {gigabytes(estimate.healing_memory_bytes)} of memory"
