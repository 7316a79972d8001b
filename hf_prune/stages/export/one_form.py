"""One format of a model, written and compared in a process of its own.

`python -m hf_prune.stages.export.one_form FORMAT CHECKPOINT TARGET WINDOWS [--trust-remote-code]` prints one
JSON object. The tracer patches much of torch and transformers and holds the model in float32 several times.
If memory runs out, only this process ends.
"""

import json
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np

from hf_prune.errors import first_line
from hf_prune.machine.disk import sha256_of
from hf_prune.recipe.formats import GGUF, ONNX, ONNX_8BIT
from hf_prune.records import Attempt, Check, Export
from hf_prune.stages.export import eight_bit, onnx
from hf_prune.stages.export.comparison import Array, compare, load_in_float32, model_runner

TRUST = "--trust-remote-code"
# The main file, the checks, the divergence, and the packages that wrote and ran it.
Written = tuple[str, tuple[Check, ...], float | None, tuple[str, ...]]


def export_alone(
    form: str, checkpoint: Path, target: Path, windows: Path, *, trust_remote_code: bool
) -> None:
    """Write and compare one format, and print its record or the reason why there is none.

    The checkpoint is in safetensors format, but for "onnx-8bit" the folder of the graph in float32. `windows`
    is an .npy file of held-out ids, (sequences, length).
    """
    ids = np.load(windows)
    try:
        written = WRITERS[form](checkpoint, target, ids, trust_remote_code)
        attempt = _judge(form, target, written)
    except Exception as error:  # the exporter is experimental, and fails on some families in its own words
        attempt = Attempt(reason=f"{type(error).__name__}: {first_line(error)}")
    print(json.dumps(asdict(attempt)), flush=True)


def _judge(form: str, target: Path, written: Written) -> Attempt[Export]:
    path, checks, divergence, packages = written
    if failed := [check for check in checks if not check.passed]:
        details = "; ".join(f"{check.name}: {check.detail}" for check in failed)
        return Attempt(reason=f"it does not compute what the model computes ({details})")
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
    path = target / onnx.FILE
    path.parent.mkdir()
    onnx.write_onnx(load_in_float32(checkpoint, trust_remote_code=trust_remote_code), path)
    # Loaded again, since the tracer may have changed the model in memory.
    model = load_in_float32(checkpoint, trust_remote_code=trust_remote_code)
    checks, divergence = compare(onnx.graph_runner(path), model_runner(model), windows)
    return onnx.FILE, checks, divergence, ("transformers", "torch", "onnxscript", "onnxruntime")


def _eight_bit(graph: Path, target: Path, windows: Array, trust_remote_code: bool) -> Written:
    path = target / eight_bit.FILE
    path.parent.mkdir()
    eight_bit.write_eight_bit(graph / onnx.FILE, path)
    quantized, whole = onnx.graph_runner(path), onnx.graph_runner(graph / onnx.FILE)
    check, divergence = eight_bit.compare_quantized(quantized, whole, windows)
    return eight_bit.FILE, (check,), divergence, ("onnxruntime",)


def _gguf(checkpoint: Path, target: Path, windows: Array, trust_remote_code: bool) -> Written:
    from hf_prune.stages.export.gguf import FILE, check_tokens, write_gguf  # gguf is not needed elsewhere

    write_gguf(checkpoint, target / FILE)
    model = load_in_float32(checkpoint, trust_remote_code=False)
    written = load_in_float32(target, trust_remote_code=False, gguf_file=FILE)
    checks, divergence = compare(model_runner(written), model_runner(model), windows)
    return FILE, (*checks, check_tokens(target / FILE, checkpoint)), divergence, ("gguf", "transformers")


WRITERS = {ONNX: _onnx, ONNX_8BIT: _eight_bit, GGUF: _gguf}


if __name__ == "__main__":
    form, *paths = [argument for argument in sys.argv[1:] if argument != TRUST]
    export_alone(form, *map(Path, paths), trust_remote_code=TRUST in sys.argv)
