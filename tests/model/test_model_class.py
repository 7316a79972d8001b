"""The class that a checkpoint was saved from says what kind of model it is, and which class loads it."""

import pytest
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForImageTextToText,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    BertConfig,
    LlamaConfig,
    LlavaConfig,
    T5Config,
    ViTConfig,
)

from hf_prune.errors import UnsupportedModel
from hf_prune.model.model_class import auto_class, kind_of, model_class
from hf_prune.records import DECODER, IMAGE_ENCODER, TEXT_ENCODER


@pytest.mark.parametrize(
    ("config_class", "saved_class", "kind", "auto"),
    [
        (LlamaConfig, "LlamaForCausalLM", DECODER, AutoModelForCausalLM),
        (LlamaConfig, None, DECODER, AutoModelForCausalLM),
        (LlavaConfig, "LlavaForConditionalGeneration", DECODER, AutoModelForImageTextToText),
        (BertConfig, "BertForMaskedLM", TEXT_ENCODER, AutoModelForMaskedLM),
        (BertConfig, "BertForSequenceClassification", TEXT_ENCODER, AutoModelForSequenceClassification),
        (BertConfig, "BertModel", TEXT_ENCODER, AutoModel),
        (BertConfig, "BertLMHeadModel", DECODER, AutoModelForCausalLM),
        (ViTConfig, "ViTForImageClassification", IMAGE_ENCODER, AutoModelForImageClassification),
        (ViTConfig, "ViTModel", IMAGE_ENCODER, AutoModel),
    ],
)
def test_the_kind_follows_from_the_saved_class(config_class, saved_class, kind, auto):
    config = config_class(architectures=saved_class and [saved_class])
    assert (kind_of(config), auto_class(config)) == (kind, auto)


def test_a_bert_that_only_looks_back_is_a_decoder():
    config = BertConfig(architectures=["BertForMaskedLM"], is_decoder=True)
    assert kind_of(config) == DECODER


def test_a_model_without_a_class_that_can_be_cut_is_refused():
    with pytest.raises(UnsupportedModel, match="t5 has no causal language model in transformers"):
        model_class(T5Config(), trust_remote_code=False)
