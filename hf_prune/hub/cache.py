"""The Hub's cache: what hf-prune adds to it, and errors that say how to make room there."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from huggingface_hub import cached_assets_path, constants
from huggingface_hub.file_download import repo_folder_name

from hf_prune.errors import DiskFull, HfPruneError, UnusableCache
from hf_prune.machine.disk import CLOSED, FULL, write_whole

ELSEWHERE = "set HF_HOME to a folder on another disk"


def kept_demo(name: str) -> Path:
    """The cache folder for the model of `hf-prune demo`."""
    return cached_assets_path("hf-prune", namespace="demo", subfolder=name)


def kept_results(kind: str) -> Path:
    """The cache folder for results of this kind: "scores" of layers, or of "tasks"."""
    cache = Path(constants.HF_ASSETS_CACHE)
    with plain_cache_errors(cache):
        try:
            folder = cached_assets_path("hf-prune", namespace=kind)
        except ValueError as error:  # a file is in the way
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from error
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return folder


@contextmanager
def plain_cache_errors(folder: Path) -> Iterator[None]:
    """Turn the system's error for a full or read-only disk into one that names the cache and HF_HOME.

    Raises:
        DiskFull: no space is left, or a quota is used up.
        UnusableCache: the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise DiskFull(
                f"the disk with the Hub's cache {folder} is full: make room (`hf cache ls` lists the models, "
                f"`hf cache rm` removes them) or {ELSEWHERE}, then run the same command again"
            ) from error
        if error.errno in (*CLOSED, errno.ENOTDIR):
            raise UnusableCache(
                f"the Hub's cache {folder} cannot be written ({error.strerror}): set HF_HOME to a folder "
                f"that you can write to"
            ) from error
        raise


def cached_repository(repo_id: str) -> Path:
    """The folder of a model in the Hub's cache, which need not exist."""
    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo_id, repo_type="model")


def remember_commit(repo_id: str, revision: str | None, commit: str) -> None:
    """Note in the Hub's cache which commit a branch or tag was, for offline use.

    huggingface_hub does so if it downloads a branch. hf-prune downloads a commit, so that all files of a run
    belong together. The folder `refs/` beside `snapshots/` is a documented part of the cache.
    """
    if revision == commit:
        return
    reference = cached_repository(repo_id) / "refs" / (revision or constants.DEFAULT_REVISION)
    with suppress(OSError, HfPruneError):  # the cache may be read-only
        if not (reference.is_file() and reference.read_text(encoding="utf-8") == commit):
            write_whole(reference, commit)
