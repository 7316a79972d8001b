"""The hardware and the installed versions: what a run may use, and what its record says of them."""

import os
import platform
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil
import torch

from hf_prune.errors import RecipeError, first_line
from hf_prune.machine.disk import free_disk
from hf_prune.records import Environment
from hf_prune.records.numbers import byte_size

MEMORY_HEADROOM = 1.3  # of the weights' size: activations, cache and the loader's own copies


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What this machine offers a run."""

    device: str  # "cpu" or "cuda"
    free_memory: int  # bytes, where the model would be
    free_disk: int  # bytes, where the run folder is
    operations_per_second: float
    processes: int = 1


def this_machine(
    device: torch.device, dtype: torch.dtype, hidden_size: int, folder: Path, processes: int = 1
) -> Machine:
    """What this machine offers a run now; the run folder need not exist yet."""
    return Machine(
        device=device.type,
        free_memory=free_memory(device),
        free_disk=free_disk(folder),
        operations_per_second=operations_per_second(device, dtype, hidden_size),
        processes=processes,
    )


def device_name(device: torch.device | str) -> str:
    """The name of a GPU, or "cpu"."""
    kind = torch.device(device).type
    return torch.cuda.get_device_name(device) if kind == "cuda" else kind


def describe_environment(device: torch.device) -> Environment:
    """The versions, processor, threads and memory of this process."""
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
    else:
        memory = psutil.virtual_memory().total
    return Environment(
        hf_prune=version("hf-prune"),
        python=platform.python_version(),
        torch=torch.__version__,
        transformers=version("transformers"),
        platform=f"{platform.system()} {platform.machine()}",
        processor=_processor(),
        device=device_name(device),
        threads=torch.get_num_threads(),
        memory_bytes=memory,
    )


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()}, {os.cpu_count()} cores"
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def choose_device(name: str) -> torch.device:
    """The device of `--device`; "auto" takes a CUDA GPU if there is one.

    Raises:
        RecipeError: this machine has no such device.
    """
    if name == "auto":
        number = os.environ.get("LOCAL_RANK", "0")  # torchrun sets it in each process that it starts
        return torch.device(f"cuda:{number}" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise RecipeError(
            f"--device {name} is not available here: {first_line(error)}; use cpu or auto"
        ) from error
    return device


def check_tracker(name: str) -> None:
    """Make sure that transformers can report a training to this tracker.

    Raises:
        RecipeError: transformers does not know it, or it is not installed.
    """
    if name == "none":
        return
    from transformers.integrations.integration_utils import get_available_reporting_integrations

    if name not in (installed := get_available_reporting_integrations()):
        raise RecipeError(
            f"--report-to {name} is not available here: install it, or give one of "
            f"{', '.join([*installed, 'none'])}"
        )


def operations_per_second(device: torch.device, dtype: torch.dtype, hidden_size: int) -> float:
    """Floating-point operations per second in matrix products of a decoder layer's shape."""
    tokens = torch.randn(2048, hidden_size, device=device, dtype=dtype)
    weight = torch.randn(4 * hidden_size, hidden_size, device=device, dtype=dtype)
    rates = []
    for _ in range(3):
        started = time.perf_counter()
        result = torch.nn.functional.linear(tokens, weight)
        result[0, 0].item()  # waits for a device that works asynchronously
        rates.append(2 * tokens.shape[0] * weight.numel() / (time.perf_counter() - started))
    return max(rates)


def free_memory(device: torch.device) -> int:
    """Free bytes in the memory of a device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def reason_not_to_load(size_bytes: int, device: str) -> str | None:
    """Why a model of this size should not be loaded whole here; None if it fits."""
    needed, free = size_bytes * MEMORY_HEADROOM, free_memory(torch.device(device))
    if needed <= free:
        return None
    return f"loading the whole model takes about {byte_size(int(needed))}, and {byte_size(free)} are free"
