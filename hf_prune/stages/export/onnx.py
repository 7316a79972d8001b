"""A decoder as one ONNX graph that reads a prompt and goes on from its KV cache.

transformers' own exporter traces the model. Its names are replaced by those that optimum and transformers.js
look for: `onnx/model.onnx` with the inputs `past_key_values.N.key` and `.value` and the outputs
`present.N.key` and `.value`. The weights are beside it, in `onnx/model.onnx_data`.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hf_prune.errors import UnsupportedModel
from hf_prune.stages.export.comparison import Array, Cache, Runner, positions_of

FILE = "onnx/model.onnx"
SAMPLE_LENGTH = 6  # tokens; any lengths fit the graph later
# The cache's argument is called past_key_values until transformers 5.23, and cache since.
TRACED_CACHE = re.compile(r"(input|output)\.(?:cache|past_key_values)\.layers\.(\d+)\.(key|value)s")
OTHER_INPUTS = ("input_ids", "attention_mask", "position_ids")


def write_onnx(model: Any, path: Path) -> None:
    """Write a decoder in float32 as a graph, its weights beside it; the folder exists.

    Raises:
        UnsupportedModel: its cache holds more than keys and values.
    """
    import onnx_ir

    program = _traced(model)
    values = (*program.graph.inputs, *program.graph.outputs)
    names = [optimum_name(value.name) for value in values]
    _name_dimensions(program.graph)
    for value, name in zip(values, names, strict=True):
        value.name = name
    program.producer_name, program.producer_version = "hf-prune", None
    onnx_ir.save(program, str(path), external_data=f"{path.name}_data")


@torch.no_grad()
def _traced(model: Any) -> Any:
    """The graph, as a model of `onnx_ir`, of several tokens after a cache that may be empty."""
    from transformers.exporters.configs import OnnxConfig
    from transformers.exporters.exporter_onnx import OnnxExporter
    from transformers.exporters.utils import decompose_for_generation

    generator = torch.Generator().manual_seed(0)
    vocabulary = model.config.get_text_config().vocab_size
    tokens = torch.randint(vocabulary, (2, SAMPLE_LENGTH), generator=generator)
    mask = torch.ones_like(tokens)
    mask[0, :2] = 0  # without padding in the sample the graph would have no attention_mask
    sample = {"input_ids": tokens, "attention_mask": mask}
    parts: Any = decompose_for_generation(model, sample, multi_token_decode=True)
    decoder, inputs = parts["decode"]
    return OnnxExporter().export(decoder, inputs, OnnxConfig(dynamic=True)).program


def optimum_name(traced: str) -> str:
    """Optimum's name for an input or output, from the name that transformers' exporter gave it.

    Raises:
        UnsupportedModel: optimum has no name for it.
    """
    if traced in (*OTHER_INPUTS, "logits"):
        return traced
    match = TRACED_CACHE.fullmatch(traced)
    if match is None:
        raise UnsupportedModel(
            f"its graph has {traced}, which the ONNX layout of optimum has no name for: its cache holds more "
            f"than keys and values (a window, a recurrent state)"
        )
    side, layer, part = match.groups()
    return f"{'past_key_values' if side == 'input' else 'present'}.{layer}.{part}"


def _name_dimensions(graph: Any) -> None:
    """Name the axes that vary by their meaning, in place of the tracer's symbols."""
    import onnx_ir

    inputs = {value.name: value for value in graph.inputs}
    meanings = {
        str(inputs["attention_mask"].shape[0]): "batch_size",
        str(inputs["attention_mask"].shape[1]): "total_sequence_length",
        str(inputs["input_ids"].shape[0]): "batch_size",
        str(inputs["input_ids"].shape[1]): "sequence_length",
    }
    for name, value in inputs.items():
        if TRACED_CACHE.fullmatch(name):  # (batch, heads, tokens, head size)
            meanings.setdefault(str(value.shape[2]), "past_sequence_length")
    outputs = (output for node in graph.all_nodes() for output in node.outputs)
    for value in (*graph.inputs, *outputs):
        if value.shape is not None:
            value.shape = onnx_ir.Shape([_named(dimension, meanings) for dimension in value.shape])


def _named(dimension: Any, meanings: Mapping[str, str]) -> int | str | None:
    if isinstance(dimension, int):
        return dimension
    symbols = dimension.value or ""
    if symbols.isdigit():  # the tracer gives some sizes that never vary as strings
        return int(symbols)
    return re.sub(r"\bs\d+\b", lambda symbol: meanings.get(symbol[0], symbol[0]), symbols) or None


def graph_runner(path: Path) -> Runner:
    """Run an ONNX graph in optimum's layout by onnxruntime, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs = {each.name: each for each in session.get_inputs()}
    cached = [name for name in inputs if name.startswith("past_key_values.")]
    outputs = ["logits", *(name.replace("past_key_values", "present") for name in cached)]

    def run(ids: Array, mask: Array, cache: Cache | None) -> tuple[Array, Cache]:
        if cache is None:
            heads = [inputs[name].shape for name in cached]
            cache = [np.zeros((len(ids), shape[1], 0, shape[3]), dtype=np.float32) for shape in heads]
        arguments = {"input_ids": ids, "attention_mask": mask, "position_ids": positions_of(ids, mask)}
        feed = {name: value for name, value in arguments.items() if name in inputs}
        logits, *after = session.run(outputs, feed | dict(zip(cached, cache, strict=True)))
        return logits, after

    return run
