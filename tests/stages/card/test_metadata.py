"""What the Hub reads of a card comes back through huggingface_hub as the run recorded it, unrounded."""

import json
from dataclasses import replace

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries

from hf_prune.records import Attempt, to_json
from hf_prune.stages.card.card import render_card
from hf_prune.stages.card.metadata import leaderboard_files
from hf_prune.stages.run import Run
from tests.support.sample_cards import healed_run, questioned_run
from tests.support.sample_run import remeasured, sample_run, sample_written_score


def results_of(run: Run) -> dict[tuple[str, str], object]:
    """Through the text of the card, as ModelCard.load would have it."""
    results = ModelCard(render_card(run)).data.eval_results or []
    return {(result.dataset_type, result.metric_name or ""): result.metric_value for result in results}


def test_every_figure_of_the_published_variant_comes_back_as_run_json_has_it() -> None:
    run = healed_run()
    recorded = json.loads(to_json(run))
    published = run.result.variant
    expected = {
        (each["text"]["dataset"], f"perplexity on held-out text ({each['text']['name']})"): each["perplexity"]
        for each in recorded["evaluated"]["perplexities"] + recorded["evaluated"]["perplexities_elsewhere"]
        if each["variant"] == published
    }
    [choices] = [each for each in recorded["evaluated"]["choices"] if each["variant"] == published]
    expected["allenai/c4", "accuracy on continuations of held-out text (c4_heldout)"] = choices["accuracy"]
    scores = {
        (each["task"], each["metric"], each["answer_filter"]): each["value"]
        for each in recorded["evaluated"]["scores"]["found"]
        if each["variant"] == published
    }
    for dataset, name, *figure in (
        ("allenai/ai2_arc", "arc_easy: acc (0-shot)", "arc_easy", "acc", "none"),
        ("allenai/ai2_arc", "arc_easy: acc_norm (0-shot)", "arc_easy", "acc_norm", "none"),
        ("Rowan/hellaswag", "hellaswag: acc_norm (0-shot)", "hellaswag", "acc_norm", "none"),
        (
            "EleutherAI/wikitext_document_level",
            "wikitext: word_perplexity (0-shot)",
            "wikitext",
            "word_perplexity",
            "none",
        ),
        ("openai/gsm8k", "gsm8k: exact_match (5-shot, strict-match)", "gsm8k", "exact_match", "strict-match"),
        (
            "openai/gsm8k",
            "gsm8k: exact_match (5-shot, flexible-extract)",
            "gsm8k",
            "exact_match",
            "flexible-extract",
        ),
    ):
        expected[dataset, name] = scores[tuple(figure)]
    assert results_of(run) == expected


def test_the_file_that_is_published_is_read_back_by_model_card_load(tmp_path) -> None:
    path = tmp_path / "README.md"
    path.write_text(render_card(healed_run()), encoding="utf-8")
    loaded = ModelCard.load(path).data.eval_results or []
    assert len(loaded) == 9
    assert {result.source_name for result in loaded} == {None, "lm-evaluation-harness 0.4.13"}
    assert loaded[-1].metric_args == {"items": 1319, "stderr": 0.0092, "num_fewshot": 5}
    assert loaded[-1].dataset_split == "test"


def test_a_data_set_that_is_not_certain_is_not_named() -> None:
    assert not [name for _, name in results_of(healed_run()) if "unheard_of" in name]
    assert not [name for _, name in results_of(questioned_run()) if "accuracy" in name]


def test_a_whole_benchmark_of_the_hub_goes_to_its_leaderboard_in_percent() -> None:
    run = healed_run()
    files = leaderboard_files(run, "someone/small")
    assert list(files) == [".eval_results/gsm8k.yaml"]
    [entry] = parse_eval_result_entries(yaml.safe_load(files[".eval_results/gsm8k.yaml"]))
    [value] = [
        each.value
        for each in run.evaluated.scores.found
        if each.variant == "healed" and each.generates and each.answer_filter == "strict-match"
    ]
    assert (entry.dataset_id, entry.task_id) == ("openai/gsm8k", "gsm8k")
    assert entry.value == pytest.approx(100 * value)
    assert entry.source_url == "https://huggingface.co/someone/small"
    assert entry.notes == "5-shot, strict-match, lm-evaluation-harness 0.4.13"


def test_part_of_a_benchmark_or_another_variant_goes_to_no_leaderboard() -> None:
    score = sample_written_score("bridged", 0.1)
    for left_out in (
        replace(score, num_items=100),
        replace(score, variant="dense"),
        replace(score, answer_filter="flexible-extract"),
        replace(score, task="gsm8k_cot"),
    ):
        assert leaderboard_files(remeasured(sample_run(), scores=Attempt(found=(left_out,)))) == {}
    files = leaderboard_files(remeasured(sample_run(), scores=Attempt(found=(score,))))
    assert list(files) == [".eval_results/gsm8k.yaml"]
