"""Taylor importance of each layer, with gradients, one layer in memory at a time.

Kim et al., "Shortened LLaMA" (2402.02834), section 3.1: the sum of |W * dL/dW| over the linear and norm
weights of a layer. The states at every boundary are kept, in memory while they fit and else in a file. The
gradient of the loss then travels back from the head through one layer after the other.
"""

import torch
from torch import Tensor
from torch.nn import functional

from hf_prune.machine.progress import Progress
from hf_prune.model.activations import Activations
from hf_prune.model.decoder import POSITIONS_AT_ONCE, RunLayer, StreamedDecoder, run_layers
from hf_prune.records import LayerScores
from hf_prune.stages.measure.similarity import weights_of
from hf_prune.stages.texts.windows import Windows


def taylor(decoder: StreamedDecoder, windows: Windows, progress: Progress) -> LayerScores:
    """The Taylor score of every layer, for the mean loss of predicting every token but the first.

    Each weight is read twice. In memory at once are the states at all boundaries, one layer, its gradients
    in float32 and the activations of one batch in it.
    """
    count = decoder.num_layers
    inputs = [decoder.enter(windows.ids)]
    with torch.no_grad():
        for number in progress(range(count), "Taylor, forwards", count, "layer"):
            inputs.append(run_layers(decoder, inputs[-1], [number]))
    gradients = _from_head(decoder, inputs.pop(), windows)
    scores = []
    for number in progress(range(count - 1, -1, -1), "Taylor, backwards", count, "layer"):
        score, gradients = _through_layer(decoder, number, inputs.pop(), gradients)
        scores.append(score / (windows.ids.shape[0] * (windows.ids.shape[1] - 1)))
    return LayerScores(criterion="taylor", values=tuple(reversed(scores)), text=windows.record)


def _from_head(decoder: StreamedDecoder, final: Activations, windows: Windows) -> Activations:
    """The gradient of the summed loss at the states after the last layer."""
    gradients, first = Activations(decoder.memory), 0
    with decoder.head() as logits_of:
        for states in final:
            gradient = torch.zeros_like(states)
            for row, tokens in enumerate(windows.ids[first : first + len(states)]):
                following = tokens[1:].to(states.device)
                for start in range(0, len(following), POSITIONS_AT_ONCE):
                    stop = min(start + POSITIONS_AT_ONCE, len(following))
                    state = states[row : row + 1, start:stop].detach().requires_grad_()
                    logits = logits_of(state)[0].float()  # (positions, vocabulary)
                    loss = functional.cross_entropy(logits, following[start:stop], reduction="sum")
                    (gradient[row : row + 1, start:stop],) = torch.autograd.grad(loss, state)
            gradients.append(gradient)
            first += len(states)
    return gradients


def _through_layer(
    decoder: StreamedDecoder, number: int, inputs: Activations, gradients: Activations
) -> tuple[float, Activations]:
    """The score of a layer, not yet divided by the number of tokens, and the gradient at its input."""
    with decoder.layer(number) as run:
        weights = [weight for _, weight in weights_of(decoder.skeleton.layers[number])]
        for weight in weights:
            weight.requires_grad_()
        totals = [torch.zeros_like(weight, dtype=torch.float32) for weight in weights]
        for batch, states in enumerate(inputs):
            gradients[batch] = _backwards(run, batch, states, gradients[batch], weights, totals)
        products = (w.detach().float() * g for w, g in zip(weights, totals, strict=True))
        return sum(product.abs().sum(dtype=torch.float64).item() for product in products), gradients


def _backwards(
    run: RunLayer, batch: int, states: Tensor, gradient: Tensor, weights: list[Tensor], totals: list[Tensor]
) -> Tensor:
    """The gradient at the layer's input. The gradients of the weights are added to `totals`."""
    with torch.enable_grad():
        entering = states.detach().requires_grad_()
        output = run(batch, entering)
        own, *others = torch.autograd.grad(output, [entering, *weights], gradient, allow_unused=True)
    for total, part in zip(totals, others, strict=True):
        if part is not None:  # None: an expert that no token was sent to
            total += part
    return own
