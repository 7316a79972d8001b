"""The weights of the result divided into files as asked, tensor by tensor from the files that it has."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from hf_prune.machine.disk import check_room, gigabytes, link, whole_folder
from hf_prune.machine.progress import Progress
from hf_prune.model.weights import INDEX_FILE, StoredTensor, read_index, weight_files, write_weights
from hf_prune.records import Checkpoint
from hf_prune.stages.work import Work


def sharded(work: Work, result: Checkpoint) -> Checkpoint:
    """The result in files of at most `--max-shard-size`; as it is where that was not asked for.

    Args:
        work: the run.
        result: the checkpoint that is to be published.
    """
    most = work.recipe.max_shard_size
    if most is None:
        return result
    target = work.folder.checkpoints / f"{result.variant}-sharded"

    def compute() -> Checkpoint:
        check_room(target.parent, result.size_bytes, f"writing files of {gigabytes(most)}")
        with whole_folder(target) as partial:
            written = reshard(result, work.place(result), partial, most, work.reporter.progress)
        return replace(written, folder=target.name)

    return work.folder.stage("shards", Checkpoint, work.inputs, compute, lambda _: target)


def reshard(
    checkpoint: Checkpoint, folder: Path, target: Path, most_bytes: int, progress: Progress
) -> Checkpoint:
    """Write a model with other weight files; what is beside them stays as it is.

    Args:
        checkpoint: the record of the model.
        folder: where it is.
        target: an empty folder.
        most_bytes: of a file, its header left out; a tensor that is larger has a file of its own.
        progress: shows the tensors going by.
    """
    source = read_index(folder)
    old = {*weight_files(folder), INDEX_FILE}
    for path in sorted(folder.iterdir()):
        if path.name not in old:
            link(path, target / path.name)
    weights = write_weights(
        source,
        target,
        names={name: name for name in source.tensors},
        replacements={},
        parts={},
        progress=progress,
        files=divided(source.tensors.values(), most_bytes),
    )
    return replace(checkpoint, weights=weights)


def divided(tensors: Iterable[StoredTensor], most_bytes: int) -> dict[str, int]:
    """By the name of each tensor the number of its file: as many in turn as fit, one at the least.

    Args:
        tensors: in the order in which they are written.
        most_bytes: of a file, its header left out.
    """
    number, filled = 0, 0
    numbers: dict[str, int] = {}
    for tensor in tensors:
        if filled and filled + tensor.size_bytes > most_bytes:
            number, filled = number + 1, 0
        numbers[tensor.name] = number
        filled += tensor.size_bytes
    return numbers
