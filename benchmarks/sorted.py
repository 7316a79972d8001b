"""Depths trained together against the same model trained as a whole: what each depth is worth.

    python benchmarks/sorted.py MODEL_FOLDER --depths 18,22,26 --output FOLDER [--tokens 200000] [--threads 1]

Three runs of `hf-prune sort` on instruction data (../shared/data/bench/dolly_hhrlhf_1k.jsonl.gz, the answers
alone count), with the same tokens, windows, steps and learning rate: `together`, all depths in every step;
`drawn`, one of them a step (`--sample-depths`); `plain`, the whole model alone, which is plain fine-tuning.
Prints, by depth, the loss on answers that were set aside and the perplexity on held-out C4, of the original
cut off at that depth and of each run. A run that is finished is not made again.
"""

import json
from typing import Any

from contest import Bench, common_arguments, open_bench, print_row, pruned

WAYS = {"together": [], "drawn": ["--sample-depths"], "plain": []}


def run_of(bench: Bench, way: str, depths: str, rate: str) -> dict[str, Any]:
    """The record of a training."""
    folder = bench.folder(way)
    if not (folder / "run.json").exists():
        data = bench.data / "bench" / "dolly_hhrlhf_1k.jsonl.gz"
        training = ["--heal-data", str(data), "--heal-tokens", str(bench.tokens), "--lr", rate, *WAYS[way]]
        pruned(bench, way, ["--drop-layers", "0", "--depths", depths, "--samples", "8", *training])
    return json.loads((folder / "run.json").read_text())


def losses(run: dict[str, Any]) -> dict[tuple[str, int], str]:
    """By what was done and depth: on answers that were set aside."""
    depths = run["healing"]["depths"]
    return {(when, loss["layers"]): f"{loss[when]:.3f}" for loss in depths for when in ("before", "after")}


def perplexities(run: dict[str, Any]) -> dict[tuple[str, int], str]:
    """By what was done and depth: on C4."""
    if not run["evaluated"]["depths"]:  # the whole model alone
        found = zip(("before", "after"), run["evaluated"]["perplexities"], strict=True)
        layers = run["dense"]["num_layers"]
        return {(when, layers): f"{measured['perplexity']:.2f}" for when, measured in found}
    named = {"before": "truncated", "after": "perplexity"}
    return {
        (when, depth["layers"]): f"{depth[name]['perplexity']:.2f}"
        for depth in run["evaluated"]["depths"]
        for when, name in named.items()
    }


def main() -> None:
    """Run what is missing and print the table of all that is there."""
    parser = common_arguments(list(WAYS))
    parser.add_argument("--depths", required=True, help="below the whole: 18,22,26")
    parser.add_argument("--lr", default="1e-4")
    parser.set_defaults(tokens=200_000)
    asked = parser.parse_args()
    bench = open_bench(parser, asked, asked.depths, asked.lr)
    layers = json.loads((bench.model / "config.json").read_text())["num_hidden_layers"]
    depths = [*map(int, asked.depths.split(",")), layers]
    trained = {"plain": str(layers)}
    runs = {
        way: run_of(bench, way, trained.get(way, asked.depths), asked.lr) for way in WAYS if way in asked.only
    }
    for figure in (losses, perplexities):
        by_way = {way: figure(run) for way, run in runs.items()}
        print_row([f"Layers ({figure.__name__})", "cut off", *runs])
        print_row(["---:"] * (2 + len(runs)))
        for depth in depths:
            cut_off = next(
                (found["before", depth] for found in by_way.values() if ("before", depth) in found), ""
            )
            print_row([str(depth), cut_off, *(found.get(("after", depth), "") for found in by_way.values())])


if __name__ == "__main__":
    main()
