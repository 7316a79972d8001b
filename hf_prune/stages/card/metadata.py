"""The metadata of a card: the YAML before its text, and the files for leaderboards. Figures are unrounded."""

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData, eval_result_entries_to_yaml

from hf_prune.records import Choices, Perplexity, TaskScore
from hf_prune.stages.card.leaderboards import QUESTIONS, leaderboard_of
from hf_prune.stages.run import Run

HARNESS = "https://github.com/EleutherAI/lm-evaluation-harness"
PIPELINE_TAGS = {
    "AutoModelForCausalLM": "text-generation",
    "AutoModelForImageTextToText": "image-text-to-text",
}


def card_metadata(run: Run) -> ModelCardData:
    """The metadata of a decoder's card."""
    results = eval_results(run)
    return plain_metadata(run, PIPELINE_TAGS[run.result_anatomy.auto_class], results or None)


def plain_metadata(run: Run, pipeline_tag: str, results: list[EvalResult] | None = None) -> ModelCardData:
    """The metadata of any card, with the Hub's name for the model's task and figures that the Hub shows."""
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


def eval_results(run: Run) -> list[EvalResult]:
    """The figures of the published variant on data sets with a name on the Hub.

    Figures on your own files, or on tasks with an uncertain data set, are only on the card.
    """
    variant = run.result.variant
    texts = (*run.evaluated.perplexities, *run.evaluated.perplexities_elsewhere)
    measured = [each for each in texts if each.variant == variant]
    results = [result for each in measured for result in perplexity_results(each) or ()]
    dataset = next((each.text.dataset for each in measured), None)
    for choices in run.evaluated.choices:
        # Items made from a text have its name on the Hub. Those from your own file have none.
        if choices.variant == variant and dataset is not None and run.recipe.choices is None:
            results.append(_of_choices(choices, dataset))
    results += [
        _of_task(score)
        for score in run.evaluated.scores.found
        if score.variant == variant and score.task in QUESTIONS
    ]
    return results


def perplexity_results(measured: Perplexity) -> list[EvalResult] | None:
    """A perplexity as the Hub reads it. None: its text has no name on the Hub."""
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


def _of_choices(choices: Choices, dataset: str) -> EvalResult:
    return EvalResult(
        task_type="text-generation",
        dataset_type=dataset,
        dataset_name=f"{dataset} ({choices.name})",
        metric_type="accuracy",
        metric_name=f"accuracy on continuations of held-out text ({choices.name})",
        metric_value=choices.accuracy,
        metric_args={"items": choices.num_items, "stderr": choices.accuracy_stderr},
    )


def _of_task(score: TaskScore) -> EvalResult:
    """A figure of a task, as lm-evaluation-harness names it."""
    questions = QUESTIONS[score.task]
    # Tasks on the same data set share one entry, so each metric names its task.
    extracted = "" if score.answer_filter == "none" else f", {score.answer_filter}"
    return EvalResult(
        task_type="text-generation",
        dataset_type=questions.dataset,
        dataset_name=score.task,
        dataset_config=questions.config,
        dataset_split=questions.split,
        metric_type="accuracy" if score.metric == "acc" else score.metric,
        metric_name=f"{score.task}: {score.metric} ({score.num_fewshot}-shot{extracted})",
        metric_value=score.value,
        metric_args={"items": score.num_items, "stderr": score.stderr, "num_fewshot": score.num_fewshot},
        source_name=f"lm-evaluation-harness {score.harness}",
        source_url=HARNESS,
    )


def leaderboard_files(run: Run, repo_id: str | None = None) -> dict[str, str]:
    """The files that put the published variant on leaderboards of the Hub: YAML by path in the repository.

    They have only whole tasks that the Hub ranks models by, in percent. `repo_id` is None if not known.
    """
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
    """The tags by which the Hub finds the model."""
    tags = ["pruned", "layer-pruning", "depth-pruning"] if run.plan.removed else []
    if run.growth is not None:
        tags.append("layer-expansion")
    if run.evaluated.depths:
        tags += ["sorted", "early-exit"]
    return [*tags, "hf-prune"]


def _datasets(run: Run) -> list[str]:
    """Data sets of the Hub that the published weights were fitted or trained on."""
    texts = [run.similarity.calibration, run.healing.text if run.healing.kept else None]
    return sorted({text.dataset for text in texts if text is not None and text.dataset is not None})
