"""Whether the published tensors are the original's, compared byte for byte and piece by piece."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from hf_prune.commands.verify.claims import Claim, at_most, broken, equal, listed
from hf_prune.machine.progress import Progress
from hf_prune.model import anatomy
from hf_prune.model.skeleton import Skeleton
from hf_prune.model.weights import StoredTensor, TensorPart
from hf_prune.records import Anatomy
from hf_prune.records.blocks import ranges
from hf_prune.stages.card.sections import published_bridge
from hf_prune.stages.cut.checkpoint import layer_parts, renumbered_names
from hf_prune.stages.grow.positions import grown_from, number_after
from hf_prune.stages.run import Run

KEPT = "kept layers, byte for byte"
OUTSIDE = "tensors outside the layers, byte for byte"
TRAINED = "trained tensors"
ORIGINAL = "the original"


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedChanges:
    """Which tensors of a result may differ from the original's, because of a bridge or training."""

    bridged: frozenset[str]  # by name in the original
    layers: frozenset[int]  # the result's layers that were trained
    outside: bool  # whether tensors outside the layers were trained too
    tensors: int  # how many were trained, at most

    def include(self, name: str, layer: int | None) -> bool:
        """Whether a tensor of this layer of the result may differ; None: it is outside the layers."""
        return name in self.bridged or (self.outside if layer is None else layer in self.layers)


def allowed_changes(run: Run) -> AllowedChanges:
    """The changes that the record of a run tells of."""
    healing, layers = run.healing, run.result_anatomy.num_layers
    method = healing.plan.method if healing.kept else "none"
    trained: dict[str, range | set[int]] = {
        "partial": range(max(layers - healing.plan.last_layers, 0), layers),
        "replace": {number - 1 for number in _after_gaps(run)},
        "grown": set(run.growth.layers) if run.growth else set(),
        "none": range(0),
    }
    return AllowedChanges(
        bridged=frozenset(folded.tensor for folded in published_bridge(run).folded),
        layers=frozenset(trained.get(method, range(layers))),
        outside=method in ("partial", "sorted"),
        tensors=healing.tensors if healing.kept else 0,
    )


def _after_gaps(run: Run) -> Iterator[int]:
    """The number, in the result, of the layer after each gap."""
    for block in run.plan.blocks:
        yield sum(layer < block.start for layer in run.plan.kept)


def original_claims(run: Run, original: Skeleton) -> Iterator[Claim]:
    """Whether the original has the figures that the record gives it."""
    found = anatomy.describe(original)

    def of(figures: Anatomy) -> str:
        counted = f"{figures.num_layers} layers, {figures.parameters} numbers"
        return f"{figures.architecture}, {counted}, {figures.dtype}"

    yield equal(ORIGINAL, of(run.dense), of(found))


def origin_claims(run: Run, published: Skeleton, original: Skeleton, progress: Progress) -> Iterator[Claim]:
    """Whether each tensor that the run did not change is the original's, byte for byte."""
    allowed, after = allowed_changes(run), run.growth.after if run.growth else ()
    position = {layer: number_after(number, after) for number, layer in enumerate(run.plan.kept)}
    compared = _Compared(run, published, original, renumbered_names(original, position))
    differing, unknown = compared.differing(progress), compared.unknown()
    changed = {name: layer for name, layer in differing.items() if not allowed.include(name, layer)}
    trained = [name for name in differing if name not in changed and name not in allowed.bridged]
    if run.head_was_untied:
        trained += [name for name, layer in unknown.items() if layer is None]
        unknown = {name: layer for name, layer in unknown.items() if layer is not None}
    wrong = {compared.names[name]: layer for name, layer in changed.items()} | unknown
    yield _kept_claim(compared, position, {n: layer for n, layer in wrong.items() if layer is not None})
    outside = sum(name not in original.layer_numbers for name in compared.names)
    own = [name for name, layer in wrong.items() if layer is None]
    if not allowed.outside:
        yield equal(OUTSIDE, outside, outside - len(own), f"these differ: {listed(own)}")
    if allowed.tensors and run.healing.plan.method != "grown":
        yield at_most(TRAINED, allowed.tensors, len(trained), f"unlike the original's: {listed(trained)}")


@dataclass(frozen=True, slots=True)
class _WrongLayer:
    """A layer of the result that is not the layer of the original that the record says."""

    number: int  # in the result
    recorded: int | None  # the layer of the original that it should be; None: the record has none
    actual: int | None  # the layer of the original that it is; None: it is none of them
    tensors: list[str]  # of the result, that differ

    def __str__(self) -> str:
        if self.actual is None or self.actual == self.recorded:
            return f"layer {self.number} has others in {listed(self.tensors, 2)}"
        instead = f", not {self.recorded}" if self.recorded is not None else ""
        return f"layer {self.number} is layer {self.actual} of the original{instead}"


def _kept_claim(compared: "_Compared", position: Mapping[int, int], wrong: Mapping[str, int]) -> Claim:
    """Which layers of the original are there, judged by the bytes of their tensors.

    Args:
        position: the number in the result of each layer of the original that the record says is kept.
        wrong: the layer of each tensor of the result that differs, by name.
    """
    claimed = ranges(position) + _exceptions(compared.run)
    if not wrong:
        return equal(KEPT, claimed, claimed)
    recorded = {number: layer for layer, number in position.items()}
    wrong_layers = [
        _WrongLayer(
            number=number,
            recorded=recorded.get(number),
            actual=compared.recognised(number),
            tensors=[name for name, layer in wrong.items() if layer == number],
        )
        for number in sorted(set(wrong.values()))
    ]
    present = {layer for number, layer in recorded.items() if number not in wrong.values()}
    present |= {each.actual for each in wrong_layers if each.actual is not None}
    details = "; ".join(map(str, wrong_layers[:3]))
    return broken(KEPT, claimed, ranges(present) or "none", details)


def _exceptions(run: Run) -> str:
    allowed = allowed_changes(run)
    count = len(allowed.bridged)
    exceptions = [f"{count} tensor{'s' if count > 1 else ''} of the bridge"] if count else []
    exceptions += ["what was trained"] if allowed.tensors else []
    return f", but for {' and '.join(exceptions)}" if exceptions else ""


@dataclass(frozen=True, slots=True)
class _Compared:
    """A published model and its original."""

    run: Run
    published: Skeleton
    original: Skeleton
    names: Mapping[str, str]  # of each tensor of the original, the name in the published model

    def differing(self, progress: Progress) -> dict[str, int | None]:
        """The tensors that are missing or differ: by name in the original, the layer of the result."""
        after = self.run.growth.after if self.run.growth else ()
        kept = self.run.plan.kept
        layers = tuple(kept[number] for number in grown_from(len(kept), after))
        parts = layer_parts(self.original, self.published.index.folder, layers)
        differing: dict[str, int | None] = {}
        for name, published_name in progress(self.names.items(), "comparing", len(self.names), "tensor"):
            tensor = self.published.index.tensors.get(published_name)
            expected = parts.get(name, self.original.index.tensors[name])
            if tensor is None or not same_bytes(expected, tensor):
                number = self.published.layer_numbers.get(published_name)
                differing[name] = number.layer if number else None
        return differing

    def unknown(self) -> dict[str, int | None]:
        """The published tensors that come from none of the original's, each with its layer."""
        new = frozenset(self.run.growth.layers if self.run.growth else ())
        numbers, expected = self.published.layer_numbers, set(self.names.values())
        unknown = {
            name: numbers[name].layer if name in numbers else None
            for name in self.published.index.tensors
            if name not in expected
        }
        return {name: layer for name, layer in unknown.items() if layer not in new}

    def recognised(self, number: int) -> int | None:
        """The layer of the original with the same bytes as this published layer; None: there is none."""
        numbers, tensors = self.published.layer_numbers, self.published.index.tensors
        names = [name for name in tensors if name in numbers and numbers[name].layer == number]
        for layer in range(self.original.num_layers):
            theirs = [
                self.original.index.tensors.get(numbers[name].renumbered(name, layer)) for name in names
            ]
            if all(
                tensor is not None and same_bytes(tensor, tensors[name])
                for name, tensor in zip(names, theirs, strict=True)
            ):
                return layer
        return None


def same_bytes(one: StoredTensor | TensorPart, other: StoredTensor) -> bool:
    """Whether two stored tensors are equal, read in small pieces."""
    whole = one.whole if isinstance(one, TensorPart) else one
    if (whole.dtype, one.shape, one.size_bytes) != (other.dtype, other.shape, other.size_bytes):
        return False
    if isinstance(one, TensorPart):  # its pieces do not line up with the other's
        return _digest(one) == _digest(other)
    pairs = zip(one.chunks(), other.chunks(), strict=True)
    return all(np.array_equal(np.frombuffer(a, np.uint8), np.frombuffer(b, np.uint8)) for a, b in pairs)


def _digest(tensor: StoredTensor | TensorPart) -> bytes:
    digest = hashlib.sha256()
    for chunk in tensor.chunks():
        digest.update(chunk)
    return digest.digest()
