"""Silent layers: the values with which a layer leaves the residual stream unchanged, found by trial."""

import re
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from hf_prune.errors import UnsupportedModel
from hf_prune.model.decoder import StreamedDecoder
from hf_prune.model.projections import additive_projections
from hf_prune.model.weights import FLOATING, TORCH_DTYPES

# How families name the last projection of a branch, for projections that a trial cannot find (experts).
LAST_PROJECTION = re.compile(
    r"\b(o_proj|out_proj|wo|down_proj|w2|fc2|c_proj|dense|dense_4h_to_h)\.(weight|bias)$|down_proj$"
)
NORM_AFTER = re.compile(r"post.*norm\.weight$")
TRIAL_TOKENS = torch.arange(8)[None]


@torch.no_grad()
def silencing(decoder: StreamedDecoder, layers: Iterable[int]) -> dict[int, dict[str, float]]:
    """The values with which layers pass on their input, bit for bit, and still have a gradient to learn by.

    In a Llama they are zeros in `o_proj` and `down_proj` (Llama SLayer, 2410.02330). If a norm follows the
    projections, the norm is silenced instead, because zeros in both would leave neither a gradient.

    Returns:
        For each layer, the value that fills a tensor, by the tensor's name on disk.

    Raises:
        UnsupportedModel: no such values were found.
    """
    hidden = decoder.enter(TRIAL_TOKENS)[0]
    return {layer: _silencing_values(decoder, layer, hidden) for layer in layers}


def _silencing_values(decoder: StreamedDecoder, layer: int, hidden: Tensor) -> dict[str, float]:
    for values in _candidates(decoder, layer, hidden):
        if values and torch.equal(_output(decoder, layer, hidden, values), hidden):
            return values
    raise UnsupportedModel(
        f"{decoder.skeleton.config.model_type} cannot grow: no zeros were found with which its layer {layer} "
        f"leaves the residual stream unchanged"
    )


def _candidates(decoder: StreamedDecoder, layer: int, hidden: Tensor) -> Iterator[dict[str, float]]:
    skeleton = decoder.skeleton
    with decoder.layer(layer) as run:
        additive = additive_projections(skeleton.layers[layer], run, hidden)
    prefix = f"{skeleton.layer_path}.{layer}."
    parameters = [f"{prefix}{name}.{part}" for name in additive for part in ("weight", "bias")]
    yield {name: 0.0 for name in map(skeleton.stored_name, parameters) if name is not None}
    tensors = skeleton.index.tensors
    own = [name for name, number in skeleton.layer_numbers.items() if number.layer == layer]
    own = [name for name in own if tensors[name].dtype in FLOATING]
    norms = [name for name in own if NORM_AFTER.search(name) and len(tensors[name].shape) == 1]
    yield dict.fromkeys(norms, 0.0)
    yield dict.fromkeys(norms, -1.0)  # Gemma multiplies by the stored value plus one
    yield {name: 0.0 for name in own if LAST_PROJECTION.search(name)}


def _output(decoder: StreamedDecoder, layer: int, hidden: Tensor, values: Mapping[str, float]) -> Tensor:
    tensors = decoder.skeleton.index.tensors
    filled = {
        name: torch.full(tensors[name].shape, value, dtype=TORCH_DTYPES[tensors[name].dtype])
        for name, value in values.items()
    }
    with decoder.layer(layer, filled) as run:
        return run(0, hidden)
