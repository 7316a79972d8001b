"""The sums give the solutions they say they give, each against another way to compute it."""

import pytest
import torch
from torch.nn.functional import one_hot

from hf_prune.stages.bridge.equations import NormalEquations

INNER = torch.randn(24, 40, 64, generator=torch.Generator().manual_seed(1))
MISSING = torch.randn(24, 40, 32, generator=torch.Generator().manual_seed(2)) + INNER[..., :32]
TARGET = torch.randn(24, 40, 32, generator=torch.Generator().manual_seed(3))


def equations_of(inner=INNER, missing=MISSING):
    equations = NormalEquations(64, 32, torch.device("cpu"))
    for part in (slice(0, 10), slice(10, 24)):
        equations.add(inner[part], missing[part], TARGET[part])
    return equations


def test_the_correction_solves_the_ridge_problem():
    rows, wanted = INNER.flatten(0, 1).double(), MISSING.flatten(0, 1).double()
    penalty = (0.3 * INNER[:, 1:].double().flatten(0, 1).square().sum(0).mean()).sqrt()
    stacked = torch.cat([rows, penalty * torch.eye(64)])  # the ridge as extra rows
    targets = torch.cat([wanted, torch.zeros(64, 32)])
    expected = torch.linalg.lstsq(stacked, targets).solution.T
    torch.testing.assert_close(equations_of().solve(0.3), expected, rtol=0, atol=1e-6)


def test_the_map_is_replace_mes_least_squares_of_the_projections_output():
    """T* = argmin |M T - (L - Y)|^2 with M the projection's output and L - Y = M + missing (2505.02819)."""
    weight = torch.randn(32, 64, dtype=torch.float64)
    output = INNER.flatten(0, 1).double() @ weight.T
    mapping = torch.linalg.lstsq(output, output + MISSING.flatten(0, 1).double()).solution.T
    expected = mapping @ weight
    torch.testing.assert_close(weight + equations_of().solve_map(weight), expected, rtol=0, atol=1e-4)


def test_what_is_left_is_what_a_correction_leaves_of_all_but_position_0():
    equations, correction = equations_of(), torch.randn(32, 64, dtype=torch.float64)
    left = (MISSING - INNER @ correction.float().T)[:, 1:].double().square().sum().item()
    assert equations.left_by(correction) == pytest.approx(left, rel=1e-5)


def test_the_attention_sink_is_made_by_the_bridge_where_the_layer_that_made_it_goes():
    inner, missing = INNER.clone(), 0.1 * torch.randn(24, 40, 32)
    inner[:, 0] = one_hot(torch.tensor(7), 64) * 30.0  # a direction of its own
    missing[:, 0, 5] += 1000.0  # the removed layers make a sink, as layer 11 of SmolLM2 does
    moved = equations_of(inner, missing).solve(0.05) @ inner[0, 0].double()
    assert moved[5] == pytest.approx(1000.0, rel=0.1)
