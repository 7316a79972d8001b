"""The recipes of papers side by side, beside this tool's default: what is left of a model, what it took.

    python benchmarks/presets.py MODEL_FOLDER --output FOLDER [--tokens 100000] [--only PRESET ...]

Each preset is `hf-prune run MODEL --recipe NAME`, in a process of its own on the CPU, at two depths: 20 and
27 % of the layers removed, rounded. Layers, bridges, what is trained and at which rate are the recipe's.
Those that train all get the same number of tokens of the same text (the C4 documents of ../shared/data that
the built-in calibration text leaves over), in windows and steps of the same size: in the papers' batches
100,000 tokens would be a handful of steps. `sorted` is trained once and each depth is taken out of it;
`slayer` removes nothing and has one row.

Prints a Markdown table: perplexity by benchmarks/evaluate_folder.py; accuracy in percent, the mean over all
its sets but BoolQ, and how far that is above the original's, with its standard error; then seconds and core
seconds of the command, for `sorted` those of the one training. It goes on where it was stopped: see
contest.py.
"""

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contest import (
    DENSE,
    NOT_AVERAGED,
    SETS,
    TOOL,
    Bench,
    cells_of,
    common_arguments,
    cost_cells,
    gain_cell,
    measured,
    once,
    open_bench,
    print_row,
    pruned,
    run_missing,
    write_texts,
)

SHARES = (0.20, 0.27)  # of the layers
LENGTH = ["--seq-len", "512", "--samples", "32"]
SAME_STEPS = ["--heal-batch", "2"]


@dataclass(frozen=True)
class Preset:
    """One recipe, and what has to be said besides on a CPU with little text."""

    options: Sequence[str]
    trains: bool = False


# All that is given to hf-prune beside the model, the text and the number of layers.
PRESETS = {
    "gromov": Preset(["--recipe", "gromov", "--heal", "lora"], trains=True),  # 4 bits need a GPU
    "shortgpt": Preset(["--recipe", "shortgpt"]),
    "streamline": Preset(["--recipe", "streamline"], trains=True),
    "reassessing": Preset(["--recipe", "reassessing"], trains=True),
    "shortened-llama": Preset(["--recipe", "shortened-llama"], trains=True),
    "sleb": Preset(["--recipe", "sleb"]),
    "replaceme": Preset(["--recipe", "replaceme"]),
    "default": Preset(["--heal", "lora"], trains=True),  # on a CPU nothing is trained unasked
}
SLAYER = Preset(["--recipe", "slayer"], trains=True)
SORTED = Preset(["--recipe", "sorted"], trains=True)
EVERY = [DENSE, *PRESETS, "slayer", "sorted"]


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    preset: str
    removes: int


def rows_of(presets: Sequence[str], num_layers: int) -> list[Row]:
    """The lines of these presets, for a model of so many layers."""
    whole = (DENSE, "slayer")
    rows = [Row(preset, preset, 0) for preset in presets if preset in whole]
    for count in (round(share * num_layers) for share in SHARES):
        rows += [Row(f"{each}, {count} removed", each, count) for each in presets if each not in whole]
    return rows


def options_of(bench: Bench, preset: Preset, heal: Path) -> list[str]:
    """Of one run, but for the number of layers."""
    training = ["--heal-data", str(heal), "--heal-tokens", str(bench.tokens), *SAME_STEPS]
    return [*preset.options, *LENGTH, *(training if preset.trains else [])]


def makes(bench: Bench, rows: Sequence[Row], num_layers: int) -> Callable[[str], dict[str, Any]]:
    """How the model of a row is made."""
    heal, _ = write_texts(bench)
    by_name = {row.name: row for row in rows}

    def make(name: str) -> dict[str, Any]:
        row = by_name[name]
        if row.preset == DENSE:
            return {"removed": [], "folder": str(bench.model)}
        if row.preset == "slayer":
            return pruned(bench, name, options_of(bench, SLAYER, heal))
        if row.preset == "sorted":
            return taken_out(bench, row, options_of(bench, SORTED, heal), num_layers)
        options = [*options_of(bench, PRESETS[row.preset], heal), "--drop-layers", str(row.removes)]
        return pruned(bench, name, options)

    return make


def taken_out(bench: Bench, row: Row, options: Sequence[str], num_layers: int) -> dict[str, Any]:
    """One depth of the sorted model, which is trained where that was not done yet."""
    left = num_layers - row.removes
    depths = sorted(num_layers - round(share * num_layers) for share in SHARES)
    named = ["--depths", ",".join(map(str, depths))]
    whole = bench.folder("sorted")
    trained = once(whole.with_suffix(".json"), lambda: pruned(bench, "sorted", [*options, *named]))
    target = bench.folder(row.name)
    command = [*TOOL, "extract", trained["folder"], "--layers", str(left), "--output", str(target)]
    if not target.exists():
        measured(bench, command, target.with_suffix(".log"))
    return {**trained, "removed": list(range(left, num_layers)), "folder": str(target)}


def accuracy_cell(worth: dict[str, Any]) -> str:
    """In percent, the mean over all sets but those that are chance."""
    sets = [(name, way) for name, (way, _) in SETS.items() if name not in NOT_AVERAGED]
    return f"{100 * statistics.fmean(worth['accuracy'][name][way]['accuracy'] for name, way in sets):.1f}"


def print_table(results: dict[str, dict[str, Any]]) -> None:
    """Perplexities, accuracies and what each row took."""
    head = [
        "preset",
        "layers removed",
        "C4",
        "WikiText-2",
        "accuracy, %",
        "above the original",
        "s",
        "core s",
    ]
    print_row(head)
    print("|---|---|" + "---:|" * (len(head) - 2))
    for name, line in results.items():
        worth = line["worth"]
        removed = ", ".join(map(str, line["removed"])) or "none"
        gain = gain_cell(worth, results) if name != DENSE else ""
        print_row([name, removed, *cells_of(worth), accuracy_cell(worth), gain, *cost_cells(line)])


def main() -> None:
    """Run what is missing, then print the table of all that is there."""
    parser = common_arguments(EVERY)
    asked = parser.parse_args()
    bench = open_bench(parser, asked)
    num_layers = json.loads((bench.model / "config.json").read_text())["num_hidden_layers"]
    rows = rows_of([preset for preset in EVERY if preset in asked.only], num_layers)
    went_well = run_missing(bench, [row.name for row in rows], makes(bench, rows, num_layers))
    found = bench.done()
    names = [row.name for row in rows_of(EVERY, num_layers)]
    print_table({name: found[name] for name in names if name in found})
    sys.exit(not went_well)


if __name__ == "__main__":
    main()
