"""A tiny random model of every family that transformers can load as a causal language model."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from tests.support.family_settings import CANNOT_BUILD, OVERRIDES, TINY, TOWER_LAYERS, WITH, WITH_TOWERS

CAUSAL_TYPES = tuple(sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))


class CannotBuild(Exception):
    """Transformers itself cannot build or save this family; the message says why."""


def tiny_config(model_type: str) -> PreTrainedConfig:
    """The smallest configuration of a family that keeps every kind of layer it has."""
    if model_type in CANNOT_BUILD:
        raise CannotBuild(f"{model_type}: {CANNOT_BUILD[model_type]}")
    override = OVERRIDES.get(model_type, {})
    return AutoConfig.for_model(model_type, **tiny_settings(CONFIG_MAPPING[model_type], override))


def tiny_settings(config_class: type[PreTrainedConfig], override: Mapping) -> dict:
    """Constructor keywords: the general sizes of the fields a class has, then what overrides them."""
    names = field_names(config_class)
    settings = {name: TINY[name] for name in names if name in TINY}
    settings |= {name: 64 for name in names if name.endswith("intermediate_size")}
    for mark, extra in WITH.items():
        settings |= extra if mark in names else {}
    parts = {
        part: part_settings(config_class, part, override.get(part, {})) for part in config_class.sub_configs
    }
    return {**settings, **override, **parts}


def part_settings(config_class: type[PreTrainedConfig], part: str, override: Mapping) -> dict:
    """Constructor keywords of one part of a configuration; every part but the text is a tower."""
    part_class = config_class.sub_configs[part]
    if part_class is AutoConfig:
        model_type = getattr(config_class(), part).model_type
        part_class = CONFIG_MAPPING[model_type]
        override = {"model_type": model_type, **override}
    if part != "text_config" and "num_hidden_layers" in field_names(part_class):
        override = {"num_hidden_layers": TOWER_LAYERS, **override}
    return tiny_settings(part_class, override)


def field_names(config_class: type[PreTrainedConfig]) -> set[str]:
    return {field.name for field in dataclasses.fields(config_class)}


def build(model_type: str, folder: Path) -> None:
    """Save a tiny random model of a family in float32, with weights wide enough that each layer counts."""
    config = tiny_config(model_type)
    whole = model_type in WITH_TOWERS or model_type not in CAUSAL_TYPES
    maker = AutoModelForImageTextToText if whole else AutoModelForCausalLM
    torch.manual_seed(0)
    model = maker.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.15)
    model.save_pretrained(folder)
