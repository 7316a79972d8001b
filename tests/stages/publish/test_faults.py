"""Publishing while things go wrong: the repository ends right, and never shows a card without its weights.

huggingface_hub waits a second and more between its own attempts; here the clock's sleep does something else.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from hf_prune.commands.finished import read_finished
from hf_prune.errors import AccessDenied, HubUnreachable, RepositoryChanged, UploadDiffers
from hf_prune.recipe.recipe import Publication
from hf_prune.records import Published
from hf_prune.stages.publish.stage import publish
from hf_prune.stages.run import Run
from hf_prune.stages.work import RunFolder
from tests.loopback import Fault, LoopbackHub
from tests.support.published_runs import (
    EXPORTS,
    OTHER_WEIGHTS,
    REPO_ID,
    SHARDS,
    Messages,
    assert_no_card_without_its_weights,
    assert_published,
    make_folder,
    published,
    repository,
    written_by_another,
)

STORAGE = "^/storage/"
COMMIT = "/commit/"


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another test downloaded from a commit of the same content would not be asked for."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "run", {**SHARDS}, **EXPORTS)


@pytest.fixture
def on_sleep(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """What happens, each once, when huggingface_hub waits; it does not sleep."""
    todo: list[Callable[[], object]] = []
    monkeypatch.setattr(time, "sleep", lambda seconds: todo.pop(0)() if todo else None)
    return todo


def pushed(folder: Path, messages: Messages | None = None, **where: object) -> tuple[Run, Published]:
    """Publish a run, and wait for nothing."""
    messages = messages or Messages()
    run = read_finished(folder).recorded.run
    publication, sleep = Publication(**where), messages.waits.append
    return publish(run, RunFolder(folder), REPO_ID, publication, messages.reporter, sleep)


@pytest.mark.parametrize(
    "faults",
    [
        [Fault(method="PUT", path=STORAGE, cut_request_at=0.3)],
        [Fault(method="PUT", path=STORAGE, status=429, headers={"Retry-After": "0"})],
        [Fault(method="PUT", path=STORAGE, status=500, times=2)],
        [Fault(method="POST", path="/preupload/", status=503, times=2)],
        [Fault(method="POST", path="/objects/batch$", status=500, times=2)],
        [Fault(method="POST", path="/repos/create$", status=500, times=2)],
        [Fault(method="POST", path="/repos/create$", cut_response_at=0)],
        [Fault(method="GET", path="^/api/models/", status=500, times=2)],
        [Fault(method="POST", path="validate-yaml$", status=503)],
        [Fault(method="POST", path=COMMIT, status=429, headers={"Retry-After": "0"})],
        [Fault(method="POST", path=COMMIT, status=500, times=2)],
        [Fault(method="POST", path=COMMIT, cut_request_at=0.3)],
        [Fault(method="POST", path=COMMIT, cut_response_at=0)],
    ],
    ids=lambda faults: f"{faults[0].path} {faults[0].status or 'cut'}",
)
@pytest.mark.usefixtures("on_sleep")
def test_a_hitch_anywhere_is_got_over_in_one_push(
    home_hub: LoopbackHub, folder: Path, tmp_path: Path, faults: list[Fault]
) -> None:
    home_hub.inject(*faults)
    _, result = pushed(folder)
    assert not result.unchanged
    assert_published(home_hub, folder)
    found = repository(home_hub)
    assert found.find("main").oid == result.commit
    assert len(found.commits) == 2  # the Hub's own, and ours: an answer that was lost makes no second
    assert_no_card_without_its_weights(home_hub, tmp_path)


def test_the_hub_is_given_the_time_that_it_asks_for_and_the_user_told(
    home_hub: LoopbackHub, folder: Path
) -> None:
    limited = {"ratelimit": '"api";r=0;t=55'}
    home_hub.inject(
        Fault(method="POST", path=COMMIT, status=429, headers={"Retry-After": "7"}),
        Fault(method="POST", path=COMMIT, status=429, headers=limited),
        Fault(method="POST", path=COMMIT, status=500),
    )
    messages = Messages()
    pushed(folder, messages)
    assert messages.waits == [7, 55, 4]
    assert "the Hub does not answer as it should: trying again in 55 s" in messages.lines
    assert_published(home_hub, folder)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(method="GET", path="/resolve/", status=500, times=2),
        Fault(method="POST", path="/paths-info/", status=503, times=2),
        Fault(method="POST", path="/branch/", status=503, times=2),
        Fault(method="GET", path="/discussions", status=503, times=2),
        Fault(method="POST", path="/items$", status=503, times=2),
    ],
    ids=lambda fault: fault.path,
)
@pytest.mark.usefixtures("on_sleep")
def test_a_hitch_in_an_update_is_got_over(home_hub: LoopbackHub, folder: Path, fault: Fault) -> None:
    home_hub.collections["tester/small"] = []
    pushed(folder)
    newer = make_folder(folder.parent / "newer", OTHER_WEIGHTS)
    home_hub.inject(fault)
    where = {"branch": "next"} if "branch" in fault.path else {"create_pr": True}
    _, result = pushed(newer, **where, collection="tester/small")
    assert not result.unchanged
    assert home_hub.pending_faults == ()


def test_a_token_without_a_name_proposes_all_the_same(home_hub: LoopbackHub, folder: Path) -> None:
    home_hub.inject(Fault(method="GET", path="/whoami", status=403, times=2))
    _, result = pushed(folder, create_pr=True)
    assert result.pull_request == f"{home_hub.url}/{REPO_ID}/discussions/1"
    assert_published(home_hub, folder, "refs/pr/1")


def test_a_hub_that_stays_away_is_given_up_and_the_same_push_ends_well_later(
    home_hub: LoopbackHub, folder: Path, tmp_path: Path
) -> None:
    messages = Messages()
    home_hub.inject(Fault(method="POST", path=COMMIT, status=500, times=6))
    with pytest.raises(HubUnreachable, match="finished stages are kept"):
        pushed(folder, messages)
    assert messages.waits == [1, 2, 4, 8, 16]
    home_hub.inject(Fault(method="POST", path=COMMIT, status=429, headers={"Retry-After": "7200"}))
    with pytest.raises(HubUnreachable, match="asks to slow down"):  # nobody sits through two hours
        pushed(folder, messages)
    assert len(messages.waits) == 5
    home_hub.calls.clear()
    pushed(folder)
    assert home_hub.calls_to("PUT") == []
    assert_published(home_hub, folder)
    assert_no_card_without_its_weights(home_hub, tmp_path)


def test_a_token_that_is_revoked_halfway_stops_with_the_reason_and_a_new_one_goes_on(
    home_hub: LoopbackHub, folder: Path, tmp_path: Path, on_sleep: list[Callable[[], object]]
) -> None:
    token = home_hub.tokens["hf_test"]
    on_sleep.append(lambda: home_hub.tokens.pop("hf_test"))
    home_hub.inject(Fault(method="PUT", path=STORAGE, status=500))
    try:
        with pytest.raises(AccessDenied, match="Invalid credentials"):
            pushed(folder)
    finally:
        home_hub.tokens["hf_test"] = token
    assert "README.md" not in home_hub.files(REPO_ID)
    stored = len(home_hub.objects)
    home_hub.calls.clear()
    pushed(folder)
    assert len(home_hub.calls_to("PUT", STORAGE)) == len(home_hub.objects) - stored
    assert_published(home_hub, folder)
    assert_no_card_without_its_weights(home_hub, tmp_path)


def test_killed_while_weights_are_sent_the_same_command_ends_with_the_right_repository(
    home_hub: LoopbackHub, folder: Path, tmp_path: Path
) -> None:
    home_hub.inject(Fault(method="PUT", path=STORAGE, hold_request_at=0.3))
    command = [sys.executable, "-m", "hf_prune", "push", str(folder), "--repo-id", REPO_ID]
    with subprocess.Popen(command, env=os.environ, stderr=subprocess.PIPE, text=True) as process:
        assert home_hub.holding.wait(timeout=120), process.communicate()
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert "README.md" not in home_hub.files(REPO_ID)
    published(folder, repo_id=REPO_ID)
    assert_published(home_hub, folder)
    assert_no_card_without_its_weights(home_hub, tmp_path)


def test_an_update_that_fails_at_its_commit_leaves_the_version_before_whole(
    home_hub: LoopbackHub, folder: Path, tmp_path: Path
) -> None:
    pushed(folder)
    before = home_hub.files(REPO_ID)
    newer = make_folder(tmp_path / "newer", OTHER_WEIGHTS)
    home_hub.inject(Fault(method="POST", path=COMMIT, status=401))
    with pytest.raises(AccessDenied):
        pushed(newer)
    assert home_hub.files(REPO_ID) == before
    pushed(newer)
    assert_published(home_hub, newer)  # of the shards, the exports and their index nothing is left
    assert_no_card_without_its_weights(home_hub, tmp_path)


# Others who write at the same time


def test_a_commit_that_comes_first_is_not_overwritten(home_hub: LoopbackHub, folder: Path) -> None:
    pushed(folder)
    newer = make_folder(folder.parent / "newer", OTHER_WEIGHTS)
    home_hub.inject(Fault(method="POST", path=COMMIT, status=503))
    messages = Messages()
    messages.waits = Overtaken(lambda: written_by_another(home_hub, {"notes.txt": "theirs"}))
    with pytest.raises(RepositoryChanged, match=r"was changed by somebody else.*nothing was overwritten"):
        pushed(newer, messages)
    assert home_hub.files(REPO_ID)["notes.txt"] == b"theirs"
    pushed(newer)
    assert home_hub.files(REPO_ID)["notes.txt"] == b"theirs"
    assert home_hub.files(REPO_ID)["model.safetensors"] == OTHER_WEIGHTS["model.safetensors"]


class Overtaken(list[float]):
    """Waits in which somebody else does something."""

    def __init__(self, theirs: Callable[[], object]) -> None:
        super().__init__()
        self.theirs = theirs

    def append(self, seconds: float) -> None:
        super().append(seconds)
        self.theirs()


def test_what_changes_while_weights_are_sent_is_looked_at_again_before_the_commit(
    home_hub: LoopbackHub, folder: Path, on_sleep: list[Callable[[], object]]
) -> None:
    pushed(folder)
    card = home_hub.files(REPO_ID)["README.md"].decode()
    written = card.replace("yours -->\n<!--", "yours -->\nMine.\n<!--")
    on_sleep.append(lambda: written_by_another(home_hub, {"README.md": written}))
    newer = make_folder(folder.parent / "newer", OTHER_WEIGHTS)
    home_hub.inject(Fault(method="PUT", path=STORAGE, status=500))
    pushed(newer)
    found = repository(home_hub)
    ours, theirs, *_ = found.history(found.find("main"))
    assert theirs.title == "theirs"
    assert "\nMine.\n" in ours.files["README.md"].data.decode()


def test_a_file_that_arrives_as_another_is_named(home_hub: LoopbackHub, folder: Path) -> None:
    home_hub.inject(Fault(method="POST", path=COMMIT, garbled=(b'"e30="', b'"W10="')))  # {} as []
    with pytest.raises(UploadDiffers, match=r"does not hold what was sent: config\.json differs"):
        pushed(folder)
    pushed(folder)
    assert_published(home_hub, folder)


def test_a_shard_in_the_place_of_another_is_named(home_hub: LoopbackHub, folder: Path) -> None:
    first, second = (sha256(data).hexdigest().encode() for data in list(SHARDS.values())[:2])
    home_hub.inject(Fault(method="POST", path=COMMIT, garbled=(second, first)))
    with pytest.raises(UploadDiffers, match=r"model-00002-of-00002\.safetensors differs"):
        pushed(folder)


def test_a_broken_connection_costs_only_the_file_that_it_broke(
    home_hub: LoopbackHub, folder: Path, on_sleep: list[Callable[[], object]]
) -> None:
    home_hub.inject(Fault(method="PUT", path=STORAGE, cut_request_at=0.3))
    pushed(folder)
    sent = [call.path for call in home_hub.calls_to("PUT", STORAGE) if call.status == 200]
    assert len(sent) == len(set(sent)) == len(home_hub.objects)
    home_hub.calls.clear()
    shutil.copytree(folder, folder.parent / "copy")
    _, again = pushed(folder.parent / "copy")
    assert again.unchanged
    assert home_hub.calls_to("PUT") == home_hub.calls_to("POST", COMMIT) == []
