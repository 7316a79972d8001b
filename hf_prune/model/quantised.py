"""Checkpoints whose weights are quantised: the name of the method, and the model to cut in their place.

Layers are cut from full-precision weights: each method packs weights in its own way, and lists by their
layers' numbers the modules that it did not quantise.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from hf_prune.errors import UnsupportedModel

SPELLED = {"gptq": "GPTQ", "awq": "AWQ", "hqq": "HQQ", "aqlm": "AQLM", "eetq": "EETQ", "vptq": "VPTQ"}


def quantised_refusal(settings: Any, base_model: str | None) -> UnsupportedModel:
    """The refusal of a model with this `quantization_config`; it suggests the base model on its card."""
    instead = (
        f"{base_model}, which its card gives as its base model, instead"
        if base_model
        else "the repository that this model was quantised from instead"
    )
    return UnsupportedModel(
        f"the weights are quantised ({method_of(settings)}), and layers are cut from full-precision weights: "
        f"name {instead}"
    )


def method_of(settings: Any) -> str:
    """The method and its precision, if `quantization_config` states them: "GPTQ, 4-bit"."""
    if not isinstance(settings, Mapping):
        settings = settings.to_dict() if hasattr(settings, "to_dict") else {}
    return ", ".join((_name(settings), *_precision(settings)))


def _name(settings: Mapping[str, Any]) -> str:
    method = str(getattr(settings.get("quant_method"), "value", settings.get("quant_method")) or "")
    if not method and (settings.get("load_in_4bit") or settings.get("load_in_8bit")):
        return "bitsandbytes"  # its first versions did not say so
    return SPELLED.get(method.lower(), method) or "method not stated"


def _precision(settings: Mapping[str, Any]) -> Iterator[str]:
    """The bits of a weight, or the method's own word for its precision, if it is in a known field."""
    groups = settings.get("config_groups")
    group = next(iter(groups.values()), None) if isinstance(groups, Mapping) else None
    weights = group.get("weights") if isinstance(group, Mapping) else None  # compressed-tensors
    stated = weights.get("num_bits") if isinstance(weights, Mapping) else None
    bits = settings.get("bits") or settings.get("w_bit") or settings.get("nbits") or stated
    bits = 4 if settings.get("load_in_4bit") else 8 if settings.get("load_in_8bit") else bits
    if isinstance(bits, int):
        yield f"{bits}-bit"
        return
    kind = settings.get("quant_type") or settings.get("quant_algo") or settings.get("weights")
    if isinstance(kind, Mapping):  # torchao: {"default": {"_type": "Int4WeightOnlyConfig", …}}
        default = kind.get("default")
        kind = default.get("_type") if isinstance(default, Mapping) else default
    if isinstance(kind, str):
        yield kind
