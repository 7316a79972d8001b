"""The model card of an encoder, whose runs have no loss to tell of.

What was removed, the bridge, the proof and the making are told as on the card of a decoder; how the result is
used and what it is worth are told here. Nothing here reads a model or reaches the Hub.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hf_prune.records import IMAGE_ENCODER, Agreement, Anatomy
from hf_prune.stages.card.card import TITLES, origin
from hf_prune.stages.card.metadata import plain_metadata
from hf_prune.stages.card.pictures import picture_paths
from hf_prune.stages.card.sections import (
    carries_bridge,
    change_section,
    cut_section,
    licence_section,
    published_bridge,
)
from hf_prune.stages.card.templates import rendered
from hf_prune.stages.run import Run

PIPELINE_TAGS = {
    "AutoModelForMaskedLM": "fill-mask",
    "AutoModelForSequenceClassification": "text-classification",
    "AutoModelForTokenClassification": "token-classification",
    "AutoModelForQuestionAnswering": "question-answering",
    "AutoModelForImageClassification": "image-classification",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """One variant in the tables."""

    title: str
    published: bool
    anatomy: Anatomy
    agreement: Agreement | None  # None: the original


def render_encoder_card(run: Run, repo_id: str | None = None) -> str:
    """The text of README.md.

    Args:
        run: what the card tells; of an encoder.
        repo_id: where it is published; None before that is known.
    """
    return rendered("encoder_card.md.j2", encoder_card_context(run, repo_id), run.presentation)


def encoder_pipeline_tag(anatomy: Anatomy) -> str:
    """The Hub's name for what a model does; one without a head makes features."""
    features = "image-feature-extraction" if anatomy.kind == IMAGE_ENCODER else "feature-extraction"
    return PIPELINE_TAGS.get(anatomy.auto_class, features)


def encoder_card_context(run: Run, repo_id: str | None) -> dict[str, Any]:
    """Every value that the templates of an encoder's card ask for."""
    measured = {agreement.variant: agreement for agreement in run.evaluated.agreements}
    images = run.dense.kind == IMAGE_ENCODER
    return {
        "run": run,
        "metadata": plain_metadata(run, encoder_pipeline_tag(run.result_anatomy)).to_yaml(),
        "model_id": repo_id or f"./{run.name}",
        "origin": origin(run.source),
        **licence_section(run.source),
        "reads_images": images,
        "drawn": images and None in (run.recipe.calibration, run.recipe.eval_data),
        "columns": _columns(run, measured),
        "titles": TITLES,
        "healing": run.healing,
        "training": "healing",
        "items": None,
        "further_texts": [],
        "task_data": [],
        "result": measured[run.result.variant],
        "cut": measured["cut"],
        "bridged": measured.get("bridged"),
        "bridge_effect": _bridge_effect(measured),
        "result_is_bridged": carries_bridge(run),
        "bridged_layers": sorted({folded.layer for folded in published_bridge(run).folded}),
        "num_bridged_gaps": len({folded.block for folded in run.bridge.folded}),
        **cut_section(run),
        **change_section(run),
        "notes": run.presentation.notes if run.presentation else None,
        "pictures": picture_paths(run),
    }


def _columns(run: Run, measured: Mapping[str, Agreement]) -> list[_Column]:
    return [
        _Column(
            title=TITLES[variant],
            published=variant == run.result.variant,
            anatomy=run.anatomy_of(variant),
            agreement=measured.get(variant),
        )
        for variant in ("dense", *measured)
    ]


def _bridge_effect(measured: Mapping[str, Agreement]) -> str | None:
    """Whether the bridge helped: "better", "worse", or "unclear" within a standard error."""
    if "bridged" not in measured:
        return None
    cut, bridged = measured["cut"], measured["bridged"]
    if abs(cut.cosine - bridged.cosine) <= max(cut.cosine_stderr, bridged.cosine_stderr):
        return "unclear"
    return "better" if bridged.cosine > cut.cosine else "worse"
