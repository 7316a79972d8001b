"""Whether the files of a published model are those that its record names."""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from hf_prune.commands.verify.claims import Claim, broken, equal
from hf_prune.errors import NoSafetensors
from hf_prune.machine.disk import sha256_of
from hf_prune.machine.progress import Progress
from hf_prune.model import anatomy
from hf_prune.model.skeleton import Skeleton
from hf_prune.model.weights import weight_files
from hf_prune.records import Anatomy
from hf_prune.records.blocks import ranges
from hf_prune.stages.run import Run

SHOWN = {
    "num_layers": "layers",
    "parameters": "parameters",
    "size_bytes": "bytes of weights",
    "dtype": "dtype",
}


def file_claims(run: Run, folder: Path, progress: Progress) -> Iterator[Claim]:
    """Whether each file of weights, and each export, has the size and SHA-256 that the record says."""
    recorded = {file.name: f"{file.size_bytes} bytes, {file.sha256}" for file in run.result.weights}
    found = _names_of_weights(folder)
    yield equal("files of weights", ", ".join(sorted(recorded)), ", ".join(found))
    names = [name for name in sorted(recorded) if name in found]
    for name in progress(names, "hashing", len(names), "file"):
        path = folder / name
        yield equal(f"SHA-256 of {name}", recorded[name], f"{path.stat().st_size} bytes, {sha256_of(path)}")
    for export in run.exports.found:
        path = folder / export.path
        inside = path.resolve().is_relative_to(folder.resolve())
        if inside and path.is_file():
            yield equal(f"SHA-256 of {export.path}", export.sha256, sha256_of(path))
        else:
            yield broken(f"SHA-256 of {export.path}", export.sha256, "none", "the file is missing")


def _names_of_weights(folder: Path) -> list[str]:
    try:
        return sorted(weight_files(folder))
    except (NoSafetensors, ValueError, KeyError):  # a file is missing, or the index is unreadable
        return sorted(path.name for path in folder.glob("*.safetensors"))


def anatomy_claims(run: Run, published: Skeleton) -> Iterator[Claim]:
    """Whether config.json and the headers of the weights agree with the record."""
    claimed, found = run.result_anatomy, anatomy.describe(published)
    for field, name in SHOWN.items():
        yield equal(name, getattr(claimed, field), getattr(found, field))
    differing = [name for name in _differing_fields(claimed, found) if name not in SHOWN]
    yield equal(
        "the rest of its figures",
        "as recorded",
        "different" if differing else "as recorded",
        "; ".join(
            f"{name}: {getattr(claimed, name)} in the record, {getattr(found, name)} here"
            for name in differing
        ),
    )
    yield equal("layers kept and removed", *_counted(run, found.num_layers))


def _differing_fields(one: Anatomy, other: Anatomy) -> list[str]:
    return [field.name for field in fields(Anatomy) if getattr(one, field.name) != getattr(other, field.name)]


def _counted(run: Run, num_layers: int) -> tuple[str, str]:
    """How many layers stay, by the record and by the model; each layer must be kept or removed once."""
    plan, new = run.plan, len(run.growth.layers) if run.growth else 0
    claimed = f"{ranges(plan.kept)} of {plan.num_layers}"
    whole = sorted((*plan.kept, *plan.removed)) == list(range(plan.num_layers))
    if not whole:
        return claimed, f"{ranges(plan.removed)} removed, which together are not each layer once"
    left = num_layers - new
    return claimed, claimed if left == len(plan.kept) else f"{left} layers in config.json"
