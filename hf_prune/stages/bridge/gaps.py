"""Gaps closed layer by layer, in the streams of pruned models that run beside the original's.

The original is run once for all pruned models. Its stream at the end of the removed layers is the target. A
layer that is fitted later sees the pruned model's own stream, with the earlier repairs in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from hf_prune.machine.progress import Progress
from hf_prune.model.activations import Activations
from hf_prune.model.decoder import RunLayer, StreamedDecoder, run_layers, states_after
from hf_prune.model.projections import (
    additive_projections,
    as_stored,
    read_weight,
    run_up_to,
    stored_weight,
)
from hf_prune.records import DECODER, Block, Bridge, FoldedBridge
from hf_prune.stages.bridge.closing_norm import before_norm, closing_norm, targets_before
from hf_prune.stages.bridge.equations import Passage
from hf_prune.stages.bridge.forms import Form
from hf_prune.stages.texts.windows import Windows


@dataclass
class _Stream:
    """The residual stream of one pruned model while its gaps are being closed."""

    decoder: StreamedDecoder  # of the original
    form: Form
    blocks: tuple[Block, ...]
    kept: frozenset[int]
    end: int  # the first layer that no repair depends on
    states: Activations
    entering: Activations | None = None  # of the layer before a gap, which runs once the target is known
    folded: list[FoldedBridge] = field(default_factory=list)
    solved: dict[str, Tensor] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    @property
    def record(self) -> Bridge:
        """The bridge, and the reasons for gaps that stay open."""
        method = self.form.name if self.folded else "none"
        return Bridge(method=method, folded=tuple(self.folded), reason="; ".join(self.reasons) or None)

    def repaired_in(self, layer: int) -> Block | None:
        """The gap that a layer after it is fitted for."""
        before = [block for block in self.blocks if block.end <= layer < block.end + self.form.reach]
        return before[-1] if before else None


@dataclass(frozen=True)
class _Writers:
    """The projections of one layer that add to the residual stream."""

    decoder: StreamedDecoder
    layer: int
    names: tuple[str, ...]  # in the layer's order
    norm: str | None  # the norm that ends the layer, as in BERT; then the states before it are fitted

    @property
    def module(self) -> nn.Module:
        return self.decoder.skeleton.layers[self.layer]

    def run_to(self, name: str, run: RunLayer) -> RunLayer:
        """The layer as a function that ends once a projection has added to the stream."""
        run = run if self.norm is None else before_norm(self.module, run, self.norm)
        if name == self.names[-1]:
            return run
        return run_up_to(self.module, run, self.names[: self.names.index(name) + 1])

    def last_target(
        self, run: RunLayer, entering: Activations, target: Activations
    ) -> dict[str, Activations]:
        """The states that the last projection has to reach for the layer's output to be `target`."""
        if self.norm is not None:
            run = before_norm(self.module, run, self.norm)
            target = targets_before(self.module, run, self.norm, entering, target)
        return {name: target for name in self.names[-1:]}

    @property
    def reason_against(self) -> str | None:
        """Why the last projection cannot carry a bridge, or None if it can."""
        kind = self.decoder.skeleton.config.model_type
        if not self.names:
            return (
                f"no linear projection of {kind}'s layer {self.layer} reaches its output unchanged, so none "
                f"can carry a bridge"
            )
        if stored_weight(self.decoder, self.layer, self.names[-1]) is None:
            return (
                f"{self.names[-1]} of {kind}'s layer {self.layer} is not stored as it is used (quantised, or "
                f"with others in one tensor), so it cannot carry a bridge"
            )
        return None


def fit_bridges(
    decoder: StreamedDecoder,
    windows: Windows,
    cuts: Sequence[tuple[tuple[Block, ...], Form]],
    progress: Progress,
) -> list[tuple[Bridge, dict[str, Tensor]]]:
    """Close the gaps of each of several cuts, from first to last.

    A cut is the blocks that it removes, in order, and the form of its bridges.

    Returns:
        For each cut the record, and the new tensors, float32 on the CPU, by their name in the original.
    """
    original = decoder.enter(windows.ids)
    layers = frozenset(range(decoder.num_layers))
    streams = [
        _Stream(
            decoder=decoder,
            form=form,
            blocks=blocks,
            kept=layers.difference(*(range(block.start, block.end) for block in blocks)),
            end=min(blocks[-1].end + form.reach, decoder.num_layers) if blocks else 0,
            states=original,
        )
        for blocks, form in cuts
    ]
    last = max(stream.end for stream in streams)
    for layer in progress(range(last), "bridging", last, "layer"):
        reached = _pass_layer(decoder, layer, original, streams)
        for stream in streams:
            block = next((block for block in stream.blocks if block.end == layer + 1), None)
            if block is not None:
                _fit_before_gap(stream, block, reached)
        original = reached
    return [(stream.record, stream.solved) for stream in streams]


def _pass_layer(
    decoder: StreamedDecoder, layer: int, original: Activations, streams: Sequence[_Stream]
) -> Activations:
    """The original's states after a layer. Each stream passes it too, or stops where its gap begins."""
    repaired: list[tuple[_Stream, Block]] = []
    with decoder.layer(layer) as run:
        reached = states_after(run, original)
        for stream in streams:
            if layer >= stream.end or layer not in stream.kept:
                continue
            if any(block.start == layer + 1 for block in stream.blocks):
                stream.entering = stream.states
            elif (block := stream.repaired_in(layer)) is not None:
                repaired.append((stream, block))
            elif stream.states is original:
                stream.states = reached
            else:
                stream.states = states_after(run, stream.states)
    for stream, block in repaired:
        _fit_after_gap(stream, block, layer, original, reached)
    return reached


def _fit_before_gap(stream: _Stream, block: Block, target: Activations) -> None:
    """Fit the last projection before a gap, so that it takes the stream to `target`. More gain nothing."""
    if stream.entering is None:
        stream.reasons.append(f"nothing comes before layer 0, so the gap of layers {block} stays open")
        return
    entering, stream.entering = stream.entering, None
    with stream.decoder.layer(block.start - 1) as run:
        writers = _find_writers(stream.decoder, block.start - 1, run, entering[0])
        targets = writers.last_target(run, entering, target)
    _fit(stream, block, writers, entering, targets)
    if writers.reason_against is not None:
        stream.reasons.append(writers.reason_against)


def _fit_after_gap(
    stream: _Stream, block: Block, layer: int, original: Activations, target: Activations
) -> None:
    """Fit every projection of a layer, so that it takes the stream to where the original's was after it."""
    with stream.decoder.layer(layer) as run:
        writers = _find_writers(stream.decoder, layer, run, stream.states[0])
        targets = {name: states_after(writers.run_to(name, run), original) for name in writers.names[:-1]}
        targets |= writers.last_target(run, stream.states, target)
    _fit(stream, block, writers, stream.states, targets)


def _find_writers(decoder: StreamedDecoder, layer: int, run: RunLayer, entering: Tensor) -> _Writers:
    module, norm = decoder.skeleton.layers[layer], None
    names = additive_projections(module, run, entering)
    if not names and decoder.skeleton.kind != DECODER:
        norm = closing_norm(module, run, entering)
        if norm is not None:
            names = additive_projections(module, before_norm(module, run, norm), entering)
    return _Writers(decoder, layer, names, norm)


def _fit(
    stream: _Stream, block: Block, writers: _Writers, entering: Activations, targets: dict[str, Activations]
) -> None:
    """Fit projections of a layer to their targets, in order, and let the stream through the layer."""
    decoder, layer = stream.decoder, writers.layer
    for name in list(targets):
        target = targets.pop(name)  # so that its memory is free once the projection is fitted
        tensor = stored_weight(decoder, layer, name)
        if tensor is None:
            continue
        weight = read_weight(decoder, layer, name)
        with decoder.layer(layer, stream.solved) as run:
            part = writers.run_to(name, run)
            passage = Passage(writers.module.get_submodule(name), part, entering, target)
            fitted = stream.form.fit(passage, weight)
        equations = fitted.equations
        folded = FoldedBridge(
            block=block,
            layer=layer,
            tensor=tensor,
            ridge=fitted.ridge,
            num_tokens=equations.num_tokens,
            gap_unrepaired=equations.missing / equations.target,
            gap_repaired=equations.left_by(fitted.correction) / equations.target,
        )
        stream.folded.append(folded)
        stream.solved[tensor] = as_stored(decoder, layer, name, weight + fitted.correction)
    if stream.end > max(layer + 1, block.end):  # something after it is still to be fitted
        stream.states = run_layers(decoder, entering, [layer], stream.solved)
