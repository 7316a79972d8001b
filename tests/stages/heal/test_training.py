"""The training: what it makes of a plan, and when it stops."""

import math
import os
from dataclasses import replace

import pytest
import torch

from hf_prune.machine.progress import silent
from hf_prune.model.skeleton import build_skeleton
from hf_prune.stages.heal.student import load_student
from tests.support.healing_material import (
    CPU,
    LORA,
    PARTIAL,
    REPLACE,
    lessons_of,
    some_text,
    train_on_some_text,
)


def trained(model, plan, folder, lessons=None, *, seed=0, progress=silent):
    torch.manual_seed(0)  # adapters are drawn before the training is seeded
    student = load_student(build_skeleton(model), plan, (2,), CPU)
    return train_on_some_text(student, plan, folder, lessons, seed=seed, progress=progress)


def same(first, second):
    return all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)


def test_the_same_seed_gives_the_same_weights_and_another_order_gives_others(tiny_models, tmp_path):
    model = tiny_models("llama")
    first, again = (trained(model, LORA, tmp_path / name) for name in ("one", "two"))
    other = trained(model, LORA, tmp_path / "three", seed=1)
    assert same(first, again)
    assert not same(first, other)


def test_small_pieces_add_up_to_the_same_step(tiny_models, tmp_path):
    model = tiny_models("llama")
    whole = trained(model, replace(PARTIAL, micro_batch=4), tmp_path / "whole")
    pieces = trained(model, replace(PARTIAL, micro_batch=1), tmp_path / "pieces")
    for name, value in whole.weights.items():
        torch.testing.assert_close(pieces.weights[name], value, rtol=1e-3, atol=1e-3)


def test_the_curve_begins_before_the_first_step_and_the_best_step_is_on_it(tiny_models, tmp_path):
    found = trained(tiny_models("llama"), LORA, tmp_path)
    assert found.curve[0].step == 0
    assert found.curve[0].loss is None
    watched = {point.step: point.watched_loss for point in found.curve if point.step}
    assert watched[found.best_step] == min(watched.values())
    assert found.curve[-1].step == 48  # 12 times 16 windows, four at a time


def test_every_step_is_shown_going_by(tiny_models, tmp_path):
    shown = []

    def progress(items, label, total, unit="it"):
        for item in items:
            shown.append((label, total))
            yield item

    trained(tiny_models("llama"), LORA, tmp_path, progress=progress)
    assert shown == [("healing", 48)] * 48


def test_a_loss_that_is_no_number_ends_the_training(tiny_models, tmp_path):
    model = tiny_models("llama")
    lessons = lessons_of(model, some_text(), tmp_path / "lessons", (4,))
    states = lessons.window_bytes - 24 * 32 * 2
    with open(lessons.path, "r+b") as file:
        for window in range(16):  # as a teacher that overflowed would have left them
            os.pwrite(file.fileno(), b"\x80\x7f" * (24 * 32), window * lessons.window_bytes + states)
    assert lessons.read(3)["states"].isinf().all()
    found = trained(model, REPLACE, tmp_path / "states", lessons)
    assert found.diverged_at is not None
    assert found.diverged_at < 48
    assert all(point.loss is None or math.isfinite(point.loss) for point in found.curve)


def test_a_state_that_was_not_written_to_its_end_is_not_gone_on_from(tiny_models, tmp_path):
    model = tiny_models("llama")
    whole = trained(model, LORA, tmp_path / "whole")
    half = tmp_path / "half" / "checkpoint-40"
    half.mkdir(parents=True)
    (half / "model.safetensors").write_bytes(b"half")
    (half / "trainer_state.json").write_text('{"global_step": 4')
    assert same(trained(model, LORA, tmp_path / "half"), whole)


@pytest.mark.parametrize("cut", [14, 30])
def test_a_training_goes_on_from_its_last_state_to_the_same_weights(tiny_models, tmp_path, cut):
    """As if it had been killed after a number of steps."""
    model = tiny_models("llama")
    whole = trained(model, LORA, tmp_path / "whole")

    def killed_after(items, label, total, unit="it"):
        for item in items:
            if item == cut:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        trained(model, LORA, tmp_path / "killed", progress=killed_after)
    again = trained(model, LORA, tmp_path / "killed")
    assert same(again, whole)
    assert again.curve == whole.curve
