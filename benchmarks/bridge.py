"""What each form of bridge gives on SmolLM2-135M-Instruct.

    python benchmarks/bridge.py [--layers 13-18 12-19] [--samples 64] [--calibration FILE]

Fits on windows of 512 tokens of the calibration text (the built-in one if no FILE is given), and prints
perplexity on the first 16 x 512 tokens of the built-in held-out text, with its ratio to the original's. The
table in docs/bridge.md is its output.
"""

import argparse
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer

from hf_prune.machine.progress import silent
from hf_prune.model.decoder import open_decoder
from hf_prune.recipe.parse import parse_layers
from hf_prune.records.blocks import all_but, blocks_of
from hf_prune.stages.bridge.forms import FORMS
from hf_prune.stages.bridge.gaps import fit_bridges
from hf_prune.stages.bridge.scale import fit_scale
from hf_prune.stages.measure.ablation import Cut, try_cuts
from hf_prune.stages.source.demo import demo_model
from hf_prune.stages.source.gguf import convert_gguf
from hf_prune.stages.texts import text as calibration
from hf_prune.stages.texts.windows import to_windows


def main() -> None:
    """Print one row for each form and one column for each cut."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", nargs="+", default=["13-18", "12-19", "11-18"])
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--calibration", type=Path)
    options = parser.parse_args()
    removed = [parse_layers(cut) for cut in options.layers]
    text = (
        calibration.read_text(options.calibration)
        if options.calibration
        else calibration.built_in_text(calibration.BUILT_IN_CALIBRATION)
    )
    with tempfile.TemporaryDirectory() as name:
        folder = convert_gguf(*demo_model(), Path(name) / "model")
        tokenizer = AutoTokenizer.from_pretrained(folder)
        windows = to_windows(text, tokenizer, num_sequences=options.samples, length=512, shuffle_seed=0)
        heldout = to_windows(
            calibration.built_in_text(calibration.BUILT_IN_HELDOUT), tokenizer, num_sequences=16, length=512
        )
        decoder = open_decoder(folder, torch.device("cpu"))
        blocks = [blocks_of(cut) for cut in removed]
        wanted = [(block, form) for form in FORMS.values() for block in blocks]
        solved: list[Mapping[str, Tensor]] = [{} for _ in blocks]
        solved += [fit_scale(decoder, windows, block, silent)[1] for block in blocks]
        solved += [new for _, new in fit_bridges(decoder, windows, wanted, silent)]
        kept = [all_but(cut, decoder.num_layers) for cut in removed]
        labels = ["no bridge", "scale", *FORMS]
        cuts = [Cut(kept[place % len(kept)], new) for place, new in enumerate(solved)]
        dense, *tried = try_cuts(decoder, heldout, [Cut(tuple(range(decoder.num_layers))), *cuts], silent, "")
    print(f"dense {math.exp(dense.loss):.2f}; fitted on {windows.ids.numel()} tokens of {text.name}\n")
    print("| | " + " | ".join(f"layers {cut}" for cut in options.layers) + " |")
    print("|---|" + "---:|" * len(kept))
    for place, label in enumerate(labels):
        found = tried[place * len(kept) : (place + 1) * len(kept)]
        cells = [f"{math.exp(t.loss):.2f} ({math.exp(t.loss - dense.loss):.3f})" for t in found]
        print(f"| {label} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
