"""Layers that end in a norm, as BERT's do: what has to stand before the norm for it to answer the target.

Nothing that is added before such a norm reaches the layer's output unchanged, so no projection can be fitted
to the output itself. But the norm can be undone: with its weight g and bias b, it answers y wherever what it
is given is, token by token, a multiple of (y - b) / g moved by a constant. Of those, the one of the mean and
the standard deviation that the layer's own state has there is wanted.
"""

import torch
from torch import Tensor, nn

from hf_prune.model.activations import Activations
from hf_prune.model.decoder import RunLayer

SMALLEST_WEIGHT = 1e-3  # of the norm's largest: a channel with less says nothing of what it is given


@torch.no_grad()
def closing_norm(layer: nn.Module, run: RunLayer, entering: Tensor) -> str | None:
    """The name of the layer norm whose answer is the layer's; None where there is none.

    Args:
        layer: with its weights in place.
        run: the layer as a function.
        entering: the first batch of its input, (batch, length, hidden).
    """
    seen: dict[str, Tensor] = {}
    norms = {name: module for name, module in layer.named_modules() if _can_be_undone(module)}
    handles = [
        module.register_forward_hook(lambda _, __, output, name=name: seen.__setitem__(name, output))
        for name, module in norms.items()
    ]
    try:
        output = run(0, entering)
    finally:
        for handle in handles:
            handle.remove()
    return next((name for name, own in seen.items() if torch.equal(own.reshape(output.shape), output)), None)


def _can_be_undone(module: nn.Module) -> bool:
    return isinstance(module, nn.LayerNorm) and module.weight is not None and module.bias is not None


def before_norm(layer: nn.Module, run: RunLayer, norm: str) -> RunLayer:
    """A layer as a function that ends before its closing norm.

    Args:
        layer: with its weights in place.
        run: the layer as a function.
        norm: the norm's name in it.
    """

    def run_part(batch: int, hidden: Tensor) -> Tensor:
        seen: list[Tensor] = []
        handle = layer.get_submodule(norm).register_forward_pre_hook(
            lambda _, arguments: seen.append(arguments[0])
        )
        try:
            run(batch, hidden)
        finally:
            handle.remove()
        return seen[0].reshape(hidden.shape)

    return run_part


@torch.no_grad()
def targets_before(
    layer: nn.Module, run: RunLayer, norm: str, entering: Activations, target: Activations
) -> Activations:
    """What the norm has to be given to answer `target`.

    Args:
        layer: with its weights in place.
        run: the layer as a function that ends before the norm.
        norm: the norm's name in it.
        entering: batch by batch, (batch, length, hidden).
        target: the states wanted at the layer's output, alike.
    """
    module = layer.get_submodule(norm)
    assert isinstance(module, nn.LayerNorm)
    weight, bias = module.weight.float(), module.bias.float()
    tells = weight.abs() > SMALLEST_WEIGHT * weight.abs().max()
    wanted = Activations(target.memory)
    for batch, state in enumerate(entering):
        own = run(batch, state).float()
        mean, spread = own.mean(-1, keepdim=True), own.std(-1, keepdim=True, correction=0)
        undone = torch.where(tells, (target[batch].float() - bias) / weight, (own - mean) / spread)
        undone = undone - undone.mean(-1, keepdim=True)
        undone = undone / undone.std(-1, keepdim=True, correction=0).clamp_min(1e-12)
        wanted.append((undone * spread + mean).to(state))
    return wanted
