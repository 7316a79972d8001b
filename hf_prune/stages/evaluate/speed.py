"""What models cost to run: time to the first token, tokens per second, and peak memory.

`python -m hf_prune.stages.evaluate.speed REQUEST` imports what is needed once, then forks a process for each
model, which makes a model's peak memory its own. All of them stay loaded, and each in its turn writes one
short text: what else the machine does at a time falls on all models, and what is slow or fast for one second
does not decide. Where they do not fit into memory together, one is measured after the other.
"""

import json
import multiprocessing
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from hf_prune.errors import first_line
from hf_prune.machine.environment import reason_not_to_load
from hf_prune.machine.own_process import figures_from
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
Ask = Callable[[int | str], Any]  # how many texts to write, or "facts", to what is found


def measure_speeds(
    folders: Mapping[str, Path],
    largest_bytes: int,
    device: str,
    progress: Progress,
    *,
    original: str | None = None,
    trust_remote_code: bool = False,
) -> Attempt[Speed]:
    """Let each model write, turn by turn.

    Args:
        folders: the models by variant.
        largest_bytes: the weights of the largest of them.
        device: "cpu", "cuda" or the like.
        progress: shows the rounds going by.
        original: the variant that the others are compared with, where there is one.
        trust_remote_code: whether code that the models bring may be run.
    """
    if reason := reason_not_to_load(largest_bytes, device):
        return Attempt(reason=reason)
    together = reason_not_to_load(largest_bytes * len(folders), device) is None
    asked = {
        "folders": list(map(str, folders.values())),
        "together": together,
        "device": device,
        "trust_remote_code": trust_remote_code,
    }
    total = (ROUNDS + BATCH_ROUNDS) * (1 if together else len(folders))
    found, reason = figures_from(
        "hf_prune.stages.evaluate.speed", [json.dumps(asked)], progress, "speed", total
    )
    if reason:
        return Attempt(reason=reason)
    figures = [each for line in found for each in line.get("measured", ())]
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
    """From turns next to each other, so that what slows one down slows down the other.

    Args:
        own: what each turn took.
        original: what the original's turns took, in the same rounds.
        which: of the two times.
    """
    pairs = zip(own, original, strict=True)
    ratios = [theirs[which] / ours[which] for ours, theirs in pairs]
    lower, median, upper = statistics.quantiles(ratios, n=4, method="inclusive")
    return SpeedUp(median=median, quartiles=(lower, upper))


def figures(asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What there is to print: an empty object a round, and one with what was measured of the models.

    Args:
        asked: as `measure_speeds` writes it.
    """
    folders = asked["folders"]
    for group in [folders] if asked["together"] else [[folder] for folder in folders]:
        with ExitStack() as loaded:
            models = [loaded.enter_context(_process(folder, asked)) for folder in group]
            alone = yield from rounds(models, 1, ROUNDS)
            facts = [ask("facts") for ask in models]  # before a batch takes more memory
            batch = yield from rounds(models, BATCH, BATCH_ROUNDS)
            parts = zip(alone, batch, facts, strict=True)
            yield {"measured": [{"alone": one, "batch": many, "facts": own} for one, many, own in parts]}


def rounds(
    models: Sequence[Ask], texts: int, most: int
) -> Generator[dict[str, Any], None, list[list[Timed]]]:
    """Every model in turn, round after round.

    Args:
        models: what asks each of them to write.
        texts: how many at once.
        most: rounds; of slow models there are fewer.

    Yields:
        An empty object a round.

    Returns:
        The times of each model; none of any where one of them could not.
    """
    times: list[list[Timed]] = [[] for _ in models]
    began = time.monotonic()
    for number in range(most):
        if number > LEAST_ROUNDS and time.monotonic() - began > ENOUGH_SECONDS:
            break
        turns = [ask(texts) for ask in models]
        if None in turns:
            return [[] for _ in models]
        if number:  # the first round pays for what later ones find ready
            for each, turn in zip(times, turns, strict=True):
                each.append(turn)
        yield {}
    return times


@contextmanager
def _process(folder: str, asked: dict[str, Any]) -> Iterator[Ask]:
    """A process that has a model loaded, and answers what it is asked."""
    methods = multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("fork" if "fork" in methods else "spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_answer, args=(theirs, folder, asked), daemon=True)
    process.start()
    theirs.close()  # so that a process that dies ends the wait

    def ask(question: int | str) -> Any:
        try:
            ours.send(question)
            answer = ours.recv()
        except (EOFError, OSError):
            raise SystemExit(f"the process of {Path(folder).name} died, as one without memory does") from None
        if isinstance(answer, Exception):
            raise SystemExit(first_line(answer))
        return answer

    try:
        yield ask
    finally:
        process.terminate()
        process.join()


def _answer(connection: Connection, folder: str, asked: dict[str, Any]) -> None:
    try:
        model = load_whole(Path(folder), asked["device"], trust_remote_code=asked["trust_remote_code"])
        while True:
            question = connection.recv()
            if question == "facts":
                connection.send(_facts(model, asked["device"]))
            elif question == 1:
                connection.send(_write(model, 1))
            else:
                connection.send(_write_batch(model, question))
    except EOFError:  # nobody asks any more
        return
    except Exception as error:
        connection.send(RuntimeError(first_line(error)))  # one that can be sent


def _write_batch(model: Any, texts: int) -> Timed | None:
    """As `_write`; None where so many do not fit into memory, or the model cannot write so many at once."""
    config = model.config.get_text_config()
    sizes = (getattr(config, name, 0) or 0 for name in ("vocab_size", "hidden_size", "num_hidden_layers"))
    vocabulary, hidden, layers = sizes
    numbers = vocabulary + hidden * (2 * layers + 16)  # of a token: logits, keys and values, one layer's own
    if reason_not_to_load(4 * texts * (PROMPT_TOKENS + NEW_TOKENS) * numbers, str(model.device)):
        return None
    try:
        return _write(model, texts)
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, MemoryError):
        return None


class _Clock:
    """A streamer, as transformers calls what is told of the prompt and of each token that is written."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, tokens: Any) -> None:
        """Note the time."""
        self.times.append(time.perf_counter())

    def end(self) -> None:
        """Nothing is left to be done."""


def _write(model: Any, texts: int) -> Timed:
    import torch
    from transformers import GenerationConfig

    generator = torch.Generator().manual_seed(0)
    vocabulary = model.config.get_text_config().vocab_size
    prompts = torch.randint(vocabulary, (texts, PROMPT_TOKENS), generator=generator).to(model.device)
    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=NEW_TOKENS,
        min_new_tokens=NEW_TOKENS,
        use_cache=True,
        pad_token_id=0,
    )
    clock, mask = _Clock(), torch.ones_like(prompts)
    start = time.perf_counter()
    model.generate(prompts, attention_mask=mask, generation_config=settings, streamer=clock)
    _, first, *_, last = clock.times
    return first - start, last - first


def _facts(model: Any, device: str) -> dict[str, Any]:
    import torch

    return {
        "peak_memory_bytes": _peak_memory(device),
        "device": device,
        "dtype": str(model.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
    }


def _peak_memory(device: str) -> int:
    """Bytes: on a GPU those of tensors there, else those of the whole process; loading is part of it."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated())
    status = Path("/proc/self/status")
    if status.is_file():  # ru_maxrss would begin with what the parent process had when it started this one
        peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if peak:
            return int(peak[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _main() -> None:
    import transformers

    # Imported once, before the forks: it takes seconds. transformers loads a class where it is first named.
    _ = transformers.PreTrainedModel, transformers.GenerationMixin
    import_module("hf_prune.model.skeleton")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for found in figures(json.loads(sys.argv[1])):
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    _main()
