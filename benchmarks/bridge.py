"""What the bridge gives on SmolLM2-135M-Instruct: ridge, and position 0 in or out of the regression.

    python benchmarks/bridge.py [--layers 13-18 11-18 12-19]

Fits on the built-in calibration text (64 x 512 tokens) and prints perplexity on the first 16 x 512 tokens of
the built-in held-out text. The table in docs/bridge.md is its output.
"""

import argparse
import math
import tempfile
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer

from hf_prune import bridge, calibration
from hf_prune.choose.blocks import all_but, blocks_of
from hf_prune.decoder import open_decoder
from hf_prune.demo import demo_model
from hf_prune.gguf_conversion import convert_gguf
from hf_prune.measure.ablation import Cut, try_cuts
from hf_prune.progress import silent
from hf_prune.recipe import parse_layers

RIDGES = (0.02, 0.05, 0.1)
WITHOUT = "refit, ridge 0.05, position 0 left out"


def leave_position_0_out() -> None:
    """Fit as is usual elsewhere, for comparison: nothing is remembered of position 0."""
    add = bridge._NormalEquations.add

    def without(equations: bridge._NormalEquations, inner: Tensor, state: Tensor, target: Tensor) -> None:
        add(equations, inner, state, target)
        equations.sinks[-1] = tuple(torch.zeros_like(part) for part in equations.sinks[-1])

    bridge._NormalEquations.add = without


def main() -> None:
    """Print one row for each setting and one column for each cut."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", nargs="+", default=["13-18", "12-19", "11-18"])
    cuts = parser.parse_args().layers
    with tempfile.TemporaryDirectory() as name:
        folder = convert_gguf(*demo_model(), Path(name) / "model")
        tokenizer = AutoTokenizer.from_pretrained(folder)
        calibrating = calibration.to_windows(
            calibration.built_in_text(calibration.BUILT_IN_CALIBRATION),
            tokenizer,
            num_sequences=64,
            length=512,
            shuffle_seed=0,
        )
        heldout = calibration.to_windows(
            calibration.built_in_text(calibration.BUILT_IN_HELDOUT), tokenizer, num_sequences=16, length=512
        )
        decoder = open_decoder(folder, torch.device("cpu"))
        removed = [parse_layers(cut) for cut in cuts]
        kept = [all_but(layers, decoder.num_layers) for layers in removed]
        tried = try_cuts(
            decoder, heldout, [Cut(tuple(range(decoder.num_layers))), *map(Cut, kept)], silent, ""
        )
        print(f"dense {math.exp(tried[0].loss):.2f}")
        print("| | " + " | ".join(f"layers {cut}" for cut in cuts) + " |")
        print("|---|" + "---:|" * len(cuts))
        print("| no bridge | " + " | ".join(f"{math.exp(t.loss):.2f}" for t in tried[1:]) + " |", flush=True)
        for label, ridge in [(f"refit, ridge {ridge}", ridge) for ridge in RIDGES] + [(WITHOUT, 0.05)]:
            if label == WITHOUT:
                leave_position_0_out()
            bridge.RIDGE = ridge
            fitted = bridge.build_bridges(decoder, calibrating, [blocks_of(cut) for cut in removed], silent)
            bridged = [Cut(layers, solved) for layers, (_, solved) in zip(kept, fitted, strict=True)]
            losses = [found.loss for found in try_cuts(decoder, heldout, bridged, silent, "")]
            cells = [f"{math.exp(loss):.2f}" for loss in losses]
            print(f"| {label} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
