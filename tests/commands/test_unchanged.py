"""When a published run stands for one that would be made now."""

from dataclasses import replace

import pytest

from hf_prune.commands.if_changed import Ingredients, what_changed
from hf_prune.recipe.words import without_folders
from hf_prune.records import Citation, Presentation
from hf_prune.stages.run import Run
from tests.support.sample_run import sample_run


def run() -> Run:
    made = sample_run()
    source = replace(made.source, repo_id="acme/base", commit="a" * 40)
    return replace(made, source=source, digests=("1", "2"))


def now(made: Run) -> Ingredients:
    return Ingredients(
        repo_id="acme/base",
        commit="a" * 40,
        recipe=without_folders(made.recipe),
        digests=made.digests,
        hf_prune=made.environment.hf_prune,
        cited=made.cited,
        presentation=made.presentation,
    )


def test_a_run_stands_for_itself() -> None:
    assert what_changed(run(), now(run())) is None


def test_another_name_of_the_same_commit_changes_nothing() -> None:
    same = now(run())
    recipe = replace(same.recipe, model="Acme/Base", revision="v1.0")
    assert what_changed(run(), replace(same, recipe=recipe)) is None


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"commit": "b" * 40}, "the base moved from aaaaaaa to bbbbbbb"),
        ({"repo_id": "acme/other"}, "it was made from acme/base, not from acme/other"),
        ({"hf_prune": "9.9"}, "and this is 9.9"),
        ({"digests": ("1", "3")}, "the texts, images or tasks that it was made with are others"),
        ({"digests": ("1",)}, "the texts, images or tasks that it was made with are others"),
        ({"cited": Citation(title="T", paper=None, bibtex=None)}, "the card is to say something else"),
        ({"presentation": Presentation(notes="N")}, "the card is to say something else"),
    ],
)
def test_says_what_is_another(changed: dict, told: str) -> None:
    assert told in (what_changed(run(), replace(now(run()), **changed)) or "")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"samples": 8}, "--samples 8, before --samples 64"),
        ({"seed": 1, "lr": 0.0003}, "--seed 1, before --seed 0, --lr 0.0003, before no --lr"),
        ({"distill": False}, "--no-distill, before no --distill"),
        ({"allow_pickle": True}, "--allow-pickle, before no --allow-pickle"),
        ({"sequence_length": 128}, "--seq-len 128, before --seq-len 512"),
    ],
)
def test_says_which_options_are_others(changed: dict, told: str) -> None:
    same = now(run())
    plain = replace(run(), recipe=replace(run().recipe, samples=64, seed=0, lr=None, distill=None))
    plain = replace(plain, recipe=replace(plain.recipe, sequence_length=512))
    reason = what_changed(plain, replace(same, recipe=replace(plain.recipe, **changed)))
    parts = [part for part in (reason or "").removeprefix("the recipe is another: ").split(", ")]
    assert sorted(parts) == sorted(told.split(", "))


def test_a_base_that_was_a_folder_never_stands() -> None:
    made = run()
    folder = replace(made, source=replace(made.source, repo_id=None, commit=None, folder="base"))
    assert what_changed(folder, now(made)) == "it was made from base, not from acme/base"
    # Its own card may name the Hub's model, which is no proof that its files are.
    named = replace(made, source=replace(made.source, commit=None))
    assert what_changed(named, now(made)) is not None
