"""Where the decoder layers of a model are, found by structure and never by the family's name.

The decoder layers are the one module list as long as the configuration says there are layers. The
configuration's per-layer lists are found the same way: by their length.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from hf_prune.errors import UnsupportedModel, first_line
from hf_prune.records import Anatomy
from hf_prune.weights import FLOATING, TORCH_DTYPES, StoredTensor, WeightIndex, read_index


@dataclass(frozen=True)
class Skeleton:
    """A model without weights: parameters on the meta device, buffers computed."""

    model: PreTrainedModel
    layers: nn.ModuleList
    layer_path: str  # of the list among the model's modules: "model.layers"
    index: WeightIndex

    @property
    def num_layers(self) -> int:
        """How many decoder layers there are."""
        return len(self.layers)

    @property
    def layer_prefix(self) -> str:
        """Where the layers' tensors are on disk; older files leave the model's own prefix out."""
        for prefix in self._spellings(self.layer_path):
            if any(name.startswith(f"{prefix}.0.") for name in self.index.tensors):
                return prefix
        raise UnsupportedModel(
            f"no tensor in {self.index.folder} is named {self.layer_path}.0.…, as the layers of "
            f"{type(self.model).__name__} are; the checkpoint does not belong to this architecture"
        )

    def stored_name(self, parameter: str) -> str | None:
        """The name on disk of a parameter of the model, or None where it is not stored."""
        return next((n for n in self._spellings(parameter) if n in self.index.tensors), None)

    def _spellings(self, name: str) -> tuple[str, ...]:
        prefix = f"{self.model.base_model_prefix}."
        return (name, name.removeprefix(prefix), prefix + name)


def read_config(folder: Path) -> PreTrainedConfig:
    """The configuration in `folder`, if it is one of a decoder that can be cut.

    Raises:
        UnsupportedModel: transformers does not know it, or its weights are quantised, or it is more
            than a text decoder.
    """
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (ValueError, KeyError, OSError, StrictDataclassError) as error:
        model_type = json.loads((folder / "config.json").read_text()).get("model_type", "unnamed")
        raise UnsupportedModel(
            f"the architecture {model_type!r} is not one that transformers can load here: {first_line(error)}"
        ) from error
    if getattr(config, "quantization_config", None):
        raise UnsupportedModel(
            "the weights are quantised; layers are cut from full-precision weights, so name the "
            "repository this model was quantised from"
        )
    if config.get_text_config() is not config or config.is_encoder_decoder:
        raise UnsupportedModel(
            f"{config.model_type} is more than a text decoder; only decoder-only language models can "
            f"be cut so far"
        )
    return config


def build_skeleton(folder: Path) -> Skeleton:
    """The model in `folder` without its weights, and its decoder layers.

    Raises:
        UnsupportedModel: there is no module list of that length, or more than one.
    """
    return skeleton_of(read_config(folder), read_index(folder))


def skeleton_of(config: PreTrainedConfig, index: WeightIndex | None) -> Skeleton:
    """The model of a configuration without its weights, and its decoder layers.

    Args:
        config: of the model.
        index: of its files; None: the tensors are those that the architecture has, in the configuration's
            dtype, and cannot be read.

    Raises:
        UnsupportedModel: there is no module list of that length, or more than one; or the tensors are not
            those of this architecture.
    """
    try:
        with init_empty_weights(include_buffers=False):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except ValueError as error:  # a type that has no causal language model
        raise UnsupportedModel(first_line(error)) from error
    model.eval().requires_grad_(False)
    layer_path, layers = find_layers(model, config.num_hidden_layers)
    index = index or _presumed_index(model)
    skeleton = Skeleton(model=model, layers=layers, layer_path=layer_path, index=index)
    _check_names(skeleton)
    return skeleton


def _presumed_index(model: PreTrainedModel) -> WeightIndex:
    """The tensors that a checkpoint of this architecture has, as far as its configuration tells."""
    names = {dtype: name for name, dtype in TORCH_DTYPES.items()}
    dtype = model.config.dtype if isinstance(model.config.dtype, torch.dtype) else torch.float32
    tensors = {
        name: StoredTensor(
            name=name,
            dtype=names[dtype],
            shape=tuple(parameter.shape),
            path=Path(),
            start=0,
            size_bytes=parameter.numel() * dtype.itemsize,
        )
        for name, parameter in model.named_parameters()
        if name not in model.all_tied_weights_keys
    }
    return WeightIndex(folder=Path(), tensors=tensors, metadata={})


def find_layers(model: nn.Module, num_layers: int) -> tuple[str, nn.ModuleList]:
    """The path and the module list of the decoder layers: the outermost list of that length."""
    found: dict[str, nn.ModuleList] = {}
    for name, module in model.named_modules():
        nested = any(name.startswith(f"{outer}.") for outer in found)
        if isinstance(module, nn.ModuleList) and len(module) == num_layers and not nested:
            found[name] = module
    if len(found) != 1:
        places = ", ".join(found) or "nowhere"
        raise UnsupportedModel(
            f"{type(model).__name__} should have one list of {num_layers} decoder layers; found: {places}"
        )
    return next(iter(found.items()))


def _check_names(skeleton: Skeleton) -> None:
    """Every parameter must have a tensor of its shape on disk, so that nothing is made up."""
    tied = set(skeleton.model.all_tied_weights_keys)
    for name, parameter in skeleton.model.named_parameters():
        stored = skeleton.stored_name(name)
        if stored is None and name not in tied and not _is_tied_source(skeleton, name):
            raise UnsupportedModel(
                f"the checkpoint stores {skeleton.model.config.model_type}'s {name} under another name "
                f"or not at all; models whose tensors are regrouped on loading cannot be cut so far"
            )
        if stored and skeleton.index.tensors[stored].shape != tuple(parameter.shape):
            raise UnsupportedModel(
                f"{stored} is {list(skeleton.index.tensors[stored].shape)} on disk, but "
                f"{list(parameter.shape)} by config.json; the two do not belong together"
            )


def _is_tied_source(skeleton: Skeleton, name: str) -> bool:
    partners = [k for k, v in skeleton.model.all_tied_weights_keys.items() if v == name]
    return any(skeleton.stored_name(partner) for partner in partners)


def describe(skeleton: Skeleton) -> Anatomy:
    """The figures of a checkpoint, from its headers and configuration."""
    config, index = skeleton.model.config, skeleton.index
    prefix = skeleton.layer_prefix
    per_layer = [0] * skeleton.num_layers
    dtypes: dict[str, int] = {}
    for tensor in index.tensors.values():
        if (layer := layer_of(tensor.name, prefix)) is not None:
            per_layer[layer] += tensor.parameters
            dtypes[tensor.dtype] = dtypes.get(tensor.dtype, 0) + tensor.parameters
    dtype = max(dtypes, key=lambda name: dtypes[name])
    if dtype not in FLOATING:
        raise UnsupportedModel(
            f"the layers are stored as {dtype}; name a repository with full-precision weights"
        )
    return Anatomy(
        architecture=type(skeleton.model).__name__,
        model_type=config.model_type,
        num_layers=skeleton.num_layers,
        layer_prefix=prefix,
        hidden_size=config.hidden_size,
        vocabulary_size=config.vocab_size,
        dtype=dtype,
        parameters=index.parameters,
        parameters_per_layer=tuple(per_layer),
        size_bytes=index.size_bytes,
        tied_embeddings=bool(config.tie_word_embeddings),
        key_value_bytes_per_token=_key_value_bytes(config, dtype),
    )


def _key_value_bytes(config: PreTrainedConfig, dtype: str) -> int | None:
    heads = getattr(config, "num_key_value_heads", None) or getattr(config, "num_attention_heads", None)
    if not heads:
        return None
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    bytes_each = {"F64": 8, "F32": 4}.get(dtype, 2)
    return 2 * config.num_hidden_layers * heads * width * bytes_each


def layer_of(tensor: str, prefix: str) -> int | None:
    """The number of the layer that a tensor on disk belongs to; None outside the layers."""
    match = re.match(rf"{re.escape(prefix)}\.(\d+)\.", tensor)
    return int(match[1]) if match else None


def renumber(tensor: str, prefix: str, position: Mapping[int, int]) -> str | None:
    """The tensor's name once each layer stands at its new position; None where its layer goes."""
    layer = layer_of(tensor, prefix)
    if layer is None:
        return tensor
    if layer not in position:
        return None
    return f"{prefix}.{position[layer]}{tensor[len(f'{prefix}.{layer}') :]}"


def cut_config(text: str, kept: tuple[int, ...]) -> str:
    """`config.json` with only its layer fields changed; everything else stays as it was written.

    A list with one entry for each layer keeps the entries of the kept layers. What the configuration
    class derives for each layer from a period or a prefix count is compared before and after, and
    written out as a list where the shorter model would derive something else.

    Args:
        text: the content of the original file.
        kept: the layers that stay, in order.

    Raises:
        UnsupportedModel: a per-layer value cannot be carried over.
    """
    original = json.loads(text)
    before = _try_config(original)
    if before is None:
        raise UnsupportedModel("config.json of the original is not one that transformers accepts")
    num_layers = before.num_hidden_layers
    patched: dict[str, Any] = {}
    for field, value in original.items():
        one_each = isinstance(value, list) and len(value) == num_layers
        patched[field] = [value[layer] for layer in kept] if one_each else value
    patched[before.attribute_map.get("num_hidden_layers", "num_hidden_layers")] = len(kept)
    for field, value in _per_layer(before).items():
        wanted = [value[layer] for layer in kept]
        if getattr(_try_config(patched), field, None) != wanted:
            patched[field] = wanted
    after = _try_config(patched)
    if after is None or after.num_hidden_layers != len(kept):
        raise UnsupportedModel(
            f"config.json of {before.model_type} has a field that ties it to {num_layers} layers"
        )
    for field, value in _per_layer(before).items():
        if getattr(after, field, None) != [value[layer] for layer in kept]:
            raise UnsupportedModel(
                f"the {field} of {before.model_type} cannot be carried over to {len(kept)} layers: its "
                f"configuration class derives it anew"
            )
    return json.dumps(patched, indent=_indent(text), ensure_ascii=False) + "\n"


def _try_config(content: dict[str, Any]) -> PreTrainedConfig | None:
    try:
        return AutoConfig.for_model(**content)
    except Exception:  # the class's own validators raise whatever they like; the caller decides
        return None


def _per_layer(config: PreTrainedConfig) -> dict[str, list[Any]]:
    """The configuration's lists with one entry for each layer, derived ones included."""
    length = config.num_hidden_layers
    values = config.to_dict().items()
    return {k: list(v) for k, v in values if isinstance(v, list | tuple) and len(v) == length}


def _indent(text: str) -> int | None:
    match = re.search(r"^\{\s*\n( +)", text)
    return len(match[1]) if match else None


def torch_dtype(stored: str, device: torch.device) -> torch.dtype:
    """What a checkpoint stored as `stored` is computed in; half precision overflows on a CPU."""
    if stored == "BF16":
        return torch.bfloat16
    return torch.float16 if stored == "F16" and device.type != "cpu" else torch.float32
