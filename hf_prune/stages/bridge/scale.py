"""Prune&Comp (2507.18212): the stream's magnitude is put right by one factor, folded into weights.

The removed layers would have made the stream longer by alpha, the mean of |target| / |state| over tokens.
Published is the form that scales the embedding and every projection before the gap by alpha. Here whatever
the layers after the gap add is divided by alpha instead: the final norm removes the factor, the logits are
the same, and embeddings, which may be tied to the head, stay as they are. Position 0 is left out of the mean.

That the two are the same holds where nothing but norms reads the stream and nothing but linear projections
adds to it. Whether it does is tried with the layers themselves.
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

MOST_SEQUENCES = 16  # a mean of ratios needs no more
TOLERANCE = 0.05  # of what a layer adds; halving loses nothing, not even in bfloat16


@dataclass(frozen=True)
class _Gap:
    """What is known of a gap once the original's stream has come to its end."""

    block: Block
    factor: float  # the product of this gap's alpha and those before
    unrepaired: float  # |target - state|^2 / |target|^2, position 0 left out
    repaired: float


@torch.no_grad()
def fit_scale(
    decoder: StreamedDecoder, windows: Windows, blocks: tuple[Block, ...], progress: Progress
) -> tuple[Bridge, dict[str, Tensor]]:
    """Divide what the layers after each gap add to the stream by the gaps' factor.

    The stream of the pruned model is followed as if it were multiplied by alpha at each gap, which is the
    same but for a factor.

    Args:
        decoder: the original model.
        windows: calibration tokens.
        blocks: that are removed, in order.
        progress: shows the layers going by.

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
            stream, gap = _put_right(stream, original, ended, gap)
        if layer not in removed and gap is not None:
            tensors = _written_by(decoder, layer, stream[0])
            if not tensors:
                reason = (
                    f"what {decoder.skeleton.config.model_type}'s layer {layer} adds to the stream cannot be "
                    f"scaled by its weights alone, so the stream's magnitude stays as it is"
                )
                return Bridge(method="none", folded=(), reason=reason), {}
            for name, tensor in tensors.items():
                solved[name] = (tensor / gap.factor).to(device="cpu", dtype=torch.float32)
                folded.append(_folded(gap, layer, name, windows.record.num_tokens))
        with decoder.layer(layer) as run:
            along = stream is original
            if layer < last:
                original = states_after(run, original)
            if layer not in removed:
                stream = original if along else states_after(run, stream)
    if not solved:
        reason = "the final norm alone comes after the gap, and takes its magnitude away"
        return Bridge(method="none", folded=(), reason=reason), {}
    if not _head_takes_any_magnitude(decoder, stream):
        return Bridge(method="none", folded=(), reason="the head reads the stream's magnitude"), {}
    return Bridge(method="scale", folded=tuple(folded), reason=None), solved


def _put_right(
    stream: Activations, target: Activations, block: Block, before: _Gap | None
) -> tuple[Activations, _Gap]:
    """The stream made as long as the original's, and the gap that this closes."""
    ratios, unrepaired, wanted, count = 0.0, 0.0, 0.0, 0
    for state, reached in zip(stream, target, strict=True):
        own, other = state[:, 1:].double(), reached[:, 1:].double()
        ratios += (other.norm(dim=-1) / own.norm(dim=-1)).sum().item()
        unrepaired += (other - own).square().sum().item()
        wanted += other.square().sum().item()
        count += own.shape[0] * own.shape[1]
    alpha, left = ratios / count, 0.0
    scaled = Activations(stream.memory)
    for state, reached in zip(stream, target, strict=True):
        scaled.append((state * alpha).to(state))
        left += (reached[:, 1:].double() - alpha * state[:, 1:].double()).square().sum().item()
    factor = alpha * (before.factor if before else 1.0)
    return scaled, _Gap(block=block, factor=factor, unrepaired=unrepaired / wanted, repaired=left / wanted)


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


def _written_by(decoder: StreamedDecoder, layer: int, entering: Tensor) -> dict[str, Tensor]:
    """The tensors that set the magnitude of what a layer adds, by their name on disk; empty if some do not.

    Tried: with the tensors and the stream halved, the layer must answer half of what it did.
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
    apart = (halved - plain)[:, 1:].float().square().mean().sqrt()
    return tensors if None not in stored and apart <= TOLERANCE * added else {}


def _head_takes_any_magnitude(decoder: StreamedDecoder, states: Activations) -> bool:
    state = states[0][:1]
    with decoder.head() as logits_of:
        plain, halved = logits_of(state).float(), logits_of(state / 2).float()
    return bool((halved - plain).square().mean() <= TOLERANCE**2 * plain.square().mean())
