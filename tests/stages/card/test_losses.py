"""What was lost is judged from the figures, and the words follow."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from hf_prune.recipe.recipe import Recipe
from hf_prune.records import Attempt
from hf_prune.stages.card.card import render_card
from hf_prune.stages.card.losses import hardest_hit, repeats, rises, unmeasured
from hf_prune.stages.run import Run
from tests.support.sample_cards import healed_run, unharmed_run, untrained_growth_run
from tests.support.sample_run import remeasured, sample_run, sample_score, sample_sorted_run, sample_writing


def lost(run: Run) -> str:
    return render_card(run).split("\n## What was lost\n")[1].split("\n## ")[0]


def test_the_task_hit_hardest_is_the_one_of_which_least_is_left() -> None:
    scores = [
        sample_score("dense", 0.60, "a"),
        sample_score("dense", 0.30, "b"),
        sample_score("healed", 0.50, "a"),
        sample_score("healed", 0.20, "b"),
        sample_score("cut", 0.01, "a"),
    ]
    hit = hardest_hit(scores, "healed", generates=False)
    assert hit is not None
    assert (hit.worst.after.task, hit.num_figures, hit.num_clear) == ("b", 2, 2)
    assert hit.worst.left == pytest.approx(2 / 3)
    assert hardest_hit(scores, "healed", generates=True) is None


def test_a_fall_within_its_errors_is_not_the_worst() -> None:
    scores = [
        sample_score("dense", 0.02, "noisy", stderr=0.02),
        sample_score("cut", 0.01, "noisy", stderr=0.02),
        sample_score("dense", 0.60, "clear"),
        sample_score("cut", 0.50, "clear"),
    ]
    hit = hardest_hit(scores, "cut", generates=False)
    assert hit is not None
    assert (hit.worst.after.task, hit.num_clear) == ("clear", 1)


def test_of_a_figure_that_is_better_low_a_rise_is_the_loss() -> None:
    low = [
        replace(sample_score(variant, value, "wikitext", "word_perplexity"), higher_is_better=False)
        for variant, value in (("dense", 10.0), ("cut", 40.0))
    ]
    hit = hardest_hit(low, "cut", generates=False)
    assert hit is not None
    assert hit.worst.left == 0.25
    assert hit.worst.clear


def test_an_original_at_zero_has_nothing_to_lose() -> None:
    hit = hardest_hit([sample_score("dense", 0.0), sample_score("cut", 0.0)], "cut", generates=False)
    assert hit is not None
    assert hit.num_clear == 0


@pytest.mark.parametrize(("repetition", "said"), [(0.4, "more"), (0.01, "less"), (0.13, "unclear")])
def test_repetition_is_judged_by_its_errors(repetition: float, said: str) -> None:
    assert repeats(sample_writing("dense", 0.12, None), sample_writing("cut", repetition, 3.0)) == said


def test_every_text_is_compared_with_the_original_on_the_same_text() -> None:
    run = healed_run()
    compared = rises((*run.evaluated.perplexities, *run.evaluated.perplexities_elsewhere), "healed")
    assert [rise.after.text.name for rise in compared] == ["c4_heldout", "wikitext_heldout"]
    assert [round(rise.times, 2) for rise in compared] == [1.41, 2.35]


def test_the_card_names_the_worst_task_of_either_kind_and_the_text_it_lost_most_on() -> None:
    text = lost(healed_run())
    assert "on `c4_heldout`, perplexity rose to 1.41 times the original's (20.1 to 28.4)." in text
    assert "on `wikitext_heldout`, perplexity rose to 2.35 times the original's (24.7 to 58.1)." in text
    assert (
        "by likelihood**: `wikitext` (`word_perplexity`) was hit hardest, and went from 15.9 to 21.8." in text
    )
    assert "All 5 figures got worse" in text
    assert (
        "answer**: `gsm8k` (`exact_match`, `strict-match`) was hit hardest, and went from 28.7 ± 0.9 %"
        in text
    )
    assert "14.4 ± 0.9 %: 50.0 % of the original's figure is left. All 2 figures" in text
    assert "its first 9.38 of 64 tokens matched the original's output on average" in text
    assert "It repeats itself more: 21.2 % of its four-token runs" in text
    assert "on 87.5 % of 64 continuations of held-out text" in text
    assert "**Not measured**: other languages, safety behaviour and long contexts." in text


def test_the_card_claims_no_loss_that_the_errors_hide() -> None:
    text = lost(unharmed_run())
    assert "changed by less than a standard error (20.1 to 20.3), so no loss is measurable." in text
    assert "the only figure did not get worse by more than its standard errors" in text
    assert "all 64 of its tokens matched the original's output" in text
    assert "does not clearly repeat itself more or less" in text
    for claimed in ("rose", "hit hardest", "repeats itself more", "is left"):
        assert claimed not in text


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (sample_run, "perplexity rose to 2.15 times the original's (20.1 to 43.2)"),
        (sample_sorted_run, "perplexity fell to 0.91 times the original's (20.1 to 18.4): nothing was lost"),
        (untrained_growth_run, "perplexity is the same as the original's (20.1)."),
    ],
)
def test_what_became_of_perplexity_is_said_in_words(make: Callable[[], Run], said: str) -> None:
    assert said in lost(make())


def test_what_was_not_measured_follows_the_run() -> None:
    bare, whole = sample_run(), healed_run()
    always = ["other languages", "safety behaviour", "long contexts"]
    assert unmeasured(bare) == ["other kinds of text", "task accuracy", "free text generation", *always]
    assert unmeasured(whole) == always
    scores = whole.evaluated.scores.found
    chosen = Attempt(found=tuple(score for score in scores if not score.generates))
    assert unmeasured(remeasured(whole, scores=chosen)) == ["tasks with a written answer", *always]
    written = Attempt(found=tuple(score for score in scores if score.generates))
    assert unmeasured(remeasured(whole, scores=written)) == ["tasks scored by likelihood", *always]
    asked = replace(bare, recipe=Recipe(model="m", choices="items.jsonl"))
    assert unmeasured(asked) == [
        "other kinds of text",
        "tasks with a written answer",
        "free text generation",
        *always,
    ]
