"""The measuring pass beside bare forward passes and beside peers, and what each one's choice is worth.

    python benchmarks/measure.py cost                    # time of the pass against a bare forward
    python benchmarks/measure.py choice [--peers FILE]   # perplexity after the cut of every method and peer

SmolLM2-135M-Instruct and the built-in texts: 64 x 512 tokens of calibration, and perplexity on the first
16 x 512 tokens of the held-out C4 documents, with no bridge, so that the choice itself is judged. FILE holds
what `python benchmarks/peers.py MODEL --text c4_train.jsonl.gz` printed. The tables in benchmarks/README.md
are this output.
"""

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from hf_prune.machine.progress import Reporter, silent
from hf_prune.recipe.recipe import METHODS, Recipe
from hf_prune.records.blocks import all_but
from hf_prune.stages.bridge.trials import trials_of
from hf_prune.stages.choose.selection import Selection
from hf_prune.stages.choose.tournament import Removed
from hf_prune.stages.measure.ablation import Cut, try_cuts
from hf_prune.stages.measure.measurements import Measurements
from hf_prune.stages.measure.similarity import measure
from hf_prune.stages.original import Original, locate, open_original
from hf_prune.stages.source.demo import demo_model
from hf_prune.stages.source.gguf import convert_gguf

BATCH = 4  # sequences of 512 tokens: what the pass takes at once


def opened(folder: Path, workspace: Path, **asked: object) -> Original:
    """The model with the texts that a recipe asks for."""
    recipe = Recipe(model=str(folder), bridge="none", eval_samples=16, device="cpu", **asked)
    return open_original(locate(recipe), workspace)


def seconds(work: Callable[[], object]) -> float:
    """How long something takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def cost(folder: Path, workspace: Path, rounds: int) -> None:
    """Print the pass against bare forward passes over the same tokens, run in turn."""
    original = opened(folder, workspace)
    windows = original.calibration
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()

    @torch.inference_mode()
    def forward(part: torch.nn.Module) -> None:
        for batch in windows.ids.split(BATCH):
            part(input_ids=batch, use_cache=False)

    work = {
        "bare forward, logits and all": lambda: forward(model),
        "bare forward of the decoder alone": lambda: forward(model.model),
        "the measuring pass": lambda: measure(original.decoder, windows, silent),
    }
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, part in work.items():
            times[name].append(seconds(part))
    threads = torch.get_num_threads()
    print(f"{windows.ids.numel():,} tokens, {model.dtype}, {threads} threads, {rounds} turns each\n")
    head = ("", "median s", "least s", "most s", "tokens/s", "pass / this")
    print(f"| {' | '.join(head)} |\n|---|{'---:|' * 5}")
    own = statistics.median(times["the measuring pass"])
    for name, taken in times.items():
        middle = statistics.median(taken)
        rate = windows.ids.numel() / middle
        cells = (f"{middle:.1f}", f"{min(taken):.1f}", f"{max(taken):.1f}", f"{rate:,.0f}")
        print(f"| {name} | {' | '.join(cells)} | {own / middle:.2f} |")


def choice(folder: Path, kept_scores: Path, depths: list[int], peers: Path | None) -> None:
    """Print the perplexity after the cut of every method, of `auto` and of peers, at several depths."""
    columns: dict[int, dict[str, Removed]] = {}
    for depth in depths:
        columns[depth] = {}
        for method in ("auto", *(method for method in METHODS if method != "auto")):
            original = opened(folder, kept_scores, drop_layers=depth, method=method)
            scores = Measurements(original, kept_scores, Reporter())
            took = time.perf_counter()
            plan = (
                Selection(original, scores, Reporter(), trials_of(original, silent))
                .select(scores.similarity(), depth)
                .plan
            )
            columns[depth][method] = plan.removed
            tell(f"{depth} {method}: {plan.removed} in {time.perf_counter() - took:.0f} s")
            if plan.tournament is not None:
                tell(f"  {plan.tournament.cost:.1f} passes, {len(plan.tournament.trials)} cuts")
        for line in peers.read_text().splitlines() if peers else ():
            found = json.loads(line)
            if "removed" in found:
                columns[depth][found["peer"]] = tuple(found["removed"][str(depth)])
    cuts = sorted({cut for column in columns.values() for cut in column.values()})
    kept = [Cut(all_but(cut, original.anatomy.num_layers)) for cut in [(), *cuts]]
    tried = try_cuts(original.decoder, original.heldout, kept, silent, "")
    perplexity = {cut: math.exp(found.loss) for cut, found in zip(cuts, tried[1:], strict=True)}
    print(f"dense {math.exp(tried[0].loss):.2f}, {original.heldout.ids.numel():,} tokens\n")
    print("| | " + " | ".join(f"{depth} layers" for depth in depths) + " |\n|---|" + "---:|" * len(depths))
    for name in columns[depths[0]]:
        cells = [f"{perplexity[columns[depth][name]]:,.1f}" for depth in depths]
        print(f"| {name} | " + " | ".join(cells) + " |")
    print("\n| | " + " | ".join(f"{depth} layers" for depth in depths) + " |\n|---|" + "---|" * len(depths))
    for name in columns[depths[0]]:
        cells = [", ".join(map(str, columns[depth][name])) for depth in depths]
        print(f"| {name} | " + " | ".join(cells) + " |")


def tell(line: str) -> None:
    """What is going on, beside the tables."""
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Convert the model and print what was asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("cost", "choice"))
    parser.add_argument("--model", type=Path, help="a folder with the model, converted before")
    parser.add_argument("--scores", type=Path, help="a folder that keeps scores for the next time")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--depths", type=int, nargs="+", default=[3, 6, 8, 10])
    parser.add_argument("--peers", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        workspace = Path(name)
        folder = options.model or convert_gguf(*demo_model(), workspace / "SmolLM2-135M-Instruct")
        if options.what == "cost":
            cost(folder, workspace, options.rounds)
        else:
            choice(folder, options.scores or workspace / "scores", options.depths, options.peers)


if __name__ == "__main__":
    main()
