"""The linear projections of a layer that write to the residual stream: found by trying, not by name."""

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

    A change of such a projection's output comes out of the layer unchanged, while the outputs of those after
    it are held still: in a Llama that is so of `down_proj`, and of `o_proj` while `down_proj` is held.
    A norm after the projection (Gemma 2, OLMo 2) or a router in front of it fails the trial.

    Args:
        layer: with its weights in place.
        entering: the first batch of its input, (batch, length, hidden).

    Returns:
        Their names in the layer, in the layer's order; nothing in the layer reads the output of the last.
    """
    modules, width = layer.named_modules(), entering.shape[-1]
    candidates = [name for name, module in modules if output_width(module) == width]
    with ExitStack() as hooks:
        calls = {name: hooks.enter_context(_outputs(layer.get_submodule(name))) for name in candidates}
        plain = run(0, entering)
    # One that runs for some of the tokens, or more than once, does not add a single output to the stream.
    outputs = {name: out[0] for name, out in calls.items() if [o.numel() for o in out] == [plain.numel()]}
    generator = torch.Generator().manual_seed(0)
    scale = plain.float().square().mean().sqrt()
    change = (torch.randn(plain.shape, generator=generator).to(plain.device) * scale).to(plain)
    additive: list[str] = []
    for name in reversed(outputs):
        changed = outputs[name] + change.reshape(outputs[name].shape)
        with _with_outputs(layer, {held: outputs[held] for held in additive} | {name: changed}):
            arrived = (run(0, entering) - plain).float() - change.float()
        if arrived.square().mean().sqrt() < ADDITIVE_TOLERANCE * scale:
            additive.insert(0, name)
    return tuple(additive)


def run_up_to(layer: nn.Module, run: RunLayer, names: Sequence[str]) -> RunLayer:
    """A layer as a function that ends once the first of its additive projections, `names`, have added."""

    def run_part(batch: int, hidden: Tensor) -> Tensor:
        with ExitStack() as hooks:
            calls = [hooks.enter_context(_outputs(layer.get_submodule(name))) for name in names]
            run(batch, hidden)
        return hidden + sum(outputs[0].reshape(hidden.shape) for outputs in calls)

    return run_part


def output_width(module: Any) -> int | None:
    """The output width of a linear projection; None for any other module."""
    if isinstance(module, nn.Linear):
        return module.out_features
    return module.nf if isinstance(module, Conv1D) else None


def is_transposed(module: nn.Module) -> bool:
    """Whether the weight of a linear projection is (inputs, outputs), as in GPT-2."""
    return isinstance(module, Conv1D)


def stored_weight(decoder: StreamedDecoder, layer: int, projection: str) -> str | None:
    """The name on disk of a projection's weight; None: it is not stored as it is used."""
    return decoder.skeleton.stored_name(f"{decoder.skeleton.layer_path}.{layer}.{projection}.weight")


def read_weight(decoder: StreamedDecoder, layer: int, projection: str) -> Tensor:
    """A projection's stored weight, (hidden, inner), in float64 on the decoder's device."""
    name = stored_weight(decoder, layer, projection)
    assert name is not None
    weight = decoder.skeleton.index.tensors[name].read().to(decoder.device, torch.float64)
    return weight.T if _is_transposed(decoder, layer, projection) else weight


def as_stored(decoder: StreamedDecoder, layer: int, projection: str, weight: Tensor) -> Tensor:
    """A weight (hidden, inner) in the checkpoint's orientation, float32 on the CPU."""
    oriented = weight.T if _is_transposed(decoder, layer, projection) else weight
    return oriented.to(device="cpu", dtype=torch.float32).contiguous()


def _is_transposed(decoder: StreamedDecoder, layer: int, projection: str) -> bool:
    return is_transposed(decoder.skeleton.layers[layer].get_submodule(projection))


@contextmanager
def recorded_inputs(projection: nn.Module) -> Iterator[list[Tensor]]:
    """The inputs that a projection is called with inside the `with` block."""
    calls: list[Tensor] = []
    with projection.register_forward_pre_hook(lambda _, arguments: calls.append(arguments[0])):
        yield calls


@contextmanager
def _outputs(projection: nn.Module) -> Iterator[list[Tensor]]:
    calls: list[Tensor] = []
    with projection.register_forward_hook(lambda _, __, output: calls.append(output)):
        yield calls


@contextmanager
def _with_outputs(layer: nn.Module, outputs: Mapping[str, Tensor]) -> Iterator[None]:
    """Inside the `with` block, these projections return these outputs, whatever their inputs."""
    with ExitStack() as hooks:
        for name, output in outputs.items():
            projection = layer.get_submodule(name)
            hooks.enter_context(projection.register_forward_hook(lambda *_, output=output: output))
        yield
