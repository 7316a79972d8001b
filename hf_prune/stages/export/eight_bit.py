"""The ONNX graph with its matrices in eight bits: a scale and a zero point for each 32 weights of a row."""

import math
from pathlib import Path

import numpy as np

from hf_prune.records import Check
from hf_prune.stages.export.comparison import Array, Runner, mean_divergence

FILE = "onnx/model_quantized.onnx"  # transformers.js looks for it under dtype "q8"
BLOCK, BITS = 32, 8
MOST_TOKENS = 4096  # of held-out text, over which the divergence is measured
LIMIT = 0.1  # nats; eight bits cost about 0.01, and a graph beyond this is broken


def write_eight_bit(source: Path, target: Path) -> None:
    """Write a float32 graph with its matrix products in eight bits, and its weights beside it."""
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(onnx.load(str(source)), bits=BITS, block_size=BLOCK)
    quantizer.process()
    data = target.with_name(f"{target.name}_data")
    onnx.save_model(
        quantizer.model.model,
        str(target),
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=data.name,
    )
    data.chmod(target.stat().st_mode)  # onnx makes it readable by its owner alone


def compare_quantized(quantized: Runner, whole: Runner, windows: Array) -> tuple[Check, float]:
    """Check predictions in eight bits on windows (sequences, length); also the mean divergence in nats."""
    checked = windows[: math.ceil(MOST_TOKENS / windows.shape[1])]
    divergences = []
    for window in checked:
        ids = window[None]
        expected, logits = (run(ids, np.ones_like(ids), None)[0] for run in (whole, quantized))
        divergences.append(mean_divergence(expected, logits))
    divergence = float(np.mean(divergences))
    check = Check(
        name="predictions near those in float32",
        passed=divergence <= LIMIT,  # False for NaN
        detail=f"{divergence:.2g} nats of divergence over {checked.size:,} held-out tokens",
    )
    return check, divergence
