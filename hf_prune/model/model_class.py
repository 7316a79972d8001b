"""Which class of transformers loads a model, and what kind of model that makes it.

The settings of a BERT do not say whether it predicts masked words, classifies texts or writes them. The
class that its checkpoint was saved from does, and config.json names that class in "architectures".
"""

from pathlib import Path
from typing import Any

import transformers
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.auto_factory import _get_model_class

from hf_prune.errors import UnsupportedModel
from hf_prune.model.remote_code import own_classes, own_code_refusal, own_model_class
from hf_prune.records import DECODER, IMAGE_ENCODER, TEXT_ENCODER

OF_TEXT_ENCODERS: tuple[Any, ...] = (
    transformers.AutoModelForMaskedLM,
    transformers.AutoModelForSequenceClassification,
    transformers.AutoModelForTokenClassification,
    transformers.AutoModelForQuestionAnswering,
    transformers.AutoModelForPreTraining,  # ELECTRA's discriminator
    transformers.AutoModel,
)
OF_IMAGE_ENCODERS: tuple[Any, ...] = (transformers.AutoModelForImageClassification, transformers.AutoModel)
PIXELS = "pixel_values"


def kind_of(config: PreTrainedConfig) -> str:
    """What a model is: a decoder, an encoder of text, or one of images."""
    return _kind_and_class(config)[0]


def auto_class(config: PreTrainedConfig) -> Any:
    """The class of transformers that loads a model of this configuration as its users do."""
    return _kind_and_class(config)[1]


def _kind_and_class(config: PreTrainedConfig) -> tuple[str, Any]:
    own = {} if type(config).__module__.startswith("transformers.") else own_classes(config)
    has_causal_class = type(config) in AutoModelForCausalLM._model_mapping
    is_language_model = has_causal_class or type(config) in AutoModelForImageTextToText._model_mapping
    saved_class = (config.architectures or [""])[0]
    # A BERT may be a decoder: by its class, or by a configuration whose attention only looks back.
    is_causal = getattr(config, "is_decoder", False) or saved_class in _classes(AutoModelForCausalLM, config)
    predicts_masked = type(config) in transformers.AutoModelForMaskedLM._model_mapping
    if predicts_masked and not (has_causal_class and is_causal):
        for auto in OF_TEXT_ENCODERS:
            if saved_class in _classes(auto, config):
                return TEXT_ENCODER, auto
    if not is_language_model:
        for auto in OF_IMAGE_ENCODERS:
            saved = _classes(auto, config).get(saved_class)
            if saved is not None and saved.main_input_name == PIXELS:
                return IMAGE_ENCODER, auto
    causal = has_causal_class or AutoModelForCausalLM.__name__ in own
    return DECODER, AutoModelForCausalLM if causal else AutoModelForImageTextToText


def _classes(auto: Any, config: PreTrainedConfig) -> dict[str, type[PreTrainedModel]]:
    """The classes that an auto class of transformers has for a configuration, by name."""
    if type(config) not in auto._model_mapping:
        return {}
    classes = auto._model_mapping[type(config)]
    return {each.__name__: each for each in (classes if isinstance(classes, tuple) else (classes,))}


def model_class(config: PreTrainedConfig, *, trust_remote_code: bool) -> type[PreTrainedModel]:
    """The class that transformers loads: the model's own if it brings one that may be run.

    Raises:
        UnsupportedModel: there is none that can be cut, or only the model's own, which may not be run.
    """
    auto = auto_class(config)
    if trust_remote_code and (own := own_model_class(config, auto)):
        return own
    try:
        return _get_model_class(config, auto._model_mapping)
    except KeyError as error:
        if not trust_remote_code and AutoModelForCausalLM.__name__ in own_classes(config):
            raise own_code_refusal(Path(str(config.name_or_path))) from error
        raise UnsupportedModel(f"{config.model_type} has no causal language model in transformers") from error


def model_inputs(kind: str, inputs: Tensor) -> dict[str, Tensor]:
    """Token ids or pixel values under the name that the forward of a model of that kind has for them."""
    return {PIXELS if kind == IMAGE_ENCODER else "input_ids": inputs}


def first_output(model: Any, kind: str, **inputs: Tensor) -> Tensor:
    """The first output of a model of that kind: logits, or the last hidden states if it has no head."""
    return model(**inputs, use_cache=False).logits if kind == DECODER else model(**inputs)[0]
