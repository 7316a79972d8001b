"""What hf-prune keeps in the Hub's own cache, and what is said of that cache where it fails."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from huggingface_hub import cached_assets_path, constants
from huggingface_hub.file_download import repo_folder_name

from hf_prune.errors import DiskFull, HfPruneError, UnusableCache
from hf_prune.machine.disk import write_whole

ELSEWHERE = "set HF_HOME to a folder on another disk"
FULL = (errno.ENOSPC, errno.EDQUOT)
CLOSED = (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR)


def kept_scores() -> Path:
    """Where the Hub's own cache keeps what hf-prune has measured."""
    return _kept("scores")


def kept_task_scores() -> Path:
    """Where the Hub's own cache keeps what models made of tasks."""
    return _kept("tasks")


def kept_demo(name: str) -> Path:
    """Where the Hub's own cache keeps the model of `hf-prune demo`."""
    return cached_assets_path("hf-prune", namespace="demo", subfolder=name)


def _kept(what: str) -> Path:
    cache = Path(constants.HF_ASSETS_CACHE)
    with plain_cache_errors(cache):
        try:
            folder = cached_assets_path("hf-prune", namespace=what)
        except ValueError as error:  # a file is in the way
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from error
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return folder


@contextmanager
def plain_cache_errors(folder: Path) -> Iterator[None]:
    """Turn the system's word for a full or closed disk into ours, which names the cache and HF_HOME.

    Args:
        folder: the part of the cache that is written.

    Raises:
        DiskFull: no space is left, or a quota is used up.
        UnusableCache: the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise DiskFull(
                f"the disk with the Hub's cache {folder} is full: make room (`hf cache ls` shows what is "
                f"there, `hf cache rm` removes it) or {ELSEWHERE}, and give the same command again"
            ) from error
        if error.errno in CLOSED:
            raise UnusableCache(
                f"the Hub's cache {folder} cannot be written ({error.strerror}): set HF_HOME to a folder "
                f"that can"
            ) from error
        raise


def remember_commit(repo_id: str, revision: str | None, commit: str) -> None:
    """Note in the Hub's cache which commit a branch or tag was, for when the Hub is not asked.

    huggingface_hub does so where it is given the branch itself; here it is given the commit, so that all
    files of a run are of one. The place is a documented part of the cache: `refs/` beside `snapshots/`.
    """
    if revision == commit:
        return
    repository = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo_id, repo_type="model")
    reference = repository / "refs" / (revision or constants.DEFAULT_REVISION)
    with suppress(OSError, HfPruneError):  # in a cache that may only be read nothing is noted
        if not (reference.is_file() and reference.read_text(encoding="utf-8") == commit):
            write_whole(reference, commit)
