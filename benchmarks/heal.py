"""Ways to heal a model after the cut, side by side: what is left of it, what it took.

    python benchmarks/heal.py MODEL_FOLDER --layers 13-18 --output FOLDER
    python benchmarks/heal.py MODEL_FOLDER --drop-layers 8 --output FOLDER [--only METHOD ...]

Every method gets the same cut, the same number of tokens of the same text (the C4 documents of
../shared/data that the built-in calibration text leaves over) and the same calibration text, each in a
process of its own on the CPU. With --drop-layers a run without a bridge lets `auto` choose the layers first,
and all methods of hf-prune are given those; soup-cli always chooses by itself and is told how many.

Prints a Markdown table: perplexity and accuracy by benchmarks/evaluate_folder.py, in percent; how far the
accuracy is above the original's, meaned over all sets but BoolQ; then seconds, core seconds and peak memory
(of the largest process) of the command. What any run of hf-prune takes is in the row `cut alone`. A line of
FOLDER/results.jsonl is written for each method once it is done; those that have one are not run again, and a
model that was healed but not evaluated is not healed again. The peak memory of a process begins at that of
the one that started it, so that this file imports the standard library alone.
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

import heal_with_soup

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
CALIBRATION = ROOT / "hf_prune" / "texts" / "c4_calibration.jsonl.gz"
RUN = [sys.executable, "-m", "hf_prune", "run"]
ALWAYS = ["--device", "cpu", "--eval-samples", "1", "--quiet", "--fresh"]
DENSE, SOUP = "original", "soup-cli shrink"


@dataclass(frozen=True)
class Method:
    """One way to heal, as options of `hf-prune run`."""

    options: Sequence[str]
    heals: bool = True  # whether it takes text and a number of tokens


# What the papers say is in brackets; where a setting is not among the options, all methods share this tool's.
METHODS = {
    "cut alone": Method(["--bridge", "none", "--heal", "none"], heals=False),
    "bridge alone": Method(["--heal", "none"], heals=False),
    # 2403.17887: LoRA on the feed-forward parts, rank 64 (2 to 64), alpha = rank, dropout 0.05, 3e-4 (3e-6 to
    # 3e-4), cosine, 100 of 5,000 steps of warm-up, 16 sequences a step, loss of the language model
    "LoRA (Gromov)": Method(
        ["--bridge", "none", "--heal", "lora", "--heal-targets", "ffn", "--no-distill", "--lr", "3e-4"]
    ),
    # 2411.15558: the head, the final norm and the last three layers, 1e-5, 100 steps of warm-up, 64 a step
    "partial (Reassessing)": Method(
        ["--bridge", "none", "--heal", "partial", "--train-head", "--no-distill", "--lr", "1e-5"]
    ),
    "partial, ten times the rate": Method(
        ["--bridge", "none", "--heal", "partial", "--train-head", "--no-distill", "--lr", "1e-4"]
    ),
    # 2403.19135: one layer, begun as the first of those removed, alone trained, 2e-4 to 5e-5 cosine, 1 % of
    # warm-up, by the loss of the language model, which its authors found better. One more layer removed and
    # put back is the layer before the cut: --heal replace
    "layer (LLM-Streamline)": Method(["--bridge", "none", "--heal", "replace", "--no-distill"]),
    "hf-prune's default": Method(["--heal", "lora"]),
}


def parsed_layers(text: str) -> list[int]:
    """The numbers of `13-18,21`."""
    ends = [[int(end) for end in part.split("-")] for part in text.split(",")]
    return sorted(layer for part in ends for layer in range(part[0], part[-1] + 1))


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
    command = [*RUN, str(bench.model), *ALWAYS, *options, "--output", str(folder)]
    figures = measured(bench, command, folder.with_suffix(".log"))
    plan = json.loads((folder / "run.json").read_text())["plan"]
    return {**figures, "options": options, "removed": plan["removed"], "folder": str(folder / "model")}


def healed(bench: Bench, name: str, removed: list[int], texts: tuple[Path, Path]) -> dict[str, Any]:
    """Run one method; what it took and where its model is."""
    heal, calibration = texts
    if name == DENSE:
        return {"removed": [], "folder": str(bench.model)}
    if name == SOUP:
        job = heal_with_soup.Job(
            model=str(bench.model),
            text=str(heal),
            calibration=str(calibration),
            drop_layers=len(removed),
            tokens=bench.tokens,
        )
        return heal_with_soup.run(job, bench.folder(name), bench.threads)
    method = METHODS[name]
    options = ["--layers", ",".join(map(str, removed)), *method.options]
    if method.heals:
        options += ["--heal-data", str(heal), "--heal-tokens", str(bench.tokens)]
    return pruned(bench, name, options)


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


def add_result(bench: Bench, name: str, removed: list[int], texts: tuple[Path, Path]) -> None:
    """Run one method, evaluate its model, and write the line."""
    figures_file = bench.folder(name).with_suffix(".json")
    found = once(figures_file, lambda: healed(bench, name, removed, texts))
    worth = evaluated(bench, found["folder"], bench.folder(name).with_suffix(".evaluation.log"))
    with bench.results.open("a") as file:
        file.write(json.dumps({"method": name, "threads": bench.threads, **found, "worth": worth}) + "\n")


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


def print_table(results: dict[str, dict[str, Any]]) -> None:
    """Perplexities, accuracies with standard errors, and what each method took."""
    sets = [heading for _, heading in SETS.values()]
    head = ["", "layers removed", "C4", "WikiText-2", *sets, "mean gain", "s", "core s", "peak memory"]
    print("| " + " | ".join(head) + " |\n|---|---|" + "---:|" * (len(head) - 2))
    for name, line in results.items():
        worth = line["worth"]
        cells = [name, ", ".join(map(str, line["removed"])) or "none"]
        cells += [f"{worth['perplexity'][text]['perplexity']:.2f}" for text in ("c4_heldout", "wikitext2")]
        scores = [worth["accuracy"][each][way] for each, (way, _) in SETS.items()]
        cells += [percent(score["accuracy"], score["stderr"]) for score in scores]
        compared = name != DENSE and DENSE in results
        cells.append(percent(*mean_gain(worth, results[DENSE]["worth"]), "+") if compared else "")
        if "seconds" in line:
            cells += [f"{line[key]:,.0f}" for key in ("seconds", "core_seconds")]
            cells.append(f"{line['peak_memory_bytes'] / 1e9:.2f} GB")
        else:
            cells += [""] * 3
        print("| " + " | ".join(cells) + " |")


def main() -> None:
    """Run what is missing, then print the table of all that is there."""
    every = [DENSE, *METHODS, SOUP]
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    cut = parser.add_mutually_exclusive_group(required=True)
    cut.add_argument("--layers", type=parsed_layers, help="13-18")
    cut.add_argument("--drop-layers", type=int)
    parser.add_argument("--output", type=Path, required=True, help="one for each cut")
    parser.add_argument("--tokens", type=int, default=300_000, help="to heal on")
    parser.add_argument("--only", nargs="+", choices=every, default=every, metavar="METHOD")
    parser.add_argument("--threads", default="1")
    parser.add_argument("--limit", type=int, default=200, help="items of each multiple-choice set")
    parser.add_argument("--data", type=Path, default=DATA)
    asked = parser.parse_args()
    bench = Bench(
        model=asked.model.resolve(),
        output=asked.output.resolve(),
        data=asked.data.resolve(),
        tokens=asked.tokens,
        threads=asked.threads,
        limit=asked.limit,
    )
    bench.output.mkdir(parents=True, exist_ok=True)
    cut_and_size = [str(bench.model), asked.layers, asked.drop_layers, bench.tokens, bench.limit]
    if once(bench.output / "asked.json", lambda: cut_and_size) != cut_and_size:
        parser.error(f"{bench.output} holds results of another model, cut, number of tokens or limit")
    texts, removed = write_texts(bench), asked.layers
    if removed is None:
        options = ["--drop-layers", str(asked.drop_layers), "--bridge", "none"]
        removed = once(bench.output / "chosen.json", lambda: pruned(bench, "chosen", options))["removed"]
    failed = False
    for name in (name for name in asked.only if name not in bench.done()):
        try:
            add_result(bench, name, removed, texts)
        except RuntimeError as error:
            failed = True
            print(f"{name} failed:\n{error}", file=sys.stderr, flush=True)
    found = bench.done()
    print_table({name: found[name] for name in every if name in found})
    sys.exit(failed)


if __name__ == "__main__":
    main()
