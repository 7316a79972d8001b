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

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from hf_prune.calibration import Windows
from hf_prune.decoder import RunLayer, StreamedDecoder, run_layers
from hf_prune.progress import Progress
from hf_prune.records import Block, Bridge, FoldedBridge, Plan

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
        inner, target = inner.double(), target.double()
        missing = target - state.double()
        self.sinks.append((inner[:, 0], missing[:, 0]))
        rows, wanted = inner[:, 1:].flatten(0, 1), missing[:, 1:].flatten(0, 1)
        self.inner += rows.T @ rows
        self.cross += wanted.T @ rows
        self.missing += wanted.square().sum().item()
        self.target += target[:, 1:].square().sum().item()
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


def build_bridges(
    decoder: StreamedDecoder, windows: Windows, plan: Plan, progress: Progress
) -> tuple[Bridge, dict[str, Tensor]]:
    """Fit a correction in front of every removed block, from the first to the last.

    The pruned model's own stream, earlier bridges included, is what a later one is fitted on; the
    original's stream is the target.

    Args:
        decoder: the original model.
        windows: calibration tokens.
        plan: what is removed.
        progress: shows the layers going by.

    Returns:
        The record, and the new tensors by their name in the original checkpoint.
    """
    carriers = {block.start - 1: block for block in plan.blocks}
    closed_after = {block.end - 1: block for block in plan.blocks}
    folded: list[FoldedBridge] = []
    solved: dict[str, Tensor] = {}
    reasons: list[str] = []
    original = pruned = entering = decoder.enter(windows.ids)
    last = plan.blocks[-1].end
    for layer in progress(range(last), "bridging", last, "layer"):
        if layer in carriers:
            entering = pruned  # its layer is run once it is known where it has to land
        elif layer in plan.kept and pruned is not original:
            pruned = run_layers(decoder, pruned, [layer])
        together = pruned is original and layer in plan.kept and layer not in carriers
        original = run_layers(decoder, original, [layer])
        pruned = original if together else pruned
        block = closed_after.get(layer)
        if block is not None and block.start == 0:
            reasons.append(f"nothing comes before layer 0, so the gap of layers {block} stays open")
        elif block is not None:
            bridge, pruned, reason = _refit(decoder, block, entering, original, solved)
            folded += [bridge] if bridge else []
            reasons += [reason] if reason else []
    method = "refit" if folded else "none"
    return Bridge(method=method, folded=tuple(folded), reason="; ".join(reasons) or None), solved


def _refit(
    decoder: StreamedDecoder,
    block: Block,
    entering: list[Tensor],
    target: list[Tensor],
    solved: dict[str, Tensor],
) -> tuple[FoldedBridge | None, list[Tensor], str | None]:
    """Fit the layer before a block to land on `target`; add its new weights to `solved`."""
    layer = block.start - 1
    module = decoder.skeleton.layers[layer]
    with decoder.layer(layer) as run:
        name = additive_projection(module, run, entering[0])
        if name is None:
            left = [run(batch, state) for batch, state in enumerate(entering)]
            kind = decoder.skeleton.model.config.model_type
            reason = (
                f"no linear projection of {kind}'s layer {layer} reaches its output unchanged, so none "
                f"can carry a bridge"
            )
            return None, left, reason
        projection = module.get_submodule(name)
        equations = _gather(projection, run, entering, target)
    stored = f"{decoder.layer_prefix}.{layer}.{name}.weight"
    correction = equations.solve(RIDGE)
    old = decoder.skeleton.index.tensors[stored].read().to(correction)
    new = old + (correction.T if isinstance(projection, Conv1D) else correction)
    solved[stored] = new.to(device="cpu", dtype=torch.float32)
    bridge = FoldedBridge(
        block=block,
        layer=layer,
        tensor=stored,
        ridge=RIDGE,
        num_tokens=equations.num_tokens,
        gap_unrepaired=equations.missing / equations.target,
        gap_repaired=equations.left_by(correction) / equations.target,
    )
    return bridge, run_layers(decoder, entering, [layer], solved), None


@torch.inference_mode()
def _gather(
    projection: nn.Module, run: RunLayer, entering: list[Tensor], target: list[Tensor]
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


@torch.inference_mode()
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
