"""The card of an encoder: a cosine where a decoder's has a perplexity, and no word of what it has not."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard

from hf_prune.records import IMAGE_ENCODER, TEXT_ENCODER
from hf_prune.stages.card.encoder_card import encoder_pipeline_tag, render_encoder_card
from hf_prune.stages.card.pictures import render_pictures
from hf_prune.stages.run import Run
from tests.support.sample_run import remeasured, sample_encoder_run


def test_the_card_is_as_it_was_reviewed(golden: Callable[[str, str], None]) -> None:
    golden("encoder_card.md", render_encoder_card(sample_encoder_run(), "owner/dinov2-base-9L"))


@pytest.mark.parametrize("kind", [TEXT_ENCODER, IMAGE_ENCODER])
@pytest.mark.parametrize("variants", [("cut",), ("cut", "bridged")])
def test_no_card_speaks_of_what_encoders_have_not(kind: str, variants: tuple[str, ...]) -> None:
    text = render_encoder_card(sample_encoder_run(kind, variants))
    for word in ("perplexity", "Perplexity", "last token", "KV cache", "generate(", "nats", "{{", "None,"):
        assert word not in text
    assert ("With a bridge" in text) == ("bridged" in variants)
    code = text.split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")
    assert ("AutoImageProcessor" in code) == (kind == IMAGE_ENCODER)


@pytest.mark.parametrize(
    ("kind", "auto_class", "tag"),
    [
        (TEXT_ENCODER, "AutoModelForMaskedLM", "fill-mask"),
        (TEXT_ENCODER, "AutoModelForSequenceClassification", "text-classification"),
        (TEXT_ENCODER, "AutoModel", "feature-extraction"),
        (IMAGE_ENCODER, "AutoModelForImageClassification", "image-classification"),
        (IMAGE_ENCODER, "AutoModel", "image-feature-extraction"),
    ],
)
def test_the_hub_is_told_what_it_is_for(kind: str, auto_class: str, tag: str) -> None:
    anatomy = replace(sample_encoder_run().dense, kind=kind, auto_class=auto_class)
    assert encoder_pipeline_tag(anatomy) == tag


def test_the_front_matter_claims_no_figure() -> None:
    data = ModelCard(render_encoder_card(sample_encoder_run(TEXT_ENCODER))).data
    assert (data.pipeline_tag, data.eval_results) == ("fill-mask", None)
    assert data.base_model == "google-bert/bert-base-uncased"


def bridged_at(cosine: float) -> Run:
    run = sample_encoder_run()
    cut, bridged = run.evaluated.agreements
    return remeasured(run, agreements=(cut, replace(bridged, cosine=cosine)))


@pytest.mark.parametrize(
    ("cosine", "said"),
    [
        (0.95, "The bridge helped"),
        (0.7, "The bridge did not help"),
        (0.811, "The bridge made no measurable difference"),
    ],
)
def test_what_the_bridge_did_is_said_with_its_error_in_mind(cosine: float, said: str) -> None:
    assert said in render_encoder_card(bridged_at(cosine))


def test_every_picture_that_the_card_shows_is_made() -> None:
    text, pictures = render_encoder_card(sample_encoder_run()), render_pictures(sample_encoder_run())
    assert {name for name in pictures if f"({name})" in text} == set(pictures)
    assert text.count("](plots/") == len(pictures)
