"""What models cost to run: tokens per second and peak memory, each in a process of its own, in turn.

`python -m hf_prune.evaluate.speed [--trust-remote-code] DEVICE FOLDER...` imports what is needed once, then
forks for each turn, loads a model as its users do, generates, and prints one JSON object. A process of its
own is what makes a model's peak memory its own; turns make what else the machine does fall on all models.
"""

import json
import multiprocessing
import re
import resource
import statistics
import sys
import time
from collections.abc import Mapping
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from hf_prune.environment import reason_not_to_load
from hf_prune.evaluate.apart import figures_from, load_whole
from hf_prune.progress import Progress
from hf_prune.records import Speed, SpeedTrial

PROMPT_TOKENS = 128
NEW_TOKENS = 32
TURNS = 2
RUNS = 3  # in each turn
TRUST = "--trust-remote-code"


def measure_speeds(
    folders: Mapping[str, Path],
    largest_bytes: int,
    device: str,
    progress: Progress,
    *,
    trust_remote_code: bool = False,
) -> SpeedTrial:
    """Generate with each model, turn by turn.

    Args:
        folders: the models by variant, the original first.
        largest_bytes: the weights of the largest of them.
        device: "cpu", "cuda" or the like.
        progress: shows the turns going by.
        trust_remote_code: whether code that the models bring may be run.
    """
    if reason := reason_not_to_load(largest_bytes, device):
        return SpeedTrial(speeds=(), reason=reason)
    turns = [variant for _ in range(TURNS) for variant in folders]
    words = [*([TRUST] if trust_remote_code else []), device, *map(str, folders.values())]
    found, reason = figures_from("hf_prune.evaluate.speed", words, progress, "speed", len(turns))
    if reason:
        return SpeedTrial(speeds=(), reason=reason)
    figures: dict[str, list[dict[str, Any]]] = {variant: [] for variant in folders}
    for variant, turn in zip(turns, found, strict=True):
        figures[variant].append(turn)
    speeds = tuple(_summary(variant, found) for variant, found in figures.items())
    return SpeedTrial(speeds=speeds, reason=None)


def _summary(variant: str, turns: list[dict[str, Any]]) -> Speed:
    first = [seconds for turn in turns for seconds in turn["to_first_token"]]
    last = [seconds for turn in turns for seconds in turn["to_last_token"]]
    rates = [(NEW_TOKENS - 1) / (whole - statistics.median(first)) for whole in last]
    return Speed(
        variant=variant,
        decode_tokens_per_second=statistics.median(rates),
        decode_tokens_per_second_range=(min(rates), max(rates)),
        first_token_seconds=statistics.median(first),
        first_token_seconds_range=(min(first), max(first)),
        batch_size=None,
        batch_tokens_per_second=None,
        batch_tokens_per_second_range=None,
        peak_memory_bytes=max(turn["peak_memory_bytes"] for turn in turns),
        runs=len(last),
        prompt_tokens=PROMPT_TOKENS,
        new_tokens=NEW_TOKENS,
        device=turns[0]["device"],
        dtype=turns[0]["dtype"],
        threads=turns[0]["threads"],
    )


def _take_turns(device: str, folders: list[str], *, trust_remote_code: bool) -> None:
    import transformers

    for heavy in ("transformers.modeling_utils", "transformers.generation.utils", "hf_prune.skeleton"):
        import_module(heavy)  # once, before the forks: it takes seconds
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    methods = multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("fork" if "fork" in methods else "spawn")
    for folder in folders * TURNS:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(
            target=_send_figures, args=(sender, Path(folder), device, trust_remote_code)
        )
        process.start()
        sender.close()  # so that a turn that dies ends the wait
        print(json.dumps(receiver.recv()), flush=True)
        process.join()


def _send_figures(sender: Connection, folder: Path, device: str, trust_remote_code: bool) -> None:
    sender.send(_run(folder, device, trust_remote_code=trust_remote_code))


def _run(folder: Path, device: str, *, trust_remote_code: bool) -> dict[str, Any]:
    import torch
    from transformers import GenerationConfig

    model = load_whole(folder, device, trust_remote_code=trust_remote_code)
    generator = torch.Generator().manual_seed(0)
    vocabulary = model.config.get_text_config().vocab_size
    prompt = torch.randint(vocabulary, (1, PROMPT_TOKENS), generator=generator)
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
    return {
        "to_first_token": to_first,
        "to_last_token": to_last,
        "peak_memory_bytes": _peak_memory(device),
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
    given = [word for word in sys.argv[1:] if word != TRUST]
    _take_turns(given[0], given[1:], trust_remote_code=TRUST in sys.argv)
