"""Depths trained together against the same model trained as a whole: what each depth is worth.

    python benchmarks/sorted.py MODEL_FOLDER --depths 18,22,26 --output FOLDER [--tokens 200000] [--threads 1]

Two runs of `hf-prune sort` on instruction data (../shared/data/bench/dolly_hhrlhf_1k.jsonl.gz, the answers
alone count), with the same tokens, windows, steps and learning rate: one of all depths, one of the whole
model alone, which is plain fine-tuning. Prints, by depth, the loss on answers that were set aside and the
perplexity on held-out C4: of the original cut off at that depth, of the sorted model, and of the plain one.
A run that is finished is not made again.
"""

import json
from typing import Any

from contest import Bench, common_arguments, open_bench, print_row, pruned


def run_of(bench: Bench, name: str, depths: str, rate: str) -> dict[str, Any]:
    """The record of a training."""
    folder = bench.folder(name)
    if not (folder / "run.json").exists():
        data = bench.data / "bench" / "dolly_hhrlhf_1k.jsonl.gz"
        training = ["--heal-data", str(data), "--heal-tokens", str(bench.tokens), "--lr", rate]
        pruned(bench, name, ["--drop-layers", "0", "--depths", depths, "--samples", "8", *training])
    return json.loads((folder / "run.json").read_text())


def main() -> None:
    """Run what is missing and print the table."""
    parser = common_arguments([])
    parser.add_argument("--depths", required=True, help="below the whole: 18,22,26")
    parser.add_argument("--lr", default="1e-4")
    parser.set_defaults(tokens=200_000)
    asked = parser.parse_args()
    bench = open_bench(parser, asked, asked.depths, asked.lr)
    together = run_of(bench, "sorted", asked.depths, asked.lr)
    layers = str(together["dense"]["num_layers"])
    plain = run_of(bench, "plain", layers, asked.lr)
    print_row(["Layers", "Loss, cut off", "sorted", "plain", "Perplexity, cut off", "sorted", "plain"])
    print_row(["---:"] * 7)
    alone = {loss["layers"]: loss for loss in plain["healing"]["depths"]}
    whole = {depth["layers"]: depth for depth in plain["depths"]}
    for loss, depth in zip(together["healing"]["depths"], together["depths"], strict=True):
        number = depth["layers"]
        cells = [f"{loss['before']:.3f}", f"{loss['after']:.3f}"]
        cells += [f"{alone[number]['after']:.3f}" if number in alone else ""]
        cells += [f"{depth[which]['perplexity']:.2f}" for which in ("truncated", "perplexity")]
        cells += [f"{whole[number]['perplexity']['perplexity']:.2f}" if number in whole else ""]
        print_row([str(number), *cells])


if __name__ == "__main__":
    main()
