"""Which class of transformers loads a model, and what kind of model that makes it.

A configuration alone does not say whether a BERT predicts masked words, sorts texts or writes them: the
class that its checkpoint was saved from does, which config.json names in "architectures".
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForImageTextToText,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.auto_factory import _get_model_class

from hf_prune.errors import UnsupportedModel
from hf_prune.model.remote_code import classes_named, needs_trust, own_model_class
from hf_prune.records import DECODER, IMAGE_ENCODER, TEXT_ENCODER

OF_TEXT_ENCODERS: tuple[Any, ...] = (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoModelForQuestionAnswering,
    AutoModelForPreTraining,  # ELECTRA's discriminator
    AutoModel,
)
OF_IMAGE_ENCODERS: tuple[Any, ...] = (AutoModelForImageClassification, AutoModel)
PIXELS = "pixel_values"


def kind_of(config: PreTrainedConfig) -> str:
    """What a model is: a decoder, an encoder of text, or one of images."""
    return _kind_and_class(config)[0]


def auto_class(config: PreTrainedConfig) -> Any:
    """The class of transformers that loads a model of this configuration as its users do."""
    return _kind_and_class(config)[1]


def _kind_and_class(config: PreTrainedConfig) -> tuple[str, Any]:
    own = {} if type(config).__module__.startswith("transformers.") else classes_named(config)
    known = type(config) in AutoModelForCausalLM._model_mapping
    speaks = known or type(config) in AutoModelForImageTextToText._model_mapping
    named = (config.architectures or [""])[0]
    # A BERT may be a decoder: by its class, or by a configuration that makes its attention look back alone.
    causal = getattr(config, "is_decoder", False) or named in _names(AutoModelForCausalLM, config)
    writes = known and causal
    if not writes and type(config) in AutoModelForMaskedLM._model_mapping:
        for auto in OF_TEXT_ENCODERS:
            if named in _names(auto, config):
                return TEXT_ENCODER, auto
    if not speaks:
        for auto in OF_IMAGE_ENCODERS:
            if any(
                kind.__name__ == named and kind.main_input_name == PIXELS for kind in _classes(auto, config)
            ):
                return IMAGE_ENCODER, auto
    known = known or AutoModelForCausalLM.__name__ in own
    return DECODER, AutoModelForCausalLM if known else AutoModelForImageTextToText


def _names(auto: Any, config: PreTrainedConfig) -> set[str]:
    return {kind.__name__ for kind in _classes(auto, config)}


def _classes(auto: Any, config: PreTrainedConfig) -> Iterator[type[PreTrainedModel]]:
    """The classes that one of transformers' auto classes knows for a configuration."""
    if type(config) in auto._model_mapping:
        found = auto._model_mapping[type(config)]
        yield from found if isinstance(found, tuple) else (found,)


def model_class(config: PreTrainedConfig, *, trust_remote_code: bool) -> type[PreTrainedModel]:
    """The class that transformers loads: the model's own where it brings one that may be run.

    Args:
        config: of the model.
        trust_remote_code: whether code that the model brings may be run.

    Raises:
        UnsupportedModel: there is none that can be cut, or none without the model's own code.
    """
    auto = auto_class(config)
    own = own_model_class(config, auto) if trust_remote_code else None
    if own is not None:
        return own
    try:
        known: type[PreTrainedModel] = _get_model_class(config, auto._model_mapping)
    except KeyError as error:
        if not trust_remote_code and AutoModelForCausalLM.__name__ in classes_named(config):
            raise needs_trust(Path(str(config.name_or_path))) from error
        raise UnsupportedModel(f"{config.model_type} has no causal language model in transformers") from error
    return known


def named_inputs(kind: str, inputs: Tensor) -> dict[str, Tensor]:
    """What is passed through a model, by the name that its forward has for it.

    Args:
        kind: of model.
        inputs: token ids, (sequences, length); of an encoder of images pixel values, (images, channels,
            height, width).
    """
    return {PIXELS if kind == IMAGE_ENCODER else "input_ids": inputs}


def answer_of(model: Any, kind: str, **inputs: Tensor) -> Tensor:
    """What a model answers first: logits, or the last hidden states where it has no head.

    Args:
        model: with its weights.
        kind: of model.
        inputs: by name.
    """
    answer: Tensor = model(**inputs, use_cache=False).logits if kind == DECODER else model(**inputs)[0]
    return answer
