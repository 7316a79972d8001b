"""A model on the Hub: what it says of itself, and its files in the Hub's own cache."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import (
    HfApi,
    ModelCard,
    constants,
    get_cached_repo_tree,
    resolve_revision,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import CachedRepoTreeNotFoundError, NotASafetensorsRepoError
from huggingface_hub.file_download import repo_folder_name

from hf_prune.errors import NoSafetensors
from hf_prune.hub.cache import ELSEWHERE, plain_cache_errors, remember_commit
from hf_prune.hub.plain_errors import plain_hub_errors
from hf_prune.hub.waiting import patiently
from hf_prune.machine.disk import check_room
from hf_prune.model.weights import StoredTensor, WeightIndex, read_index

CARD = "README.md"
TERMS_OF_GATE = "extra_gated_"  # what fields of a card begin with that say what is asked at its gate


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """What the Hub says about a model before anything is downloaded."""

    repo_id: str
    revision: str | None
    commit: str
    files: dict[str, int]  # name -> bytes
    gated: bool
    gate: str | None  # "auto" or "manual"; None: not gated, or not known which
    license: str | None
    license_name: str | None
    license_link: str | None
    languages: tuple[str, ...]
    base_model: str | None = None  # that its card says it was made from


def look_up(repo_id: str, revision: str | None) -> Repository:
    """What the Hub says about a model: files, sizes, licence, gating; nothing is downloaded.

    With HF_HUB_OFFLINE it is what the cache has of it.
    """
    if constants.is_offline_mode():
        return _cached(repo_id, revision)
    with plain_hub_errors(repo_id, revision):
        info = patiently(lambda: HfApi().model_info(repo_id, revision=revision, files_metadata=True))
    card: dict[str, Any] = info.card_data.to_dict() if info.card_data else {}
    gate = info.gated if isinstance(info.gated, str) else None
    files = {sibling.rfilename: sibling.size or 0 for sibling in info.siblings or ()}
    return _described(
        card,
        repo_id=info.id,
        revision=revision,
        commit=info.sha or "",
        files=files,
        gated=bool(gate),
        gate=gate,
    )


def _cached(repo_id: str, revision: str | None) -> Repository:
    """A model as an earlier download left it: by hf-prune, `hf download` or any other library."""
    with plain_hub_errors(repo_id, revision):
        commit = resolve_revision(repo_id, revision=revision, local_files_only=True).resolved
        try:
            files = {f.path: f.size for f in get_cached_repo_tree(repo_id, revision=commit)}
        except CachedRepoTreeNotFoundError:  # its files came one by one
            files = _files_of_snapshot(repo_id, commit)
        path = try_to_load_from_cache(repo_id, CARD, revision=commit)
    card: dict[str, Any] = {}
    if isinstance(path, str):
        card = ModelCard.load(path, ignore_metadata_errors=True).data.to_dict()
    gated = any(field.startswith(TERMS_OF_GATE) for field in card)
    return _described(
        card, repo_id=repo_id, revision=revision, commit=commit, files=files, gated=gated, gate=None
    )


def _files_of_snapshot(repo_id: str, commit: str) -> dict[str, int]:
    repository = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo_id, repo_type="model")
    snapshot = repository / "snapshots" / commit
    files = (path for path in sorted(snapshot.rglob("*")) if path.is_file())
    return {path.relative_to(snapshot).as_posix(): path.stat().st_size for path in files}


def _described(card: Mapping[str, Any], **known: Any) -> Repository:
    """What is known of a repository, and what its card says."""
    languages = card.get("language") or ()
    license_id, license_name = stated_license(card)
    return Repository(
        **known,
        license=license_id,
        license_name=license_name,
        license_link=card.get("license_link"),
        languages=(languages,) if isinstance(languages, str) else tuple(languages),
        base_model=only_base(card),
    )


def stated_license(card: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The licence that a card states, and the name of one that the Hub has no word for.

    Of several, which a card may list, the Hub's word is "other".
    """
    stated = card.get("license")
    if isinstance(stated, list):
        several = [str(each) for each in stated]
        return (
            (several[0], card.get("license_name")) if len(several) == 1 else ("other", " and ".join(several))
        )
    return stated, card.get("license_name")


def only_base(card: Mapping[str, Any]) -> str | None:
    """The model that a card says its own was made from; None where it names none, or several."""
    base = card.get("base_model")
    if isinstance(base, list) and len(base) == 1:
        base = base[0]
    return base if isinstance(base, str) else None


def exists(repo_id: str) -> bool:
    """Whether there is a model of that name that this user can see."""
    with plain_hub_errors(repo_id):
        return patiently(lambda: HfApi().repo_exists(repo_id))


def download(repository: Repository, names: tuple[str, ...]) -> Path:
    """Bring files of one commit into the Hub's cache, whatever is there already left alone.

    Raises:
        DiskFull: the cache has no room for what is missing.
        UnusableCache: the cache cannot be written.
    """
    cache = Path(constants.HF_HUB_CACHE)
    wanted: dict[str, Any] = {
        "repo_id": repository.repo_id,
        "revision": repository.commit,
        "allow_patterns": list(names),
    }
    with plain_hub_errors(repository.repo_id, repository.revision), plain_cache_errors(cache):
        if not constants.is_offline_mode():
            plan = patiently(lambda: snapshot_download(**wanted, dry_run=True))
            missing = sum(file.file_size for file in plan if file.will_download)
            check_room(cache, missing, f"downloading {repository.repo_id}", ELSEWHERE)
        folder = Path(patiently(lambda: snapshot_download(**wanted)))
        if not constants.is_offline_mode():
            remember_commit(repository.repo_id, repository.revision, repository.commit)
        return folder


def weight_headers(repository: Repository) -> WeightIndex:
    """The tensors of a repository's safetensors files, from their headers alone."""
    if constants.is_offline_mode():
        return read_index(download(repository, tuple(n for n in repository.files if ".safetensors" in n)))
    with plain_hub_errors(repository.repo_id, repository.revision):
        try:
            found = patiently(
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
        for file_name, header in found.files_metadata.items()
        for name, tensor in header.tensors.items()
    }
    return WeightIndex(folder=Path(repository.repo_id), tensors=tensors, metadata={})


def card_data(card: Path) -> dict[str, Any]:
    """What a model card says in its metadata."""
    data: dict[str, Any] = ModelCard.load(card, ignore_metadata_errors=True).data.to_dict()
    return data
