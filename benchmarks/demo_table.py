"""The table of the README, from the record of a finished demo.

hf-prune demo && python benchmarks/demo_table.py hf-prune-demo/run.json
"""

import json
import sys
from pathlib import Path

from hf_prune.records import from_data
from hf_prune.records.numbers import byte_size
from hf_prune.stages.run import Run

NAMES = {"dense": "original", "cut": "6 layers cut", "bridged": "cut and bridged"}


def main() -> None:
    """Print a Markdown table, a column for each variant."""
    run = from_data(Run, json.loads(Path(sys.argv[1]).read_text()))
    variants = [perplexity.variant for perplexity in run.evaluated.perplexities]
    speeds = {speed.variant: speed for speed in run.evaluated.speeds.found}
    parameters = {v: (run.dense if v == "dense" else run.result_anatomy).parameters for v in variants}
    rows = {
        "layers": [str(run.plan.num_layers if v == "dense" else len(run.plan.kept)) for v in variants],
        "parameters": [f"{parameters[v] / 1e6:.1f} M" for v in variants],
        "perplexity, held-out C4": [f"{p.perplexity:.1f}" for p in run.evaluated.perplexities],
        "tokens/s, batch 1": [
            f"{speeds[v].decode_tokens_per_second:.1f}" if v in speeds else "" for v in variants
        ],
        "peak memory": [byte_size(speeds[v].peak_memory_bytes) if v in speeds else "" for v in variants],
    }
    print("| | " + " | ".join(NAMES[v] for v in variants) + " |")
    print("|---|" + "---:|" * len(variants))
    for name, cells in rows.items():
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
