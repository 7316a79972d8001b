"""Weight files of a limited size, written tensor by tensor from the files that the result has."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from hf_prune.machine.disk import check_room, link, whole_folder
from hf_prune.machine.progress import Progress
from hf_prune.model.weights import INDEX_FILE, StoredTensor, read_index, weight_files, write_weights
from hf_prune.records import Checkpoint
from hf_prune.records.numbers import byte_size
from hf_prune.stages.work import Work


def sharded(work: Work, result: Checkpoint) -> Checkpoint:
    """The result in files of at most `--max-shard-size`, or unchanged if the recipe does not set it."""
    max_bytes = work.recipe.max_shard_size
    if max_bytes is None:
        return result
    target = work.folder.checkpoints / f"{result.variant}-sharded"

    def compute() -> Checkpoint:
        check_room(target.parent, result.size_bytes, f"writing files of {byte_size(max_bytes)}")
        with whole_folder(target) as partial:
            written = reshard(result, work.folder_of(result), partial, max_bytes, work.reporter.progress)
        return replace(written, folder=target.name)

    return work.folder.stage("shards", Checkpoint, work.inputs, compute, lambda _: target)


def reshard(
    checkpoint: Checkpoint, folder: Path, target: Path, max_bytes: int, progress: Progress
) -> Checkpoint:
    """Write the model in `folder` with other weight files into the empty folder `target`.

    A file has at most `max_bytes`, its header not counted. Other files are linked as they are.
    """
    source = read_index(folder)
    old_files = {*weight_files(folder), INDEX_FILE}
    for path in sorted(folder.iterdir()):
        if path.name not in old_files:
            link(path, target / path.name)
    weights = write_weights(
        source,
        target,
        names={name: name for name in source.tensors},
        replacements={},
        parts={},
        progress=progress,
        files=assign_files(source.tensors.values(), max_bytes),
    )
    return replace(checkpoint, weights=weights)


def assign_files(tensors: Iterable[StoredTensor], max_bytes: int) -> dict[str, int]:
    """The number of each tensor's file, by the tensor's name.

    A file takes tensors in order while they fit. A tensor larger than `max_bytes` has a file of its own.
    """
    number, filled = 0, 0
    numbers: dict[str, int] = {}
    for tensor in tensors:
        if filled and filled + tensor.size_bytes > max_bytes:
            number, filled = number + 1, 0
        numbers[tensor.name] = number
        filled += tensor.size_bytes
    return numbers
