"""Layers that end in a norm, as BERT's do: the states before the norm that give the target after it.

Nothing that is added before such a norm reaches the layer's output unchanged, so no projection can be fitted
to the output itself. But the norm can be undone. With its weight g and bias b, its output is y for every
input that is, token by token, a multiple of (y - b) / g plus a constant. Of these inputs, the one with the
mean and the standard deviation of the layer's own state is taken.
"""

from contextlib import ExitStack

import torch
from torch import Tensor, nn

from hf_prune.model.activations import Activations
from hf_prune.model.decoder import RunLayer
from hf_prune.model.projections import recorded_inputs

SMALLEST_WEIGHT = 1e-3  # of the norm's largest: a channel with less says nothing about its input


@torch.no_grad()
def closing_norm(layer: nn.Module, run: RunLayer, entering: Tensor) -> str | None:
    """The name of the layer norm whose output is the layer's, or None if there is none.

    `entering` is the first batch of the layer's input, (batch, length, hidden).
    """
    outputs: dict[str, Tensor] = {}
    with ExitStack() as hooks:
        for name, module in layer.named_modules():
            if _can_be_undone(module):
                record = module.register_forward_hook(
                    lambda _, __, own, name=name: outputs.update({name: own})
                )
                hooks.enter_context(record)
        output = run(0, entering)
    return next(
        (name for name, own in outputs.items() if torch.equal(own.reshape(output.shape), output)), None
    )


def _can_be_undone(module: nn.Module) -> bool:
    return isinstance(module, nn.LayerNorm) and module.weight is not None and module.bias is not None


def before_norm(layer: nn.Module, run: RunLayer, norm: str) -> RunLayer:
    """A layer as a function that ends before its closing norm, given by name."""

    def run_part(batch: int, hidden: Tensor) -> Tensor:
        with recorded_inputs(layer.get_submodule(norm)) as calls:
            run(batch, hidden)
        return calls[0].reshape(hidden.shape)

    return run_part


@torch.no_grad()
def targets_before(
    layer: nn.Module, run: RunLayer, norm: str, entering: Activations, target: Activations
) -> Activations:
    """The input with which a layer's closing norm gives `target`.

    `run` is the layer as a function that ends before the norm. `entering` and `target`, the layer's input and
    its desired output, come in batches (batch, length, hidden).
    """
    module = layer.get_submodule(norm)
    assert isinstance(module, nn.LayerNorm)
    weight, bias = module.weight.float(), module.bias.float()
    invertible = weight.abs() > SMALLEST_WEIGHT * weight.abs().max()
    targets = Activations(target.memory)
    for batch, state in enumerate(entering):
        own = run(batch, state).float()
        mean, deviation = own.mean(-1, keepdim=True), own.std(-1, keepdim=True, correction=0)
        undone = torch.where(invertible, (target[batch].float() - bias) / weight, (own - mean) / deviation)
        undone = undone - undone.mean(-1, keepdim=True)
        undone = undone / undone.std(-1, keepdim=True, correction=0).clamp_min(1e-12)
        targets.append((undone * deviation + mean).to(state))
    return targets
