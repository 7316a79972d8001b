"""What the Hub reads of a card: the YAML before its text, figures unrounded."""

from typing import TYPE_CHECKING

from hf_prune.records import Choices, Perplexity, TaskScore
from hf_prune.stages.card.leaderboards import QUESTIONS, leaderboard_of
from hf_prune.stages.run import Run

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

HARNESS = "https://github.com/EleutherAI/lm-evaluation-harness"
PIPELINE_TAGS = {
    "AutoModelForCausalLM": "text-generation",
    "AutoModelForImageTextToText": "image-text-to-text",
}


def card_metadata(run: Run) -> "ModelCardData":
    """What the Hub reads: the front matter of the card, figures unrounded."""
    results = eval_results(run)
    return plain_metadata(run, PIPELINE_TAGS[run.result_anatomy.auto_class], results or None)


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
        metrics=sorted({result.metric_type for result in results or ()}) or None,
        pipeline_tag=pipeline_tag,
        tags=_tags(run),
        model_name=run.name,
        eval_results=results,
    )
    if run.source.repo_id is not None:
        metadata["base_model_relation"] = "finetune"  # the Hub has no word for pruned
    return metadata


def eval_results(run: Run) -> "list[EvalResult]":
    """What was measured of the published variant, unrounded, on data sets that have a name on the Hub.

    What was measured on a user's own file, or on a task whose data set is not certain, is on the card alone.
    """
    variant = run.result.variant
    texts = (*run.evaluated.perplexities, *run.evaluated.perplexities_elsewhere)
    measured = [each for each in texts if each.variant == variant]
    results = [result for each in measured for result in perplexity_results(each) or ()]
    dataset = next((each.text.dataset for each in measured), None)
    for choices in run.evaluated.choices:
        # Items out of a user's file have no name on the Hub; those made from a text have the text's.
        if choices.variant == variant and dataset is not None and run.recipe.choices is None:
            results.append(_of_choices(choices, dataset))
    results += [
        _of_task(score)
        for score in run.evaluated.scores.found
        if score.variant == variant and score.task in QUESTIONS
    ]
    return results


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
            metric_name=f"perplexity on held-out text ({measured.text.name})",
            metric_value=measured.perplexity,
        )
    ]


def _of_choices(choices: Choices, dataset: str) -> "EvalResult":
    from huggingface_hub import EvalResult

    return EvalResult(
        task_type="text-generation",
        dataset_type=dataset,
        dataset_name=f"{dataset} ({choices.name})",
        metric_type="accuracy",
        metric_name=f"accuracy on continuations of held-out text ({choices.name})",
        metric_value=choices.accuracy,
        metric_args={"items": choices.num_items, "stderr": choices.accuracy_stderr},
    )


def _of_task(score: TaskScore) -> "EvalResult":
    """A figure of a task, as lm-evaluation-harness names it."""
    from huggingface_hub import EvalResult

    asked = QUESTIONS[score.task]
    # Tasks that ask the same data set share one entry, so each metric says which task it is of.
    extracted = "" if score.answer_filter == "none" else f", {score.answer_filter}"
    return EvalResult(
        task_type="text-generation",
        dataset_type=asked.dataset,
        dataset_name=score.task,
        dataset_config=asked.config,
        dataset_split=asked.split,
        metric_type="accuracy" if score.metric == "acc" else score.metric,
        metric_name=f"{score.task}: {score.metric} ({score.num_fewshot}-shot{extracted})",
        metric_value=score.value,
        metric_args={"items": score.num_items, "stderr": score.stderr, "num_fewshot": score.num_fewshot},
        source_name=f"lm-evaluation-harness {score.harness}",
        source_url=HARNESS,
    )


def leaderboard_files(run: Run, repo_id: str | None = None) -> dict[str, str]:
    """What puts the published variant on leaderboards of the Hub: YAML by its path in the repository.

    Only whole tasks that the Hub ranks models by; in percent, as its leaderboards have it.

    Args:
        run: with scores.
        repo_id: where it is published; None before that is known.
    """
    import yaml
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    files = {}
    for score in run.evaluated.scores.found:
        board = leaderboard_of(score)
        if board is None or score.variant != run.result.variant:
            continue
        entry = EvalResultEntry(
            dataset_id=board.dataset,
            task_id=board.task,
            value=100 * score.value,
            date=run.started[:10] or None,
            source_url=f"https://huggingface.co/{repo_id}" if repo_id else None,
            source_name="Model Card" if repo_id else None,
            notes=f"{score.num_fewshot}-shot, {score.answer_filter}, lm-evaluation-harness {score.harness}",
        )
        files[f".eval_results/{score.task}.yaml"] = yaml.safe_dump(
            eval_result_entries_to_yaml([entry]), sort_keys=False
        )
    return files


def _tags(run: Run) -> list[str]:
    """By which the Hub finds it."""
    tags = ["pruned", "layer-pruning", "depth-pruning"] if run.plan.removed else []
    if run.growth is not None:
        tags.append("layer-expansion")
    if run.evaluated.depths:
        tags += ["sorted", "early-exit"]
    return [*tags, "hf-prune"]


def _datasets(run: Run) -> list[str]:
    """Data sets of the Hub that the published weights were fitted on or trained on."""
    texts = [run.similarity.calibration, run.healing.text if run.healing.kept else None]
    return sorted({text.dataset for text in texts if text is not None and text.dataset is not None})
