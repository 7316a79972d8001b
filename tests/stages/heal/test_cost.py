"""What a training takes follows from the shapes of the models and the plan."""

from dataclasses import replace

import pytest

from hf_prune.records import HealingPlan
from hf_prune.stages.heal.cost import trained_parameters, training_memory, training_operations
from tests.stages.heal.test_plan import LAYER, seven_billion

LORA = HealingPlan(
    method="lora", reason=None, objective="text", rank=8, num_tokens=1000, sequence_length=100, last_layers=2
)
MODEL = seven_billion(24)
HEAD = 32000 * 4096


@pytest.mark.parametrize(
    ("method", "trained"),
    [
        ("lora", 24 * 8 * (3 * LAYER // 4096)),
        ("replace", LAYER),
        ("grown", 5 * LAYER),
        ("partial", 4096 + 2 * LAYER),
        ("sorted", MODEL.parameters),
    ],
)
def test_each_method_trains_its_part_of_the_model(method, trained):
    assert trained_parameters(replace(LORA, method=method), MODEL, new_layers=5) == trained


def test_a_trained_head_counts():
    partial = replace(LORA, method="partial")
    with_head = replace(partial, train_head=True)
    assert trained_parameters(with_head, MODEL, 0) - trained_parameters(partial, MODEL, 0) == HEAD


def test_memory_grows_with_the_windows_and_shrinks_with_checkpointing_and_4_bits():
    memory = training_memory(LORA, MODEL, 1000, windows=2)
    assert training_memory(LORA, MODEL, 1000, windows=4) > memory
    assert training_memory(replace(LORA, gradient_checkpointing=True), MODEL, 1000, windows=2) < memory
    assert training_memory(replace(LORA, method="qlora"), MODEL, 1000, windows=2) < memory / 2


def test_the_originals_predictions_cost_one_more_forward_pass():
    plain = training_operations(LORA, seven_billion(32), MODEL)
    distilled = training_operations(replace(LORA, objective="predictions"), seven_billion(32), MODEL)
    assert plain == 2 * 1000 * 2 * (24 * LAYER + HEAD)
    assert distilled - plain == 2 * 1000 * (32 * LAYER + HEAD)
