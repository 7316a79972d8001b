"""Files and folders that appear whole or not at all, and plain errors if the disk is full."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hf_prune.errors import DiskFull, HfPruneError
from hf_prune.records.numbers import byte_size

FULL = (errno.ENOSPC, errno.EDQUOT)
CLOSED = (errno.EACCES, errno.EROFS, errno.EPERM)


def check_room(folder: Path, needed_bytes: int, purpose: str, remedy: str = "choose another folder") -> None:
    """Make sure that the disk of `folder` has room; the folder need not exist yet.

    Raises:
        DiskFull: `purpose` needs more room than there is; `remedy` says what else the user can do.
    """
    free = free_disk(folder)
    if free < needed_bytes:
        raise DiskFull(
            f"{purpose} needs {byte_size(needed_bytes)} in {folder}, where {byte_size(free)} are free: "
            f"make room or {remedy}"
        )


def free_disk(folder: Path) -> int:
    """Free bytes on the disk of `folder`, which need not exist yet."""
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    return shutil.disk_usage(existing).free


@contextmanager
def plain_disk_errors(folder: Path) -> Iterator[None]:
    """Turn the system's error for a full or read-only disk into one that says what to do.

    Raises:
        DiskFull: no space is left, or a quota is used up.
        HfPruneError: the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise DiskFull(
                f"the disk filled up while writing to {folder}, and the unfinished files were removed: make "
                f"room and run the same command again"
            ) from error
        if error.errno in CLOSED:
            raise HfPruneError(
                f"{folder} cannot be written: {error.strerror}; choose another --output"
            ) from error
        raise


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A new folder to fill, which is renamed to `target` once it is complete, and replaces an older one.

    If anything stops the filling, the folder is removed, so `target` is always complete.
    """
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    with plain_disk_errors(target):
        try:
            partial.mkdir(parents=True)
            yield partial
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)


def link(path: Path, target: Path) -> None:
    """Hard-link a file that never changes, or copy it if the disk has no hard links."""
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)


def sha256_of(path: Path) -> str:
    """The hash of a file, which is read a little at a time."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file under another name and rename it, so that nobody sees it half-written."""
    partial = path.with_name(f".{path.name}.partial")
    with plain_disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as file:
                file.write(content if isinstance(content, bytes) else content.encode())
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        partial.rename(path)


def files_digest(paths: Mapping[str, Path]) -> str:
    """A hash of several files, by name and content."""
    digest = hashlib.sha256()
    for name in sorted(paths):
        digest.update(f"{name}\0{sha256_of(paths[name])}\n".encode())
    return digest.hexdigest()
