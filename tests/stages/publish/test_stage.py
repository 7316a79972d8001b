"""Where a finished run goes, and what becomes of what is there."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hf_prune.commands.finished import read_finished, rebuild
from hf_prune.errors import (
    AccessDenied,
    BrokenSection,
    CollectionNotFound,
    PublishRefused,
    RecipeError,
)
from hf_prune.recipe.recipe import Publication
from hf_prune.records import Presentation
from hf_prune.stages.publish.stage import check_publication
from hf_prune.stages.run import Run
from hf_prune.stages.source.licence import terms_of
from tests.loopback import Fault, LoopbackHub
from tests.support.published_runs import (
    EXPORTS,
    OTHER_WEIGHTS,
    REPO_ID,
    SHARDS,
    annotate,
    assert_no_card_without_its_weights,
    assert_published,
    make_folder,
    published,
    repository,
    written_by_another,
)
from tests.support.sample_run import sample_run, sample_sorted_run
from tests.support.tool import bytes_of, hf_prune

COMMIT = "/commit/"
END = "<!-- hf-prune: end of yours -->"


def later_run() -> Run:
    """Another run of the same model, on the same held-out text."""
    run = sample_run(variants=("cut",))
    return replace(run, started="2026-12-01T08:00:00Z")


def card_on(hub: LoopbackHub, revision: str = "main", repo_id: str = REPO_ID) -> str:
    return hub.files(repo_id, revision)["README.md"].decode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "run")


# The same run again


def test_a_second_push_of_a_run_makes_no_commit_and_says_so(
    home_hub: LoopbackHub, folder: Path, tmp_path: Path
) -> None:
    first, messages = published(folder)
    assert not first.unchanged
    assert messages[0].startswith("publishing ")
    assert messages[0].endswith(f" kB to {REPO_ID}")
    commits = len(repository(home_hub).commits)
    again, messages = published(folder)
    assert again == replace(first, unchanged=True)
    assert messages == [f"{home_hub.url}/{REPO_ID} holds all of this already: nothing is published"]
    assert len(repository(home_hub).commits) == commits
    assert_published(home_hub, folder)


def test_the_command_line_tells_that_nothing_was_to_be_done(home_hub: LoopbackHub, folder: Path) -> None:
    assert hf_prune("push", str(folder)).code == 0
    again = hf_prune("push", str(folder), "--json")
    assert json.loads(again.out)["unchanged"] is True
    assert "holds all of this already: nothing is published" in again.err


def test_another_card_of_the_same_run_is_published_without_its_weights(
    home_hub: LoopbackHub, folder: Path, tmp_path: Path
) -> None:
    published(folder)
    home_hub.calls.clear()
    annotate(folder, "For the archive.")
    result, _ = published(folder)
    assert not result.unchanged
    assert home_hub.calls_to("PUT") == []
    assert "For the archive." in card_on(home_hub)
    assert "## Change against" not in card_on(home_hub)  # with itself it is not compared
    assert_no_card_without_its_weights(home_hub, tmp_path)


# A later run


def test_a_later_run_keeps_the_history_and_tells_the_change_against_the_version_before(
    home_hub: LoopbackHub, folder: Path, tmp_path: Path
) -> None:
    first, _ = published(folder)
    newer = make_folder(tmp_path / "newer", OTHER_WEIGHTS, later_run())
    second, _ = published(newer)
    found = repository(home_hub)
    assert [commit.oid for commit in found.history(found.find("main"))][:2] == [second.commit, first.commit]
    change = card_on(home_hub).split("\n## Change against the version before\n")[1].split("\n## ")[0]
    assert f"commit `{first.commit[:12]}` on {found.commits[first.commit].date[:10]}" in change
    rows = [row.replace("\N{NO-BREAK SPACE}", " ") for row in change.splitlines() if row.startswith("| P")]
    assert rows[1] == "| Perplexity, held-out text | 43.2 ± 1.2 | 61.2 ± 1.9 |"
    before = read_finished(newer).recorded.run.before
    assert before is not None
    assert (before.commit, before.layers) == (first.commit, 22)
    again, _ = published(newer)
    assert again.unchanged
    assert_published(home_hub, newer)
    assert_no_card_without_its_weights(home_hub, tmp_path)


def test_the_version_before_is_the_commit_that_published_it_whatever_was_edited_since(
    home_hub: LoopbackHub, folder: Path, tmp_path: Path
) -> None:
    first, _ = published(folder)
    written_by_another(home_hub, {"notes.txt": "mine"})
    newer = make_folder(tmp_path / "newer", OTHER_WEIGHTS, later_run())
    published(newer)
    before = read_finished(newer).recorded.run.before
    assert before is not None
    assert before.commit == first.commit


def test_elsewhere_a_run_replaces_nothing(home_hub: LoopbackHub, folder: Path, tmp_path: Path) -> None:
    published(folder)
    newer = make_folder(tmp_path / "newer", OTHER_WEIGHTS, later_run())
    published(newer)
    published(newer, repo_id="acme/new")
    assert "## Change against" not in card_on(home_hub, repo_id="acme/new")
    assert read_finished(newer).recorded.run.before is None


def test_a_record_that_cannot_be_read_is_told_of_and_no_hindrance(
    home_hub: LoopbackHub, folder: Path, tmp_path: Path
) -> None:
    published(folder)
    written_by_another(home_hub, {"hf_prune.json": '{"schema_version": 99}'})
    newer = make_folder(tmp_path / "newer", OTHER_WEIGHTS, later_run())
    published(newer)
    change = card_on(home_hub).split("\n## Change against the version before\n")[1].split("\n## ")[0]
    assert "Its record cannot be read by this version of hf-prune" in change
    assert "|" not in change
    assert str(tmp_path) not in change


def test_what_an_earlier_version_left_goes_and_what_others_added_stays(
    home_hub: LoopbackHub, tmp_path: Path
) -> None:
    published(make_folder(tmp_path / "first", SHARDS, **EXPORTS))
    written_by_another(home_hub, {"notes.txt": "mine", "plots/mine.png": "mine"})
    newer = make_folder(tmp_path / "newer", OTHER_WEIGHTS, later_run())
    (newer / "model" / "plots" / "similarity.png").unlink()
    published(newer)
    files = home_hub.files(REPO_ID)
    assert files.pop("notes.txt") == files.pop("plots/mine.png") == b"mine"
    del files[".gitattributes"]
    assert files == bytes_of(newer / "model")


def test_of_the_forms_of_an_earlier_version_those_that_are_made_again_stay(
    home_hub: LoopbackHub, tmp_path: Path
) -> None:
    published(make_folder(tmp_path / "first", **EXPORTS))
    again = {"model.gguf": b"of the new weights"}
    newer = make_folder(tmp_path / "newer", OTHER_WEIGHTS, later_run(), **again)
    published(newer)
    files = home_hub.files(REPO_ID)
    assert files["model.gguf"] == again["model.gguf"]
    assert not {"onnx/model.onnx", "onnx/model.onnx_data"} & files.keys()


def test_the_same_weights_leave_what_others_made_of_them(home_hub: LoopbackHub, folder: Path) -> None:
    published(folder)
    written_by_another(home_hub, {"model-Q4.gguf": "by somebody, from these weights"})
    again, _ = published(folder)
    assert again.unchanged
    assert "model-Q4.gguf" in home_hub.files(REPO_ID)


# Whose repository it is


@pytest.mark.parametrize("where", [{}, {"branch": "next"}, {"create_pr": True}])
def test_what_hf_prune_did_not_make_is_refused_on_every_way_there(
    home_hub: LoopbackHub, folder: Path, where: dict[str, object]
) -> None:
    home_hub.add_repository(REPO_ID, {"pytorch_model.bin": b"theirs", "notes.txt": b"theirs"})
    state = dict(repository(home_hub).references)
    with pytest.raises(PublishRefused, match="was not made by hf-prune"):
        published(folder, **where)
    assert repository(home_hub).references == state
    result, _ = published(folder, overwrite=True, **where)
    revision = "refs/pr/1" if "create_pr" in where else where.get("branch", "main")
    files = home_hub.files(REPO_ID, str(revision))
    assert files["notes.txt"] == b"theirs"
    assert "pytorch_model.bin" not in files
    assert files["model.safetensors"] == (folder / "model" / "model.safetensors").read_bytes()
    assert result.commit == repository(home_hub).find(str(revision)).oid


def test_what_becomes_foreign_after_the_first_look_is_not_overwritten(
    home_hub: LoopbackHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's repository appears while weights are sent to an empty one of that name."""
    todo = [lambda: written_by_another(home_hub, {"notes.txt": "theirs"})]
    monkeypatch.setattr("time.sleep", lambda seconds: todo.pop()())
    home_hub.inject(Fault(method="PUT", path="^/storage/", status=500))
    with pytest.raises(PublishRefused, match="was not made by hf-prune"):
        published(folder)
    assert home_hub.files(REPO_ID).keys() == {".gitattributes", "notes.txt"}


def test_a_repository_that_is_there_stays_as_open_as_it_is(home_hub: LoopbackHub, folder: Path) -> None:
    published(folder, private=False)
    assert not repository(home_hub).private
    again, messages = published(folder)
    assert again.private is False
    assert f"{REPO_ID} exists and is public: it stays so" in messages


# A branch


def test_a_branch_is_made_and_main_stays(home_hub: LoopbackHub, folder: Path, tmp_path: Path) -> None:
    first, _ = published(folder)
    newer = make_folder(tmp_path / "newer", OTHER_WEIGHTS, later_run())
    result, _ = published(newer, branch="next/v2")
    assert result.url == f"{home_hub.url}/{REPO_ID}/tree/next%2Fv2"
    assert repository(home_hub).find("main").oid == first.commit
    assert_published(home_hub, newer, "next/v2")
    assert "## Change against" in card_on(home_hub, "next/v2")
    assert published(newer, branch="next/v2")[0].unchanged
    assert_no_card_without_its_weights(home_hub, tmp_path)


def test_a_branch_of_a_new_repository_leaves_main_empty(home_hub: LoopbackHub, folder: Path) -> None:
    published(folder, branch="next")
    assert home_hub.files(REPO_ID).keys() == {".gitattributes"}
    assert_published(home_hub, folder, "next")


# A pull request


def test_a_run_has_one_pull_request_that_later_pushes_go_on_in(
    home_hub: LoopbackHub, folder: Path, tmp_path: Path
) -> None:
    first, _ = published(folder)
    newer = make_folder(tmp_path / "newer", OTHER_WEIGHTS, later_run())
    result, _ = published(newer, create_pr=True)
    assert result.pull_request == f"{home_hub.url}/{REPO_ID}/discussions/1"
    assert repository(home_hub).find("main").oid == first.commit
    assert_published(home_hub, newer, "refs/pr/1")
    again, messages = published(newer, create_pr=True)
    assert (again.unchanged, again.pull_request) == (True, result.pull_request)
    assert messages == [f"{result.pull_request} holds all of this already: nothing is published"]
    annotate(newer, "For the archive.")
    changed, _ = published(newer, create_pr=True)
    assert (changed.unchanged, changed.pull_request) == (False, result.pull_request)
    assert "For the archive." in card_on(home_hub, "refs/pr/1")
    assert list(repository(home_hub).discussions) == [1]
    assert_no_card_without_its_weights(home_hub, tmp_path)


def test_another_run_gets_a_pull_request_of_its_own(
    home_hub: LoopbackHub, folder: Path, tmp_path: Path
) -> None:
    published(folder, create_pr=True)
    result, _ = published(make_folder(tmp_path / "newer", OTHER_WEIGHTS, later_run()), create_pr=True)
    assert result.pull_request is not None
    assert result.pull_request.endswith("/discussions/2")
    assert home_hub.files(REPO_ID).keys() == {".gitattributes"}


def test_a_pull_request_that_was_merged_or_closed_is_not_gone_on_in(
    home_hub: LoopbackHub, folder: Path, tmp_path: Path
) -> None:
    published(folder, create_pr=True)
    HfApi().merge_pull_request(REPO_ID, 1)
    merged, _ = published(folder, create_pr=True)
    assert (merged.unchanged, merged.pull_request) == (True, None)  # main holds it
    newer = make_folder(tmp_path / "newer", OTHER_WEIGHTS, later_run())
    published(newer, create_pr=True)
    HfApi().change_discussion_status(REPO_ID, 2, "closed")
    result, _ = published(newer, create_pr=True)
    assert result.pull_request is not None
    assert result.pull_request.endswith("/discussions/3")


def test_a_pull_request_of_others_with_the_same_record_is_not_gone_on_in(
    home_hub: LoopbackHub, folder: Path
) -> None:
    result, _ = published(folder, create_pr=True)
    repository(home_hub).discussions[1].author = "stranger"
    again, _ = published(folder, create_pr=True)
    assert again.pull_request != result.pull_request


def test_a_lost_answer_opens_no_second_pull_request(
    home_hub: LoopbackHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    home_hub.inject(Fault(method="POST", path=COMMIT, cut_response_at=0))
    result, _ = published(folder, create_pr=True)
    assert result.pull_request is not None
    assert list(repository(home_hub).discussions) == [1]
    assert_published(home_hub, folder, "refs/pr/1")


def test_the_command_line_gives_the_address_of_the_pull_request(home_hub: LoopbackHub, folder: Path) -> None:
    outcome = hf_prune("push", str(folder), "--create-pr")
    assert outcome.out == f"{home_hub.url}/{REPO_ID}/discussions/1\n"


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"create_pr": True, "branch": "next"}, "opens no pull request against next"),
        ({"branch": "refs/pr/1/"}, "cannot be the name of a branch"),
        ({"branch": "a b"}, "cannot be the name of a branch"),
        ({"branch": "a..b"}, "cannot be the name of a branch"),
    ],
)
def test_a_destination_that_cannot_be_is_refused_before_the_hub_is_asked(
    home_hub: LoopbackHub, where: dict[str, object], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        check_publication(Publication(**where), "name", terms_of(None))
    assert home_hub.calls == []


# A collection


def test_the_result_is_put_into_a_collection_once(home_hub: LoopbackHub, folder: Path) -> None:
    home_hub.collections["tester/small-64f9"] = []
    published(folder, collection="tester/small-64f9")
    again, _ = published(folder, collection="tester/small-64f9")
    assert again.unchanged
    assert home_hub.collections["tester/small-64f9"] == [{"id": REPO_ID, "type": "model"}]


def test_a_collection_that_is_not_there_is_found_out_before_anything_is_sent(
    home_hub: LoopbackHub, folder: Path
) -> None:
    with pytest.raises(CollectionNotFound, match="there is no collection tester/typo"):
        published(folder, collection="tester/typo")
    assert home_hub.repositories == {}


def test_a_collection_of_others_is_told_apart_from_the_model(home_hub: LoopbackHub, folder: Path) -> None:
    home_hub.collections["meta/small-64f9"] = []
    with pytest.raises(AccessDenied, match="the collection meta/small-64f9"):
        published(folder, collection="meta/small-64f9")


# Sections of the user's own


def with_text(card: str, text: str) -> str:
    """A card whose last pair of marks holds a text."""
    return card.replace(END, f"{text}\n{END}")


def test_what_a_user_writes_on_the_hub_survives_every_push(
    home_hub: LoopbackHub, folder: Path, tmp_path: Path
) -> None:
    published(folder)
    named = f"## Evaluation\n\n<!-- hf-prune: yours, ours -->\nTried on 12 poems.\n{END}\n"
    edited = with_text(card_on(home_hub), "Call us.").replace("## Evaluation\n", named)
    written_by_another(home_hub, {"README.md": edited})
    assert published(folder)[0].unchanged
    newer = make_folder(tmp_path / "newer", OTHER_WEIGHTS, later_run())
    published(newer)
    card = card_on(home_hub)
    assert named in card
    assert card.endswith(f"<!-- hf-prune: yours -->\nCall us.\n{END}\n")
    assert "61.2" in card
    assert "Call us." not in (newer / "model" / "README.md").read_text()


@pytest.mark.slow  # all pictures are drawn
def test_what_its_user_wrote_and_what_it_replaced_is_named_as_not_verified(
    home_hub: LoopbackHub, folder: Path, tmp_path: Path
) -> None:
    published(folder)
    newer = make_folder(tmp_path / "newer", OTHER_WEIGHTS, later_run())
    published(newer)
    card = newer / "model" / "README.md"
    card.write_text(with_text(card.read_text(), "It scores 99.9 % everywhere."))
    outcome = hf_prune("verify", str(newer), "--no-measure", "--json")
    claims = {claim["name"]: claim["holds"] for claim in json.loads(outcome.out)["claims"]}
    assert claims["version before"] is claims["its author's own sections"] is None
    assert claims["figures on the card"] is not False


def test_what_a_user_writes_into_the_run_folder_is_published_and_survives_a_new_card(
    home_hub: LoopbackHub, folder: Path
) -> None:
    card = folder / "model" / "README.md"
    card.write_text(with_text(card.read_text(), "Call us."))
    annotate(folder, "For the archive.")
    assert "Call us." in card.read_text()
    assert "For the archive." in card.read_text()
    published(folder)
    assert "Call us." in card_on(home_hub)
    assert published(folder)[0].unchanged


def test_where_both_say_something_the_hub_wins_and_the_user_is_told(
    home_hub: LoopbackHub, folder: Path
) -> None:
    published(folder)
    written_by_another(home_hub, {"README.md": with_text(card_on(home_hub), "On the Hub.")})
    card = folder / "model" / "README.md"
    card.write_text(with_text(card.read_text(), "In the folder."))
    result, messages = published(folder)
    assert result.unchanged
    assert "the card on the Hub has another text of yours in its last section, which stays" in messages[0]
    assert "In the folder." in card.read_text()


def test_a_broken_mark_stops_before_anything_is_written(home_hub: LoopbackHub, folder: Path) -> None:
    published(folder)
    written_by_another(home_hub, {"README.md": card_on(home_hub).replace(END, "Precious.")})
    before = bytes_of(folder), home_hub.files(REPO_ID)
    with pytest.raises(BrokenSection, match=r"the card of tester/.* a section begins that does not end"):
        published(folder)
    assert (bytes_of(folder), home_hub.files(REPO_ID)) == before


def test_a_broken_mark_in_the_run_folder_stops_a_new_card_and_a_run(folder: Path) -> None:
    card = folder / "model" / "README.md"
    card.write_text(card.read_text().replace(END, "Precious."))
    before = bytes_of(folder)
    with pytest.raises(BrokenSection, match=r"README\.md, line \d+: a section begins that does not end"):
        rebuild(read_finished(folder), Presentation(notes="New."))
    assert bytes_of(folder) == before


# Depths


@pytest.fixture
def sorted_folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "sorted", run=sample_sorted_run())


SORTED = f"tester/{sample_sorted_run().name}"


def test_each_depth_goes_to_its_branch_before_main_tells_of_it(
    home_hub: LoopbackHub, sorted_folder: Path, tmp_path: Path
) -> None:
    published(sorted_folder)
    depths = sorted(path.name for path in (sorted_folder / "depths").iterdir())
    for name in depths:
        files = home_hub.files(SORTED, name)
        del files[".gitattributes"]
        assert files == bytes_of(sorted_folder / "depths" / name)
    commits = [call.path.rsplit("/", 1)[1] for call in home_hub.calls_to("POST", COMMIT)]
    assert sorted(commits[:-1]) == depths
    assert commits[-1] == "main"
    assert_no_card_without_its_weights(home_hub, tmp_path, SORTED)
    again, messages = published(sorted_folder)
    assert again.unchanged
    assert len(messages) == len(depths) + 1


def test_of_an_interrupted_push_the_depths_that_are_there_are_not_sent_again(
    home_hub: LoopbackHub, sorted_folder: Path, tmp_path: Path
) -> None:
    home_hub.inject(Fault(method="POST", path="/commit/main$", status=401))
    with pytest.raises(AccessDenied):
        published(sorted_folder)
    home_hub.calls.clear()
    result, _ = published(sorted_folder)
    assert not result.unchanged
    assert [call.path.rsplit("/", 1)[1] for call in home_hub.calls_to("POST", COMMIT)] == ["main"]
    assert_no_card_without_its_weights(home_hub, tmp_path, SORTED)


def test_what_a_user_writes_about_a_depth_stays_there_and_what_is_on_main_does_not_come(
    home_hub: LoopbackHub, sorted_folder: Path
) -> None:
    published(sorted_folder)
    name = sorted(path.name for path in (sorted_folder / "depths").iterdir())[0]
    found = repository(home_hub, SORTED)
    for revision, text in ((name, "About a depth."), ("main", "About all.")):
        head = found.find(revision)
        blob = type(head.files["README.md"]).regular(
            with_text(card_on(home_hub, revision, SORTED), text).encode()
        )
        commit = found.add_commit(head.oid, {**head.files, "README.md": blob}, "theirs")
        found.references[f"refs/heads/{revision}"] = commit.oid
    rest = [ref for ref in found.references if ref.startswith("refs/heads/depth-") and not ref.endswith(name)]
    del found.references[rest[0]]
    published(sorted_folder)
    assert "About a depth." in card_on(home_hub, name, SORTED)
    assert "About all." in card_on(home_hub, "main", SORTED)
    assert "About all." not in card_on(home_hub, rest[0], SORTED)


def test_a_sorted_model_is_not_proposed(home_hub: LoopbackHub, sorted_folder: Path) -> None:
    with pytest.raises(RecipeError, match="each depth of a sorted one goes to a branch of its own"):
        published(sorted_folder, create_pr=True)
