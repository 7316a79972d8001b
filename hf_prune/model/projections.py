"""Which linear projections of a layer write to the residual stream: found by trying, not by name."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from hf_prune.model.decoder import RunLayer, StreamedDecoder

ADDITIVE_TOLERANCE = 0.05  # of the change sent in; bfloat16 alone loses about 0.01


@torch.no_grad()
def additive_projections(layer: nn.Module, run: RunLayer, entering: Tensor) -> tuple[str, ...]:
    """The linear projections of a layer whose outputs are added to the stream as they are.

    A change sent into the output of such a projection comes out of the layer unchanged, while what is added
    after it is held still: in a Llama that is so of `down_proj`, and of `o_proj` while `down_proj` is held.
    A norm after the projection (Gemma 2, OLMo 2) or a router in front of it fails the trial.

    Args:
        layer: with its weights in place.
        run: the layer as a function.
        entering: the first batch of its input, (batch, length, hidden).

    Returns:
        Their names in the layer, in the layer's order; the last is that whose output nothing reads.
    """
    candidates = [name for name, module in layer.named_modules() if width(module) == entering.shape[-1]]
    with ExitStack() as watching:
        seen = {name: watching.enter_context(_outputs(layer.get_submodule(name))) for name in candidates}
        plain = run(0, entering)
    # One that runs for some of the tokens, or more than once, adds no single thing.
    outputs = {name: out[0] for name, out in seen.items() if [o.numel() for o in out] == [plain.numel()]}
    generator = torch.Generator().manual_seed(0)
    scale = plain.float().square().mean().sqrt()
    change = (torch.randn(plain.shape, generator=generator).to(plain.device) * scale).to(plain)
    found: list[str] = []
    for name in reversed(outputs):
        changed = outputs[name] + change.reshape(outputs[name].shape)
        with _answering(layer, {held: outputs[held] for held in found} | {name: changed}):
            arrived = (run(0, entering) - plain).float() - change.float()
        if arrived.square().mean().sqrt() < ADDITIVE_TOLERANCE * scale:
            found.insert(0, name)
    return tuple(found)


def up_to(layer: nn.Module, run: RunLayer, names: Sequence[str]) -> RunLayer:
    """A layer as a function that ends where the last of some of its additive projections has added.

    Args:
        layer: with its weights in place.
        run: the layer as a function.
        names: of additive projections, from the first.
    """

    def run_part(batch: int, hidden: Tensor) -> Tensor:
        with ExitStack() as watching:
            seen = [watching.enter_context(_outputs(layer.get_submodule(name))) for name in names]
            run(batch, hidden)
        return hidden + sum(outputs[0].reshape(hidden.shape) for outputs in seen)

    return run_part


def width(module: Any) -> int | None:
    """The output width of a linear projection; None of any other module."""
    if isinstance(module, nn.Linear):
        return module.out_features
    return module.nf if isinstance(module, Conv1D) else None


def is_transposed(module: nn.Module) -> bool:
    """Whether a linear projection has its weight as (inputs, outputs): GPT-2's are so."""
    return isinstance(module, Conv1D)


def stored_weight(decoder: StreamedDecoder, layer: int, projection: str) -> str | None:
    """The name on disk of a projection's weight; None where it is not stored as it is used."""
    return decoder.skeleton.stored_name(f"{decoder.skeleton.layer_path}.{layer}.{projection}.weight")


def read_weight(decoder: StreamedDecoder, layer: int, projection: str) -> Tensor:
    """A projection's stored weight, (hidden, inner), in float64 on the decoder's device."""
    name = stored_weight(decoder, layer, projection)
    assert name is not None
    weight = decoder.skeleton.index.tensors[name].read().to(decoder.device, torch.float64)
    return weight.T if _is_transposed(decoder, layer, projection) else weight


def as_stored(decoder: StreamedDecoder, layer: int, projection: str, weight: Tensor) -> Tensor:
    """A weight (hidden, inner) turned as the checkpoint has it, float32 on the CPU."""
    turned = weight.T if _is_transposed(decoder, layer, projection) else weight
    return turned.to(device="cpu", dtype=torch.float32).contiguous()


def _is_transposed(decoder: StreamedDecoder, layer: int, projection: str) -> bool:
    return is_transposed(decoder.skeleton.layers[layer].get_submodule(projection))


@contextmanager
def inputs(projection: nn.Module) -> Iterator[list[Tensor]]:
    """The inputs of a projection while it is used inside."""
    seen: list[Tensor] = []
    handle = projection.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    try:
        yield seen
    finally:
        handle.remove()


@contextmanager
def _outputs(projection: nn.Module) -> Iterator[list[Tensor]]:
    seen: list[Tensor] = []
    handle = projection.register_forward_hook(lambda _, __, output: seen.append(output))
    try:
        yield seen
    finally:
        handle.remove()


@contextmanager
def _answering(layer: nn.Module, answers: Mapping[str, Tensor]) -> Iterator[None]:
    """Inside, these projections answer what is given, whatever they are asked."""

    def hook(answer: Tensor) -> Any:
        return lambda _, __, output: answer

    handles = [layer.get_submodule(name).register_forward_hook(hook(a)) for name, a in answers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
