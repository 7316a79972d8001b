"""One form of a model, written and compared in a process of its own.

`python -m hf_prune.stages.export.one_form FORMAT CHECKPOINT TARGET WINDOWS [--trust-remote-code]` prints one
JSON object. The tracer patches much of torch and transformers and holds the model in float32 several times:
what it leaves behind, or takes with it where memory runs out, is its own.
"""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np

from hf_prune.errors import first_line
from hf_prune.machine.disk import sha256_of
from hf_prune.recipe.formats import GGUF, ONNX, ONNX_8BIT
from hf_prune.records import Attempt, Check, Export
from hf_prune.stages.export.comparison import Array

TRUST = "--trust-remote-code"
Written = tuple[
    str, tuple[Check, ...], float | None, tuple[str, ...]
]  # main file, checks, divergence, by what


def export_alone(
    form: str, checkpoint: Path, target: Path, windows: Path, *, trust_remote_code: bool
) -> None:
    """Print what came of one form: its record, or the reason why it does not count.

    Args:
        form: "onnx", "onnx-8bit" or "gguf".
        checkpoint: the model in safetensors form; for "onnx-8bit" the folder of the graph in float32.
        target: an existing folder, to be filled.
        windows: an .npy file of held-out ids, (sequences, length).
        trust_remote_code: whether code that the model brings may be run.
    """
    ids = np.load(windows)
    try:
        written = WRITERS[form](checkpoint, target, ids, trust_remote_code)
        trial = _judged(form, target, written)
    except Exception as error:  # the exporter is experimental, and fails on some families in its own words
        trial = Attempt(reason=f"{type(error).__name__}: {first_line(error)}")
    print(json.dumps(asdict(trial)), flush=True)


def _judged(form: str, target: Path, written: Written) -> Attempt[Export]:
    path, checks, divergence, packages = written
    if failed := [check for check in checks if not check.passed]:
        told = "; ".join(f"{check.name}: {check.detail}" for check in failed)
        return Attempt(reason=f"it is not the model ({told})")
    export = Export(
        format=form,
        path=path,
        size_bytes=sum(file.stat().st_size for file in target.rglob("*") if file.is_file()),
        sha256=sha256_of(target / path),
        checks=checks,
        divergence=divergence,
        versions=", ".join(f"{name} {version(name)}" for name in packages),
    )
    return Attempt(found=(export,))


def _onnx(checkpoint: Path, target: Path, windows: Array, trust_remote_code: bool) -> Written:
    from hf_prune.stages.export.comparison import compare, load_in_float32, model_runner
    from hf_prune.stages.export.onnx import FILE, graph_runner, write_onnx

    path = target / FILE
    path.parent.mkdir()
    write_onnx(load_in_float32(checkpoint, trust_remote_code=trust_remote_code), path)
    # Loaded again: what is compared is what is on the disk, not what the tracer may have left of it.
    model = load_in_float32(checkpoint, trust_remote_code=trust_remote_code)
    checks, divergence = compare(graph_runner(path), model_runner(model), windows)
    return FILE, checks, divergence, ("transformers", "torch", "onnxscript", "onnxruntime")


def _eight_bit(graph: Path, target: Path, windows: Array, trust_remote_code: bool) -> Written:
    from hf_prune.stages.export.eight_bit import FILE, compare_quantized, write_eight_bit
    from hf_prune.stages.export.onnx import FILE as WHOLE
    from hf_prune.stages.export.onnx import graph_runner

    path = target / FILE
    path.parent.mkdir()
    write_eight_bit(graph / WHOLE, path)
    check, divergence = compare_quantized(graph_runner(path), graph_runner(graph / WHOLE), windows)
    return FILE, (check,), divergence, ("onnxruntime",)


def _gguf(checkpoint: Path, target: Path, windows: Array, trust_remote_code: bool) -> Written:
    from hf_prune.stages.export.comparison import compare, load_in_float32, model_runner
    from hf_prune.stages.export.gguf import FILE, check_tokens, read_back, write_gguf

    write_gguf(checkpoint, target / FILE)
    model = load_in_float32(checkpoint, trust_remote_code=False)
    checks, divergence = compare(model_runner(read_back(target / FILE)), model_runner(model), windows)
    return FILE, (*checks, check_tokens(target / FILE, checkpoint)), divergence, ("gguf", "transformers")


WRITERS: Mapping[str, Callable[[Path, Path, Array, bool], Written]] = {
    ONNX: _onnx,
    ONNX_8BIT: _eight_bit,
    GGUF: _gguf,
}


if __name__ == "__main__":
    given = [word for word in sys.argv[1:] if word != TRUST]
    checkpoint, target, windows = map(Path, given[1:])
    export_alone(given[0], checkpoint, target, windows, trust_remote_code=TRUST in sys.argv)
