"""The forms of a bridge: how the new weight of one projection follows from the states that pass through it.

ReplaceMe (2505.02819) maps the projection's output: W becomes T W, where T minimises squares (`lstsq`) or
the angle to the target (`cosine`). `refit` corrects the whole weight, of which T W is a special case, and a
ridge keeps it near the old one. `relay` goes on in the first layers after the gap. It refits every projection
there that adds to the stream, so that the stream comes nearer to the original's each time.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hf_prune.model.activations import Activations
from hf_prune.stages.bridge.equations import NormalEquations, Passage, gather

RIDGE = 0.05  # of the mean diagonal of the normal matrix, if none is chosen; docs/bridge.md has the sweep
RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0)
ASIDE = 8  # one of this many windows is set aside to choose the ridge by
REACH = 3  # layers after a gap; more of them raise the loss (docs/bridge.md)
LEARNING_RATE = 1e-4  # of `cosine`, as published, like the next two
MINIBATCH = 1024  # tokens
EPOCHS = 10


@dataclass(frozen=True)
class Fitted:
    """The correction of a weight, and the sums that it was solved from."""

    correction: Tensor  # E, (hidden, inner): W + E replaces W
    ridge: float | None  # as a share of the mean diagonal of G
    equations: NormalEquations


Fit = Callable[[Passage, Tensor], Fitted]  # the weight is (hidden, inner), in float64


@dataclass(frozen=True)
class Form:
    """A way to close gaps."""

    name: str
    fit: Fit
    reach: int = 0  # how many layers after a gap are fitted too, in all their projections


def lstsq(passage: Passage, weight: Tensor) -> Fitted:
    """ReplaceMe's least-squares map of the projection's output, without a penalty, as published."""
    equations = gather(passage)
    return Fitted(correction=equations.solve_map(weight), ridge=None, equations=equations)


@torch.no_grad()
def cosine(passage: Passage, weight: Tensor) -> Fitted:
    """ReplaceMe's map T that minimises the mean of 1 - cos(T m, m + missing), where m is the output.

    As published, Adam starts at T = 1 with batches of 1024 tokens and reads the text ten times.
    """
    identity = torch.eye(len(weight)).to(weight)
    mapping = identity.clone().requires_grad_()
    adam = torch.optim.Adam([mapping], lr=LEARNING_RATE)
    pairs = Activations(passage.entering.memory)
    for inner, missing, _ in passage:
        output = inner.flatten(0, 1) @ weight.T.to(inner)
        pairs.append(torch.stack([output, output + missing.flatten(0, 1)]))
    for _ in range(EPOCHS):
        for pair in pairs:
            for output, target in pair.double().split(MINIBATCH, dim=1):
                with torch.enable_grad():
                    distances = 1 - torch.cosine_similarity(output @ mapping.T, target, dim=-1)
                    (gradient,) = torch.autograd.grad(distances.mean(), mapping)
                mapping.grad = gradient
                adam.step()
    correction = (mapping.detach() - identity) @ weight
    return Fitted(correction=correction, ridge=None, equations=gather(passage))


@torch.no_grad()
def refit(passage: Passage, weight: Tensor) -> Fitted:
    """Least squares on the whole weight, with the ridge that does best on windows set aside.

    These windows are fitted too, once the ridge is chosen. With too few windows none is set aside.
    """
    equations: NormalEquations | None = None
    aside = Activations(passage.entering.memory)
    first = 0  # number of the batch's first window
    for inner, missing, target in passage:
        equations = equations or NormalEquations(inner.shape[-1], missing.shape[-1], inner.device)
        is_aside = torch.arange(first, first + len(inner)) % ASIDE == ASIDE - 1
        first += len(inner)
        equations.add(inner[~is_aside], missing[~is_aside], target[~is_aside])
        if is_aside.any():
            aside.append(torch.cat([inner[is_aside], missing[is_aside], target[is_aside]], dim=-1))
    assert equations is not None
    hidden, width = equations.cross.shape
    ridge = _best_ridge(equations, aside) if len(aside) else RIDGE
    for rows in aside:
        equations.add(*rows.split([width, hidden, hidden], dim=-1))
    return Fitted(correction=equations.solve(ridge), ridge=ridge, equations=equations)


@torch.no_grad()
def refit_cheaply(passage: Passage, weight: Tensor) -> Fitted:
    """`refit` with a fixed ridge, for trials of many cuts."""
    equations = gather(passage)
    return Fitted(correction=equations.solve(RIDGE), ridge=RIDGE, equations=equations)


def _best_ridge(equations: NormalEquations, aside: Activations) -> float:
    """The ridge that leaves the smallest error on the windows set aside, without position 0."""
    width = equations.inner.shape[0]
    errors = dict.fromkeys(RIDGES, 0.0)
    for ridge in RIDGES:
        correction = equations.solve(ridge).float()
        for rows in aside:
            inner, missing = rows[:, 1:, :width], rows[:, 1:, width : width + len(correction)]
            errors[ridge] += (missing - inner @ correction.T).square().sum(dtype=torch.float64).item()
    return min(RIDGES, key=errors.__getitem__)


LSTSQ = Form(name="lstsq", fit=lstsq)
COSINE = Form(name="cosine", fit=cosine)
REFIT = Form(name="refit", fit=refit)
TRIAL = Form(name="refit", fit=refit_cheaply)
RELAY = Form(name="relay", fit=refit, reach=REACH)
FORMS = {form.name: form for form in (LSTSQ, COSINE, REFIT, RELAY)}
