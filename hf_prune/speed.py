"""What a model costs to run: tokens per second and peak memory, each model in a process of its own.

`python -m hf_prune.speed FOLDER DEVICE` loads a model as its users do, generates, and prints one JSON
object; a process of its own is what makes its peak memory its own.
"""

import json
import re
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from hf_prune.environment import reason_not_to_load
from hf_prune.records import Speed, SpeedTrial

PROMPT_TOKENS = 128
NEW_TOKENS = 32
RUNS = 5


def measure_speed(folder: Path, variant: str, device: str, size_bytes: int) -> SpeedTrial:
    """Generate with a model in a process of its own.

    Args:
        folder: the model.
        variant: "dense", "cut" or "bridged".
        device: "cpu", "cuda" or the like.
        size_bytes: of its weights.
    """
    if reason := reason_not_to_load(size_bytes, device):
        return SpeedTrial(speed=None, reason=reason)
    command = [sys.executable, "-m", "hf_prune.speed", str(folder), device]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        said = (finished.stderr.strip().splitlines() or [f"exit {finished.returncode}"])[-1]
        return SpeedTrial(speed=None, reason=f"the {variant} model could not be run: {said}")
    return SpeedTrial(speed=Speed(variant=variant, **_figures(finished.stdout)), reason=None)


def _figures(printed: str) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads(printed.splitlines()[-1])
    figures["decode_tokens_per_second_range"] = tuple(figures["decode_tokens_per_second_range"])
    return figures


def _run(folder: Path, device: str) -> dict[str, Any]:
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    loaded: Any = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    model = loaded.to(device).eval()
    generator = torch.Generator().manual_seed(0)
    prompt = torch.randint(model.config.vocab_size, (1, PROMPT_TOKENS), generator=generator)
    prompt = prompt.to(device)
    mask = torch.ones_like(prompt)

    def seconds(new_tokens: int) -> float:
        settings = GenerationConfig(
            do_sample=False,
            max_new_tokens=new_tokens,
            min_new_tokens=new_tokens,
            use_cache=True,
            pad_token_id=0,
        )
        start = time.perf_counter()
        model.generate(prompt, attention_mask=mask, generation_config=settings)
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter() - start

    seconds(NEW_TOKENS)  # the first run pays for what later ones find ready
    to_first = [seconds(1) for _ in range(RUNS)]
    to_last = [seconds(NEW_TOKENS) for _ in range(RUNS)]
    first = statistics.median(to_first)
    rates = [(NEW_TOKENS - 1) / (last - first) for last in to_last]
    return {
        "decode_tokens_per_second": statistics.median(rates),
        "decode_tokens_per_second_range": [min(rates), max(rates)],
        "prompt_tokens_per_second": PROMPT_TOKENS / first,
        "peak_memory_bytes": _peak_memory(device),
        "runs": RUNS,
        "prompt_tokens": PROMPT_TOKENS,
        "new_tokens": NEW_TOKENS,
        "device": device,
        "dtype": str(model.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
    }


def _peak_memory(device: str) -> int:
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated())
    status = Path("/proc/self/status")
    if status.is_file():  # ru_maxrss would begin with what the parent process had when it started this one
        peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if peak:
            return int(peak[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    print(json.dumps(_run(Path(sys.argv[1]), sys.argv[2])))
