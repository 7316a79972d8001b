"""The figures of a checkpoint: parameters, sizes and dtypes, from its headers and configuration."""

from collections import Counter

import torch
from transformers import PreTrainedConfig

from hf_prune.errors import UnsupportedModel
from hf_prune.model.model_class import auto_class
from hf_prune.model.skeleton import Skeleton
from hf_prune.model.weights import FLOATING
from hf_prune.records import DECODER, IMAGE_ENCODER, Anatomy


def describe(skeleton: Skeleton) -> Anatomy:
    """The figures of a checkpoint, from its headers and configuration."""
    config, index = skeleton.config, skeleton.index
    dtype = _stored_dtype(skeleton)
    if dtype not in FLOATING and skeleton.quantization is None:
        raise UnsupportedModel(
            f"the layers are stored as {dtype}; name a repository with full-precision weights"
        )
    return Anatomy(
        architecture=type(skeleton.model).__name__,
        auto_class=auto_class(skeleton.whole_config).__name__,
        model_type=skeleton.model.config.model_type,
        num_layers=skeleton.num_layers,
        layer_path=skeleton.layer_path,
        hidden_size=_read_size(config, "hidden_size"),
        vocabulary_size=0 if skeleton.kind == IMAGE_ENCODER else _read_size(config, "vocab_size"),
        dtype=dtype,
        parameters=count_parameters(skeleton),
        parameters_per_layer=_parameters_per_layer(skeleton),
        size_bytes=index.size_bytes,
        tied_embeddings=bool(getattr(skeleton.model.config, "tie_word_embeddings", False)),
        key_value_bytes_per_token=_key_value_bytes(skeleton, dtype) if skeleton.kind == DECODER else None,
        kind=skeleton.kind,
    )


def count_parameters(skeleton: Skeleton) -> int:
    """How many parameters the checkpoint holds; if it is quantised, how many the model has."""
    if skeleton.quantization is None:
        return skeleton.index.parameters
    return sum(parameter.numel() for parameter in skeleton.model.parameters())


def _parameters_per_layer(skeleton: Skeleton) -> tuple[int, ...]:
    if skeleton.quantization is not None:
        return tuple(sum(p.numel() for p in layer.parameters()) for layer in skeleton.layers)
    counts = [0] * skeleton.num_layers
    for name, number in skeleton.layer_numbers.items():
        if number.layer < skeleton.num_layers:  # a layer beyond the last predicts a further token
            counts[number.layer] += skeleton.index.tensors[name].parameters
    return tuple(counts)


def _read_size(config: PreTrainedConfig, field: str) -> int:
    value = getattr(config, field, None)
    if not isinstance(value, int):
        raise UnsupportedModel(
            f"config.json of {config.model_type} states no {field} of one decoder; a model of several "
            f"stacks cannot be cut so far"
        )
    return value


def _stored_dtype(skeleton: Skeleton) -> str:
    """The dtype of most of the layers' parameters: "BF16"."""
    parameters: Counter[str] = Counter()
    for name in skeleton.layer_numbers:
        tensor = skeleton.index.tensors[name]
        parameters[tensor.dtype] += tensor.parameters
    return max(parameters, key=lambda dtype: parameters[dtype])


def _key_value_bytes(skeleton: Skeleton, dtype: str) -> int | None:
    """Bytes of one token in the cache; None: they do not follow from the heads and their width."""
    config = skeleton.config
    try:
        queries = getattr(config, "num_attention_heads", None)
        heads = getattr(config, "num_key_value_heads", None) or queries
        width = getattr(config, "head_dim", None)
    except Exception:  # transformers raises it where heads differ from layer to layer
        return None
    if not isinstance(heads, int) or not isinstance(queries, int) or hasattr(config, "kv_lora_rank"):
        return None
    width = width or config.hidden_size // queries
    kinds = getattr(config, "layer_types", None) or ["attention"] * skeleton.num_layers
    caching = sum("attention" in kind and "linear" not in kind for kind in kinds)
    bytes_each = {"F64": 8, "F32": 4}.get(dtype, 2)
    return 2 * caching * heads * width * bytes_each


def torch_dtype(stored: str, device: torch.device) -> torch.dtype:
    """The dtype to compute a checkpoint in that is stored as `stored`; float16 overflows on a CPU."""
    if stored == "BF16" or stored not in FLOATING:  # quantised
        return torch.bfloat16
    return torch.float16 if stored == "F16" and device.type != "cpu" else torch.float32
