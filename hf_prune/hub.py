"""The Hugging Face Hub: the one place that talks to it, through huggingface_hub.

Every failure leaves here as an error of ours that names the repository and the next step. The token is
the one of `hf auth login` or HF_TOKEN; it is never an argument.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi, cached_assets_path, constants, get_token, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    NotASafetensorsRepoError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hf_prune.disk import check_room, plain_disk_errors
from hf_prune.errors import (
    AccessDenied,
    HubUnreachable,
    ModelNotFound,
    NoSafetensors,
    PublishRefused,
    first_line,
)
from hf_prune.weights import StoredTensor, WeightIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """What the Hub says about a model before anything is downloaded."""

    repo_id: str
    revision: str | None
    commit: str
    files: dict[str, int]  # name -> bytes
    gated: bool
    license: str | None
    license_name: str | None
    license_link: str | None
    languages: tuple[str, ...]
    base_model: str | None = None  # that its card says it was made from


@contextmanager
def plain_hub_errors(repo_id: str, revision: str | None = None) -> Iterator[None]:
    """Turn what huggingface_hub raises into errors that say what to do.

    Raises:
        AccessDenied: gated, or the token is missing, wrong, or not allowed to.
        ModelNotFound: no such repository, revision or file.
        HubUnreachable: no answer, or not now.
    """
    where = f"{repo_id} at revision {revision}" if revision else repo_id
    try:
        yield
    except GatedRepoError as error:  # a kind of RepositoryNotFoundError, so it is asked first
        raise AccessDenied(
            f"{repo_id} is gated: accept its terms at {constants.ENDPOINT}/{repo_id}, then log in with "
            f"`hf auth login` or set HF_TOKEN"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelNotFound(
            f"there is no model {repo_id} on {constants.ENDPOINT}, or it is private and you are not "
            f"logged in as one who may see it: check the name, or `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise ModelNotFound(f"{repo_id} has no revision {revision}: check --revision") from error
    except RemoteEntryNotFoundError as error:
        raise ModelNotFound(f"a file of {where} is missing: {first_line(error)}") from error
    except OfflineModeIsEnabled as error:
        raise HubUnreachable(
            f"HF_HUB_OFFLINE is set, so the Hub cannot be asked about {where}: unset it, or give a folder"
        ) from error
    except HFValidationError as error:
        raise ModelNotFound(
            f"{repo_id!r} is neither a folder here nor a name that the Hub could have: {error}"
        ) from error
    except HfHubHTTPError as error:
        raise _http_error(error, where) from error
    except (httpx2.TransportError, ConnectionError) as error:
        raise _unreachable(where) from error
    except (LocalEntryNotFoundError, RuntimeError) as error:  # both hide what really happened
        raise _hidden_cause(error, where) from error


def _http_error(error: HfHubHTTPError, where: str) -> Exception:
    status = error.response.status_code if error.response is not None else 0
    said = error.server_message or first_line(error)
    if status in (401, 403):
        return AccessDenied(
            f"the Hub refused access to {where} ({status}: {said}): log in with `hf auth login`, or "
            f"use a token that may do this"
        )
    if status == 429:
        return HubUnreachable(
            f"the Hub asks to slow down (429) on {where}: give the same command again in a few "
            f"minutes; finished stages are kept"
        )
    return HubUnreachable(
        f"the Hub answered {status} for {where} ({said}): give the same command again later; finished "
        f"stages are kept"
    )


def _unreachable(where: str) -> HubUnreachable:
    return HubUnreachable(
        f"the Hub at {constants.ENDPOINT} does not answer, so {where} cannot be had: check the network, "
        f"or give a local folder; finished stages are kept"
    )


def _hidden_cause(error: Exception, where: str) -> Exception:
    """What huggingface_hub wrapped: a failed upload in RuntimeError, a failed look-up in "not cached"."""
    cause = error.__cause__
    if isinstance(cause, HfHubHTTPError):
        return _http_error(cause, where)
    if isinstance(cause, httpx2.TransportError | ConnectionError | OfflineModeIsEnabled):
        return _unreachable(where)
    return error if isinstance(error, RuntimeError) else _unreachable(where)


def look_up(repo_id: str, revision: str | None) -> Repository:
    """What the Hub says about a model: files, sizes, licence, gating; nothing is downloaded."""
    with plain_hub_errors(repo_id, revision):
        info = HfApi().model_info(repo_id, revision=revision, files_metadata=True)
    card: dict[str, Any] = info.card_data.to_dict() if info.card_data else {}
    languages = card.get("language") or ()
    return Repository(
        repo_id=info.id,
        revision=revision,
        commit=info.sha or "",
        files={sibling.rfilename: sibling.size or 0 for sibling in info.siblings or ()},
        gated=bool(info.gated),
        license=card.get("license"),
        license_name=card.get("license_name"),
        license_link=card.get("license_link"),
        languages=(languages,) if isinstance(languages, str) else tuple(languages),
        base_model=only_base(card),
    )


def only_base(card: Mapping[str, Any]) -> str | None:
    """The model that a card says its own was made from; None where it names none, or several."""
    base = card.get("base_model")
    if isinstance(base, list) and len(base) == 1:
        base = base[0]
    return base if isinstance(base, str) else None


def exists(repo_id: str) -> bool:
    """Whether there is a model of that name that this user can see."""
    with plain_hub_errors(repo_id):
        return HfApi().repo_exists(repo_id)


def download(repository: Repository, names: tuple[str, ...]) -> Path:
    """Bring files of one commit into the Hub's cache, whatever is there already left alone.

    Raises:
        DiskFull: the cache has no room for what is missing.
    """
    cache = Path(constants.HF_HUB_CACHE)
    wanted: dict[str, Any] = {
        "repo_id": repository.repo_id,
        "revision": repository.commit,
        "allow_patterns": list(names),
    }
    with plain_hub_errors(repository.repo_id, repository.revision):
        plan = snapshot_download(**wanted, dry_run=True)
        missing = sum(file.file_size for file in plan if file.will_download)
        check_room(cache, missing, f"downloading {repository.repo_id}")
        with plain_disk_errors(cache):
            return Path(snapshot_download(**wanted))


def weight_headers(repository: Repository) -> WeightIndex:
    """The tensors of a repository's safetensors files, from their headers alone."""
    with plain_hub_errors(repository.repo_id, repository.revision):
        try:
            found = HfApi().get_safetensors_metadata(repository.repo_id, revision=repository.commit)
        except NotASafetensorsRepoError as error:
            raise NoSafetensors(f"{repository.repo_id} has no weights in safetensors form") from error
    tensors = {
        name: StoredTensor(
            name=name,
            dtype=str(tensor.dtype),
            shape=tuple(tensor.shape),
            path=Path(file_name),
            start=tensor.data_offsets[0],
            size_bytes=tensor.data_offsets[1] - tensor.data_offsets[0],
        )
        for file_name, header in found.files_metadata.items()
        for name, tensor in header.tensors.items()
    }
    return WeightIndex(folder=Path(repository.repo_id), tensors=tensors, metadata={})


def kept_scores() -> Path:
    """Where the Hub's own cache keeps what hf-prune has measured."""
    return cached_assets_path("hf-prune", namespace="scores")


def kept_task_scores() -> Path:
    """Where the Hub's own cache keeps what models made of tasks."""
    return cached_assets_path("hf-prune", namespace="tasks")


def check_may_publish(repo_id: str | None, name: str) -> str:
    """The full name that a result called `name` is published under, if this user may write there.

    Asked before the hours of work, not after.

    Args:
        repo_id: the name the user gave, or None for `USER/name`.
        name: of the result.

    Raises:
        AccessDenied: not logged in, or the token cannot write.
        PublishRefused: a repository of that name exists and hf-prune did not make it.
    """
    api = HfApi()
    with plain_hub_errors(repo_id or name):
        if get_token() is None:
            raise AccessDenied(
                "publishing needs a login: `hf auth login`, or set HF_TOKEN to a token with write access"
            )
        user = api.whoami()
    full = repo_id or f"{user['name']}/{name}"
    namespaces = {user["name"], *(org["name"] for org in user.get("orgs", ()))}
    role = user.get("auth", {}).get("accessToken", {}).get("role")
    if role == "read" or full.split("/")[0] not in namespaces:
        reason = "the token may only read" if role == "read" else f"{user['name']} is not part of it"
        raise AccessDenied(
            f"{full} cannot be written ({reason}): use a token with write access, or another --repo-id"
        )
    return full


def refuse_foreign(repo_id: str, marker: str, *, overwrite: bool) -> None:
    """Stop before overwriting a repository that lacks the marker file of hf-prune.

    Raises:
        PublishRefused: it exists, has files of its own and no marker.
    """
    api = HfApi()
    with plain_hub_errors(repo_id):
        if overwrite or not api.repo_exists(repo_id):
            return
        files = set(api.list_repo_files(repo_id)) - {".gitattributes"}
    if files and marker not in files:
        raise PublishRefused(
            f"{repo_id} exists and was not made by hf-prune: choose another --repo-id, or overwrite it "
            f"with --yes"
        )


def upload(repo_id: str, folder: Path, message: str, *, private: bool) -> tuple[str, str]:
    """Publish a folder in one commit: weights, card and pictures appear together or not at all.

    Weight files, in whatever form, that an earlier version had and this one lacks are removed.

    Returns:
        The repository's address, and the commit.
    """
    api = HfApi()
    with plain_hub_errors(repo_id):
        url = api.create_repo(repo_id, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            commit_message=message,
            delete_patterns=["*.safetensors", "*.safetensors.index.json", "onnx/*", "*.gguf"],
        )
    return os.fspath(url), commit.oid


def upload_branch(repo_id: str, folder: Path, branch: str, message: str) -> str:
    """Publish a folder on a branch of a repository, alone: whatever the branch held is replaced.

    Returns:
        The branch's address.
    """
    api = HfApi()
    with plain_hub_errors(repo_id):
        api.create_branch(repo_id, branch=branch, exist_ok=True)
        api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            commit_message=message,
            revision=branch,
            delete_patterns="*",
        )
    return f"{api.endpoint}/{repo_id}/tree/{branch}"
