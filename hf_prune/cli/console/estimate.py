"""What a run would do and need, before it is made."""

from collections.abc import Callable
from dataclasses import asdict

from hf_prune.cli.console.terminal import print_result, print_rows
from hf_prune.records import Estimate
from hf_prune.records.numbers import byte_size, count, rough_duration


def show_estimate(estimate: Estimate, *, as_json: bool) -> None:
    """Show what a run would do and need: one JSON object, or a table."""
    if as_json:
        print_result(asdict(estimate) | {"seconds": estimate.seconds}, "", as_json=True)
    else:
        print_rows(f"{estimate.model}: only headers were downloaded", _rows(estimate))


def _rows(estimate: Estimate) -> dict[str, str]:
    removed = estimate.layers_removed
    layers = "as many as the loss allows" if removed is None else f"{removed} of {estimate.num_layers}"
    return {
        "layers to remove": layers,
        "parameters": _change(count, estimate.parameters, estimate.parameters_left),
        "weights": _change(byte_size, estimate.size_bytes, estimate.size_bytes_left),
        "download": byte_size(estimate.download_bytes) if estimate.download_bytes else "none",
        "disk for checkpoints": byte_size(estimate.disk_bytes),
        "memory": f"{byte_size(estimate.memory_bytes)} above Python's own",
        "healing": _healing(estimate),
        "time": f"about {rough_duration(estimate.seconds)}",
        "  measuring": rough_duration(estimate.measuring_seconds),
        "  choosing": rough_duration(estimate.choosing_seconds),
        "  repairing": rough_duration(estimate.repairing_seconds),
        "  healing": rough_duration(estimate.healing_seconds),
        "  evaluating": rough_duration(estimate.evaluating_seconds),
        "this machine": f"{estimate.operations_per_second / 1e9:,.0f} billion operations a second",
    }


def _change(shown: Callable[[float], str], before: int, after: int | None) -> str:
    return shown(before) + ("" if after is None else f" -> {shown(after)}")


def _healing(estimate: Estimate) -> str:
    """What would be trained and the memory for that, or why nothing is."""
    if estimate.healing_method == "none":
        return (estimate.healing_reason or "none").replace("nothing was trained", "none", 1)
    reason = f" ({estimate.healing_reason})" if estimate.healing_reason else ""
    return f"{estimate.healing_method}{reason}, in {byte_size(estimate.healing_memory_bytes)} of memory"
