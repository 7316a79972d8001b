"""A healed checkpoint computes what was trained, in the precision of its original."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from hf_prune.machine.progress import silent
from hf_prune.model.skeleton import build_skeleton
from hf_prune.stages.heal.folding import fold, write_healed
from hf_prune.stages.heal.student import adapters, load_student
from tests.support.healing_material import CPU, LORA, PARTIAL, train_on_some_text
from tests.support.plain import plain_logits, plain_model, some_tokens

TOKENS = some_tokens(2, 24)
SCALED = replace(LORA, alpha=10)  # 2.5 times what is learnt
WIDE = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}  # whole blocks of 64 for 4 bits


def written(skeleton, trained, tmp_path, scale=1.0):
    target = tmp_path / "healed"
    target.mkdir()
    return target, write_healed(skeleton, target, fold(skeleton, trained, scale), silent)


def weights_of(student):
    return {
        name.removeprefix("model."): parameter.detach().float()
        for name, parameter in student.named_parameters()
        if parameter.requires_grad
    }


def disturb(student):
    """As if it had been trained: every trained number moved."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in student.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "phi", "gemma2"])
@pytest.mark.parametrize("plan", [LORA, SCALED, PARTIAL], ids=["lora", "scaled", "partial"])
def test_merged_weights_reproduce_the_logits_of_what_was_trained(tiny_models, tmp_path, family, plan):
    skeleton = build_skeleton(tiny_models(family))
    student = load_student(skeleton, plan, (2,), CPU).eval()
    untouched = plain_logits(plain_model(tiny_models(family)), TOKENS)
    disturb(student)
    with torch.no_grad():
        expected = student.model(input_ids=TOKENS, use_cache=False).logits
    folder, checkpoint = written(skeleton, weights_of(student), tmp_path, plan.adapter_scale)
    torch.testing.assert_close(plain_logits(plain_model(folder), TOKENS), expected, rtol=1e-4, atol=1e-4)
    assert (expected - untouched).abs().max() > 0.1
    assert checkpoint.parameters == sum(p.numel() for p in plain_model(folder).parameters())


def test_what_was_not_trained_is_copied_to_the_byte(tiny_models, tmp_path):
    source = tiny_models("llama")
    skeleton = build_skeleton(source)
    student = load_student(skeleton, replace(LORA, targets="ffn"), (2,), CPU)
    disturb(student)
    folder, _ = written(skeleton, weights_of(student), tmp_path)
    before, after = load_file(source / "model.safetensors"), load_file(folder / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if ".mlp." in name}
    assert (folder / "config.json").read_bytes() == (source / "config.json").read_bytes()


def with_trained_head(source, tmp_path):
    """The logits of a model whose tied head was trained, and what was written of it."""
    skeleton = build_skeleton(source)
    student = load_student(skeleton, replace(PARTIAL, train_head=True), (2,), CPU).eval()
    disturb(student)
    with torch.no_grad():
        expected = student.model(input_ids=TOKENS, use_cache=False).logits
    return expected, *written(skeleton, weights_of(student), tmp_path)


def test_a_head_that_was_trained_apart_is_untied_and_its_embedding_stays(tiny_models, tmp_path):
    source = tiny_models("llama", tie_word_embeddings=True)
    expected, folder, checkpoint = with_trained_head(source, tmp_path)
    assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"] is False
    before, after = load_file(source / "model.safetensors"), load_file(folder / "model.safetensors")
    embedding = before["model.embed_tokens.weight"]
    assert torch.equal(after["model.embed_tokens.weight"], embedding)
    assert not torch.equal(after["lm_head.weight"], embedding)
    torch.testing.assert_close(plain_logits(plain_model(folder), TOKENS), expected, rtol=1e-4, atol=1e-4)
    assert checkpoint.size_bytes == sum(value.nbytes for value in after.values())


def test_a_model_in_two_files_gets_its_head_beside_its_embedding(tiny_models, tmp_path):
    source = tiny_models("llama", tie_word_embeddings=True, max_shard_size="60KB")
    expected, folder, checkpoint = with_trained_head(source, tmp_path)
    assert len(checkpoint.weights) > 1
    torch.testing.assert_close(plain_logits(plain_model(folder), TOKENS), expected, rtol=1e-4, atol=1e-4)


def test_a_model_trained_in_4_bits_is_published_in_full_precision(tiny_models, tmp_path):
    """The base is what the cut wrote, not what 4 bits made of it; what is added has the adapter's rank."""
    source = tiny_models("llama", **WIDE)
    skeleton = build_skeleton(source)
    student = load_student(skeleton, replace(LORA, method="qlora"), (2,), CPU)
    rounded = student.model.model.layers[0].mlp.down_proj.base_layer
    trained = train_on_some_text(student, replace(LORA, method="qlora"), tmp_path / "states")
    folder, _ = written(skeleton, trained.weights, tmp_path)
    before, after = load_file(source / "model.safetensors"), load_file(folder / "model.safetensors")
    identity = torch.eye(rounded.in_features)
    in_4_bits = rounded(identity).detach().T
    name = "model.layers.0.mlp.down_proj.weight"
    assert (in_4_bits - before[name]).abs().max() > 0.01
    for path, _ in adapters(student.model):
        added = (after[f"{path}.weight"] - before[f"{path}.weight"]).double()
        ranks = torch.linalg.svdvals(added)
        assert ranks[0] > 0
        assert ranks[4] < 1e-3 * ranks[0]  # rank 4, and what float32 rounds
