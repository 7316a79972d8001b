"""What models cost to run: time to the first token, tokens per second, and peak memory.

`python -m hf_prune.stages.evaluate.speed REQUEST` runs in a process of its own. It imports the libraries once
and forks a process for each model, so each model has its own peak memory. All models stay loaded and take
turns at writing one short text. Other load on the machine then slows all models alike, and one slow second
decides nothing. Models that do not fit into memory together are measured one after the other.
"""

import json
import multiprocessing
import re
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from hf_prune.errors import first_line
from hf_prune.machine.environment import reason_not_to_load
from hf_prune.machine.own_process import print_answers, run_module
from hf_prune.machine.progress import Progress
from hf_prune.model.whole import load_whole
from hf_prune.records import Attempt, Speed, SpeedUp

PROMPT_TOKENS = 128
NEW_TOKENS = 16
BATCH = 8
ROUNDS, BATCH_ROUNDS = 8, 4  # of one text at a time, and of a batch; the first of either does not count
LEAST_ROUNDS = 3
ENOUGH_SECONDS = 20  # for either, after which there are no more rounds than that
TIMED_TOKENS = (ROUNDS + BATCH_ROUNDS * BATCH) * (PROMPT_TOKENS + NEW_TOKENS)  # of each model

Timed = tuple[float, float]  # seconds to the first token, and from there to the last
Writer = Callable[[int], Timed | None]  # writes that many texts at once; None: it cannot
FACTS = "facts"  # asks the process of a model for its memory, dtype and threads


def measure_speeds(
    folders: Mapping[str, Path],
    largest_bytes: int,
    device: str,
    progress: Progress,
    *,
    original: str | None = None,
    trust_remote_code: bool = False,
) -> Attempt[Speed]:
    """Time all models while they take turns at writing.

    Args:
        original: the variant that the others are compared with; None: there is none.
    """
    if reason := reason_not_to_load(largest_bytes, device):
        return Attempt(reason=reason)
    together = reason_not_to_load(largest_bytes * len(folders), device) is None
    request = {
        "folders": list(map(str, folders.values())),
        "together": together,
        "device": device,
        "trust_remote_code": trust_remote_code,
    }
    total = (ROUNDS + BATCH_ROUNDS) * (1 if together else len(folders))
    words = [json.dumps(request)]
    printed, reason = run_module("hf_prune.stages.evaluate.speed", words, progress, "speed", total)
    if reason:
        return Attempt(reason=reason)
    figures = [each for line in printed for each in line.get("measured", ())]
    measured = dict(zip(folders, figures, strict=True))
    beside = measured[original] if original and together else None
    speeds = tuple(
        _summary(variant, own, None if variant == original else beside) for variant, own in measured.items()
    )
    return Attempt(found=speeds)


def _summary(variant: str, measured: dict[str, Any], beside: dict[str, Any] | None) -> Speed:
    alone, batch = measured["alone"], measured["batch"]
    rates = [(NEW_TOKENS - 1) / seconds for _, seconds in alone]
    batch_rates = [BATCH * (NEW_TOKENS - 1) / seconds for _, seconds in batch]
    first = [seconds for seconds, _ in alone]
    return Speed(
        variant=variant,
        decode_tokens_per_second=statistics.median(rates),
        decode_tokens_per_second_range=(min(rates), max(rates)),
        first_token_seconds=statistics.median(first),
        first_token_seconds_range=(min(first), max(first)),
        batch_size=BATCH if batch else None,
        batch_tokens_per_second=statistics.median(batch_rates) if batch else None,
        batch_tokens_per_second_range=(min(batch_rates), max(batch_rates)) if batch else None,
        decode_speed_up=speed_up(alone, beside["alone"], 1) if beside else None,
        first_token_speed_up=speed_up(alone, beside["alone"], 0) if beside else None,
        batch_speed_up=speed_up(batch, beside["batch"], 1) if beside and batch else None,
        runs=len(alone),
        prompt_tokens=PROMPT_TOKENS,
        new_tokens=NEW_TOKENS,
        **measured["facts"],
    )


def speed_up(own: Sequence[Timed], original: Sequence[Timed], which: int) -> SpeedUp:
    """How many times as fast a model is as the original, from turns in the same rounds.

    Args:
        which: 0 for the first token, 1 for all others.
    """
    pairs = zip(own, original, strict=True)
    ratios = [theirs[which] / ours[which] for ours, theirs in pairs]
    lower, median, upper = statistics.quantiles(ratios, n=4, method="inclusive")
    return SpeedUp(median=median, quartiles=(lower, upper))


def measurements(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The objects to print: an empty one after each round, and one with each group's figures."""
    folders = request["folders"]
    for group in [folders] if request["together"] else [[folder] for folder in folders]:
        with ExitStack() as loaded:
            models = [loaded.enter_context(_loaded(folder, request)) for folder in group]
            alone: list[list[Timed]] = [[] for _ in models]
            batch: list[list[Timed]] = [[] for _ in models]
            yield from ({} for _ in rounds(models, 1, ROUNDS, alone))
            facts = [model(FACTS) for model in models]  # before a batch takes more memory
            yield from ({} for _ in rounds(models, BATCH, BATCH_ROUNDS, batch))
            parts = zip(alone, batch, facts, strict=True)
            yield {"measured": [{"alone": one, "batch": many, "facts": own} for one, many, own in parts]}


def rounds(writers: Sequence[Writer], texts: int, most: int, times: list[list[Timed]]) -> Iterator[int]:
    """Let every model write in turn, and yield the number of each finished round.

    Args:
        most: how many rounds; slow models get fewer, but at least three that count.
        times: a list for each model, which gets its times but the first. All lists are emptied if a model
            cannot write that many texts.
    """
    began = time.monotonic()
    for number in range(most):
        if number > LEAST_ROUNDS and time.monotonic() - began > ENOUGH_SECONDS:
            break
        turns = [write(texts) for write in writers]
        if None in turns:
            for each in times:
                each.clear()
            return
        if number:  # the first round warms up
            for each, turn in zip(times, turns, strict=True):
                assert turn is not None
                each.append(turn)
        yield number


@contextmanager
def _loaded(folder: str, request: dict[str, Any]) -> Iterator[Callable[[int | str], Any]]:
    """Load a model in a process that answers `FACTS`, or how many texts to write at once."""
    methods = multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("fork" if "fork" in methods else "spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, folder, request), daemon=True)
    process.start()
    theirs.close()  # so that a process that dies ends the wait

    def ask(question: int | str) -> Any:
        try:
            ours.send(question)
            answer = ours.recv()
        except (EOFError, OSError):
            name = Path(folder).name
            raise SystemExit(f"the process of {name} died, probably for lack of memory") from None
        if isinstance(answer, Exception):
            raise SystemExit(first_line(answer))
        return answer

    try:
        yield ask
    finally:
        process.terminate()
        process.join()


def _serve(connection: Connection, folder: str, request: dict[str, Any]) -> None:
    """Load a model and answer questions about it until nobody asks any more."""
    try:
        model = load_whole(Path(folder), request["device"], trust_remote_code=request["trust_remote_code"])
        while True:
            question = connection.recv()
            if question == FACTS:
                connection.send(_facts(model, request["device"]))
            else:
                connection.send(_write(model, 1) if question == 1 else _write_batch(model, question))
    except EOFError:
        return
    except Exception as error:
        connection.send(RuntimeError(first_line(error)))  # an error that can be pickled


def _write_batch(model: Any, texts: int) -> Timed | None:
    """As `_write`; None if that many texts do not fit into memory, or the model cannot write them at once."""
    config = model.config.get_text_config()
    sizes = (getattr(config, name, 0) or 0 for name in ("vocab_size", "hidden_size", "num_hidden_layers"))
    vocabulary, hidden, layers = sizes
    numbers = vocabulary + hidden * (2 * layers + 16)  # per token: logits, keys and values, one layer's own
    if reason_not_to_load(4 * texts * (PROMPT_TOKENS + NEW_TOKENS) * numbers, str(model.device)):
        return None
    try:
        return _write(model, texts)
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, MemoryError):
        return None


class _Clock:
    """A streamer of transformers: it is called with the prompt, and then with each new token."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, tokens: Any) -> None:
        """Record the time."""
        self.times.append(time.perf_counter())

    def end(self) -> None:
        """Do nothing: `put` had the last token."""


def _write(model: Any, texts: int) -> Timed:
    import torch

    generator = torch.Generator().manual_seed(0)
    vocabulary = model.config.get_text_config().vocab_size
    prompts = torch.randint(vocabulary, (texts, PROMPT_TOKENS), generator=generator).to(model.device)
    settings = exact_settings(NEW_TOKENS)
    clock, mask = _Clock(), torch.ones_like(prompts)
    start = time.perf_counter()
    model.generate(prompts, attention_mask=mask, generation_config=settings, streamer=clock)
    _, first, *_, last = clock.times
    return first - start, last - first


def exact_settings(new_tokens: int, **others: Any) -> Any:
    """Settings of `generate` that write exactly so many tokens, always the likeliest.

    An early end of text would spoil the count.
    """
    from transformers import GenerationConfig

    return GenerationConfig(
        do_sample=False,
        max_new_tokens=new_tokens,
        min_new_tokens=new_tokens,
        use_cache=True,
        pad_token_id=0,
        **others,
    )


def _facts(model: Any, device: str) -> dict[str, Any]:
    import torch

    return {
        "peak_memory_bytes": _peak_memory(device),
        "device": device,
        "dtype": str(model.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
    }


def _peak_memory(device: str) -> int:
    """Bytes of the tensors on a GPU, else of the whole process; loading the model is included."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated())
    status = Path("/proc/self/status")
    # On Linux, ru_maxrss would start from the parent's memory at the fork.
    if status.is_file() and (peak := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(peak[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    # These imports take seconds, and one before the forks is enough.
    import_module("hf_prune.model.skeleton")
    import_module("transformers.generation.utils")
    print_answers(measurements)
