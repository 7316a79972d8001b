"""What the Hub reads of a card: the YAML before its text, figures unrounded."""

from typing import TYPE_CHECKING

from hf_prune.records import Perplexity
from hf_prune.report import Run
from hf_prune.sections import by_variant

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

PIPELINE_TAGS = {
    "AutoModelForCausalLM": "text-generation",
    "AutoModelForImageTextToText": "image-text-to-text",
}


def card_metadata(run: Run) -> "ModelCardData":
    """What the Hub reads: the front matter of the card, figures unrounded."""
    measured = by_variant(run.perplexities)[run.result.variant]
    return plain_metadata(run, PIPELINE_TAGS[run.result_anatomy.auto_class], perplexity_results(measured))


def plain_metadata(run: Run, pipeline_tag: str, results: "list[EvalResult] | None" = None) -> "ModelCardData":
    """What the Hub reads of any card.

    Args:
        run: what the card tells.
        pipeline_tag: of the Hub, by the task.
        results: figures that the Hub shows.
    """
    from huggingface_hub import ModelCardData

    metadata = ModelCardData(
        base_model=run.source.repo_id,
        datasets=_datasets(run) or None,
        language=list(run.source.languages) or None,
        library_name="transformers",
        license=run.source.license,
        license_name=run.source.license_name,
        license_link=run.source.license_link,
        pipeline_tag=pipeline_tag,
        tags=_tags(run),
        model_name=run.name,
        eval_results=results,
    )
    if run.source.repo_id is not None:
        metadata["base_model_relation"] = "finetune"  # the Hub has no word for pruned
    return metadata


def perplexity_results(measured: Perplexity) -> "list[EvalResult] | None":
    """A perplexity as the Hub reads it; None on a text that has no name there."""
    from huggingface_hub import EvalResult

    if measured.text.dataset is None:
        return None
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type=measured.text.dataset,
            dataset_name=f"{measured.text.dataset} ({measured.text.name})",
            metric_type="perplexity",
            metric_name="perplexity on held-out text",
            metric_value=measured.perplexity,
        )
    ]


def _tags(run: Run) -> list[str]:
    """By which the Hub finds it."""
    tags = ["pruned", "layer-pruning", "depth-pruning"] if run.plan.removed else []
    if run.growth is not None:
        tags.append("layer-expansion")
    if run.depths:
        tags += ["sorted", "early-exit"]
    return [*tags, "hf-prune"]


def _datasets(run: Run) -> list[str]:
    """Data sets of the Hub that the published weights were fitted on or trained on."""
    texts = [run.similarity.calibration, run.healing.text if run.healing.kept else None]
    return sorted({text.dataset for text in texts if text is not None and text.dataset is not None})
