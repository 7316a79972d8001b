"""Information about a repository, mostly computed from the files of a commit."""

import json
import math
import re
import struct
from collections import Counter

import yaml

from tests.loopback.card import as_list, front_matter
from tests.loopback.exchange import Answer, Exchange, Refusal, json_answer
from tests.loopback.repository import KINDS, Blob, Commit, Files, Json, Repository, short_id

EVALUATION_FILE = re.compile(r"\.eval_results/[^/]+\.ya?ml")
CONFIG_KEYS = ("architectures", "model_type", "quantization_config")


def repository_information(exchange: Exchange, kind: str, repo_id: str, revision: str = "main") -> Answer:
    """`ModelInfo` at a revision, or with `expand` only the requested fields."""
    repository = exchange.repository(kind, repo_id)
    commit = exchange.commit(repository, revision)
    described = describe(repository, commit, with_blobs=exchange.flag("blobs"))
    if wanted := exchange.query.get("expand"):
        kept = {"_id", "id", *wanted}
        described = {name: value for name, value in described.items() if name in kept}
    return json_answer(described)


def list_repositories(exchange: Exchange, kind: str) -> Answer:
    """The public repositories with all the requested tags."""
    wanted = set(exchange.query.get("filter", []))
    author = exchange.parameter("author")
    words = exchange.parameter("search").lower()
    pipeline = exchange.parameter("pipeline_tag")
    found = []
    for (repository_kind, _), repository in exchange.hub.repositories.items():
        if repository_kind != KINDS[kind] or repository.private:
            continue
        described = describe(repository, exchange.commit(repository, "main"))
        if (
            wanted <= set(described["tags"])
            and author in ("", described["author"])
            and pipeline in ("", described.get("pipeline_tag"))
            and words in repository.repo_id.lower()
        ):
            found.append(described)
    return json_answer(found[: int(exchange.parameter("limit", "1000"))])


def safetensors_metadata(exchange: Exchange, repo_id: str, path: str) -> Answer:
    """The headers of all shards that an index names, in one answer."""
    repository = exchange.readable("models", repo_id)
    files = exchange.commit(repository, "main").files
    if path not in files:
        raise Refusal(404, f"{path} does not exist", code="EntryNotFound")
    index = json.loads(files[path].data)
    shards = sorted(set(index["weight_map"].values()))
    headers = {shard: safetensors_header(files[shard]) for shard in shards}
    return json_answer({"index": {"metadata": index.get("metadata")}, "headers": headers})


def describe(repository: Repository, commit: Commit, *, with_blobs: bool = False) -> Json:
    """Everything the Hub says about a repository at a commit."""
    files = commit.files
    card = _card(files)
    config = _config(files)
    parameters = count_parameters(files)
    described = {
        "_id": short_id(repository.repo_id),
        "id": repository.repo_id,
        "modelId": repository.repo_id,
        "author": repository.repo_id.split("/")[0],
        "sha": commit.oid,
        "lastModified": commit.date,
        "createdAt": repository.created_at,
        "private": repository.private,
        "gated": repository.gated,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": _tags(files, card, config, has_parameters=bool(parameters)),
        "cardData": card,
        "siblings": [_sibling(path, files[path], with_blobs) for path in sorted(files)],
        "spaces": [],
        "usedStorage": sum(blob.size for blob in files.values()),
        "config": {key: config[key] for key in CONFIG_KEYS if key in config},
    }
    optional = {
        "library_name": card.get("library_name"),
        "pipeline_tag": card.get("pipeline_tag"),
        "model-index": card.get("model-index"),
        "safetensors": parameters and {"parameters": parameters, "total": parameters.total()},
        "evalResults": _evaluations(files),
    }
    return described | {name: value for name, value in optional.items() if value}


def safetensors_header(blob: Blob) -> Json:
    """The header of a safetensors file; empty for one that only has the name of one."""
    try:
        (length,) = struct.unpack_from("<Q", blob.data)
        header: Json = json.loads(blob.data[8 : 8 + length])
    except (ValueError, struct.error):
        return {}
    return header


def count_parameters(files: Files) -> Counter[str]:
    """Parameters per dtype, over the safetensors files at the root."""
    counts: Counter[str] = Counter()
    for path, blob in files.items():
        if path.endswith(".safetensors") and "/" not in path:
            header = safetensors_header(blob)
            header.pop("__metadata__", None)
            for tensor in header.values():
                counts[tensor["dtype"]] += math.prod(tensor["shape"])
    return counts


def _card(files: Files) -> Json:
    return front_matter(files["README.md"].data.decode()) if "README.md" in files else {}


def _config(files: Files) -> Json:
    try:
        config = json.loads(files["config.json"].data) if "config.json" in files else {}
    except ValueError:  # anyone may commit a broken config: the Hub then says nothing about it
        return {}
    return config if isinstance(config, dict) else {}


def _tags(files: Files, card: Json, config: Json, *, has_parameters: bool) -> list[str]:
    relation = card.get("base_model_relation") or "finetune"
    tags = [
        card.get("library_name"),
        "safetensors" if has_parameters else None,
        "onnx" if any(path.endswith(".onnx") for path in files) else None,
        config.get("model_type"),
        *as_list(card.get("tags")),
        *as_list(card.get("language")),
        *(f"dataset:{dataset}" for dataset in as_list(card.get("datasets"))),
    ]
    for base in as_list(card.get("base_model")):
        tags += [f"base_model:{base}", f"base_model:{relation}:{base}"]
    tags.append(f"license:{card['license']}" if card.get("license") else None)
    tags.append("model-index" if card.get("model-index") else None)
    return list(dict.fromkeys(tag for tag in tags if tag))


def _sibling(path: str, blob: Blob, with_blobs: bool) -> Json:
    if not with_blobs:
        return {"rfilename": path}
    entry = {"rfilename": path, "size": blob.size, "blobId": blob.git_oid}
    if blob.sha256:
        pointer_size = blob.pointer_size
        entry["lfs"] = {"size": blob.size, "sha256": blob.sha256, "pointerSize": pointer_size}
    return entry


def _evaluations(files: Files) -> list[Json]:
    evaluations: list[Json] = []
    for path, blob in files.items():
        if EVALUATION_FILE.fullmatch(path):
            entries = yaml.safe_load(blob.data)
            evaluations += [{"filename": path, "data": entry} for entry in entries]
    return evaluations
