"""Prune and heal a model with `soup shrink --heal-steps`, in an environment of its own.

    python benchmarks/heal_with_soup.py MODEL_FOLDER --drop-layers 6 --text HEAL.jsonl
                                        --calibration CALIBRATION.jsonl --output FOLDER [--tokens 300000]

Prints one JSON object: the layers that soup chose, the tokens it healed on, seconds, core seconds, the peak
memory of its largest process, and the folder of the healed model. The texts are jsonl with a field `text`.

What soup-cli 0.77.0 does, none of which its command lets one change: LoRA of rank 16, alpha 32, dropout 0.05
on q_proj and v_proj; loss half cross-entropy, half KL from the unpruned model at temperature 2; AdamW, 2e-5,
cosine, 3 % warm-up; one row a batch of at most 1,024 tokens, four batches a step; whole epochs over the first
90 % of the rows (`--heal-steps` counts batches and is rounded up), the others for an evaluation.

It trains on answers of conversations only and refuses plain text. So each document goes in as the answer
to an empty question, in pieces that fit 1,024 tokens with the template; tokens with a loss are counted.

The top of this file imports nothing but the standard library: it also runs as the child, without hf-prune.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from peers import ENVIRONMENT, PEERS, interpreter, peak_memory

LENGTH, TEMPLATE = 1024, 40  # soup's own limit; more than what its template adds to a document, in tokens
TRAINED_PART = 0.9  # of the rows; soup sets the others aside
DONT_SHIP = 2  # soup's exit status where perplexity rose too far, with the model written all the same
SETTINGS = ENVIRONMENT | {
    "SOUP_DB_PATH": "experiments.db",  # otherwise in the home folder
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONPATH": "",
}


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the process of soup is asked."""

    model: str
    text: str
    calibration: str
    drop_layers: int
    tokens: int


def pieces(tokenizer: Any, text: str) -> Iterator[str]:
    """A document in parts that soup will not truncate."""
    spans = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)["offset_mapping"]
    for first in range(0, len(spans), LENGTH - TEMPLATE):
        part = spans[first : first + LENGTH - TEMPLATE]
        yield text[part[0][0] : part[-1][1]]


def conversations(job: Job) -> tuple[list[str], int, int]:
    """Rows for soup's trainer, the tokens of those that it trains on, and how many of these have a loss.

    Raises:
        ValueError: the text is too short for the tokens wanted.
    """
    from soup_cli.data.loss_mask import build_assistant_only_labels
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job.model)
    rows, all_tokens, trained, wanted = [], 0, 0, math.inf
    for line in Path(job.text).read_text().splitlines():
        for piece in pieces(tokenizer, json.loads(line)["text"]):
            if len(rows) >= wanted:
                return rows, all_tokens, trained
            turns = [{"role": "user", "content": ""}, {"role": "assistant", "content": piece}]
            rows.append(json.dumps({"messages": turns}) + "\n")
            if trained < job.tokens:
                labels = build_assistant_only_labels(turns, tokenizer, max_length=LENGTH)["labels"]
                all_tokens += len(labels)
                trained += sum(label >= 0 for label in labels)
                if trained >= job.tokens:
                    wanted = math.ceil(len(rows) / TRAINED_PART)
    if len(rows) < wanted:
        raise ValueError(f"{job.text} has too few tokens to train on {job.tokens} of them")
    return rows, all_tokens, trained


def core_seconds() -> float:
    """Of this process and of those that it started and that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def shrink(job: Job) -> dict[str, Any]:
    """Run soup's own command in this process; its training is a process of its own."""
    from soup_cli.cli import app

    rows, all_tokens, trained = conversations(job)
    Path("heal.jsonl").write_text("".join(rows))
    Path("calibration.jsonl").write_bytes(Path(job.calibration).read_bytes())
    options = ["--model", job.model, "--drop-layers", str(job.drop_layers), "--calib", "calibration.jsonl"]
    options += ["--heal", "heal.jsonl", "--heal-steps", str(len(rows)), "--device", "cpu", "-o", "soup"]
    start, cores = time.perf_counter(), core_seconds()
    try:
        app(["shrink", *options])
    except SystemExit as end:
        if end.code not in (0, DONT_SHIP):
            raise
    seconds, cores = time.perf_counter() - start, core_seconds() - cores
    report = json.loads(Path("soup/shrink_report.json").read_text())
    first, last = report["dropped_block"]
    states = Path("soup/heal_adapter").glob("checkpoint-*/trainer_state.json")
    largest_child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return {
        "removed": list(range(first, last + 1)),
        "seconds": seconds,
        "core_seconds": cores,
        "peak_memory_bytes": max(peak_memory(), largest_child),
        "rows": len(rows),
        "steps": max(json.loads(state.read_text())["global_step"] for state in states),
        "tokens": trained,
        "tokens_with_template": all_tokens,
        "folder": str(Path("soup/model").resolve()),
        "report": report,
    }


def run(job: Job, folder: Path, threads: str) -> dict[str, Any]:
    """Start the process of soup in a folder, where it also writes, and read what it found.

    Raises:
        RuntimeError: soup failed; the message is the end of what it wrote.
    """
    folder.mkdir(parents=True, exist_ok=True)
    python = interpreter(PEERS["soup"])
    subprocess.run([*python, "-c", ""], check=True, capture_output=True)  # installs
    command = [*python, str(Path(__file__).resolve()), "--child", json.dumps(asdict(job))]
    settings = SETTINGS | {"UV_OFFLINE": "1", "OMP_NUM_THREADS": threads}
    with (folder / "soup.log").open("w") as log:
        done = subprocess.run(command, cwd=folder, env=os.environ | settings, stdout=log, stderr=log)
    lines = (folder / "soup.log").read_text().splitlines()
    if done.returncode:
        raise RuntimeError("\n".join(lines[-10:]))
    return json.loads(next(line for line in reversed(lines) if line.startswith("{")))


def main() -> None:
    """Print what soup did; or be its process."""
    if sys.argv[1:2] == ["--child"]:
        found = shrink(Job(**json.loads(sys.argv[2])))
        found["versions"] = {name: version(name) for name in ("soup-cli", "peft", "torch", "transformers")}
        print(json.dumps(found), flush=True)
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--text", type=Path, required=True, help="to heal on: jsonl with a field `text`")
    parser.add_argument("--calibration", type=Path, required=True, help="to choose layers by: likewise")
    parser.add_argument("--drop-layers", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=300_000)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--threads", default="1")
    options = parser.parse_args()
    job = Job(
        model=str(options.model.resolve()),
        text=str(options.text.resolve()),
        calibration=str(options.calibration.resolve()),
        drop_layers=options.drop_layers,
        tokens=options.tokens,
    )
    print(json.dumps(run(job, options.output.resolve(), options.threads)))


if __name__ == "__main__":
    main()
