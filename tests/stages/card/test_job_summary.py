"""What a job tells on the page of its workflow."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hf_prune.recipe.recipe import Recipe
from hf_prune.records import Published, to_json
from hf_prune.stages.card.job_summary import (
    PER_LINE,
    elsewhere_summary,
    failed_summary,
    layer_lines,
    run_summary,
    unchanged_summary,
)
from hf_prune.stages.run import Run
from tests.support import sample_cards
from tests.support.sample_run import (
    sample_encoder_run,
    sample_grown_run,
    sample_run,
    sample_sorted_run,
)
from tests.support.tool import hf_prune

PUBLISHED = Published(
    repo_id="acme/small", url="https://huggingface.co/acme/small", commit="c0ffee", private=True
)
LIMIT = 1024 * 1024  # bytes that GitHub shows


def test_the_summary_is_as_it_was_reviewed(golden: Callable[[str, str], None]) -> None:
    golden("job_summary.md", run_summary(sample_run(), repo_id="acme/small", published=PUBLISHED))


@pytest.mark.parametrize(
    "run",
    [
        sample_run(Recipe(model="m", layers="3,9-11")),
        sample_run(variants=("cut", "bridged", "healed")),
        sample_grown_run(),
        sample_sorted_run(),
        sample_encoder_run(),
        sample_cards.bare_run(),
        sample_cards.cut_and_grown_run(),
        sample_cards.questioned_run(),
        sample_cards.noted_run(),
    ],
    ids=["named", "healed", "grown", "sorted", "encoder", "bare", "cut and grown", "questioned", "noted"],
)
def test_every_kind_of_run_has_one_without_pictures(run: Run) -> None:
    text = run_summary(run)
    assert text.startswith(f"# {run.name}\n\nNot published.\n")
    assert "![" not in text
    assert "None" not in text
    assert "## At a glance" in text
    assert text.count("```text") == 1
    assert ("⬜ removed" in text) == bool(run.plan.removed)
    assert ("🟩 new" in text) == (run.growth is not None)


def test_what_kept_it_from_being_published_is_said_first() -> None:
    text = run_summary(sample_run(), refused=("arc_easy acc 0.4 is below --min-score 0.45", "a | b"))
    reason = "because it misses a limit that you set: arc_easy acc 0.4 is below --min-score 0.45, a \\| b."
    assert text.split("\n\n")[1].startswith(f"**Not published**, {reason}")


def test_each_layer_shows_what_became_of_it() -> None:
    lines = layer_lines(8, removed=(3, 4), bridged=(2,), followed=(0, 0, 7))
    assert lines == ("0 🟦🟩🟩🟦🟧⬜⬜🟦🟦🟦🟩",)


def test_deep_models_take_several_lines_each_with_its_first_layer() -> None:
    lines = layer_lines(2 * PER_LINE + 1)
    assert [line.split()[0] for line in lines] == ["0", "32", "64"]
    assert [line.count("🟦") for line in lines] == [PER_LINE, PER_LINE, 1]
    assert [line.index("🟦") for line in lines] == [3, 3, 3]


def test_a_run_that_had_nothing_to_do_says_where_the_result_is() -> None:
    text = unchanged_summary(
        "acme/base", {"repo_id": "acme/small", "url": "https://hub/x", "commit": "c0ffee"}
    )
    assert text.startswith(
        "# `acme/base`: nothing to do\n\n[acme/small](https://hub/x) was made from the same"
    )
    assert "`c0ffee`" in text
    assert "Nothing was computed" in unchanged_summary("acme/base", {})


def test_a_run_on_the_machines_of_the_hub_says_where_both_are() -> None:
    job, published = (
        {"url": "https://hub/jobs/5f"},
        {"repo_id": "a/b", "url": "https://hub/a/b", "commit": "c1"},
    )
    text = elsewhere_summary("acme/base", job, published)
    assert "**Published** as [a/b](https://hub/a/b), commit `c1`." in text
    assert "[the job](https://hub/jobs/5f)" in text
    assert "Published" not in elsewhere_summary("acme/base", job, {})


def test_a_failure_is_quoted_and_no_longer_than_can_be_shown() -> None:
    text = failed_summary("acme/base", "no ``` room" + "!" * 2 * LIMIT)
    assert "````text\nno ``` room!" in text
    assert len(text.encode()) < LIMIT


def test_a_finished_run_has_its_summary_on_stdout(tmp_path: Path) -> None:
    run = sample_run()
    (tmp_path / "run.json").write_text(to_json(run))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "hf_prune.json").write_text(to_json(run))
    (tmp_path / "model" / "README.md").write_text('model_id = "acme/small"\n')
    outcome = hf_prune("summary", str(tmp_path))
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == run_summary(run, repo_id="acme/small")
    assert "The card names `acme/small` as its repository." in outcome.out
    refused = replace(run, recipe=replace(run.recipe, max_loss=0.01))
    (tmp_path / "model" / "hf_prune.json").write_text(to_json(refused))
    assert "more than --max-loss 0.01" in hf_prune("summary", str(tmp_path)).out


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    outcome = hf_prune("summary", str(tmp_path))
    assert "holds no finished run" in outcome.error()
