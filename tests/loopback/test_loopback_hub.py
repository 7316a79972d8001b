"""The loopback Hub behaves like the Hub for the real huggingface_hub."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy
import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from safetensors.numpy import save, save_file

from tests.loopback import Account, JobEnd, LoopbackHub
from tests.support.checkout import ROOT

CommitOperation = CommitOperationAdd | CommitOperationCopy | CommitOperationDelete
REPO_ID = "tester/pruned"
CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
base_model: HuggingFaceTB/SmolLM2-135M
base_model_relation: finetune
tags: [pruned, layer-pruning]
---
# Pruned
"""
REFUSED_CARD = "---\nbase_model: not a repo id\n---\n"


@pytest.fixture
def api(hub: LoopbackHub) -> HfApi:
    """A client whose token may write."""
    return HfApi(endpoint=hub.url, token="hf_test")


@pytest.fixture
def reader(hub: LoopbackHub) -> HfApi:
    """A client of another user, whose token may only read."""
    return HfApi(endpoint=hub.url, token="hf_read")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of a run's model: weights, config, card, plot, ONNX."""
    folder = tmp_path / "model"
    (folder / "onnx").mkdir(parents=True)
    (folder / "plots").mkdir()
    weights: dict[str, numpy.ndarray] = {
        "embed": numpy.arange(4096, dtype=numpy.float32).reshape(64, 64),
        "norm": numpy.ones(7, dtype=numpy.float16),
    }
    save_file(weights, folder / "model.safetensors")
    (folder / "onnx/model.onnx").write_bytes(bytes(range(256)) * 50)
    (folder / "plots/similarity.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(3000))
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "README.md").write_text(CARD)
    return folder


@pytest.fixture
def pushed(api: HfApi, folder: Path) -> str:
    """The id of a public repository that holds the folder."""
    api.create_repo(REPO_ID)
    api.upload_folder(repo_id=REPO_ID, folder_path=folder)
    return REPO_ID


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of all files under a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def without_attributes(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files of a repository without the one that it starts with."""
    return {path: data for path, data in files.items() if path != ".gitattributes"}


# Who may do what


def test_a_token_has_a_user_and_a_role(api: HfApi, reader: HfApi) -> None:
    me = api.whoami()
    assert me["name"] == "tester"
    assert [organization["name"] for organization in me["orgs"]] == ["acme"]
    assert me["auth"]["accessToken"]["role"] == "write"
    assert reader.whoami()["auth"]["accessToken"]["role"] == "read"


def test_an_unknown_token_is_refused(hub: LoopbackHub) -> None:
    with pytest.raises(HfHubHTTPError) as caught:
        HfApi(endpoint=hub.url, token="hf_bad").whoami()
    assert caught.value.response.status_code == 401


def test_the_tokens_of_a_hub_can_be_chosen() -> None:
    with LoopbackHub(tokens={"hf_mine": Account(name="me", can_write=False)}) as hub:
        assert HfApi(endpoint=hub.url, token="hf_mine").whoami()["name"] == "me"
    assert hub.unknown == []
    assert hub.crashes == []


def test_a_read_token_cannot_create_a_repo(reader: HfApi) -> None:
    with pytest.raises(HfHubHTTPError) as caught:
        reader.create_repo("reader/model")
    assert caught.value.response.status_code == 403


def test_a_repo_cannot_be_created_in_the_namespace_of_others(api: HfApi) -> None:
    assert api.create_repo("acme/model").repo_id == "acme/model"
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_repo("other/model")
    assert caught.value.response.status_code == 403


def test_a_repo_is_created_once(api: HfApi) -> None:
    first = api.create_repo(REPO_ID)
    assert api.create_repo(REPO_ID, exist_ok=True) == first
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_repo(REPO_ID)
    assert caught.value.response.status_code == 409


def test_a_missing_repo_is_not_found(api: HfApi, hub: LoopbackHub, tmp_path: Path) -> None:
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("nobody/nothing")
    with pytest.raises(RepositoryNotFoundError):
        hf_hub_download("nobody/nothing", "config.json", endpoint=hub.url, cache_dir=tmp_path)


def test_a_deleted_repo_is_not_found(api: HfApi, pushed: str) -> None:
    api.delete_repo(pushed)
    with pytest.raises(RepositoryNotFoundError):
        api.model_info(pushed)


def test_a_private_repo_looks_missing_to_others(api: HfApi, reader: HfApi) -> None:
    api.create_repo(REPO_ID, private=True)
    assert api.model_info(REPO_ID).private is True
    with pytest.raises(RepositoryNotFoundError):
        reader.model_info(REPO_ID)
    with pytest.raises(RepositoryNotFoundError):
        api.model_info(REPO_ID, token=False)


def test_settings_open_a_private_repo(api: HfApi, reader: HfApi) -> None:
    api.create_repo(REPO_ID, private=True)
    api.update_repo_settings(REPO_ID, private=False)
    assert reader.model_info(REPO_ID).private is False


def test_a_gated_repo_is_refused_without_a_grant(hub: LoopbackHub, reader: HfApi, tmp_path: Path) -> None:
    gated = hub.add_repository("meta/gated", {"config.json": b"{}"}, gated="auto")
    assert reader.model_info("meta/gated").gated == "auto"
    with pytest.raises(GatedRepoError) as caught:
        reader.hf_hub_download("meta/gated", "config.json", cache_dir=tmp_path)
    assert caught.value.response.status_code == 403
    with pytest.raises(GatedRepoError) as caught:
        reader.hf_hub_download("meta/gated", "config.json", cache_dir=tmp_path, token=False)
    assert caught.value.response.status_code == 401
    with pytest.raises(GatedRepoError):
        reader.auth_check("meta/gated")
    gated.granted.add("reader")
    reader.auth_check("meta/gated")
    assert reader.hf_hub_download("meta/gated", "config.json", cache_dir=tmp_path)


def test_auth_check_says_who_may_write(api: HfApi, reader: HfApi, pushed: str) -> None:
    api.auth_check(pushed, write=True)
    reader.auth_check(pushed)
    with pytest.raises(HfHubHTTPError) as caught:
        reader.auth_check(pushed, write=True)
    assert caught.value.response.status_code == 403


# Upload


def test_an_uploaded_folder_comes_back_byte_for_byte(
    api: HfApi, pushed: str, folder: Path, tmp_path: Path
) -> None:
    local = api.snapshot_download(pushed, cache_dir=tmp_path / "cache")
    assert without_attributes(contents(Path(local))) == contents(folder)


def test_a_dataset_has_paths_of_its_own(api: HfApi, folder: Path, tmp_path: Path) -> None:
    api.create_repo("tester/texts", repo_type="dataset")
    api.upload_folder(repo_id="tester/texts", folder_path=folder, repo_type="dataset")
    local = api.snapshot_download("tester/texts", repo_type="dataset", cache_dir=tmp_path / "cache")
    assert without_attributes(contents(Path(local))) == contents(folder)


def test_weights_go_to_lfs_and_text_goes_to_git(hub: LoopbackHub, pushed: str) -> None:
    commit = hub.repositories["model", pushed].find("main")
    assert commit is not None
    large = {path for path, blob in commit.files.items() if blob.sha256}
    assert large == {"model.safetensors", "onnx/model.onnx", "plots/similarity.png"}
    assert len(hub.calls_to("PUT", "^/storage/")) == 3


def test_a_second_upload_of_the_same_folder_changes_nothing(
    hub: LoopbackHub, api: HfApi, pushed: str, folder: Path
) -> None:
    before = api.model_info(pushed).sha
    hub.calls.clear()
    again = api.upload_folder(repo_id=pushed, folder_path=folder)
    assert again.oid == before
    assert hub.calls_to("PUT") == []
    assert hub.calls_to("POST", "/commit/") == []


def test_a_large_file_is_uploaded_in_parts(tmp_path: Path) -> None:
    data = bytes(range(256)) * 40
    with LoopbackHub(multipart_above=4000) as hub:
        api = HfApi(endpoint=hub.url, token="hf_test")
        api.create_repo(REPO_ID)
        api.upload_file(path_or_fileobj=data, path_in_repo="model.bin", repo_id=REPO_ID)
    assert hub.files(REPO_ID)["model.bin"] == data
    assert [call.received for call in hub.calls_to("PUT", "/part/")] == [4000, 4000, 2240]
    assert hub.parts == {}
    assert hub.unknown == []
    assert hub.crashes == []


def test_a_commit_adds_copies_and_deletes(hub: LoopbackHub, api: HfApi, pushed: str) -> None:
    before = hub.files(pushed)
    operations: list[CommitOperation] = [
        CommitOperationAdd("note.txt", b"hello"),
        CommitOperationCopy("config.json", "copy.json"),
        CommitOperationCopy("model.safetensors", "copy.safetensors"),
        CommitOperationDelete("config.json"),
        CommitOperationDelete("plots/", is_folder=True),
    ]
    api.create_commit(pushed, operations, commit_message="several things")
    after = hub.files(pushed)
    assert after["note.txt"] == b"hello"
    assert after["copy.json"] == before["config.json"]
    assert after["copy.safetensors"] == before["model.safetensors"]
    assert before.keys() - after.keys() == {"config.json", "plots/similarity.png"}


def test_a_commit_cannot_name_an_object_that_was_not_uploaded(
    hub: LoopbackHub, api: HfApi, pushed: str
) -> None:
    before = hub.files(pushed)
    value = {"path": "lost.safetensors", "algo": "sha256", "oid": "0" * 64, "size": 3}
    lines = [
        {"key": "header", "value": {"summary": "half a commit", "description": ""}},
        {"key": "file", "value": {"path": "a.txt", "content": "aGk=", "encoding": "base64"}},
        {"key": "lfsFile", "value": value},
    ]
    request = urllib.request.Request(
        f"{hub.url}/api/models/{pushed}/commit/main",
        data=b"\n".join(json.dumps(line).encode() for line in lines),
        headers={"Authorization": "Bearer hf_test"},
    )
    with pytest.raises(urllib.error.HTTPError, match="400") as caught:
        urllib.request.urlopen(request)
    caught.value.close()
    assert hub.files(pushed) == before


def test_an_object_must_have_the_sha256_it_is_sent_under(hub: LoopbackHub) -> None:
    address = f"{hub.url}/storage/{'0' * 64}"
    request = urllib.request.Request(address, data=b"other bytes", method="PUT")
    with pytest.raises(urllib.error.HTTPError, match="400") as caught:
        urllib.request.urlopen(request)
    caught.value.close()
    assert hub.objects == {}


def test_a_commit_on_an_outdated_parent_is_refused(api: HfApi, pushed: str) -> None:
    with pytest.raises(HfHubHTTPError) as caught:
        api.upload_file(path_or_fileobj=b"1", path_in_repo="y", repo_id=pushed, parent_commit="0" * 40)
    assert caught.value.response.status_code == 412


def test_a_card_with_wrong_metadata_is_refused(hub: LoopbackHub, api: HfApi, pushed: str) -> None:
    before = hub.files(pushed)
    with pytest.raises(ValueError, match="Invalid metadata in README"):
        api.upload_file(path_or_fileobj=REFUSED_CARD.encode(), path_in_repo="README.md", repo_id=pushed)
    assert hub.files(pushed) == before


# Information


def test_model_info_is_computed_from_the_files(api: HfApi, pushed: str, folder: Path) -> None:
    told = api.model_info(pushed, files_metadata=True)
    assert told.safetensors is not None
    assert told.safetensors.parameters == {"F32": 4096, "F16": 7}
    assert told.card_data is not None
    assert told.card_data.base_model == "HuggingFaceTB/SmolLM2-135M"
    assert told.tags is not None
    assert {"pruned", "llama", "onnx", "safetensors", "license:apache-2.0"} <= set(told.tags)
    assert told.siblings is not None
    sizes = {sibling.rfilename: sibling.size for sibling in told.siblings}
    assert sizes["model.safetensors"] == (folder / "model.safetensors").stat().st_size


def test_expand_gives_only_the_requested_fields(api: HfApi, pushed: str) -> None:
    told = api.model_info(pushed, expand=["safetensors", "gated"])
    assert told.safetensors is not None
    assert told.safetensors.total == 4103
    assert told.siblings is None


def test_a_broken_config_does_not_hide_a_repo(hub: LoopbackHub, api: HfApi) -> None:
    hub.add_repository(REPO_ID, {"config.json": b"{,", "README.md": b"---\na: [\n---\n"})
    assert api.model_info(REPO_ID).config == {}


def test_benchmark_results_are_read_from_their_files(hub: LoopbackHub, api: HfApi) -> None:
    results = b"- dataset: {id: allenai/ai2_arc, task_id: arc_easy}\n  value: 0.5\n"
    hub.add_repository(REPO_ID, {".eval_results/arc.yaml": results})
    told = api.model_info(REPO_ID).eval_results
    assert told is not None
    assert [(entry.dataset_id, entry.value) for entry in told] == [("allenai/ai2_arc", 0.5)]


def test_models_are_listed_by_their_base_model(api: HfApi, pushed: str) -> None:
    base = "base_model:finetune:HuggingFaceTB/SmolLM2-135M"
    assert [model.id for model in api.list_models(filter=base)] == [pushed]
    assert list(api.list_models(filter="base_model:finetune:other/model")) == []


def test_a_tree_is_listed_page_by_page(folder: Path) -> None:
    with LoopbackHub(page_size=3) as hub:
        files = {path: data for path, data in contents(folder).items() if path != "README.md"}
        hub.add_repository(REPO_ID, files)
        entries = list(HfApi(endpoint=hub.url).list_repo_tree(REPO_ID, recursive=True))
    assert {entry.path for entry in entries} == {*files, ".gitattributes", "onnx", "plots"}
    assert len(hub.calls_to("GET", "/tree/")) == 3


def test_a_tree_can_be_listed_folder_by_folder(api: HfApi, pushed: str) -> None:
    top = [entry.path for entry in api.list_repo_tree(pushed)]
    assert top[:2] == ["onnx", "plots"]
    assert top[2:] == [".gitattributes", "README.md", "config.json", "model.safetensors"]
    assert [entry.path for entry in api.list_repo_tree(pushed, "onnx")] == ["onnx/model.onnx"]


def test_paths_info_leaves_out_missing_files(api: HfApi, pushed: str, folder: Path) -> None:
    entries = api.get_paths_info(pushed, ["model.safetensors", "missing.bin"])
    size = (folder / "model.safetensors").stat().st_size
    found = [(entry.path, entry.size) for entry in entries if isinstance(entry, RepoFile)]
    assert found == [("model.safetensors", size)]
    assert len(entries) == 1


def test_parameters_are_counted_without_a_download(hub: LoopbackHub, api: HfApi, pushed: str) -> None:
    hub.calls.clear()
    metadata = api.get_safetensors_metadata(pushed)
    assert metadata.parameter_count == {"F32": 4096, "F16": 7}
    ranges = [call.byte_range for call in hub.calls_to("GET", "/storage/")]
    assert ranges
    assert all(byte_range is not None for byte_range in ranges)


def test_the_headers_of_all_shards_come_in_one_call(hub: LoopbackHub, api: HfApi) -> None:
    first = save({"a": numpy.zeros((2, 3), dtype=numpy.float32)})
    second = save({"b": numpy.zeros(5, dtype=numpy.float32)})
    weight_map = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    index = {"metadata": {"total_size": 44}, "weight_map": weight_map}
    hub.add_repository(
        REPO_ID,
        {
            "model-1.safetensors": first,
            "model-2.safetensors": second,
            "model.safetensors.index.json": json.dumps(index).encode(),
        },
    )
    metadata = api.get_sharded_safetensors_metadata(REPO_ID)
    assert sorted(metadata.files_metadata) == ["model-1.safetensors", "model-2.safetensors"]
    assert len(hub.calls) == 1


# Download


def test_a_dry_run_gives_sizes_and_downloads_nothing(
    hub: LoopbackHub, api: HfApi, pushed: str, folder: Path, tmp_path: Path
) -> None:
    hub.calls.clear()
    files = api.snapshot_download(pushed, cache_dir=tmp_path / "cache", dry_run=True)
    sizes = {file.filename: file.file_size for file in files}
    assert sizes["model.safetensors"] == (folder / "model.safetensors").stat().st_size
    assert hub.calls_to("GET", "/storage/") == []


def test_a_missing_file_and_a_missing_revision_are_different_errors(
    api: HfApi, pushed: str, tmp_path: Path
) -> None:
    with pytest.raises(RemoteEntryNotFoundError):
        api.hf_hub_download(pushed, "missing.bin", cache_dir=tmp_path)
    with pytest.raises(RevisionNotFoundError):
        api.hf_hub_download(pushed, "config.json", revision="missing", cache_dir=tmp_path)
    with pytest.raises(RevisionNotFoundError):
        api.model_info(pushed, revision="missing")


def test_a_download_is_pinned_to_a_commit(hub: LoopbackHub, api: HfApi, pushed: str, tmp_path: Path) -> None:
    first = api.model_info(pushed).sha
    assert first is not None
    api.upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id=pushed)
    local = snapshot_download(
        pushed,
        revision=first,
        allow_patterns=["config.json"],
        endpoint=hub.url,
        cache_dir=tmp_path / "cache",
    )
    assert (Path(local) / "config.json").read_bytes() == b'{"model_type": "llama"}'


def test_the_storage_host_gets_no_token(hub: LoopbackHub, pushed: str) -> None:
    (call,) = hub.calls_to("PUT", "^/storage/")[:1]
    request = urllib.request.Request(hub.url + call.path, headers={"Authorization": "Bearer hf_test"})
    with pytest.raises(urllib.error.HTTPError, match="400") as caught:
        urllib.request.urlopen(request)
    caught.value.close()


def test_downloaded_files_have_the_checksums_of_the_repo(api: HfApi, pushed: str, tmp_path: Path) -> None:
    api.snapshot_download(pushed, cache_dir=tmp_path / "cache")
    verified = api.verify_repo_checksums(pushed, cache_dir=tmp_path / "cache")
    assert verified.checked_count == 6
    assert verified.mismatches == []


# Branches, history, pull requests


def test_branches_tags_and_history_are_kept(api: HfApi, pushed: str) -> None:
    api.create_tag(pushed, tag="v1")
    api.create_branch(pushed, branch="int8")
    api.upload_file(path_or_fileobj=b"8", path_in_repo="x", repo_id=pushed, revision="int8")
    references = api.list_repo_refs(pushed)
    assert {branch.name for branch in references.branches} == {"main", "int8"}
    assert [tag.name for tag in references.tags] == ["v1"]
    assert api.file_exists(pushed, "x", revision="int8")
    assert not api.file_exists(pushed, "x")
    assert len(api.list_repo_commits(pushed, revision="int8")) == 3
    assert len(api.list_repo_commits(pushed, revision="v1")) == 2


def test_a_branch_is_created_once(api: HfApi, pushed: str) -> None:
    api.create_branch(pushed, branch="int8")
    api.create_branch(pushed, branch="int8", exist_ok=True)
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_branch(pushed, branch="int8")
    assert caught.value.response.status_code == 409


def test_a_pull_request_leaves_main_alone_until_it_is_merged(
    hub: LoopbackHub, api: HfApi, pushed: str
) -> None:
    operations: list[CommitOperation] = [
        CommitOperationAdd("x.txt", b"x"),
        CommitOperationDelete("config.json"),
    ]
    commit = api.create_commit(pushed, operations, commit_message="a change", create_pr=True)
    assert (commit.pr_num, commit.pr_revision) == (1, "refs/pr/1")
    assert api.file_exists(pushed, "x.txt", revision="refs/pr/1")
    assert not api.file_exists(pushed, "x.txt")
    for path in ("meanwhile.txt", "plots/similarity.png"):
        api.upload_file(path_or_fileobj=b"m", path_in_repo=path, repo_id=pushed)
    api.merge_pull_request(pushed, 1)
    files = hub.files(pushed)
    assert files["x.txt"] == b"x"
    assert files["meanwhile.txt"] == files["plots/similarity.png"] == b"m"
    assert "config.json" not in files
    assert api.get_discussion_details(pushed, 1).status == "merged"


def test_anyone_with_a_write_token_may_propose_but_not_commit(hub: LoopbackHub, folder: Path) -> None:
    hub.tokens["hf_guest"] = Account(name="guest")
    hub.add_repository("meta/model", {"config.json": b"{}"})
    guest = HfApi(endpoint=hub.url, token="hf_guest")
    with pytest.raises(HfHubHTTPError) as caught:
        guest.upload_folder(repo_id="meta/model", folder_path=folder)
    assert caught.value.response.status_code == 403
    guest.upload_folder(repo_id="meta/model", folder_path=folder, create_pr=True)
    assert without_attributes(hub.files("meta/model", "refs/pr/1")) == contents(folder)
    assert hub.files("meta/model")["config.json"] == b"{}"


def test_a_discussion_is_opened_answered_and_closed(api: HfApi, pushed: str) -> None:
    opened = api.create_discussion(pushed, title="How?", description="Tell me.")
    request = api.create_pull_request(pushed, title="A draft")
    api.comment_discussion(pushed, opened.num, "So.")
    api.change_discussion_status(pushed, opened.num, "closed")
    details = api.get_discussion_details(pushed, opened.num)
    assert [event.type for event in details.events] == ["comment", "comment", "status-change"]
    assert details.status == "closed"
    pull_requests = api.get_repo_discussions(pushed, discussion_type="pull_request")
    assert [discussion.num for discussion in pull_requests] == [request.num]
    still_open = api.get_repo_discussions(pushed, discussion_status="open")
    assert [discussion.num for discussion in still_open] == [request.num]


# Jobs


def test_a_job_runs_until_its_log_is_read_and_shows_no_secret(hub: LoopbackHub, api: HfApi) -> None:
    hub.job_end = JobEnd(lines=("working", "broken"), stage="ERROR", message="Job failed with exit code: 1")
    settings = {"flavor": "cpu-basic", "labels": {"of": "a-test"}, "secrets": {"HF_TOKEN": "hf_test"}}
    job = api.run_job(image="python:3.12", command=["true"], **settings)
    assert (job.status.stage, job.secrets) == ("RUNNING", {"HF_TOKEN": None})
    assert (job.labels or {})["of"] == "a-test"
    assert list(api.fetch_job_logs(job_id=job.id, follow=True)) == ["working", "broken"]
    ended = api.inspect_job(job_id=job.id).status
    assert (ended.stage, ended.message) == ("ERROR", "Job failed with exit code: 1")
    with pytest.raises(HfHubHTTPError):
        api.run_job(image="python:3.12", command=["true"], flavor="cpu-basic", namespace="strangers")


def test_schedules_are_found_by_their_labels(api: HfApi) -> None:
    settings = {"image": "python:3.12", "command": ["true"], "schedule": "@daily", "flavor": "cpu-basic"}
    first, _ = (api.create_scheduled_job(**settings, labels={"of": name}) for name in ("one", "two"))
    assert [found.id for found in api.list_scheduled_jobs(labels={"of": "one"})] == [first.id]
    api.delete_scheduled_job(scheduled_job_id=first.id)
    assert api.list_scheduled_jobs(labels={"of": "one"}) == []


# The Hub about itself


def test_the_last_change_of_a_file_is_the_commit_that_made_it(api: HfApi, pushed: str) -> None:
    first = api.list_repo_commits(pushed)[0].commit_id
    api.create_commit(pushed, [CommitOperationAdd("notes.txt", b"later")], commit_message="notes")
    second = api.list_repo_commits(pushed)[0].commit_id
    config, notes = api.get_paths_info(pushed, ["config.json", "notes.txt"], expand=True)
    assert (config.last_commit.oid, notes.last_commit.oid) == (first, second)


def test_a_collection_takes_a_model_once_and_from_its_owner_alone(
    hub: LoopbackHub, api: HfApi, pushed: str
) -> None:
    hub.collections.update({"tester/small": [], "meta/small": []})
    assert api.add_collection_item("tester/small", pushed, "model").items[0].item_id == pushed
    assert len(api.add_collection_item("tester/small", pushed, "model", exists_ok=True).items) == 1
    with pytest.raises(HfHubHTTPError, match="409"):
        api.add_collection_item("tester/small", pushed, "model")
    with pytest.raises(HfHubHTTPError, match="403"):
        api.add_collection_item("meta/small", pushed, "model")
    with pytest.raises(HfHubHTTPError, match="404"):
        api.get_collection("tester/none")


def test_a_request_without_a_route_is_answered_501_and_recorded() -> None:
    with LoopbackHub() as hub:
        api = HfApi(endpoint=hub.url, token="hf_test")
        with pytest.raises(HfHubHTTPError) as caught:
            api.get_user_overview("tester")
    assert caught.value.response.status_code == 501
    assert hub.unknown == [("GET", "/api/users/tester/overview")]


def test_a_crash_is_answered_500_and_recorded() -> None:
    with LoopbackHub() as hub:
        request = urllib.request.Request(f"{hub.url}/api/validate-yaml", data=b"not json")
        with pytest.raises(urllib.error.HTTPError, match="500") as caught:
            urllib.request.urlopen(request)
        caught.value.close()
    assert len(hub.crashes) == 1
    assert "JSONDecodeError" in hub.crashes[0]


def test_a_closed_hub_ends_the_connections_that_clients_kept() -> None:
    with LoopbackHub() as hub:
        api = HfApi(endpoint=hub.url, token="hf_test")
        api.whoami()
    with pytest.raises(httpx2.TransportError):
        api.whoami()


@pytest.fixture
def served() -> Iterator[str]:
    """The line that `python -m tests.loopback` prints, while it serves."""
    root = ROOT
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.loopback"], cwd=root, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        yield process.stdout.readline()
        process.terminate()


def test_the_hub_serves_from_the_command_line(served: str, tmp_path: Path) -> None:
    environment = dict(setting.split("=") for setting in served.split())
    code = "import huggingface_hub; print(huggingface_hub.whoami()['name'])"
    printed = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment, "HF_HOME": str(tmp_path)},
        capture_output=True,
        check=True,
        text=True,
    )
    assert printed.stdout == "tester\n"
