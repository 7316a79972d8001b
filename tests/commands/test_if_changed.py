"""`--if-changed`, against a repository that holds an earlier run."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from hf_prune.commands.if_changed import Ingredients, still_published, what_changed
from hf_prune.errors import RecipeError
from hf_prune.machine.progress import Reporter
from hf_prune.recipe.recipe import Publication, Recipe
from hf_prune.recipe.words import without_folders
from hf_prune.records import DECODER, Citation, Presentation, Published
from hf_prune.stages.run import Run
from hf_prune.stages.texts.material import digests_of, read_material
from tests.loopback import LoopbackHub
from tests.support.sample_run import sample_run
from tests.support.tool import BASE, Finished, finished_push, hf_prune

PUBLISHED = "tester/tiny-4L"
RECIPE = Recipe(
    model=BASE, drop_layers=2, samples=4, eval_samples=2, choice_items=4, sequence_length=32
)  # of `finished_push`
TO_MAIN = Publication()


@pytest.fixture
def pushed(
    home_hub: LoopbackHub, tiny_models: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    """`hf-prune acme/tiny --push` was run once; the Hub is as it was right afterwards."""
    finished = finished_push(home_hub, tiny_models("llama"), tmp_path_factory.getbasetemp() / "pushed")
    finished.restore(home_hub)
    home_hub.calls.clear()
    return finished


def check(
    recipe: Recipe = RECIPE, publication: Publication = TO_MAIN, **card: Any
) -> tuple[Published | None, str]:
    """What stands, and what was told of it, in one line."""
    lines: list[str] = []
    published = still_published(recipe, publication, Reporter(tell=lines.append), **card)
    (line,) = lines
    return published, line


def change_record(change: Callable[[dict[str, Any]], Any], *, create_pr: bool = False) -> str | None:
    """Let the published record say something else; the pull request that says it, where it is one."""
    path = HfApi().hf_hub_download(PUBLISHED, "hf_prune.json")
    record = json.loads(Path(path).read_text())
    change(record)
    changed = CommitOperationAdd("hf_prune.json", json.dumps(record).encode())
    commit = HfApi().create_commit(PUBLISHED, [changed], commit_message="another", create_pr=create_pr)
    return commit.pr_url


def move_base() -> str:
    """Commit something to the original; the new commit."""
    commit = HfApi().upload_file(path_in_repo="notes.txt", path_or_fileobj=b"new", repo_id=BASE)
    return commit.oid


def test_nothing_is_done_where_nothing_changed(
    pushed: Finished, home_hub: LoopbackHub, tmp_path: Path
) -> None:
    before = home_hub.files(PUBLISHED)
    outcome = hf_prune(*pushed.words, "--if-changed", "--output", str(tmp_path / "run"))
    assert (outcome.code, outcome.out) == (0, f"{home_hub.url}/{PUBLISHED}\n")
    (line,) = outcome.err.splitlines()
    assert line.startswith(f"{home_hub.url}/{PUBLISHED} was made from {BASE} at ")
    assert home_hub.calls_to("GET", "^/storage/") == []
    assert home_hub.files(PUBLISHED) == before
    assert not (tmp_path / "run").exists()


def test_what_stands_is_one_json_object(pushed: Finished, home_hub: LoopbackHub) -> None:
    outcome = hf_prune(*pushed.words, "--if-changed", "--json")
    published = {"repo_id": PUBLISHED, "url": f"{home_hub.url}/{PUBLISHED}", "private": True}
    printed = json.loads(outcome.out)
    commit = home_hub.repositories["model", PUBLISHED.lower()].find("main")
    assert commit is not None
    assert printed["unchanged"] is True
    assert printed["published"].items() >= (published | {"commit": commit.oid}).items()


def test_a_base_that_moved_is_told_with_both_commits(pushed: Finished) -> None:
    old = pushed.run["source"]["commit"]
    new = move_base()
    published, line = check()
    assert published is None
    assert line == f"{PUBLISHED}: the original moved from {old[:7]} to {new[:7]}"


def test_a_pinned_commit_does_not_move(pushed: Finished) -> None:
    old = pushed.run["source"]["commit"]
    move_base()
    assert check(replace(RECIPE, revision=old))[0] is not None


def test_another_recipe_is_a_reason(pushed: Finished) -> None:
    published, line = check(replace(RECIPE, samples=8))
    assert published is None
    assert line.endswith("the recipe is another: --samples 8, before --samples 4")


def test_another_name_or_no_repository_is_a_reason(pushed: Finished) -> None:
    published, line = check(publication=Publication(repo_id="acme/other"))
    assert (published, line) == (None, "acme/other: nothing is published there yet")


def test_a_record_that_cannot_be_read_is_a_reason(pushed: Finished) -> None:
    change_record(lambda record: record["recipe"].update(invented=1))
    published, line = check()
    assert published is None
    assert "another version of hf-prune made it" in line


def test_another_version_is_a_reason(pushed: Finished) -> None:
    change_record(lambda record: record["environment"].update(hf_prune="0.0.1"))
    assert "hf-prune 0.0.1 made it" in check()[1]


def test_notes_for_the_card_are_a_reason(pushed: Finished) -> None:
    assert "--notes" in check(presentation=Presentation(notes="New."))[1]


def test_the_words_of_a_local_text_count_and_its_folder_does_not(pushed: Finished, tmp_path: Path) -> None:
    texts = [tmp_path / place / "mine.txt" for place in ("here", "there")]
    for text in texts:
        text.parent.mkdir()
        text.write_text("One fox.\n\nTwo foxes.")
    first, second = (replace(RECIPE, calibration=str(text)) for text in texts)
    digests = digests_of(first, read_material(first, DECODER))

    def made_with_it(record: dict[str, Any]) -> None:
        record["recipe"]["calibration"] = "mine.txt"
        record["digests"] = digests

    change_record(made_with_it)
    assert check(second)[0] is not None
    texts[1].write_text("One fox.\n\nThree foxes.")
    published, line = check(second)
    assert published is None
    assert "texts" in line


def test_a_branch_is_compared_with_itself(pushed: Finished, home_hub: LoopbackHub) -> None:
    api = HfApi()
    api.create_branch(PUBLISHED, branch="small")
    change_record(lambda record: record["recipe"].update(seed=5))
    published, _ = check(publication=Publication(branch="small"))
    assert published is not None
    assert published.url == f"{home_hub.url}/{PUBLISHED}/tree/small"
    assert check()[0] is None
    assert check(publication=Publication(branch="new"))[1] == f"{PUBLISHED}: nothing is published there yet"


def test_an_open_pull_request_of_ones_own_stands_for_the_run_that_proposed_it(
    pushed: Finished, home_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = move_base()
    proposing = Publication(create_pr=True)
    assert check(publication=proposing)[0] is None
    change_record(lambda record: record["source"].update(commit=new), create_pr=True)
    published, _ = check(publication=proposing)
    assert published is not None
    assert published.pull_request == f"{home_hub.url}/{PUBLISHED}/discussions/1"
    assert check()[0] is None  # who pushes to main has no use for a proposal
    # Anyone may propose to a repository: the proposal of somebody else does not count.
    home_hub.repositories["model", PUBLISHED.lower()].discussions[1].author = "stranger"
    assert check(publication=proposing)[0] is None


def test_a_folder_has_no_commit_to_compare(
    pushed: Finished, tiny_models: Callable[..., Path], home_hub: LoopbackHub
) -> None:
    with pytest.raises(RecipeError, match="is a folder here, which has none: leave it out"):
        check(replace(RECIPE, model=str(tiny_models("llama"))))


def test_without_a_push_there_is_nothing_to_compare_with(home_hub: LoopbackHub) -> None:
    outcome = hf_prune(BASE, "--if-changed")
    assert outcome.code == 2
    assert "add --push" in outcome.error()


# One published run against the ingredients of a new one


def published_run() -> Run:
    published = sample_run()
    source = replace(published.source, repo_id="acme/base", commit="a" * 40)
    return replace(published, source=source, digests=("1", "2"))


def now(published: Run) -> Ingredients:
    return Ingredients(
        repo_id="acme/base",
        commit="a" * 40,
        recipe=without_folders(published.recipe),
        digests=published.digests,
        hf_prune=published.environment.hf_prune,
        cited=published.cited,
        presentation=published.presentation,
    )


def test_a_run_stands_for_itself() -> None:
    assert what_changed(published_run(), now(published_run())) is None


def test_another_name_of_the_same_commit_changes_nothing() -> None:
    same = now(published_run())
    recipe = replace(same.recipe, model="Acme/Base", revision="v1.0")
    assert what_changed(published_run(), replace(same, recipe=recipe)) is None


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"commit": "b" * 40}, "the original moved from aaaaaaa to bbbbbbb"),
        ({"repo_id": "acme/other"}, "it was made from acme/base, not from acme/other"),
        ({"hf_prune": "9.9"}, "and this is 9.9"),
        ({"digests": ("1", "3")}, "the texts, images or tasks that it was made with are others"),
        ({"digests": ("1",)}, "the texts, images or tasks that it was made with are others"),
        ({"cited": Citation(title="T", paper=None, bibtex=None)}, "the card is to say something else"),
        ({"presentation": Presentation(notes="N")}, "the card is to say something else"),
    ],
)
def test_says_what_is_another(changed: dict[str, Any], sentence: str) -> None:
    assert sentence in (what_changed(published_run(), replace(now(published_run()), **changed)) or "")


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"samples": 8}, "--samples 8, before --samples 64"),
        ({"seed": 1, "lr": 0.0003}, "--seed 1, before --seed 0, --lr 0.0003, before no --lr"),
        ({"distill": False}, "--no-distill, before no --distill"),
        ({"allow_pickle": True}, "--allow-pickle, before no --allow-pickle"),
        ({"sequence_length": 128}, "--seq-len 128, before --seq-len 512"),
    ],
)
def test_says_which_options_are_others(changed: dict[str, Any], sentence: str) -> None:
    same = now(published_run())
    plain = replace(
        published_run(), recipe=replace(published_run().recipe, samples=64, seed=0, lr=None, distill=None)
    )
    plain = replace(plain, recipe=replace(plain.recipe, sequence_length=512))
    reason = what_changed(plain, replace(same, recipe=replace(plain.recipe, **changed)))
    parts = [part for part in (reason or "").removeprefix("the recipe is another: ").split(", ")]
    assert sorted(parts) == sorted(sentence.split(", "))


def test_a_base_that_was_a_folder_never_stands() -> None:
    published = published_run()
    folder = replace(published, source=replace(published.source, repo_id=None, commit=None, folder="base"))
    assert what_changed(folder, now(published)) == "it was made from base, not from acme/base"
    # Its own card may name the Hub's model, which is no proof that its files are.
    named = replace(published, source=replace(published.source, commit=None))
    assert what_changed(named, now(published)) is not None
