"""What a new version is compared with, and what of it the card tells."""

import json
from dataclasses import replace

from hf_prune.records import Attempt, Presentation, from_data, to_json
from hf_prune.stages.card.card import render_card
from hf_prune.stages.publish.replaced import is_same_run, previous_version
from hf_prune.stages.run import SCHEMA_VERSION, Recorded, Run
from tests.support.sample_cards import healed_run, replacing_run
from tests.support.sample_run import remeasured, sample_encoder_run, sample_run, sample_scores_of_tasks

COMMIT, DATE = "c0ffee" * 6 + "c0ff", "2026-11-01T08:00:00Z"


def recorded(run: Run, schema_version: int = SCHEMA_VERSION) -> Recorded:
    return Recorded(run=replace(run, schema_version=schema_version), schema_version=schema_version)


def change(run: Run) -> str:
    card = render_card(run).replace("\N{NO-BREAK SPACE}", " ")
    return card.split("\n## Change against the version before\n")[1].split("\n## ")[0]


def test_figures_on_the_same_data_are_compared() -> None:
    scores = Attempt(found=sample_scores_of_tasks(["dense", "cut"]))
    old = remeasured(sample_run(variants=("cut",)), scores=scores)
    new = healed_run()
    before = previous_version(new, recorded(old), COMMIT, DATE)
    assert before.perplexity == old.evaluated.perplexities[1]
    assert before.choices == old.evaluated.choices[1]
    assert {score.variant for score in before.scores} == {"cut"}
    assert len(before.scores) == len(
        [score for score in new.evaluated.scores.found if score.variant == "healed"]
    )
    assert before.left_out == ()


def test_figures_on_other_data_are_left_out_and_that_is_told() -> None:
    old, new = sample_run(), healed_run()
    texts = tuple(replace(p, text=replace(p.text, sha256="0" * 64)) for p in old.evaluated.perplexities)
    items = tuple(replace(chosen, sha256="0" * 64) for chosen in old.evaluated.choices)
    before = previous_version(
        new,
        recorded(remeasured(old, perplexities=texts, choices=items)),
        COMMIT,
        DATE,
    )
    assert (before.perplexity, before.choices) == (None, None)
    text = change(replace(new, before=before))
    assert "| Perplexity" not in text
    assert "Perplexity was measured on another text.\nAccuracy was measured on other items." in text


def test_of_an_older_schema_it_is_told_that_not_all_can_be_read() -> None:
    before = previous_version(healed_run(), recorded(sample_run(), SCHEMA_VERSION - 1), COMMIT, DATE)
    assert before.perplexity is not None
    assert f"Its record is of an older schema, {SCHEMA_VERSION - 1}" in change(
        replace(healed_run(), before=before)
    )


def test_of_an_unreadable_version_only_its_commit_is_told() -> None:
    run = healed_run()
    text = change(replace(run, before=previous_version(run, None, COMMIT, DATE)))
    assert "in commit `c0ffeec0ffee` on 2026-11-01." in text
    assert "|" not in text


def test_an_encoder_is_compared_by_its_cosine() -> None:
    run = sample_encoder_run()
    before = previous_version(run, recorded(run), COMMIT, DATE)
    assert before.agreement is not None
    assert before.agreement.variant == run.result.variant
    assert (before.perplexity, before.choices) == (None, None)


def test_another_commit_of_the_original_is_told() -> None:
    new = replacing_run()
    assert new.before is not None
    assert new.before.source_commit != new.source.commit
    assert f"made from commit `{str(new.before.source_commit)[:12]}` of the original" in change(new)


def test_a_run_is_the_same_whatever_its_card_says_besides() -> None:
    run = sample_run()
    read = from_data(Run, json.loads(to_json(run)))
    assert is_same_run(run, replace(read, before=previous_version(run, None, COMMIT, DATE)))
    assert is_same_run(run, replace(read, presentation=Presentation(notes="x")))
    assert not is_same_run(run, replace(read, started="2026-11-21T08:00:01Z"))


def test_a_first_version_tells_of_none_before() -> None:
    assert "Change against" not in render_card(sample_run())
