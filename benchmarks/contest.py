"""What the contests of ways to make a model smaller share: their texts, their processes, their figures.

Every way is run in a process of its own on the CPU, and its model is evaluated in another, by
evaluate_folder.py. A line of FOLDER/results.jsonl is written for each once it is done; those that have one
are not run again, and a model that was made but not evaluated is not made again. The peak memory of a
process begins at that of the one that started it, so that this file imports the standard library alone.
"""

import argparse
import gzip
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
CALIBRATION = ROOT / "hf_prune" / "texts" / "c4_calibration.jsonl.gz"
TOOL = [sys.executable, "-m", "hf_prune"]
ALWAYS = ["--device", "cpu", "--eval-samples", "1", "--choice-items", "0", "--quiet", "--fresh"]
DENSE = "original"


@dataclass(frozen=True)
class Bench:
    """What all methods share."""

    model: Path
    output: Path
    data: Path
    tokens: int
    threads: str
    limit: int

    @property
    def results(self) -> Path:
        """A line for each method that is done."""
        return self.output / "results.jsonl"

    def done(self) -> dict[str, dict[str, Any]]:
        """Those lines, by method."""
        if not self.results.exists():
            return {}
        lines = map(json.loads, self.results.read_text().splitlines())
        return {line["method"]: line for line in lines}

    def folder(self, method: str) -> Path:
        """Where a method writes."""
        return self.output / "".join(c if c.isalnum() else "-" for c in method.lower())


def write_texts(bench: Bench) -> tuple[Path, Path]:
    """The text to heal on, which is what the calibration text leaves over, and that one unpacked."""
    with gzip.open(CALIBRATION, "rt", encoding="utf-8") as file:
        calibrating = [json.loads(line)["text"] for line in file]
    with gzip.open(bench.data / "text" / "c4_train.jsonl.gz", "rt", encoding="utf-8") as file:
        every = [json.loads(line)["text"] for line in file]
    heal, calibration = bench.output / "heal.jsonl", bench.output / "calibration.jsonl"
    seen = set(calibrating)
    for path, texts in ((heal, [text for text in every if text not in seen]), (calibration, calibrating)):
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return heal, calibration


def measured(bench: Bench, command: Sequence[str], log: Path) -> dict[str, Any]:
    """Run a command to its end; its seconds, its core seconds and the peak memory of its largest process.

    Raises:
        RuntimeError: it failed; the message is the end of what it wrote.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    settings = {"OMP_NUM_THREADS": bench.threads, "PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "false"}
    start = time.perf_counter()
    with log.open("w") as file:
        process = subprocess.Popen(command, env=os.environ | settings, stdout=file, stderr=file)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError("\n".join(log.read_text().splitlines()[-10:]))
    return {
        "seconds": time.perf_counter() - start,
        "core_seconds": used.ru_utime + used.ru_stime,
        "peak_memory_bytes": used.ru_maxrss * 1024,
    }


def pruned(bench: Bench, name: str, options: Sequence[str]) -> dict[str, Any]:
    """Run hf-prune; what it took, the layers it removed and where its model is."""
    folder = bench.folder(name)
    command = [*TOOL, "run", str(bench.model), *ALWAYS, *options, "--output", str(folder)]
    figures = measured(bench, command, folder.with_suffix(".log"))
    plan = json.loads((folder / "run.json").read_text())["plan"]
    return {**figures, "options": options, "removed": plan["removed"], "folder": str(folder / "model")}


def once(path: Path, find: Callable[[], Any]) -> Any:
    """What was found before, or is found now and kept."""
    if not path.exists():
        found = find()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found))
    return json.loads(path.read_text())


def evaluated(bench: Bench, folder: str, log: Path) -> dict[str, Any]:
    """What a model is worth, found in a process of its own."""
    script = str(ROOT / "benchmarks" / "evaluate_folder.py")
    options = ["--data", str(bench.data), "--limit", str(bench.limit)]
    measured(bench, [sys.executable, script, folder, *options], log)
    return json.loads(next(line for line in reversed(log.read_text().splitlines()) if line.startswith("{")))


def add_result(bench: Bench, name: str, make: Callable[[str], dict[str, Any]]) -> None:
    """Make the model of one method, evaluate it, and write the line."""
    found = once(bench.folder(name).with_suffix(".json"), lambda: make(name))
    worth = evaluated(bench, found["folder"], bench.folder(name).with_suffix(".evaluation.log"))
    with bench.results.open("a") as file:
        file.write(json.dumps({"method": name, "threads": bench.threads, **found, "worth": worth}) + "\n")


def run_missing(bench: Bench, names: Sequence[str], make: Callable[[str], dict[str, Any]]) -> bool:
    """Run the methods that have no line yet, and say which failed.

    Args:
        bench: where.
        names: of the methods.
        make: runs one: where its model is, the layers removed, and what that took.

    Returns:
        Whether all went well.
    """
    failed = []
    for name in (name for name in names if name not in bench.done()):
        try:
            add_result(bench, name, make)
        except RuntimeError as error:
            failed.append(name)
            print(f"{name} failed:\n{error}", file=sys.stderr, flush=True)
    return not failed


SETS = {  # as the table has them: how each is read, and its heading
    "arc_easy": ("plain", "ARC-easy"),
    "hellaswag": ("normalised", "HellaSwag"),
    "piqa": ("plain", "PIQA"),
    "openbookqa": ("normalised", "OpenBookQA"),
    "boolq": ("plain", "BoolQ"),
}
NOT_AVERAGED = ("boolq",)  # the original says no to most and is right on 37 %, where 64 % are yes: chance


def percent(share: float, stderr: float, sign: str = "") -> str:
    """With its standard error."""
    return f"{100 * share:{sign}.1f} ± {100 * stderr:.1f}"


def mean_gain(worth: dict[str, Any], before: dict[str, Any]) -> tuple[float, float]:
    """The accuracy above another model's, meaned over the sets; its error is over the same items of both."""
    gains, variances = [], []
    for name, (way, _) in SETS.items():
        if name not in NOT_AVERAGED:
            right, was = (each["accuracy"][name][way]["right"] for each in (worth, before))
            changes = [int(now) - int(then) for now, then in zip(right, was, strict=True)]
            gains.append(statistics.fmean(changes))
            variances.append(statistics.variance(changes) / len(changes))
    return statistics.fmean(gains), math.sqrt(sum(variances)) / len(variances)


def cells_of(worth: dict[str, Any]) -> list[str]:
    """The perplexities of a model, as a table has them."""
    return [f"{worth['perplexity'][text]['perplexity']:.2f}" for text in ("c4_heldout", "wikitext2")]


def gain_cell(worth: dict[str, Any], results: dict[str, dict[str, Any]]) -> str:
    """How far a model's accuracy is above the original's, where that was evaluated too."""
    return percent(*mean_gain(worth, results[DENSE]["worth"]), "+") if DENSE in results else ""


def cost_cells(line: dict[str, Any]) -> list[str]:
    """Seconds and core seconds, where anything was run."""
    return [f"{line[key]:,.0f}" if key in line else "" for key in ("seconds", "core_seconds")]


def print_row(cells: Sequence[str]) -> None:
    """Of a Markdown table."""
    print("| " + " | ".join(cells) + " |")


def common_arguments(names: Sequence[str]) -> argparse.ArgumentParser:
    """The arguments of every contest, of methods with these names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--output", type=Path, required=True, help="one for each setting")
    parser.add_argument("--tokens", type=int, default=300_000, help="to heal on")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="METHOD")
    parser.add_argument("--threads", default="1")
    parser.add_argument("--limit", type=int, default=200, help="items of each multiple-choice set")
    parser.add_argument("--data", type=Path, default=DATA)
    return parser


def open_bench(parser: argparse.ArgumentParser, asked: argparse.Namespace, *settings: Any) -> Bench:
    """Where results go; it is an error if those of other settings are there."""
    bench = Bench(
        model=asked.model.resolve(),
        output=asked.output.resolve(),
        data=asked.data.resolve(),
        tokens=asked.tokens,
        threads=asked.threads,
        limit=asked.limit,
    )
    bench.output.mkdir(parents=True, exist_ok=True)
    settings_now = [str(bench.model), *settings, bench.tokens, bench.limit]
    if once(bench.output / "asked.json", lambda: settings_now) != settings_now:
        parser.error(f"{bench.output} holds results of another model, cut, number of tokens or limit")
    return bench
