"""The way up to the Hub."""

import os
from pathlib import Path

from huggingface_hub import HfApi

from hf_prune.hub.plain_errors import plain_hub_errors


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
