"""Closing the gap of a cut without training: a least-squares correction of one projection before it.

The layer in front of a removed block ends in `state + projection(inner)`. The whole projection is fitted
anew so that its layer lands where the removed block would have taken the stream, with a ridge penalty
toward the old weights:

    minimise over E  sum_t |E inner_t - (target_t - state_t)|^2 + ridge * mean(diag(G)) * |E|^2,
    G = sum_t inner_t inner_t',  E = (sum_t (target_t - state_t) inner_t') (G + ridge * mean(diag G) I)^-1

and `projection + E` replaces the projection: same tensors, same shapes, plain architecture. ReplaceMe
(2505.02819) folds a map of the projection's output instead, which is the special case E = (T - I) W.

Position 0, the attention sink, is fitted like any token, but leaves the ridge and the reported gaps alone:
its states can be a hundred times as large as all others. Left out of the fit, as is usual, it is wrecked
wherever the layer before the gap, or a removed one, is the one that makes the sink (docs/bridge.md).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from hf_prune.activations import Activations
from hf_prune.calibration import Windows
from hf_prune.decoder import RunLayer, StreamedDecoder, run_layers, states_after
from hf_prune.progress import Progress
from hf_prune.records import Block, Bridge, FoldedBridge

RIDGE = 0.05  # of the mean diagonal of the normal matrix; docs/bridge.md has the sweep
ADDITIVE_TOLERANCE = 0.05  # of the change sent in; bfloat16 alone loses about 0.01


@dataclass
class _NormalEquations:
    """Sums over tokens, in float64, of what the least-squares problem needs; position 0 kept apart."""

    inner: Tensor  # G without position 0: (inner, inner)
    cross: Tensor  # (hidden, inner)
    sinks: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # (batch, inner), (batch, hidden)
    missing: float = 0.0  # sum of |target - state|^2 without position 0
    target: float = 0.0  # sum of |target|^2 without position 0
    num_tokens: int = 0

    def add(self, inner: Tensor, state: Tensor, target: Tensor) -> None:
        """Add a batch: (batch, length, inner), and twice (batch, length, hidden)."""
        inner, target = inner.float(), target.float()
        missing = target - state.float()
        self.sinks.append((inner[:, 0].double(), missing[:, 0].double()))
        rows, wanted = inner[:, 1:].flatten(0, 1), missing[:, 1:].flatten(0, 1)
        self.inner += rows.T @ rows  # a batch in float32, the sum over batches in float64
        self.cross += wanted.T @ rows
        self.missing += wanted.square().sum(dtype=torch.float64).item()
        self.target += target[:, 1:].square().sum(dtype=torch.float64).item()
        self.num_tokens += inner.shape[0] * inner.shape[1]

    def solve(self, ridge: float) -> Tensor:
        """The correction E: (hidden, inner)."""
        penalty = ridge * self.inner.diagonal().mean().clamp_min(1e-12)
        sinks, wanted = (torch.cat(parts) for parts in zip(*self.sinks, strict=True))
        regular = self.inner + sinks.T @ sinks + penalty * torch.eye(len(self.inner)).to(self.inner)
        factor = torch.linalg.cholesky(regular)
        return torch.cholesky_solve((self.cross + wanted.T @ sinks).T, factor).T

    def left_by(self, correction: Tensor) -> float:
        """What remains of `missing` under a correction."""
        explained = (correction * self.cross).sum() * 2
        own = ((correction @ self.inner) * correction).sum()
        return self.missing - (explained - own).item()


@dataclass
class _Stream:
    """The residual stream of one pruned model while its gaps are being closed."""

    blocks: tuple[Block, ...]
    kept: frozenset[int]
    states: Activations
    entering: Activations | None = None  # of the layer that carries the next bridge; where it lands is open
    folded: list[FoldedBridge] = field(default_factory=list)
    solved: dict[str, Tensor] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    @property
    def record(self) -> Bridge:
        """What was done, and why a gap was left open."""
        method = "refit" if self.folded else "none"
        return Bridge(method=method, folded=tuple(self.folded), reason="; ".join(self.reasons) or None)


def build_bridges(
    decoder: StreamedDecoder, windows: Windows, cuts: Sequence[tuple[Block, ...]], progress: Progress
) -> list[tuple[Bridge, dict[str, Tensor]]]:
    """For each of several cuts, fit a correction in front of every removed block, from first to last.

    The pruned model's own stream, earlier bridges included, is what a later one is fitted on; the
    original's stream is the target. The original is run once for all cuts.

    Args:
        decoder: the original model.
        windows: calibration tokens.
        cuts: the blocks that each cut removes, in order.
        progress: shows the layers going by.

    Returns:
        For each cut the record, and the new tensors by their name in the original checkpoint.
    """
    original = decoder.enter(windows.ids)
    streams = [
        _Stream(
            blocks=blocks,
            kept=frozenset(range(decoder.num_layers)).difference(
                *(range(block.start, block.end) for block in blocks)
            ),
            states=original,
        )
        for blocks in cuts
    ]
    last = max(stream.blocks[-1].end for stream in streams)
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
    with decoder.layer(layer) as run:
        reached = states_after(run, original)
        for stream in streams:
            if layer >= stream.blocks[-1].end or layer not in stream.kept:
                continue
            if any(block.start == layer + 1 for block in stream.blocks):
                stream.entering = stream.states  # run once it is known where it has to land
            elif stream.states is original:
                stream.states = reached
            else:
                stream.states = states_after(run, stream.states)
    return reached


def _close(decoder: StreamedDecoder, stream: _Stream, block: Block, target: Activations) -> None:
    """Fit the layer before a block to land on `target`, if there is one that can be fitted."""
    if stream.entering is None:
        stream.reasons.append(f"nothing comes before layer 0, so the gap of layers {block} stays open")
        return
    layer, entering, stream.entering = block.start - 1, stream.entering, None
    with decoder.layer(layer) as run:
        name = additive_projection(decoder.skeleton.layers[layer], run, entering[0])
        kind = decoder.skeleton.config.model_type
        if name is None:
            stream.reasons.append(
                f"no linear projection of {kind}'s layer {layer} reaches its output unchanged, so none "
                f"can carry a bridge"
            )
        elif _stored(decoder, layer, name) is None:
            stream.reasons.append(
                f"{name} of {kind}'s layer {layer} is not stored as it is used (quantised, or with others "
                f"in one tensor), so it cannot carry a bridge"
            )
        else:
            projection = decoder.skeleton.layers[layer].get_submodule(name)
            bridge, new = _refit(decoder, block, name, _gather(projection, run, entering, target))
            stream.folded.append(bridge)
            stream.solved[bridge.tensor] = new
    if block != stream.blocks[-1]:
        stream.states = run_layers(decoder, entering, [layer], stream.solved)


def _stored(decoder: StreamedDecoder, layer: int, projection: str) -> str | None:
    """The name on disk of a projection's weight."""
    skeleton = decoder.skeleton
    return skeleton.stored_name(f"{skeleton.layer_path}.{layer}.{projection}.weight")


def _refit(
    decoder: StreamedDecoder, block: Block, projection: str, equations: _NormalEquations
) -> tuple[FoldedBridge, Tensor]:
    """The record of a bridge, and the new weight of the projection, float32 on the CPU."""
    layer = block.start - 1
    stored = _stored(decoder, layer, projection)
    assert stored is not None
    correction = equations.solve(RIDGE)
    transposed = isinstance(decoder.skeleton.layers[layer].get_submodule(projection), Conv1D)
    old = decoder.skeleton.index.tensors[stored].read().to(correction)
    new = old + (correction.T if transposed else correction)
    bridge = FoldedBridge(
        block=block,
        layer=layer,
        tensor=stored,
        ridge=RIDGE,
        num_tokens=equations.num_tokens,
        gap_unrepaired=equations.missing / equations.target,
        gap_repaired=equations.left_by(correction) / equations.target,
    )
    return bridge, new.to(device="cpu", dtype=torch.float32)


@torch.no_grad()
def _gather(
    projection: nn.Module, run: RunLayer, entering: Activations, target: Activations
) -> _NormalEquations:
    equations: _NormalEquations | None = None
    for batch, state in enumerate(entering):
        with _watched(projection) as seen:
            output = run(batch, state)
        inner = seen[0].reshape(*output.shape[:2], -1)  # OPT flattens its tokens
        if equations is None:
            width, hidden = inner.shape[-1], output.shape[-1]
            zeros = inner.new_zeros
            equations = _NormalEquations(
                inner=zeros(width, width, dtype=torch.float64),
                cross=zeros(hidden, width, dtype=torch.float64),
            )
        equations.add(inner, output, target[batch])
    assert equations is not None
    return equations


@contextmanager
def _watched(projection: nn.Module) -> Iterator[list[Tensor]]:
    """The inputs of a projection while it is used inside."""
    seen: list[Tensor] = []
    handle = projection.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        yield seen
    finally:
        handle.remove()


@torch.no_grad()
def additive_projection(layer: nn.Module, run: RunLayer, entering: Tensor) -> str | None:
    """The last linear projection of a layer whose output is added to the stream as it is.

    Found by trying: a change sent into the projection's output has to come out of the layer unchanged.
    A norm after the projection (Gemma 2, OLMo 2) or a router in front of it fails the trial.

    Args:
        layer: with its weights in place.
        run: the layer as a function.
        entering: the first batch of its input, (batch, length, hidden).
    """
    hidden = entering.shape[-1]
    plain = run(0, entering)
    generator = torch.Generator().manual_seed(0)
    scale = plain.float().square().mean().sqrt()
    change = (torch.randn(plain.shape, generator=generator).to(plain.device) * scale).to(plain)
    candidates = [name for name, module in layer.named_modules() if _width(module) == hidden]
    for name in reversed(candidates):
        handle = layer.get_submodule(name).register_forward_hook(
            lambda _, __, output: output + change.reshape(output.shape)
        )
        try:
            arrived = (run(0, entering) - plain).float() - change.float()
        finally:
            handle.remove()
        if arrived.square().mean().sqrt() < ADDITIVE_TOLERANCE * scale:
            return name
    return None


def _width(module: Any) -> int | None:
    """The output width of a linear projection."""
    if isinstance(module, nn.Linear):
        return module.out_features
    return module.nf if isinstance(module, Conv1D) else None
