"""A model on the Hub: its metadata, the files it consists of, and their download into the Hub's cache."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import (
    HfApi,
    ModelCard,
    constants,
    get_cached_repo_tree,
    resolve_revision,
    snapshot_download,
)
from huggingface_hub.errors import CachedRepoTreeNotFoundError, NotASafetensorsRepoError

from hf_prune.errors import NoSafetensors
from hf_prune.hub.cache import ELSEWHERE, cached_repository, plain_cache_errors, remember_commit
from hf_prune.hub.plain_errors import plain_hub_errors
from hf_prune.hub.retrying import retry_if_limited
from hf_prune.machine.disk import check_room
from hf_prune.model.weights import StoredTensor, WeightIndex, read_index

CARD = "README.md"
GATE_FIELDS = "extra_gated_"  # the prefix of the card's fields about its gate


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a model card states in its metadata."""

    license: str | None
    license_name: str | None
    license_link: str | None
    languages: tuple[str, ...]
    base_model: str | None  # that the model was made from; None: it names none, or several


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A model on the Hub, before anything is downloaded."""

    repo_id: str
    revision: str | None
    commit: str
    files: dict[str, int]  # name -> bytes
    gated: bool
    gate: str | None  # "auto" or "manual"; None: not gated, or unknown
    card: Card


def look_up(repo_id: str, revision: str | None) -> Repository:
    """The files, sizes, licence and gate of a model; with HF_HUB_OFFLINE, those in the cache."""
    if constants.is_offline_mode():
        return _cached(repo_id, revision)
    with plain_hub_errors(repo_id, revision):
        info = retry_if_limited(lambda: HfApi().model_info(repo_id, revision=revision, files_metadata=True))
    gate = info.gated if isinstance(info.gated, str) else None
    return Repository(
        repo_id=info.id,
        revision=revision,
        commit=info.sha or "",
        files={sibling.rfilename: sibling.size or 0 for sibling in info.siblings or ()},
        gated=bool(gate),
        gate=gate,
        card=_card_of(info.card_data.to_dict() if info.card_data else {}),
    )


def _cached(repo_id: str, revision: str | None) -> Repository:
    """A model that was downloaded before, by hf-prune, `hf download` or another library."""
    with plain_hub_errors(repo_id, revision):
        commit = resolve_revision(repo_id, revision=revision, local_files_only=True).resolved
        snapshot = cached_repository(repo_id) / "snapshots" / commit
        try:
            files = {file.path: file.size for file in get_cached_repo_tree(repo_id, revision=commit)}
        except CachedRepoTreeNotFoundError:  # they were downloaded one by one
            paths = (path for path in sorted(snapshot.rglob("*")) if path.is_file())
            files = {path.relative_to(snapshot).as_posix(): path.stat().st_size for path in paths}
    metadata = _metadata_in(snapshot)
    return Repository(
        repo_id=repo_id,
        revision=revision,
        commit=commit,
        files=files,
        gated=any(field.startswith(GATE_FIELDS) for field in metadata),
        gate=None,
        card=_card_of(metadata),
    )


def card_in(folder: Path) -> Card:
    """What the card in a model's folder states; nothing if there is no card."""
    return _card_of(_metadata_in(folder))


def _metadata_in(folder: Path) -> dict[str, Any]:
    card = folder / CARD
    return ModelCard.load(card, ignore_metadata_errors=True).data.to_dict() if card.is_file() else {}


def _card_of(metadata: Mapping[str, Any]) -> Card:
    stated, base = metadata.get("license"), metadata.get("base_model")
    licences = [str(each) for each in stated] if isinstance(stated, list) else [stated]
    several = len(licences) != 1  # the Hub's id of several licences is "other"
    languages = metadata.get("language") or ()
    if isinstance(base, list) and len(base) == 1:
        base = base[0]
    return Card(
        license="other" if several else licences[0],
        license_name=" and ".join(map(str, licences)) if several else metadata.get("license_name"),
        license_link=metadata.get("license_link"),
        languages=(languages,) if isinstance(languages, str) else tuple(languages),
        base_model=base if isinstance(base, str) else None,
    )


def exists(repo_id: str) -> bool:
    """Whether there is such a model that this user may see."""
    with plain_hub_errors(repo_id):
        return retry_if_limited(lambda: HfApi().repo_exists(repo_id))


def download(repository: Repository, names: tuple[str, ...]) -> Path:
    """Download the files that the Hub's cache does not have yet.

    Raises:
        DiskFull: the cache has no room for what is missing.
        UnusableCache: the cache cannot be written.
    """
    cache, repo_id, commit = Path(constants.HF_HUB_CACHE), repository.repo_id, repository.commit
    fetch: Any = partial(snapshot_download, repo_id, revision=commit, allow_patterns=list(names))
    with plain_hub_errors(repo_id, repository.revision), plain_cache_errors(cache):
        if not constants.is_offline_mode():
            plan = retry_if_limited(lambda: fetch(dry_run=True))
            missing = sum(file.file_size for file in plan if file.will_download)
            check_room(cache, missing, f"downloading {repo_id}", ELSEWHERE)
        folder = Path(retry_if_limited(fetch))
        if not constants.is_offline_mode():
            remember_commit(repo_id, repository.revision, commit)
        return folder


def weight_headers(repository: Repository) -> WeightIndex:
    """The tensors of a repository, from the headers of its safetensors files."""
    if constants.is_offline_mode():
        return read_index(download(repository, tuple(n for n in repository.files if ".safetensors" in n)))
    with plain_hub_errors(repository.repo_id, repository.revision):
        try:
            headers = retry_if_limited(
                lambda: HfApi().get_safetensors_metadata(repository.repo_id, revision=repository.commit)
            )
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
        for file_name, header in headers.files_metadata.items()
        for name, tensor in header.tensors.items()
    }
    return WeightIndex(folder=Path(repository.repo_id), tensors=tensors, metadata={})
