"""A model on the Hub: what it says of itself, and its files in the Hub's own cache."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import NotASafetensorsRepoError

from hf_prune.disk import check_room, plain_disk_errors
from hf_prune.errors import NoSafetensors
from hf_prune.hub.plain_errors import plain_hub_errors
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
