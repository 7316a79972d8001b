"""The streams of pruned models beside the original's, layer by layer, and how their gaps are closed.

The original is run once for all pruned models. Where the removed layers would have ended, its stream is the
target; what is fitted later sees the pruned model's own stream, earlier repairs included.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from hf_prune.machine.progress import Progress
from hf_prune.model.activations import Activations
from hf_prune.model.decoder import StreamedDecoder, run_layers, states_after
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

    form: Form
    blocks: tuple[Block, ...]
    kept: frozenset[int]
    end: int  # the first layer that no repair has to do with
    states: Activations
    entering: Activations | None = None  # of the layer before a gap, which runs once the target is known
    folded: list[FoldedBridge] = field(default_factory=list)
    solved: dict[str, Tensor] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    @property
    def record(self) -> Bridge:
        """What was done, and why a gap was left open."""
        method = self.form.name if self.folded else "none"
        return Bridge(method=method, folded=tuple(self.folded), reason="; ".join(self.reasons) or None)

    def repaired_in(self, layer: int) -> Block | None:
        """The gap that a layer after it is fitted for."""
        before = [block for block in self.blocks if block.end <= layer < block.end + self.form.reach]
        return before[-1] if before else None


def fit_bridges(
    decoder: StreamedDecoder,
    windows: Windows,
    wanted: Sequence[tuple[tuple[Block, ...], Form]],
    progress: Progress,
) -> list[tuple[Bridge, dict[str, Tensor]]]:
    """Close the gaps of each of several cuts, from first to last, each in its form.

    Args:
        decoder: the original model.
        windows: calibration tokens.
        wanted: the blocks that each cut removes, in order, and the form of its bridges.
        progress: shows the layers going by.

    Returns:
        For each the record, and the new tensors, float32 on the CPU, by their name in the original.
    """
    original = decoder.enter(windows.ids)
    everything = frozenset(range(decoder.num_layers))
    streams = [
        _Stream(
            form=form,
            blocks=blocks,
            kept=everything.difference(*(range(block.start, block.end) for block in blocks)),
            end=min(blocks[-1].end + form.reach, decoder.num_layers) if blocks else 0,
            states=original,
        )
        for blocks, form in wanted
    ]
    last = max(stream.end for stream in streams)
    for layer in progress(range(last), "bridging", last, "layer"):
        reached = _pass_layer(decoder, layer, original, streams)
        for stream in streams:
            block = next((block for block in stream.blocks if block.end == layer + 1), None)
            if block is not None:
                _close(decoder, stream, block, reached)
        original = reached
    return [(stream.record, stream.solved) for stream in streams]


def _pass_layer(
    decoder: StreamedDecoder, layer: int, original: Activations, streams: Sequence[_Stream]
) -> Activations:
    """The original's states after a layer; each stream goes along, or stops where its gap begins."""
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
        _fit_layer(decoder, stream, block, layer, stream.states, reached, original)
    return reached


def _close(decoder: StreamedDecoder, stream: _Stream, block: Block, target: Activations) -> None:
    """Fit the layer before a block to land on `target`, if there is one that can be fitted."""
    if stream.entering is None:
        stream.reasons.append(f"nothing comes before layer 0, so the gap of layers {block} stays open")
        return
    entering, stream.entering = stream.entering, None
    if reason := _fit_layer(decoder, stream, block, block.start - 1, entering, target):
        stream.reasons.append(reason)


def _fit_layer(
    decoder: StreamedDecoder,
    stream: _Stream,
    block: Block,
    layer: int,
    entering: Activations,
    target: Activations,
    beside: Activations | None = None,
) -> str | None:
    """Fit a layer to land on `target` and let the stream through it; the reason if it cannot be fitted.

    Args:
        decoder: the original model.
        stream: that enters the layer, and leaves it.
        block: the gap that this is done for.
        layer: its number.
        entering: the states at its input.
        target: the states wanted at its output.
        beside: the original's states at its input; None: the layer has to make up for the gap alone. Else
            each of its projections has to take the stream to where the original's was after it.
    """
    kind, encodes = decoder.skeleton.config.model_type, decoder.skeleton.kind != DECODER
    module = decoder.skeleton.layers[layer]
    with decoder.layer(layer) as run:
        names = additive_projections(module, run, entering[0])
        norm = None if names or not encodes else closing_norm(module, run, entering[0])
        if norm is not None:
            run = before_norm(module, run, norm)
            names = additive_projections(module, run, entering[0])
            target = targets_before(module, run, norm, entering, target)
        carriers = names[-1:] if beside is None else names  # before a gap more of them gain nothing
        targets = {name: target for name in carriers[-1:]}
        if beside is not None:
            for place, name in enumerate(names[:-1], start=1):
                targets[name] = states_after(run_up_to(module, run, names[:place]), beside)
    stored = {name: found for name in carriers if (found := stored_weight(decoder, layer, name)) is not None}
    for name, tensor in stored.items():
        weight = read_weight(decoder, layer, name)
        with decoder.layer(layer, stream.solved) as run:
            run = run if norm is None else before_norm(module, run, norm)
            part = run if name == names[-1] else run_up_to(module, run, names[: names.index(name) + 1])
            passage = Passage(module.get_submodule(name), part, entering, targets.pop(name))
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
    if stored:
        return None
    if not names:
        return (
            f"no linear projection of {kind}'s layer {layer} reaches its output unchanged, so none "
            f"can carry a bridge"
        )
    return (
        f"{names[-1]} of {kind}'s layer {layer} is not stored as it is used (quantised, or with others "
        f"in one tensor), so it cannot carry a bridge"
    )
