"""Least squares for the weight of one projection, its sums streamed over the tokens in float64.

With W the old weight, `inner` what the projection is given and `missing` what its layer's output lacks of the
target, each token counting once, the sums are

    G = sum inner inner',   C = sum missing inner'.

Position 0, the attention sink, is fitted like any token, but leaves the ridge and the reported gaps alone:
its states can be a hundred times as large as all others. Left out of the fit, as is usual, it is wrecked
wherever the layer before the gap, or a removed one, is the one that makes the sink (docs/bridge.md).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hf_prune.model.activations import Activations
from hf_prune.model.decoder import RunLayer
from hf_prune.model.projections import recorded_inputs

SMALLEST_RIDGE = 1e-9  # of the mean diagonal: only so that a singular matrix has a factor


@dataclass(frozen=True)
class Passage:
    """What passes through a projection of a layer, batch by batch, and where it should take the stream."""

    projection: nn.Module
    run: RunLayer  # from the stream at the layer's input to the stream once the projection has added to it
    entering: Activations
    target: Activations

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The inputs (batch, length, inner), what is missing and the target (batch, length, hidden)."""
        for batch, state in enumerate(self.entering):
            with recorded_inputs(self.projection) as seen:
                output = self.run(batch, state)
            inner = seen[0].reshape(*output.shape[:2], -1)  # OPT flattens its tokens
            target = self.target[batch].float()
            yield inner.float(), target - output.float(), target


class NormalEquations:
    """The sums over tokens, position 0 kept apart."""

    def __init__(self, inner: int, hidden: int, device: torch.device) -> None:
        self.inner = torch.zeros(inner, inner, dtype=torch.float64, device=device)  # G without position 0
        self.cross = torch.zeros(hidden, inner, dtype=torch.float64, device=device)  # C without position 0
        self.sinks: list[tuple[Tensor, Tensor]] = []  # (batch, inner), (batch, hidden)
        self.missing = 0.0  # sum of |missing|^2 without position 0
        self.target = 0.0  # sum of |target|^2 without position 0
        self.num_tokens = 0

    def add(self, inner: Tensor, missing: Tensor, target: Tensor) -> None:
        """Add a batch: (batch, length, inner), and twice (batch, length, hidden), in float32."""
        self.sinks.append((inner[:, 0].double(), missing[:, 0].double()))
        rows, wanted = inner[:, 1:].flatten(0, 1), missing[:, 1:].flatten(0, 1)
        self.inner += rows.T @ rows  # a batch in float32, the sum over batches in float64
        self.cross += wanted.T @ rows
        self.missing += wanted.square().sum(dtype=torch.float64).item()
        self.target += target[:, 1:].square().sum(dtype=torch.float64).item()
        self.num_tokens += inner.shape[0] * inner.shape[1]

    def solve(self, ridge: float) -> Tensor:
        """The E that minimises sum |missing - E inner|^2 + ridge * mean(diag G) * |E|^2: (hidden, inner).

        Args:
            ridge: as a share of the mean diagonal of G.
        """
        inner, cross = self._with_sinks()
        penalty = ridge * self.inner.diagonal().mean()
        return _divide(cross, inner, penalty)

    def solve_map(self, weight: Tensor) -> Tensor:
        """The E = (T - 1) W whose map T of the projection's output minimises sum |missing - E inner|^2.

        With M = W inner, ReplaceMe's T = argmin sum |M + missing - T M|^2, from the same sums:
        T - 1 = C W' (W G W')^-1.

        Args:
            weight: W, (hidden, inner), in float64.
        """
        inner, cross = self._with_sinks()
        return _divide(cross @ weight.T, weight @ inner @ weight.T, 0.0) @ weight

    def left_by(self, correction: Tensor) -> float:
        """What remains of `missing` under a correction E."""
        explained = (correction * self.cross).sum() * 2
        own = ((correction @ self.inner) * correction).sum()
        return self.missing - (explained - own).item()

    def _with_sinks(self) -> tuple[Tensor, Tensor]:
        inner, missing = (torch.cat(parts) for parts in zip(*self.sinks, strict=True))
        return self.inner + inner.T @ inner, self.cross + missing.T @ inner


def _divide(cross: Tensor, inner: Tensor, penalty: Tensor | float) -> Tensor:
    """`cross` times the inverse of `inner + penalty * 1`."""
    smallest = SMALLEST_RIDGE * inner.diagonal().mean().clamp_min(1e-12)
    regular = inner + (penalty + smallest) * torch.eye(len(inner)).to(inner)
    return torch.cholesky_solve(cross.T, torch.linalg.cholesky(regular)).T


@torch.no_grad()
def gather(passage: Passage) -> NormalEquations:
    """The sums over everything that passes."""
    equations: NormalEquations | None = None
    for inner, missing, target in passage:
        equations = equations or NormalEquations(inner.shape[-1], missing.shape[-1], inner.device)
        equations.add(inner, missing, target)
    assert equations is not None
    return equations
