"""The states that leave the layers before the gaps are recorded in training, and there alone."""

import pytest
import torch
from torch import nn

from hf_prune.stages.heal.boundary_states import BoundaryStates, StopForward


class Doubling(nn.Module):
    """A layer that answers in a tuple, as some families do."""

    def forward(self, hidden):
        return (2 * hidden, None)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Identity(), Doubling(), nn.Identity(), Doubling()])

    def forward(self, hidden):
        for layer in self.layers:
            output = layer(hidden)
            hidden = output[0] if isinstance(output, tuple) else output
        return hidden


ONES = torch.ones(1, 2, 3)


def test_the_output_of_each_carrier_is_recorded_in_order():
    model = Model().train()
    states = BoundaryStates(model.layers, (0, 1), stop_after_last=False)
    assert torch.equal(model(ONES), 4 * ONES)
    assert all(torch.equal(*pair) for pair in zip(states.recorded, (ONES, 2 * ONES), strict=True))


def test_the_forward_pass_ends_after_the_last_carrier_where_nothing_else_is_learnt():
    model = Model().train()
    states = BoundaryStates(model.layers, (0, 1), stop_after_last=True)
    with pytest.raises(StopForward):
        model(ONES)
    assert len(states.recorded) == 2


def test_in_evaluation_nothing_is_recorded_and_every_layer_is_run():
    model = Model().eval()
    states = BoundaryStates(model.layers, (0, 1), stop_after_last=True)
    assert torch.equal(model(ONES), 4 * ONES)
    assert states.recorded == []
