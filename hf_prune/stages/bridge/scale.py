"""Prune&Comp (2507.18212): one factor, folded into weights, corrects the magnitude of the stream after a gap.

The removed layers would have made the stream longer by alpha, the mean of |target| / |state| over tokens.
The paper scales the embedding and every projection before the gap by alpha. Here the layers after the gap add
1 / alpha of what they did. The final norm removes the factor, so the logits are the same, and embeddings,
which may be tied to the head, stay as they are. Position 0 does not count for the mean.

The two are the same if only norms read the stream and only linear projections add to it. That is tested with
the layers themselves.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hf_prune.machine.progress import Progress
from hf_prune.model.activations import Activations
from hf_prune.model.decoder import StreamedDecoder, states_after
from hf_prune.model.projections import additive_projections
from hf_prune.records import Block, Bridge, FoldedBridge
from hf_prune.stages.texts.windows import Windows, windows_part

MOST_SEQUENCES = 16  # enough for a mean of ratios
TOLERANCE = 0.05  # of what a layer adds; halving loses nothing, not even in bfloat16


@dataclass(frozen=True)
class _Gap:
    """A gap whose target is known, because the original's stream has reached its end."""

    block: Block
    factor: float  # the product of the alphas of this gap and those before
    unrepaired: float  # |target - state|^2 / |target|^2, without position 0
    repaired: float


@torch.no_grad()
def fit_scale(
    decoder: StreamedDecoder, windows: Windows, blocks: tuple[Block, ...], progress: Progress
) -> tuple[Bridge, dict[str, Tensor]]:
    """Divide what the layers after each removed block add to the stream by the blocks' factor.

    The stream is followed here as if it were multiplied by alpha at each gap: the same, except for a factor.

    Returns:
        The record, and the new tensors, float32 on the CPU, by their name in the original checkpoint.
    """
    windows = windows_part(windows, 0, min(MOST_SEQUENCES, len(windows.ids)))
    removed = {layer for block in blocks for layer in range(block.start, block.end)}
    original = stream = decoder.enter(windows.ids)
    folded: list[FoldedBridge] = []
    solved: dict[str, Tensor] = {}
    gap: _Gap | None = None
    last = blocks[-1].end if blocks else 0
    for layer in progress(range(decoder.num_layers), "scaling", decoder.num_layers, "layer"):
        ended = next((block for block in blocks if block.end == layer), None)
        if ended is not None:
            stream, gap = _rescaled(stream, original, ended, gap)
        if layer not in removed and gap is not None:
            tensors = _scaling_tensors(decoder, layer, stream[0])
            if not tensors:
                return _no_bridge(
                    f"what {decoder.skeleton.config.model_type}'s layer {layer} adds to the stream cannot be "
                    f"scaled by its weights alone, so the stream's magnitude stays as it is"
                )
            for name, tensor in tensors.items():
                solved[name] = (tensor / gap.factor).to(device="cpu", dtype=torch.float32)
                folded.append(_folded(gap, layer, name, windows.record.num_tokens))
        with decoder.layer(layer) as run:
            is_original = stream is original
            if layer < last:
                original = states_after(run, original)
            if layer not in removed:
                stream = original if is_original else states_after(run, stream)
    if not solved:
        return _no_bridge("only the final norm comes after the gap, and it removes the stream's magnitude")
    if not _head_ignores_magnitude(decoder, stream):
        return _no_bridge("the head reads the stream's magnitude")
    return Bridge(method="scale", folded=tuple(folded), reason=None), solved


def _no_bridge(reason: str) -> tuple[Bridge, dict[str, Tensor]]:
    return Bridge(method="none", folded=(), reason=reason), {}


def _rescaled(
    stream: Activations, target: Activations, block: Block, previous: _Gap | None
) -> tuple[Activations, _Gap]:
    """The stream scaled to the magnitude of the original's, and the gap that this closes."""
    ratios, unrepaired, total, count = 0.0, 0.0, 0.0, 0
    for state, reached in zip(stream, target, strict=True):
        own, other = state[:, 1:].double(), reached[:, 1:].double()
        ratios += (other.norm(dim=-1) / own.norm(dim=-1)).sum().item()
        unrepaired += (other - own).square().sum().item()
        total += other.square().sum().item()
        count += own.shape[0] * own.shape[1]
    alpha, repaired = ratios / count, 0.0
    scaled = Activations(stream.memory)
    for state, reached in zip(stream, target, strict=True):
        scaled.append((state * alpha).to(state))
        repaired += (reached[:, 1:].double() - alpha * state[:, 1:].double()).square().sum().item()
    factor = alpha * (previous.factor if previous else 1.0)
    return scaled, _Gap(block=block, factor=factor, unrepaired=unrepaired / total, repaired=repaired / total)


def _folded(gap: _Gap, layer: int, tensor: str, num_tokens: int) -> FoldedBridge:
    return FoldedBridge(
        block=gap.block,
        layer=layer,
        tensor=tensor,
        factor=1 / gap.factor,
        num_tokens=num_tokens,
        gap_unrepaired=gap.unrepaired,
        gap_repaired=gap.repaired,
    )


def _scaling_tensors(decoder: StreamedDecoder, layer: int, entering: Tensor) -> dict[str, Tensor]:
    """The tensors that scale what a layer adds, by their name on disk, or none if they are not enough.

    The test: with the tensors and the stream halved, the output of the layer must be half as large.
    """
    skeleton = decoder.skeleton
    with decoder.layer(layer) as run:
        plain = run(0, entering)
        names = additive_projections(skeleton.layers[layer], run, entering)
        parameters = [
            f"{skeleton.layer_path}.{layer}.{name}.{own}"
            for name in names
            for own, _ in skeleton.layers[layer].get_submodule(name).named_parameters()
        ]
    stored = [skeleton.stored_name(parameter) for parameter in parameters]
    tensors = {name: skeleton.index.tensors[name].read() for name in stored if name is not None}
    with decoder.layer(layer, {name: tensor / 2 for name, tensor in tensors.items()}) as run:
        halved = run(0, entering / 2) * 2
    added = (plain - entering)[:, 1:].float().square().mean().sqrt()
    error = (halved - plain)[:, 1:].float().square().mean().sqrt()
    return tensors if None not in stored and error <= TOLERANCE * added else {}


def _head_ignores_magnitude(decoder: StreamedDecoder, states: Activations) -> bool:
    state = states[0][:1]
    with decoder.head() as logits_of:
        plain, halved = logits_of(state).float(), logits_of(state / 2).float()
    return bool((halved - plain).square().mean() <= TOLERANCE**2 * plain.square().mean())
