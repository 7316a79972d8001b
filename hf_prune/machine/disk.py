"""Files that appear whole or not at all, and a plain word when the disk is full."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hf_prune.errors import DiskFull, HfPruneError


def check_room(folder: Path, needed_bytes: int, purpose: str, remedy: str = "choose another folder") -> None:
    """Make sure that `needed_bytes` fit where `folder` is, or will be.

    Args:
        folder: where to.
        needed_bytes: how much.
        purpose: what needs them.
        remedy: what the user can do who cannot make room.

    Raises:
        DiskFull: they do not.
    """
    free = free_disk(folder)
    if free < needed_bytes:
        raise DiskFull(
            f"{purpose} needs {gigabytes(needed_bytes)} in {folder}, where {gigabytes(free)} are free: "
            f"make room or {remedy}"
        )


def free_disk(folder: Path) -> int:
    """Bytes that are free where `folder` is, or will be."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def gigabytes(count: int) -> str:
    """A number of bytes as people read it, in decimal units."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"


@contextmanager
def plain_disk_errors(folder: Path) -> Iterator[None]:
    """Turn the system's word for a full or closed disk into ours.

    Raises:
        DiskFull: no space is left, or a quota is used up.
        HfPruneError: the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"the disk filled up while writing to {folder}; what was unfinished is removed: make "
                f"room and give the same command again"
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise HfPruneError(
                f"{folder} cannot be written: {error.strerror}; choose another --output"
            ) from error
        raise


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A new folder to fill, which takes the name `target` once it is complete.

    Whatever stops the filling removes it, so a folder of that name is always whole.
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
    """A second name for a file that is never changed; a copy where the disk has no such names."""
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)


def sha256_of(path: Path) -> str:
    """Of a file, read a little at a time."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file under another name and rename it, so that it is never seen half-written."""
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


def _files_digest(paths: Mapping[str, Path]) -> str:
    digest = hashlib.sha256()
    for name in sorted(paths):
        digest.update(f"{name}\0{sha256_of(paths[name])}\n".encode())
    return digest.hexdigest()
