"""What each method trains is what its paper trains, and nothing else moves."""

import shutil
from dataclasses import replace

import pytest
import torch

from hf_prune.errors import UnsupportedModel
from hf_prune.model.skeleton import build_skeleton
from hf_prune.stages.heal.student import adapted_projections, load_student
from tests.support.healing_material import (
    CPU,
    LORA,
    PARTIAL,
    REPLACE,
    lessons_of,
    some_text,
    train_on_some_text,
)
from tests.support.models import store_as_fp8

LAYER = "model.model.layers."
SORTED = replace(PARTIAL, method="sorted", depths=(2, 4, 6))


def trained_names(student):
    return {name for name, parameter in student.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize(
    ("family", "count"), [("llama", 7), ("gpt2", 4), ("opt", 6), ("phi", 6), ("gemma2", 7)]
)
def test_lora_adapts_every_projection_of_every_layer_whatever_the_family(tiny_models, family, count):
    skeleton = build_skeleton(tiny_models(family))
    assert len(adapted_projections(skeleton, "all")) == 6 * count
    student = load_student(skeleton, LORA, (2,), CPU)
    assert len(trained_names(student)) == 2 * 6 * count
    assert all("lora_" in name for name in trained_names(student))


@pytest.mark.parametrize(
    ("family", "projections"),
    [
        ("llama", {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}),
        ("gpt2", {"mlp.c_fc", "mlp.c_proj"}),
        ("opt", {"fc1", "fc2"}),
        ("phi", {"mlp.fc1", "mlp.fc2"}),
    ],
)
def test_as_in_the_deeper_layers_paper_lora_can_adapt_the_feed_forward_projections_alone(
    tiny_models, family, projections
):
    skeleton = build_skeleton(tiny_models(family))
    found = adapted_projections(skeleton, "ffn")
    inside = f"{skeleton.layer_path}.0."
    assert {name.removeprefix(inside) for name in found if name.startswith(inside)} == projections


def test_an_adapter_begins_as_nothing(tiny_models):
    """The first loss is that of the model as it is."""
    skeleton, text = build_skeleton(tiny_models("llama")), some_text()
    plain = load_student(skeleton, PARTIAL, (2,), CPU).eval()
    adapted = load_student(skeleton, LORA, (2,), CPU).eval()
    with torch.no_grad():
        losses = [model(text.ids, text.loss_mask)["loss"].item() for model in (plain, adapted)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_partial_trains_the_last_layers_and_the_final_norm_and_leaves_a_tied_head(tiny_models):
    skeleton = build_skeleton(tiny_models("llama", tie_word_embeddings=True))
    names = trained_names(load_student(skeleton, PARTIAL, (2,), CPU))
    assert {name for name in names if LAYER not in name} == {"model.model.norm.weight"}
    assert {name.removeprefix(LAYER).split(".")[0] for name in names if LAYER in name} == {"4", "5"}
    assert len(names) == 2 * 9 + 1


def test_partial_trains_the_head_too_where_it_is_asked_for(tiny_models):
    skeleton = build_skeleton(tiny_models("llama", tie_word_embeddings=True))
    student = load_student(skeleton, replace(PARTIAL, train_head=True), (2,), CPU)
    assert "model.lm_head.weight" in trained_names(student)
    assert not student.model.get_input_embeddings().weight.requires_grad


def test_replace_trains_the_layer_before_the_gap_and_no_other(tiny_models):
    names = trained_names(load_student(build_skeleton(tiny_models("llama")), REPLACE, (2,), CPU))
    assert len(names) == 9
    assert all(name.startswith(f"{LAYER}2.") for name in names)


@pytest.mark.parametrize("plan", [LORA, PARTIAL, REPLACE], ids=lambda plan: plan.method)
def test_training_lowers_what_is_learnt_and_moves_nothing_else(tiny_models, tmp_path, plan):
    model = tiny_models("llama")
    student = load_student(build_skeleton(model), plan, (2,), CPU)
    lessons = lessons_of(model, some_text(), tmp_path / "lessons", (4,)) if plan.boundary_loss else None
    frozen = {n: p.detach().clone() for n, p in student.named_parameters() if not p.requires_grad}
    found = train_on_some_text(student, plan, tmp_path, lessons)
    after = dict(student.named_parameters())
    assert all(torch.equal(after[name], value) for name, value in frozen.items())
    assert set(found.weights) == {name.removeprefix("model.") for name in trained_names(student)}
    learnt = [step.loss for step in found.curve if step.loss is not None]
    assert learnt[-1] < learnt[0]


def test_with_states_alone_to_learn_nothing_behind_the_gap_is_run(tiny_models):
    student = load_student(build_skeleton(tiny_models("llama")), REPLACE, (2,), CPU).train()
    run = []
    for number, layer in enumerate(student.model.model.layers):
        layer.register_forward_pre_hook(lambda *_, number=number: run.append(number))
    text = some_text()
    student(text.ids, text.loss_mask, states=torch.randn(16, 1, 24, 32))
    assert run == [0, 1, 2]
    student.eval()(text.ids, text.loss_mask)
    assert run == [0, 1, 2, 0, 1, 2, 3, 4, 5]


def test_gradients_are_the_same_with_and_without_checkpointing(tiny_models, tmp_path):
    model, text = tiny_models("llama"), some_text(4)
    lessons = lessons_of(model, text, tmp_path / "lessons", (4,))
    said = [lessons.read(window) for window in range(4)]
    batch = {name: torch.stack([one[name] for one in said]) for name in said[0]}
    found = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        plan = replace(LORA, objective="predictions", boundary_loss=0.5, gradient_checkpointing=checkpointing)
        student = load_student(build_skeleton(model), plan, (2,), CPU).train()
        student(text.ids, text.loss_mask, **batch)["loss"].backward()
        found.append([p.grad for p in student.parameters() if p.requires_grad])
    for plain, checkpointed in zip(*found, strict=True):
        torch.testing.assert_close(plain, checkpointed)


def test_a_model_whose_projections_are_stored_in_8_bits_is_refused(tiny_models, tmp_path):
    """A correction could not be written back into 8 bits with a scale for each block."""
    folder = shutil.copytree(tiny_models("llama"), tmp_path / "fp8")
    store_as_fp8(folder, ("lm_head",))
    with pytest.raises(UnsupportedModel, match="--heal partial"):
        load_student(build_skeleton(folder), LORA, (2,), CPU)


def test_grown_trains_the_new_layers_alone(tiny_models):
    skeleton = build_skeleton(tiny_models("llama"))
    student = load_student(skeleton, replace(PARTIAL, method="grown"), (), CPU, new_layers=(1, 3))
    names = trained_names(student)
    assert {name.removeprefix(LAYER).split(".")[0] for name in names} == {"1", "3"}
    assert len(names) == 2 * 9


def test_the_loss_of_a_sorted_model_is_the_mean_of_those_of_its_depths(tiny_models):
    skeleton, text = build_skeleton(tiny_models("llama")), some_text()
    losses = {}
    for depths in ((2, 4, 6), (2, 6), (4, 6), (6,)):
        student = load_student(skeleton, replace(SORTED, depths=depths), (), CPU).eval()
        with torch.no_grad():
            losses[depths] = student(text.ids, text.loss_mask)["loss"].item()
    two, four = (2 * losses[(depth, 6)] - losses[(6,)] for depth in (2, 4))
    assert losses[(2, 4, 6)] == pytest.approx((two + four + losses[(6,)]) / 3, rel=1e-5)


def test_every_weight_of_a_sorted_model_is_trained_by_all_depths_or_by_those_that_are_drawn(tiny_models):
    skeleton, text = build_skeleton(tiny_models("llama")), some_text()
    every = load_student(skeleton, SORTED, (), CPU).train()
    every(text.ids, text.loss_mask)["loss"].backward()
    assert all(parameter.grad is not None for parameter in every.parameters())
    sampled = load_student(skeleton, replace(SORTED, sample_depths=True), (), CPU).train()
    drawn = set()
    for window in text.ids:
        sampled.zero_grad()
        sampled(window[None], torch.ones_like(window[None], dtype=torch.bool))["loss"].backward()
        layers = sampled.model.model.layers
        drawn.add(sum(layer.mlp.up_proj.weight.grad is not None for layer in layers))
    assert drawn == {2, 4, 6}
