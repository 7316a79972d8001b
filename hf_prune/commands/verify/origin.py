"""Where the published weights come from: each tensor beside the original's, a few bytes at a time."""

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
from hf_prune.stages.cut.checkpoint import layer_parts, names_at
from hf_prune.stages.grow.positions import grown_from, number_after
from hf_prune.stages.run import Run

KEPT = "kept layers, byte for byte"
OUTSIDE = "tensors outside the layers, byte for byte"
TRAINED = "trained tensors"
ORIGINAL = "the original"


@dataclass(frozen=True, slots=True, kw_only=True)
class Freedom:
    """Which tensors of a result need not be the original's, by what was done to it."""

    bridged: frozenset[str]  # by name in the original
    layers: frozenset[int]  # of the result, that were trained
    outside: bool  # whether what lies outside the layers was trained too
    tensors: int  # how many were trained, at most

    def covers(self, name: str, layer: int | None) -> bool:
        """Whether training may have changed a tensor of this layer of the result; None: outside them."""
        return name in self.bridged or (self.outside if layer is None else layer in self.layers)


def freedom_of(run: Run) -> Freedom:
    """What its record says was changed."""
    healing, layers = run.healing, run.result_anatomy.num_layers
    method = healing.plan.method if healing.kept else "none"
    trained: dict[str, range | set[int]] = {
        "partial": range(max(layers - healing.plan.last_layers, 0), layers),
        "replace": {number - 1 for number in _after_gaps(run)},
        "grown": set(run.growth.layers) if run.growth else set(),
        "none": range(0),
    }
    return Freedom(
        bridged=frozenset(folded.tensor for folded in published_bridge(run).folded),
        layers=frozenset(trained.get(method, range(layers))),
        outside=method in ("partial", "sorted"),
        tensors=healing.tensors if healing.kept else 0,
    )


def _after_gaps(run: Run) -> Iterator[int]:
    """The numbers in the result of the layers that follow a gap, or of its end."""
    for block in run.plan.blocks:
        yield sum(layer < block.start for layer in run.plan.kept)


def original_claims(run: Run, original: Skeleton) -> Iterator[Claim]:
    """Whether what is taken for the original has the figures that the record gives it."""
    found = anatomy.describe(original)

    def of(figures: Anatomy) -> str:
        counted = f"{figures.num_layers} layers, {figures.parameters} numbers"
        return f"{figures.architecture}, {counted}, {figures.dtype}"

    yield equal(ORIGINAL, of(run.dense), of(found))


def origin_claims(run: Run, published: Skeleton, original: Skeleton, progress: Progress) -> Iterator[Claim]:
    """Whether each tensor is the original's, byte for byte, where nothing is said to have changed it.

    Args:
        run: the record.
        published: the model.
        original: what it was made from, in the form in which it was cut.
        progress: shows the tensors going by.
    """
    freedom, after = freedom_of(run), run.growth.after if run.growth else ()
    position = {layer: number_after(number, after) for number, layer in enumerate(run.plan.kept)}
    compared = _Compared(run, published, original, names_at(original, position))
    differing, strangers = compared.differing(progress), compared.strangers()
    changed = {name: layer for name, layer in differing.items() if not freedom.covers(name, layer)}
    trained = [name for name in differing if name not in changed and name not in freedom.bridged]
    if run.head_was_untied:
        trained += [name for name, layer in strangers.items() if layer is None]
        strangers = {name: layer for name, layer in strangers.items() if layer is not None}
    wrong = {compared.names[name]: layer for name, layer in changed.items()} | strangers
    yield _kept_claim(compared, position, {n: layer for n, layer in wrong.items() if layer is not None})
    outside = sum(name not in original.layer_numbers for name in compared.names)
    own = [name for name, layer in wrong.items() if layer is None]
    if not freedom.outside:
        yield equal(OUTSIDE, outside, outside - len(own), f"others are {listed(own)}")
    if freedom.tensors and run.healing.plan.method != "grown":
        yield at_most(TRAINED, freedom.tensors, len(trained), f"unlike the original's: {listed(trained)}")


def _kept_claim(compared: "_Compared", position: Mapping[int, int], wrong: Mapping[str, int]) -> Claim:
    """Which layers of the original are there, by what their tensors hold.

    Args:
        compared: both models.
        position: by layer of the original that the record says is kept, its number in the result.
        wrong: tensors of the result that are not what they should be, by name, with their layer.
    """
    exempt = freedom_of(compared.run)
    count = len(exempt.bridged)
    but = [f"{count} tensor{'s' if count > 1 else ''} of the bridge"] if count else []
    but += ["what was trained"] if exempt.tensors else []
    claimed = ranges(position) + (f", but for {' and '.join(but)}" if but else "")
    if not wrong:
        return equal(KEPT, claimed, claimed)
    layers = {number: layer for layer, number in position.items()}
    told = []
    for number in sorted(set(wrong.values())):
        names = [name for name, where in wrong.items() if where == number]
        found = compared.recognised(number)
        said = f", not {layers[number]}" if number in layers else ""
        told.append(
            f"layer {number} has others in {listed(names, 2)}"
            if found is None or found == layers.get(number)
            else f"layer {number} is layer {found} of the original{said}"
        )
        layers.pop(number, None)
        layers |= {number: found} if found is not None else {}
    return broken(KEPT, claimed, ranges(set(layers.values())) or "none", "; ".join(told[:3]))


@dataclass(frozen=True, slots=True)
class _Compared:
    """A published model beside its original."""

    run: Run
    published: Skeleton
    original: Skeleton
    names: Mapping[str, str]  # by name in the original, that in the published model

    def differing(self, progress: Progress) -> dict[str, int | None]:
        """Tensors that are missing or hold something else: by name in the original, the result's layer."""
        after = self.run.growth.after if self.run.growth else ()
        kept = self.run.plan.kept
        layers = tuple(kept[number] for number in grown_from(len(kept), after))
        parts = layer_parts(self.original, self.published.index.folder, layers)
        found: dict[str, int | None] = {}
        for name, there in progress(self.names.items(), "comparing", len(self.names), "tensor"):
            tensor = self.published.index.tensors.get(there)
            wanted = parts.get(name, self.original.index.tensors[name])
            if tensor is None or not same_bytes(wanted, tensor):
                place = self.published.layer_numbers.get(there)
                found[name] = place.layer if place else None
        return found

    def strangers(self) -> dict[str, int | None]:
        """Tensors of the published model that come from none of the original's, with their layers."""
        new = frozenset(self.run.growth.layers if self.run.growth else ())
        places, expected = self.published.layer_numbers, set(self.names.values())
        found = {
            name: places[name].layer if name in places else None
            for name in self.published.index.tensors
            if name not in expected
        }
        return {name: layer for name, layer in found.items() if layer not in new}

    def recognised(self, number: int) -> int | None:
        """The layer of the original that a layer of the published model is, to the byte; None: none."""
        places, tensors = self.published.layer_numbers, self.published.index.tensors
        names = [name for name in tensors if name in places and places[name].layer == number]
        for layer in range(self.original.num_layers):
            theirs = [self.original.index.tensors.get(places[name].renumbered(name, layer)) for name in names]
            if all(
                tensor is not None and same_bytes(tensor, tensors[name])
                for name, tensor in zip(names, theirs, strict=True)
            ):
                return layer
        return None


def same_bytes(wanted: StoredTensor | TensorPart, found: StoredTensor) -> bool:
    """Whether two stored tensors are the same, read a few bytes at a time."""
    whole = wanted.whole if isinstance(wanted, TensorPart) else wanted
    if (whole.dtype, wanted.shape, wanted.size_bytes) != (found.dtype, found.shape, found.size_bytes):
        return False
    if isinstance(wanted, TensorPart):  # its pieces are cut elsewhere
        return _digest(wanted) == _digest(found)
    pairs = zip(wanted.chunks(), found.chunks(), strict=True)
    return all(
        np.array_equal(np.frombuffer(one, np.uint8), np.frombuffer(other, np.uint8)) for one, other in pairs
    )


def _digest(tensor: StoredTensor | TensorPart) -> bytes:
    digest = hashlib.sha256()
    for chunk in tensor.chunks():
        digest.update(chunk)
    return digest.digest()
