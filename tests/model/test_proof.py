"""The proof holds for a right cut, and a wrong one is caught whatever is wrong with it."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from hf_prune.errors import ProofFailed, UnsupportedModel
from hf_prune.model import proof as proving
from hf_prune.model.decoder import open_decoder
from hf_prune.model.proof import expected_logits, prove
from tests.stages.cut.test_checkpoint import CUTS, cut
from tests.support.families import build
from tests.support.plain import edit_json, plain_logits, plain_model, some_tokens

CPU = torch.device("cpu")
KEPT = CUTS["middle"]
NAMES = (
    "every tensor is used and none is made up",
    "logits equal the original's with those layers left out",
    "decoding with the cache equals running without it",
)
TOKENS = some_tokens(2, 48)


def proof_of(source, folder, kept=KEPT, replacements=None):
    decoder = open_decoder(source, CPU)
    expected = expected_logits(decoder, TOKENS, kept, replacements or {})
    return prove(folder, "cut", TOKENS, expected, decoder)


def change_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3_text"])
def test_a_right_cut_passes_every_check(tiny_models, tmp_path, family, dtype):
    source = tiny_models(family, dtype=dtype)
    cut(source, tmp_path / "cut", KEPT)
    proof = proof_of(source, tmp_path / "cut")
    assert proof.variant == "cut"
    assert tuple(check.name for check in proof.checks) == NAMES
    assert all(check.passed for check in proof.checks)


def test_what_is_expected_is_the_plain_model_with_those_layers_skipped(tiny_models):
    source = tiny_models("gemma2")
    expected = expected_logits(open_decoder(source, CPU), TOKENS, (0, 3, 5), {})
    torch.testing.assert_close(
        expected, plain_logits(plain_model(source), TOKENS, (0, 3, 5)), rtol=0, atol=1e-5
    )


def test_a_bridged_cut_is_compared_with_its_new_tensors_as_they_are_stored(tiny_models, tmp_path):
    source = tiny_models("llama", dtype=torch.bfloat16)
    new = {"model.layers.1.mlp.down_proj.weight": torch.randn(32, 64) * 0.2}
    cut(source, tmp_path / "bridged", KEPT, new)
    assert all(check.passed for check in proof_of(source, tmp_path / "bridged", replacements=new).checks)
    with pytest.raises(ProofFailed, match=NAMES[1]):
        proof_of(source, tmp_path / "bridged")


def swap_two_layers(folder):
    def change(weights):
        for name in [name for name in weights if name.startswith("model.layers.1.")]:
            other = name.replace("layers.1.", "layers.2.")
            weights[name], weights[other] = weights[other], weights[name]

    change_weights(folder, change)


def swap_one_tensor(folder):
    def change(weights):
        one, other = (f"model.layers.{layer}.self_attn.k_proj.weight" for layer in (0, 3))
        weights[one], weights[other] = weights[other], weights[one]

    change_weights(folder, change)


def drop_a_tensor(folder):
    change_weights(folder, lambda weights: weights.pop("model.layers.2.mlp.up_proj.weight"))


def add_a_layer(folder):
    def change(weights):
        for name in [name for name in weights if name.startswith("model.layers.3.")]:
            weights[name.replace("layers.3.", "layers.4.")] = weights[name].clone()

    change_weights(folder, change)


def keep_the_old_count(folder):
    edit_json(folder / "config.json", num_hidden_layers=6)


def count_one_less(folder):
    edit_json(folder / "config.json", num_hidden_layers=3)


def transposed_projection(folder):
    def change(weights):
        name = "model.layers.0.self_attn.q_proj.weight"  # square: nothing but the numbers can tell
        weights[name] = weights[name].T.contiguous()

    change_weights(folder, change)


def another_rotary_base(folder):
    edit_json(folder / "config.json", rope_parameters={"rope_type": "default", "rope_theta": 500.0})


@pytest.mark.parametrize(
    ("spoil", "check"),
    [
        (swap_two_layers, NAMES[1]),
        (swap_one_tensor, NAMES[1]),
        (transposed_projection, NAMES[1]),
        (another_rotary_base, NAMES[1]),
        (drop_a_tensor, NAMES[0]),
        (add_a_layer, NAMES[0]),
        (keep_the_old_count, NAMES[0]),
        (count_one_less, NAMES[0]),
    ],
)
def test_refuses_a_cut_that_was_spoiled(tiny_models, tmp_path, spoil, check):
    source = tiny_models("llama")
    cut(source, tmp_path / "cut", KEPT)
    spoil(tmp_path / "cut")
    with pytest.raises(ProofFailed) as caught:
        proof_of(source, tmp_path / "cut")
    assert check in str(caught.value)
    assert "nothing is published" in str(caught.value)


@pytest.mark.parametrize("kept", [(0, 1, 3, 4), (1, 2, 4, 5), (0, 1, 2, 5), (0, 1, 5, 4)])
def test_refuses_a_kept_list_that_was_shifted(tiny_models, tmp_path, kept):
    source = tiny_models("llama")
    cut(source, tmp_path / "cut", kept)
    with pytest.raises(ProofFailed, match=NAMES[1]):
        proof_of(source, tmp_path / "cut")


def test_refuses_layer_types_that_were_not_cut_along(tiny_models, tmp_path):
    source = tiny_models("gemma3_text")
    cut(source, tmp_path / "cut", (1, 2, 4, 5))
    sliding = ["sliding_attention"] * 4  # the last of the kept layers attends to everything
    edit_json(tmp_path / "cut/config.json", layer_types=sliding)
    with pytest.raises(ProofFailed, match=NAMES[1]):
        proof_of(source, tmp_path / "cut", (1, 2, 4, 5))


@pytest.mark.parametrize("stored_tied", [True, False])
def test_refuses_a_head_that_changed_between_tied_and_apart(tiny_models, tmp_path, stored_tied):
    source = tiny_models("llama", tie_word_embeddings=stored_tied)
    cut(source, tmp_path / "cut", KEPT)
    edit_json(tmp_path / "cut/config.json", tie_word_embeddings=not stored_tied)
    if not stored_tied:
        change_weights(tmp_path / "cut", lambda weights: weights.pop("lm_head.weight"))
    with pytest.raises(ProofFailed):
        proof_of(source, tmp_path / "cut")


def test_refuses_a_model_whose_cache_disagrees_with_a_pass_without_it(tiny_models):
    model, original = plain_model(tiny_models("llama")), open_decoder(tiny_models("llama"), CPU)
    assert proving._check_decoding(model, TOKENS, original).passed
    layers = model.model.layers
    layers[3].self_attn.layer_idx = 2  # as after deleting a layer of a live model: both write one cache
    check = proving._check_decoding(model, TOKENS, original)
    assert not check.passed
    assert check.name == NAMES[2]


def test_a_stale_layer_number_past_the_cache_is_a_failed_check_and_no_crash(tiny_models):
    model, original = plain_model(tiny_models("llama")), open_decoder(tiny_models("llama"), CPU)
    del model.model.layers[2:4]
    model.config.num_hidden_layers = 4
    check = proving._check_decoding(model, TOKENS, original)
    assert not check.passed
    assert "fails" in check.detail or "difference" in check.detail


def test_a_model_too_large_to_load_is_proved_from_its_files(tiny_models, tmp_path, monkeypatch):
    monkeypatch.setattr("hf_prune.machine.environment.MEMORY_HEADROOM", 1e12)
    source = tiny_models("llama")
    cut(source, tmp_path / "cut", KEPT)
    proof = proof_of(source, tmp_path / "cut")
    assert [check.name for check in proof.checks] == [NAMES[1]]
    assert "decoding with the cache was not compared" in proof.left_out


def test_a_wrong_cut_is_caught_from_its_files_alone(tiny_models, tmp_path, monkeypatch):
    monkeypatch.setattr("hf_prune.machine.environment.MEMORY_HEADROOM", 1e12)
    source = tiny_models("llama")
    cut(source, tmp_path / "cut", (0, 1, 4, 5))
    with pytest.raises(ProofFailed, match=NAMES[1]):
        proof_of(source, tmp_path / "cut", kept=(0, 2, 4, 5))


@pytest.mark.parametrize("family", ["qwen3_moe", "qwen2_moe"])
def test_refuses_numbers_of_layers_that_were_not_remapped(tmp_path, family):
    build(family, tmp_path / "source")
    edit_json(tmp_path / "source" / "config.json", mlp_only_layers=[0, 3])
    rebuilt = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tmp_path / "source"))
    rebuilt.save_pretrained(tmp_path / "source")
    cut(tmp_path / "source", tmp_path / "cut", (0, 2, 3, 5))
    assert json.loads((tmp_path / "cut" / "config.json").read_text())["mlp_only_layers"] == [0, 2]
    edit_json(tmp_path / "cut" / "config.json", mlp_only_layers=[0, 3])
    with pytest.raises(ProofFailed):
        proof_of(tmp_path / "source", tmp_path / "cut", (0, 2, 3, 5))


def test_an_original_that_decodes_otherwise_with_its_cache_is_no_fault_of_the_cut(tmp_path):
    build("moshi", tmp_path / "source")
    cut(tmp_path / "source", tmp_path / "cut", KEPT)
    proof = proof_of(tmp_path / "source", tmp_path / "cut")
    assert "in the original, at most" in proof.checks[2].detail


def test_a_stream_that_is_not_the_model_is_found_before_anything_is_built_on_it(tmp_path):
    build("inkling2_text", tmp_path)
    with pytest.raises(UnsupportedModel, match="more goes from layer to layer than hidden states"):
        proving.check_streaming(open_decoder(tmp_path, CPU), TOKENS)
