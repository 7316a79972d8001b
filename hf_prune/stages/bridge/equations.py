"""Least squares for the weight of one projection, with sums over the tokens in float64.

W is the old weight, `inner` the projection's input, and `missing` the target minus the layer's output. Each
token counts once in the sums

    G = sum inner inner',   C = sum missing inner'.

Position 0, the attention sink, is fitted like any token. It does not count for the ridge and the reported
gaps, because its states can be a hundred times as large as all others. Usually it is left out of the fit, but
then it breaks if the layer before the gap, or a removed layer, makes the sink (docs/bridge.md).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hf_prune.model.activations import Activations
from hf_prune.model.decoder import RunLayer
from hf_prune.model.projections import recorded_inputs

SMALLEST_RIDGE = 1e-9  # of the mean diagonal: just enough for a singular matrix to be factored


@dataclass(frozen=True)
class Passage:
    """The states that pass through a projection of a layer, batch by batch, and their targets."""

    projection: nn.Module
    run: RunLayer  # the layer, up to where the projection has added to the stream
    entering: Activations  # at the layer's input
    target: Activations  # once the projection has added to the stream

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The inputs (batch, length, inner), and `missing` and target (batch, length, hidden)."""
        for batch, state in enumerate(self.entering):
            with recorded_inputs(self.projection) as calls:
                output = self.run(batch, state)
            inner = calls[0].reshape(*output.shape[:2], -1)  # OPT flattens its tokens
            target = self.target[batch].float()
            yield inner.float(), target - output.float(), target


class NormalEquations:
    """The sums over tokens, with position 0 kept separately."""

    def __init__(self, inner: int, hidden: int, device: torch.device) -> None:
        self.inner = torch.zeros(inner, inner, dtype=torch.float64, device=device)  # G without position 0
        self.cross = torch.zeros(hidden, inner, dtype=torch.float64, device=device)  # C without position 0
        self.sinks: list[tuple[Tensor, Tensor]] = []  # (batch, inner), (batch, hidden)
        self.missing = 0.0  # sum of |missing|^2 without position 0
        self.target = 0.0  # sum of |target|^2 without position 0
        self.num_tokens = 0

    def add(self, inner: Tensor, missing: Tensor, target: Tensor) -> None:
        """Add a batch in float32: (batch, length, inner), and twice (batch, length, hidden)."""
        self.sinks.append((inner[:, 0].double(), missing[:, 0].double()))
        rows, missing_rows = inner[:, 1:].flatten(0, 1), missing[:, 1:].flatten(0, 1)
        self.inner += rows.T @ rows  # a batch in float32, the sum over batches in float64
        self.cross += missing_rows.T @ rows
        self.missing += missing_rows.square().sum(dtype=torch.float64).item()
        self.target += target[:, 1:].square().sum(dtype=torch.float64).item()
        self.num_tokens += inner.shape[0] * inner.shape[1]

    def solve(self, ridge: float) -> Tensor:
        """The E that minimises sum |missing - E inner|^2 + ridge * mean(diag G) * |E|^2: (hidden, inner)."""
        inner, cross = self._with_sinks()
        penalty = ridge * self.inner.diagonal().mean()
        return _divide(cross, inner, penalty)

    def solve_map(self, weight: Tensor) -> Tensor:
        """The E = (T - 1) W whose map T of the projection's output minimises sum |missing - E inner|^2.

        With M = W inner, ReplaceMe's T = argmin sum |M + missing - T M|^2, from the same sums:
        T - 1 = C W' (W G W')^-1. The weight W is (hidden, inner), in float64.
        """
        inner, cross = self._with_sinks()
        return _divide(cross @ weight.T, weight @ inner @ weight.T, 0.0) @ weight

    def left_by(self, correction: Tensor) -> float:
        """The sum of |missing|^2 that a correction E leaves."""
        explained = (correction * self.cross).sum() * 2
        own = ((correction @ self.inner) * correction).sum()
        return self.missing - (explained - own).item()

    def _with_sinks(self) -> tuple[Tensor, Tensor]:
        inner, missing = (torch.cat(parts) for parts in zip(*self.sinks, strict=True))
        return self.inner + inner.T @ inner, self.cross + missing.T @ inner


def _divide(cross: Tensor, inner: Tensor, penalty: Tensor | float) -> Tensor:
    """`cross` times the inverse of `inner + penalty * identity`."""
    smallest = SMALLEST_RIDGE * inner.diagonal().mean().clamp_min(1e-12)
    regular = inner + (penalty + smallest) * torch.eye(len(inner)).to(inner)
    return torch.cholesky_solve(cross.T, torch.linalg.cholesky(regular)).T


@torch.no_grad()
def gather(passage: Passage) -> NormalEquations:
    """The sums over all tokens of a passage."""
    equations: NormalEquations | None = None
    for inner, missing, target in passage:
        equations = equations or NormalEquations(inner.shape[-1], missing.shape[-1], inner.device)
        equations.add(inner, missing, target)
    assert equations is not None
    return equations
