"""The model card of an encoder, which has a cosine where a decoder has a perplexity.

Nothing here reads a model or reaches the Hub.
"""

from typing import Any

from hf_prune.records import IMAGE_ENCODER, Anatomy
from hf_prune.stages.card.losses import effect_of
from hf_prune.stages.card.metadata import plain_metadata
from hf_prune.stages.card.shared import shared_context
from hf_prune.stages.card.templates import rendered
from hf_prune.stages.run import Run

PIPELINE_TAGS = {
    "AutoModelForMaskedLM": "fill-mask",
    "AutoModelForSequenceClassification": "text-classification",
    "AutoModelForTokenClassification": "token-classification",
    "AutoModelForQuestionAnswering": "question-answering",
    "AutoModelForImageClassification": "image-classification",
}


def render_encoder_card(run: Run, repo_id: str | None = None) -> str:
    """The text of README.md. `repo_id` is None as long as the repository is not known."""
    return rendered("encoder_card.md.j2", encoder_card_context(run, repo_id), run.presentation)


def encoder_pipeline_tag(anatomy: Anatomy) -> str:
    """The Hub's name for the task of an encoder. One without a head extracts features."""
    features = "image-feature-extraction" if anatomy.kind == IMAGE_ENCODER else "feature-extraction"
    return PIPELINE_TAGS.get(anatomy.auto_class, features)


def encoder_card_context(run: Run, repo_id: str | None) -> dict[str, Any]:
    """Every value that the templates of an encoder's card ask for."""
    measured = {agreement.variant: agreement for agreement in run.evaluated.agreements}
    cut, bridged = measured["cut"], measured.get("bridged")
    bridge_effect = None
    if bridged is not None:
        bridge_effect = effect_of(bridged.cosine - cut.cosine, cut.cosine_stderr, bridged.cosine_stderr)
    return {
        **shared_context(run, repo_id),
        "metadata": plain_metadata(run, encoder_pipeline_tag(run.result_anatomy)).to_yaml(),
        "result": measured[run.result.variant],
        "cut": cut,
        "bridged": bridged,
        "bridge_effect": bridge_effect,
    }
