"""What a run or a job would do and need, before it is started."""

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING

from hf_prune.cli.console.terminal import print_rows
from hf_prune.records import Estimate
from hf_prune.records.numbers import byte_size, count, rough_duration

if TYPE_CHECKING:
    from hf_prune.commands.jobs.handover import PlannedJob


def show_planned(planned: "PlannedJob", trigger: str | None, *, as_json: bool) -> None:
    """Show a job that is not started: one JSON object, or a table.

    Args:
        trigger: what would start it; None: the user, now.
    """
    spec = planned.spec
    content = asdict(spec) | {"secrets": ["HF_TOKEN"], "namespace": planned.namespace, "schedule": trigger}
    content |= {"publishes": planned.repo_id, "dollars_an_hour": planned.machine.price}
    rows = {
        "command": shlex.join(spec.command),
        "machine": str(planned.machine),
        "starts": trigger or "with this command, without --dry-run",
        "ends": f"after {spec.timeout} at the latest",
        "image": spec.image,
        "environment": ", ".join(f"{name}={value}" for name, value in spec.environment.items()),
        "secrets": "HF_TOKEN, yours",
        "paid by": planned.namespace or "you",
        "publishes": planned.repo_id,
    }
    print_rows("Nothing was started", rows, content, as_json=as_json)


def show_estimate(estimate: Estimate, *, as_json: bool) -> None:
    """Show what a run would do and need: one JSON object, or a table."""
    removed = estimate.layers_removed
    layers = "as many as the loss allows" if removed is None else f"{removed} of {estimate.num_layers}"
    parameters, size = count(estimate.parameters), byte_size(estimate.size_bytes)
    if estimate.parameters_left is not None:
        parameters += f" -> {count(estimate.parameters_left)}"
    if estimate.size_bytes_left is not None:
        size += f" -> {byte_size(estimate.size_bytes_left)}"
    rows = {
        "layers to remove": layers,
        "parameters": parameters,
        "weights": size,
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
    content = asdict(estimate) | {"seconds": estimate.seconds}
    print_rows(f"{estimate.model}: only headers were downloaded", rows, content, as_json=as_json)


def _healing(estimate: Estimate) -> str:
    """What would be trained and the memory for that, or why nothing is."""
    if estimate.healing_method == "none":
        return (estimate.healing_reason or "none").replace("nothing was trained", "none", 1)
    reason = f" ({estimate.healing_reason})" if estimate.healing_reason else ""
    return f"{estimate.healing_method}{reason}, in {byte_size(estimate.healing_memory_bytes)} of memory"
