"""`--if-changed`, against a repository that holds an earlier run."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from hf_prune.commands.if_changed import still_published
from hf_prune.errors import RecipeError
from hf_prune.machine.progress import Reporter
from hf_prune.recipe.recipe import Publication, Recipe
from hf_prune.records import DECODER, Presentation, Published
from hf_prune.stages.texts.material import digests_of, read_material
from tests.loopback import LoopbackHub
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


def asked(
    recipe: Recipe = RECIPE, publication: Publication = TO_MAIN, **card: Any
) -> tuple[Published | None, str]:
    """What stands, and what was told of it, in one line."""
    told: list[str] = []
    published = still_published(recipe, publication, Reporter(tell=told.append), **card)
    (line,) = told
    return published, line


def change_record(change: Callable[[dict[str, Any]], Any], *, create_pr: bool = False) -> str | None:
    """Let the published record say something else; the pull request that says it, where it is one."""
    path = HfApi().hf_hub_download(PUBLISHED, "hf_prune.json")
    record = json.loads(Path(path).read_text())
    change(record)
    changed = CommitOperationAdd("hf_prune.json", json.dumps(record).encode())
    made = HfApi().create_commit(PUBLISHED, [changed], commit_message="another", create_pr=create_pr)
    return made.pr_url


def move_base() -> str:
    """Commit something to the original; the new commit."""
    made = HfApi().upload_file(path_in_repo="notes.txt", path_or_fileobj=b"new", repo_id=BASE)
    return made.oid


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
    told = json.loads(outcome.out)
    commit = home_hub.repositories["model", PUBLISHED.lower()].find("main")
    assert commit is not None
    assert told["unchanged"] is True
    assert told["published"].items() >= (published | {"commit": commit.oid}).items()


def test_a_base_that_moved_is_told_with_both_commits(pushed: Finished) -> None:
    old = pushed.run["source"]["commit"]
    new = move_base()
    published, line = asked()
    assert published is None
    assert line == f"{PUBLISHED}: the base moved from {old[:7]} to {new[:7]}"


def test_a_pinned_commit_does_not_move(pushed: Finished) -> None:
    old = pushed.run["source"]["commit"]
    move_base()
    assert asked(replace(RECIPE, revision=old))[0] is not None


def test_another_recipe_is_a_reason(pushed: Finished) -> None:
    published, line = asked(replace(RECIPE, samples=8))
    assert published is None
    assert line.endswith("the recipe is another: --samples 8, before --samples 4")


def test_another_name_or_no_repository_is_a_reason(pushed: Finished) -> None:
    published, line = asked(publication=Publication(repo_id="acme/other"))
    assert (published, line) == (None, "acme/other: nothing is published there yet")


def test_a_record_that_cannot_be_read_is_a_reason(pushed: Finished) -> None:
    change_record(lambda record: record["recipe"].update(invented=1))
    published, line = asked()
    assert published is None
    assert "another version of hf-prune made it" in line


def test_another_version_is_a_reason(pushed: Finished) -> None:
    change_record(lambda record: record["environment"].update(hf_prune="0.0.1"))
    assert "hf-prune 0.0.1 made it" in asked()[1]


def test_notes_for_the_card_are_a_reason(pushed: Finished) -> None:
    assert "--notes" in asked(presentation=Presentation(notes="New."))[1]


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
    assert asked(second)[0] is not None
    texts[1].write_text("One fox.\n\nThree foxes.")
    published, line = asked(second)
    assert published is None
    assert "texts" in line


def test_a_branch_is_compared_with_itself(pushed: Finished, home_hub: LoopbackHub) -> None:
    api = HfApi()
    api.create_branch(PUBLISHED, branch="small")
    change_record(lambda record: record["recipe"].update(seed=5))
    published, _ = asked(publication=Publication(branch="small"))
    assert published is not None
    assert published.url == f"{home_hub.url}/{PUBLISHED}/tree/small"
    assert asked()[0] is None
    assert asked(publication=Publication(branch="new"))[1] == f"{PUBLISHED}: nothing is published there yet"


def test_an_open_pull_request_of_ones_own_stands_for_the_run_that_proposed_it(
    pushed: Finished, home_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = move_base()
    proposing = Publication(create_pr=True)
    assert asked(publication=proposing)[0] is None
    change_record(lambda record: record["source"].update(commit=new), create_pr=True)
    published, _ = asked(publication=proposing)
    assert published is not None
    assert published.pull_request == f"{home_hub.url}/{PUBLISHED}/discussions/1"
    assert asked()[0] is None  # who pushes to main has no use for a proposal
    # Anyone may propose to a repository: the proposal of somebody else does not count.
    home_hub.repositories["model", PUBLISHED.lower()].discussions[1].author = "stranger"
    assert asked(publication=proposing)[0] is None


def test_a_folder_has_no_commit_to_compare(
    pushed: Finished, tiny_models: Callable[..., Path], home_hub: LoopbackHub
) -> None:
    with pytest.raises(RecipeError, match="is a folder here, which has none: leave it out"):
        asked(replace(RECIPE, model=str(tiny_models("llama"))))


def test_without_a_push_there_is_nothing_to_compare_with(home_hub: LoopbackHub) -> None:
    outcome = hf_prune(BASE, "--if-changed")
    assert outcome.code == 2
    assert "add --push" in outcome.error()
