"""Where the decoder layers of a model are, found by structure and never by the family's name.

The decoder layers are the one module list as long as the configuration says there are layers, in the
text decoder where a model is more than that.
"""

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights

from hf_prune.errors import UnsupportedModel, first_line
from hf_prune.model import loading
from hf_prune.model.loading import Conversion, LayerNumber, LoadingRules
from hf_prune.model.model_class import kind_of, model_class
from hf_prune.model.quantised import quantised_refusal
from hf_prune.model.remote_code import read_trusted_config, refuse_own_model
from hf_prune.model.weights import StoredTensor, WeightIndex, read_index

# Methods that let layers move by name alone, and that transformers reads as full precision on any machine.
DEQUANTISED = ("fp8", "mxfp4")


@dataclass(frozen=True)
class Skeleton:
    """A model without weights (parameters on the meta device, buffers computed), and its checkpoint."""

    model: PreTrainedModel
    whole_config: PreTrainedConfig  # what config.json holds; the model may be of a part of it
    section: tuple[str, ...]  # the part of the configuration that describes the decoder: ("text_config",)
    layer_path: str  # the module path of the decoder layers: "model.layers"
    index: WeightIndex
    trust_remote_code: bool = False  # whether code that the model brings may be run

    @cached_property
    def config(self) -> PreTrainedConfig:
        """The part of the configuration that describes the decoder."""
        return decoder_config(self.whole_config, self.section)

    @cached_property
    def layers(self) -> nn.ModuleList:
        """The decoder layers."""
        layers = self.model.get_submodule(self.layer_path)
        assert isinstance(layers, nn.ModuleList)
        return layers

    @cached_property
    def kind(self) -> str:
        """What the model is: a decoder, or an encoder of text or of images."""
        return kind_of(self.whole_config)

    @property
    def num_layers(self) -> int:
        """How many decoder layers there are."""
        return len(self.layers)

    @cached_property
    def loading_rules(self) -> LoadingRules:
        """The rules by which the checkpoint's tensors become parameters."""
        return loading.loading_rules(self.model, self.quantization)

    @property
    def quantization(self) -> dict[str, Any] | None:
        """`quantization_config` in config.json; None: the weights are not quantised."""
        return getattr(self.whole_config, "quantization_config", None)

    @cached_property
    def conversions(self) -> tuple[Conversion, ...]:
        """How the parameters come out of the checkpoint."""
        return loading.conversions(self.loading_rules, self.index.tensors)

    @cached_property
    def unused(self) -> frozenset[str]:
        """The tensors that the model has no use for, by the names that transformers gives them."""
        used = {name for conversion in self.conversions for name in conversion.stored}
        unused = self.index.tensors.keys() - used
        return frozenset(self.loading_rules.target(name)[0] for name in unused)

    @cached_property
    def layer_numbers(self) -> dict[str, LayerNumber]:
        """By the name of a tensor on disk, the number of its layer."""
        rules, stored = self.loading_rules, self.index.tensors
        return loading.layer_numbers(rules, self.conversions, stored, self.layer_path)

    @cached_property
    def conversion_of(self) -> dict[str, Conversion]:
        """By the name of a parameter or saved buffer, the conversion that makes it."""
        shapes = {name: tensor.shape for name, tensor in self.index.tensors.items()}
        conversion_of: dict[str, Conversion] = {}
        for conversion in self.conversions:
            for name, shape in loading.converted_shapes(conversion, self.model, shapes).items():
                _check_shape(self, conversion, name, shape)
                conversion_of[name] = conversion
        return conversion_of

    @cached_property
    def partners(self) -> dict[str, tuple[str, ...]]:
        """By the name of a parameter, those that are tied to it."""
        groups: dict[str, set[str]] = {}
        for name, source in tied_names(self.model).items():
            groups.setdefault(source, {source}).add(name)
        return {name: tuple(sorted(group - {name})) for group in groups.values() for name in group}

    def layer_of(self, parameter: str) -> int | None:
        """The layer that a parameter of the model belongs to; None outside the layers."""
        match = re.match(rf"{re.escape(self.layer_path)}\.(\d+)\.", parameter)
        return int(match[1]) if match else None

    def source_parameter(self, name: str) -> str | None:
        """The parameter whose stored values another has: itself, or one it is tied to; None: not stored."""
        return next((n for n in (name, *self.partners.get(name, ())) if n in self.conversion_of), None)

    def stored_name(self, parameter: str) -> str | None:
        """The name on disk of a parameter that is stored as it is used; None: it is not."""
        conversion = self.conversion_of.get(parameter)
        return conversion.stored[0] if conversion is not None and conversion.rule is None else None


def read_config(
    folder: Path, *, trust_remote_code: bool = False, base_model: str | None = None
) -> PreTrainedConfig:
    """The configuration in `folder`, if it is one of a model that can be cut.

    `base_model` is the repository to suggest if the weights are quantised.

    Raises:
        UnsupportedModel: transformers does not know it, or its weights are quantised.
    """
    config = read_trusted_config(folder) if trust_remote_code else _known_config(folder)
    quantization = getattr(config, "quantization_config", None)
    if quantization and quantization.get("quant_method") not in DEQUANTISED:
        raise quantised_refusal(quantization, base_model)
    if config.is_encoder_decoder:
        raise UnsupportedModel(
            f"{config.model_type} is an encoder with a decoder: its decoder depends on a second text, which "
            f"a calibration text does not have"
        )
    return config


def _known_config(folder: Path) -> PreTrainedConfig:
    refuse_own_model(folder)
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (ValueError, KeyError, OSError, StrictDataclassError) as error:
        model_type = json.loads((folder / "config.json").read_text()).get("model_type", "unnamed")
        raise UnsupportedModel(
            f"the architecture {model_type!r} is not one that transformers can load here: {first_line(error)}"
        ) from error


def build_skeleton(folder: Path, *, trust_remote_code: bool = False) -> Skeleton:
    """The model in `folder` without its weights, and its decoder layers.

    Raises:
        UnsupportedModel: as `read_config` and `skeleton_of`.
    """
    config = read_config(folder, trust_remote_code=trust_remote_code)
    return skeleton_of(config, read_index(folder), trust_remote_code=trust_remote_code)


def skeleton_of(
    config: PreTrainedConfig, index: WeightIndex | None, *, trust_remote_code: bool = False
) -> Skeleton:
    """The model of a configuration without its weights, and its decoder layers.

    Without an `index` of its files, its tensors are those that the architecture has, in the configuration's
    dtype. They cannot be read.

    Raises:
        UnsupportedModel: not one module list is as long as there are layers, or the tensors are not those of
            this architecture.
    """
    known = model_class(config, trust_remote_code=trust_remote_code)
    try:
        model = empty_model(known, config)
    except (ValueError, TypeError, AttributeError, ImportError, RuntimeError) as error:
        raise UnsupportedModel(
            f"transformers cannot build {config.model_type} from its configuration: {first_line(error)}"
        ) from error
    section = _section_of_decoder(config)
    skeleton = Skeleton(
        model=model,
        whole_config=config,
        section=section,
        layer_path=find_layers(model, decoder_config(config, section)),
        index=index or _presumed_index(model),
        trust_remote_code=trust_remote_code,
    )
    _check_complete(skeleton)
    return skeleton


def empty_model(known: type[PreTrainedModel], config: PreTrainedConfig) -> PreTrainedModel:
    """A model of the class `known` on the meta device; its buffers are computed.

    `config` is the whole configuration, even if the class takes its text part alone.
    """
    if known.config_class is config.sub_configs.get("text_config"):
        config = config.get_text_config()
    with init_empty_weights(include_buffers=False), no_init_weights():
        model = known._from_config(config)
    return model.eval().requires_grad_(False)


def tied_names(model: PreTrainedModel) -> dict[str, str]:
    """By the name of each parameter that is tied to another, the name of that one."""
    return dict(model.all_tied_weights_keys)


def _presumed_index(model: PreTrainedModel) -> WeightIndex:
    """The tensors that a checkpoint of this architecture has, going by its configuration."""
    dtype = model.config.dtype if isinstance(model.config.dtype, torch.dtype) else torch.float32
    tied = tied_names(model)
    tensors = {
        name: StoredTensor.of(name, parameter.to(dtype), Path())
        for name, parameter in model.named_parameters()
        if name not in tied
    }
    return WeightIndex(folder=Path(), tensors=tensors, metadata={})


def _section_of_decoder(config: PreTrainedConfig) -> tuple[str, ...]:
    """The names that lead to the part of a configuration that describes its text decoder."""
    path: list[str] = []
    while True:
        for name in ("decoder", "generator", "text_config", "thinker_config"):
            if isinstance(getattr(config, name, None), PreTrainedConfig):
                path.append(name)
                config = getattr(config, name)
                break
        else:
            return tuple(path)


def decoder_config(whole: PreTrainedConfig, section: tuple[str, ...]) -> PreTrainedConfig:
    """The part of a configuration that describes the decoder."""
    for name in section:
        whole = getattr(whole, name)
    return whole


def decoder_fields(content: dict[str, Any], section: tuple[str, ...]) -> dict[str, Any]:
    """The part of a `config.json` that describes the decoder; it is added if the file leaves it out."""
    for name in section:
        content = content.setdefault(name, {})
    return content


def find_layers(model: nn.Module, config: PreTrainedConfig) -> str:
    """The path of the decoder layers: the outermost module list as long as the number of layers.

    Raises:
        UnsupportedModel: there is none of that length, or more than one.
    """
    lengths, paths = _possible_depths(config), list[str]()
    for length in lengths:
        paths = _lists_of(model, length)
        if len(paths) > 1:  # a vision tower may be as deep
            paths = [path for path in paths if not re.search("vision|visual|audio|image|encoder", path)]
        if len(paths) == 1:
            return paths[0]
    raise UnsupportedModel(
        f"{type(model).__name__} should have one list of {lengths[0] if lengths else 'its'} decoder "
        f"layers; found: {', '.join(paths) or 'none'}"
    )


def _possible_depths(config: PreTrainedConfig) -> list[int]:
    """What a configuration may state as the number of its decoder layers, the likeliest first."""
    fields = config.to_dict()
    decoder = [value for name, value in fields.items() if "decoder_layers" in name]
    others = [value for name, value in fields.items() if name in ("num_layers", "n_layers", "num_blocks")]
    depths = (*decoder, getattr(config, "num_hidden_layers", None), *others)
    return list(dict.fromkeys(depth for depth in depths if type(depth) is int and depth > 0))


def _lists_of(model: nn.Module, length: int) -> list[str]:
    paths: list[str] = []
    for name, module in model.named_modules():
        nested = any(name.startswith(f"{outer}.") for outer in paths)
        if isinstance(module, nn.ModuleList) and len(module) == length and not nested:
            paths.append(name)
    return paths


def _check_complete(skeleton: Skeleton) -> None:
    """Check that every parameter comes out of the files, so that none is made up."""
    optional = [re.compile(pattern) for pattern in skeleton.model._keys_to_ignore_on_load_missing or ()]
    for name, _ in skeleton.model.named_parameters():
        if skeleton.source_parameter(name) is None and not any(pattern.search(name) for pattern in optional):
            raise UnsupportedModel(
                f"no tensor of the checkpoint becomes {skeleton.config.model_type}'s {name}; the files "
                f"and config.json do not belong together"
            )


def _check_shape(skeleton: Skeleton, conversion: Conversion, name: str, shape: tuple[int, ...]) -> None:
    tensor = skeleton.loading_rules.model_tensors.get(name)
    if tensor is not None and tuple(tensor.shape) != shape:
        raise UnsupportedModel(
            f"{conversion.stored[0]} makes {name} {list(shape)}, but it is {list(tensor.shape)} by "
            f"config.json; the two do not belong together"
        )
