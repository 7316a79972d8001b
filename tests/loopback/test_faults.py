"""The effects of an injected fault on a plain client and on huggingface_hub.

The second half pins down how huggingface_hub 2.4 behaves when things go wrong: what it retries,
what reaches the caller, and what a second attempt finds. Each retry of the client costs a second.
"""

import http.client
import json
import random
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from tests.loopback import Fault, LoopbackHub

REPO_ID = "tester/pruned"
STORAGE = "^/storage/"
COMMIT = "/commit/main$"
WEIGHTS = random.Random(0).randbytes(1 << 20)


@pytest.fixture
def api(hub: LoopbackHub) -> HfApi:
    """A client whose token may write."""
    return HfApi(endpoint=hub.url, token="hf_test")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small model to upload."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def empty(hub: LoopbackHub) -> dict[str, bytes]:
    """The files of the repository that exists before anything is uploaded to it."""
    hub.add_repository(REPO_ID, {})
    return hub.files(REPO_ID)


def request(
    hub: LoopbackHub, method: str, path: str, body: bytes = b""
) -> tuple[http.client.HTTPResponse, bytes]:
    """One request of a client that retries nothing."""
    connection = http.client.HTTPConnection(urlsplit(hub.url).netloc, timeout=10)
    try:
        connection.request(method, path, body, {"Authorization": "Bearer hf_test"})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def assert_uploaded(hub: LoopbackHub, folder: Path) -> None:
    """The repository holds the folder, and every injected fault has happened."""
    files = hub.files(REPO_ID)
    for path in folder.iterdir():
        assert files[path.name] == path.read_bytes()
    assert hub.pending_faults == ()


# A plain client


def test_a_status_is_answered_with_its_headers_and_only_once(hub: LoopbackHub) -> None:
    fault = Fault(method="GET", path="whoami", status=429, headers={"Retry-After": "7"})
    hub.inject(fault)
    response, _ = request(hub, "GET", "/api/whoami-v2")
    assert (response.status, response.headers["Retry-After"]) == (429, "7")
    response, _ = request(hub, "GET", "/api/whoami-v2")
    assert response.status == 200
    assert [(call.status, call.fault) for call in hub.calls] == [(429, fault), (200, None)]


def test_a_fault_waits_for_the_request_it_is_meant_for(hub: LoopbackHub) -> None:
    fault = Fault(method="GET", path="/api/whoami", status=500)
    hub.inject(fault)
    assert request(hub, "HEAD", "/api/whoami-v2")[0].status == 200
    assert request(hub, "GET", "/api/agent-harnesses")[0].status == 200
    assert fault in hub.pending_faults
    assert request(hub, "GET", "/api/whoami-v2")[0].status == 500
    assert not hub.pending_faults


def test_faults_are_used_up_in_the_order_they_were_injected(hub: LoopbackHub) -> None:
    hub.inject(
        Fault(method="GET", path="whoami", status=503, times=2),
        Fault(method="GET", path="whoami", status=401),
    )
    statuses = [request(hub, "GET", "/api/whoami-v2")[0].status for _ in range(4)]
    assert statuses == [503, 503, 401, 200]


def test_a_status_keeps_the_route_from_running(hub: LoopbackHub) -> None:
    hub.inject(Fault(method="POST", path="/create$", status=503))
    body = json.dumps({"name": "pruned"}).encode()
    assert request(hub, "POST", "/api/repos/create", body)[0].status == 503
    assert hub.repositories == {}


@pytest.mark.parametrize(("place", "sent"), [(0.5, 50), (0, 0), (10, 10), (99, 99)])
def test_a_response_is_cut(hub: LoopbackHub, place: int | float, sent: int) -> None:
    hub.add_repository(REPO_ID, {"text.txt": bytes(range(100))})
    hub.inject(Fault(method="GET", path="/resolve/", cut_response_at=place))
    with pytest.raises(http.client.IncompleteRead) as caught:
        request(hub, "GET", f"/{REPO_ID}/resolve/main/text.txt")
    assert caught.value.partial == bytes(range(sent))
    assert hub.calls[0].sent == sent
    assert request(hub, "GET", f"/{REPO_ID}/resolve/main/text.txt")[1] == bytes(range(100))


def test_an_answer_can_be_lost_after_the_route_has_run(hub: LoopbackHub) -> None:
    hub.inject(Fault(method="POST", path="/create$", cut_response_at=0))
    with pytest.raises(http.client.IncompleteRead):
        request(hub, "POST", "/api/repos/create", json.dumps({"name": "pruned"}).encode())
    assert list(hub.repositories) == [("model", REPO_ID)]


@pytest.mark.parametrize(("place", "received"), [(0.3, 314572), (0, 0), (1000, 1000)])
def test_a_request_is_cut(hub: LoopbackHub, place: int | float, received: int) -> None:
    hub.inject(Fault(method="PUT", path=STORAGE, cut_request_at=place))
    with pytest.raises(ConnectionError):
        request(hub, "PUT", f"/storage/{'0' * 64}", WEIGHTS)
    assert [(call.received, call.status) for call in hub.calls] == [(received, None)]
    assert hub.objects == {}


def test_a_cut_that_would_leave_everything_whole_is_a_mistake() -> None:
    with LoopbackHub() as hub:
        hub.inject(Fault(method="GET", path="whoami", cut_response_at=1 << 20))
        with pytest.raises(ConnectionError):
            request(hub, "GET", "/api/whoami-v2")
    assert len(hub.crashes) == 1
    assert "leaves a body of" in hub.crashes[0]


@pytest.mark.parametrize(
    "effects",
    [
        {},
        {"status": 500, "cut_request_at": 0.5},
        {"cut_response_at": 0.5, "headers": {"Retry-After": "0"}},
        {"status": 500, "times": 0},
        {"cut_response_at": 1.0},
        {"hold_request_at": -1},
        {"status": 500, "garbled": (b"a", b"b")},
        {"cut_request_at": -1},
    ],
)
def test_a_fault_without_a_single_effect_is_refused(effects: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"fault|headers|bytes"):
        Fault(method="GET", **effects)


def test_a_client_that_leaves_halfway_commits_nothing(hub: LoopbackHub, empty: dict[str, bytes]) -> None:
    lines = [
        {"key": "header", "value": {"summary": "half"}},
        {"key": "file", "value": {"path": "a.txt", "content": "aGk=", "encoding": "base64"}},
        {"key": "file", "value": {"path": "b.txt", "content": "aGk=", "encoding": "base64"}},
    ]
    first, second, third = (json.dumps(line).encode() + b"\n" for line in lines)
    head = (
        f"POST /api/models/{REPO_ID}/commit/main HTTP/1.1\r\nAuthorization: Bearer hf_test\r\n"
        f"Content-Length: {len(first + second + third)}\r\n\r\n"
    )
    address = urlsplit(hub.url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(head.encode() + first + second)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1000) == b""
    assert hub.files(REPO_ID) == empty


def test_a_held_request_ends_with_its_client(hub: LoopbackHub) -> None:
    hub.inject(Fault(method="PUT", path=STORAGE, hold_request_at=0.3))
    address = urlsplit(hub.url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        head = f"PUT /storage/{'0' * 64} HTTP/1.1\r\nContent-Length: {len(WEIGHTS)}\r\n\r\n"
        connection.sendall(head.encode() + WEIGHTS[: len(WEIGHTS) // 2])
        assert hub.holding.wait(timeout=10)
    assert [(call.received, call.status) for call in hub.calls] == [(314572, None)]
    assert request(hub, "GET", "/api/whoami-v2")[0].status == 200
    assert hub.objects == {}


def test_a_garbled_request_arrives_changed(hub: LoopbackHub) -> None:
    hub.inject(Fault(method="POST", path="/create$", garbled=(b"pruned", b"others")))
    request(hub, "POST", "/api/repos/create", json.dumps({"name": "pruned"}).encode())
    assert list(hub.repositories) == [("model", "tester/others")]


# huggingface_hub, uploading


@pytest.mark.parametrize(
    "fault",
    [
        Fault(method="PUT", path=STORAGE, status=429, headers={"Retry-After": "0"}),
        Fault(method="PUT", path=STORAGE, status=500),
        Fault(method="PUT", path=STORAGE, cut_request_at=0.3),
        Fault(method="POST", path="/preupload/", status=503),
        Fault(method="POST", path="/objects/batch$", status=503),
    ],
    ids=["429", "500", "cut", "preupload", "batch"],
)
def test_everything_before_the_commit_is_retried(
    hub: LoopbackHub, api: HfApi, empty: dict[str, bytes], folder: Path, fault: Fault
) -> None:
    hub.inject(fault)
    api.upload_folder(repo_id=REPO_ID, folder_path=folder)
    assert_uploaded(hub, folder)
    statuses = [call.status for call in hub.calls_to(fault.method, fault.path)]
    assert statuses == [fault.status, 200]


def test_an_upload_that_fails_after_a_cut_leaves_no_trace_and_can_be_repeated(
    hub: LoopbackHub, api: HfApi, empty: dict[str, bytes], folder: Path
) -> None:
    hub.inject(
        Fault(method="PUT", path=STORAGE, cut_request_at=0.3),
        Fault(method="PUT", path=STORAGE, status=401),
    )
    # Not an HfHubHTTPError: that one is only the cause.
    with pytest.raises(RuntimeError, match=r"Error while uploading 'model\.safetensors'") as caught:
        api.upload_folder(repo_id=REPO_ID, folder_path=folder)
    assert isinstance(caught.value.__cause__, HfHubHTTPError)
    assert hub.files(REPO_ID) == empty
    api.upload_folder(repo_id=REPO_ID, folder_path=folder)
    assert_uploaded(hub, folder)


def test_a_second_upload_sends_only_the_weights_that_are_missing(
    hub: LoopbackHub, api: HfApi, empty: dict[str, bytes], folder: Path
) -> None:
    for number in range(4):
        (folder / f"shard-{number}.safetensors").write_bytes(bytes([number]) * 5000)
    hub.inject(Fault(method="PUT", path=STORAGE, status=401))
    with pytest.raises(RuntimeError, match="Error while uploading"):
        api.upload_folder(repo_id=REPO_ID, folder_path=folder)
    assert hub.files(REPO_ID) == empty
    stored = len(hub.objects)
    hub.calls.clear()
    api.upload_folder(repo_id=REPO_ID, folder_path=folder)
    assert len(hub.calls_to("PUT", STORAGE)) == 5 - stored
    assert_uploaded(hub, folder)


@pytest.mark.parametrize("status", [401, 429, 500, 503])
def test_a_refused_commit_is_not_retried(
    hub: LoopbackHub, api: HfApi, empty: dict[str, bytes], folder: Path, status: int
) -> None:
    hub.inject(Fault(method="POST", path=COMMIT, status=status, headers={"Retry-After": "0"}))
    with pytest.raises(HfHubHTTPError) as caught:
        api.upload_folder(repo_id=REPO_ID, folder_path=folder)
    assert caught.value.response.status_code == status
    assert hub.files(REPO_ID) == empty
    hub.calls.clear()
    api.upload_folder(repo_id=REPO_ID, folder_path=folder)
    assert hub.calls_to("PUT", STORAGE) == []  # the weights were there already
    assert_uploaded(hub, folder)


def test_a_commit_that_does_not_arrive_whole_is_no_commit(
    hub: LoopbackHub, api: HfApi, empty: dict[str, bytes], folder: Path
) -> None:
    hub.inject(Fault(method="POST", path=COMMIT, cut_request_at=0.5))
    # No class of huggingface_hub: the exception of its HTTP client.
    with pytest.raises(httpx2.TransportError):
        api.upload_folder(repo_id=REPO_ID, folder_path=folder)
    assert hub.files(REPO_ID) == empty
    api.upload_folder(repo_id=REPO_ID, folder_path=folder)
    assert_uploaded(hub, folder)


def test_a_commit_whose_answer_is_lost_is_made_and_not_made_twice(
    hub: LoopbackHub, api: HfApi, empty: dict[str, bytes], folder: Path
) -> None:
    hub.inject(Fault(method="POST", path=COMMIT, cut_response_at=0))
    with pytest.raises(httpx2.RemoteProtocolError):
        api.upload_folder(repo_id=REPO_ID, folder_path=folder)
    made = api.list_repo_commits(REPO_ID)
    assert_uploaded(hub, folder)
    again = api.upload_folder(repo_id=REPO_ID, folder_path=folder)
    assert again.oid == made[0].commit_id
    assert len(api.list_repo_commits(REPO_ID)) == len(made)


# huggingface_hub, downloading


def test_a_large_download_resumes_by_range_within_one_call(
    hub: LoopbackHub, api: HfApi, tmp_path: Path
) -> None:
    chunk = constants.DOWNLOAD_CHUNK_SIZE
    data = random.Random(1).randbytes(2 * chunk + 5000)
    hub.add_repository(REPO_ID, {"model.safetensors": data})
    hub.inject(Fault(method="GET", path=STORAGE, cut_response_at=chunk + 1000))
    local = api.hf_hub_download(REPO_ID, "model.safetensors", cache_dir=tmp_path)
    assert Path(local).read_bytes() == data
    # What came of the chunk that was not whole is fetched again.
    ranges = [call.byte_range for call in hub.calls_to("GET", STORAGE)]
    assert ranges == [None, f"bytes={chunk}-"]


def test_a_small_download_starts_over_within_one_call(hub: LoopbackHub, api: HfApi, tmp_path: Path) -> None:
    hub.add_repository(REPO_ID, {"model.safetensors": WEIGHTS})
    hub.inject(Fault(method="GET", path=STORAGE, cut_response_at=0.5))
    local = api.hf_hub_download(REPO_ID, "model.safetensors", cache_dir=tmp_path)
    assert Path(local).read_bytes() == WEIGHTS
    calls = hub.calls_to("GET", STORAGE)
    assert [(call.byte_range, call.sent) for call in calls] == [(None, 1 << 19), (None, 1 << 20)]


def test_a_download_that_fails_keeps_nothing_and_can_be_repeated(
    hub: LoopbackHub, api: HfApi, tmp_path: Path
) -> None:
    hub.add_repository(REPO_ID, {"model.safetensors": WEIGHTS})
    hub.inject(
        Fault(method="GET", path=STORAGE, cut_response_at=0.5),
        Fault(method="GET", path=STORAGE, status=500),
    )
    with pytest.raises(HfHubHTTPError):  # only 408 and 429 are retried here
        api.hf_hub_download(REPO_ID, "model.safetensors", cache_dir=tmp_path)
    assert list(tmp_path.rglob("*.incomplete")) == []
    local = api.hf_hub_download(REPO_ID, "model.safetensors", cache_dir=tmp_path)
    assert Path(local).read_bytes() == WEIGHTS
    # A second call begins at the first byte: there is no resuming from one call to the next.
    assert [call.byte_range for call in hub.calls_to("GET", STORAGE)] == [None, None, None]


def test_a_rate_limit_is_waited_out_while_downloading(hub: LoopbackHub, api: HfApi, tmp_path: Path) -> None:
    hub.add_repository(REPO_ID, {"model.safetensors": WEIGHTS})
    hub.inject(Fault(method="GET", path=STORAGE, status=429, headers={"Retry-After": "0"}))
    local = api.hf_hub_download(REPO_ID, "model.safetensors", cache_dir=tmp_path)
    assert Path(local).read_bytes() == WEIGHTS


def test_a_snapshot_hides_an_error_of_the_hub_behind_a_missing_entry(
    hub: LoopbackHub, api: HfApi, tmp_path: Path
) -> None:
    hub.add_repository(REPO_ID, {"config.json": b"{}"})
    hub.inject(Fault(method="GET", path="/revision/main$", status=503))
    with pytest.raises(LocalEntryNotFoundError) as caught:
        api.snapshot_download(REPO_ID, cache_dir=tmp_path)
    assert isinstance(caught.value.__cause__, HfHubHTTPError)


def test_a_snapshot_silently_falls_back_on_the_cache(hub: LoopbackHub, api: HfApi, tmp_path: Path) -> None:
    hub.add_repository(REPO_ID, {"config.json": b"{}"})
    cached = api.snapshot_download(REPO_ID, cache_dir=tmp_path)
    hub.add_repository(REPO_ID, {"config.json": b'{"newer": true}'})
    hub.inject(Fault(method="GET", path="/revision/main$", status=503))
    assert api.snapshot_download(REPO_ID, cache_dir=tmp_path) == cached


@pytest.mark.parametrize("status", [401, 429, 500, 503])
def test_a_question_about_a_repo_is_not_retried(
    hub: LoopbackHub, api: HfApi, empty: dict[str, bytes], status: int
) -> None:
    hub.inject(Fault(method="GET", path="^/api/models/", status=status))
    with pytest.raises(HfHubHTTPError) as caught:
        api.model_info(REPO_ID)
    assert caught.value.response.status_code == status
    assert len(hub.calls) == 1
