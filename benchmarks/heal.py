"""Ways to heal a model after the cut, side by side: what is left of it, what it took.

    python benchmarks/heal.py MODEL_FOLDER --layers 13-18 --output FOLDER
    python benchmarks/heal.py MODEL_FOLDER --drop-layers 8 --output FOLDER [--only METHOD ...]

Every method gets the same cut, the same number of tokens of the same text (the C4 documents of
../shared/data that the built-in calibration text leaves over) and the same calibration text, each in a
process of its own on the CPU. With --drop-layers a run without a bridge lets `auto` choose the layers first,
and all methods of hf-prune are given those; soup-cli always chooses by itself and is told how many.

Prints a Markdown table: perplexity and accuracy by benchmarks/evaluate_folder.py, in percent; how far the
accuracy is above the original's, meaned over all sets but BoolQ; then seconds, core seconds and peak memory
(of the largest process) of the command. What any run of hf-prune takes is in the row `cut alone`. It goes on
where it was stopped: see contest.py. This file imports the standard library alone, for the sake of the peak.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import heal_with_soup
from contest import (
    DENSE,
    SETS,
    Bench,
    cells_of,
    common_arguments,
    cost_cells,
    gain_cell,
    once,
    open_bench,
    percent,
    print_row,
    pruned,
    run_missing,
    write_texts,
)

SOUP = "soup-cli shrink"


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


def print_table(results: dict[str, dict[str, Any]]) -> None:
    """Perplexities, accuracies with standard errors, and what each method took."""
    sets = [heading for _, heading in SETS.values()]
    head = ["", "layers removed", "C4", "WikiText-2", *sets, "mean gain", "s", "core s", "peak memory"]
    print_row(head)
    print("|---|---|" + "---:|" * (len(head) - 2))
    for name, line in results.items():
        worth = line["worth"]
        scores = [worth["accuracy"][each][way] for each, (way, _) in SETS.items()]
        print_row(
            [
                name,
                ", ".join(map(str, line["removed"])) or "none",
                *cells_of(worth),
                *(percent(score["accuracy"], score["stderr"]) for score in scores),
                gain_cell(worth, results) if name != DENSE else "",
                *cost_cells(line),
                f"{line['peak_memory_bytes'] / 1e9:.2f} GB" if "peak_memory_bytes" in line else "",
            ]
        )


def main() -> None:
    """Run what is missing, then print the table of all that is there."""
    every = [DENSE, *METHODS, SOUP]
    parser = common_arguments(every)
    cut = parser.add_mutually_exclusive_group(required=True)
    cut.add_argument("--layers", type=parsed_layers, help="13-18")
    cut.add_argument("--drop-layers", type=int)
    asked = parser.parse_args()
    bench = open_bench(parser, asked, asked.layers, asked.drop_layers)
    texts, removed = write_texts(bench), asked.layers
    if removed is None:
        options = ["--drop-layers", str(asked.drop_layers), "--bridge", "none"]
        removed = once(bench.output / "chosen.json", lambda: pruned(bench, "chosen", options))["removed"]
    went_well = run_missing(bench, asked.only, lambda name: healed(bench, name, removed, texts))
    found = bench.done()
    print_table({name: found[name] for name in every if name in found})
    sys.exit(not went_well)


if __name__ == "__main__":
    main()
