"""The streamed decoder computes what transformers computes, one layer in memory at a time."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from hf_prune.errors import UnsupportedModel
from hf_prune.model.decoder import TOKENS_AT_ONCE, open_decoder, run_layers
from tests.support.families import build
from tests.support.plain import plain_logits, plain_model, some_tokens

CPU = torch.device("cpu")
FAMILIES = [
    "llama",
    "qwen2",
    "qwen3",
    "mistral",
    "gemma",
    "gemma2",
    "gemma3_text",
    "gpt2",
    "opt",
    "phi",
    "phi3",
    "bloom",
    "stablelm",
    "starcoder2",
    "olmo2",
    "cohere",
    "granite",
    "gpt_bigcode",
    "gptj",
    "falcon",
    "mpt",
    "mamba",
]


def streamed_logits(folder, tokens):
    decoder = open_decoder(folder, CPU)
    hidden = run_layers(decoder, decoder.enter(tokens), range(decoder.num_layers))
    with decoder.head() as logits_of:
        return torch.cat([logits_of(sequence) for batch in hidden for sequence in batch.split(1)])


def weights_present(decoder):
    return {name for name, parameter in decoder.skeleton.model.named_parameters() if not parameter.is_meta}


@pytest.mark.parametrize("family", FAMILIES)
def test_streamed_logits_are_those_of_the_plain_model(tiny_models, family):
    folder, tokens = tiny_models(family), some_tokens()
    expected = plain_logits(plain_model(folder), tokens)
    torch.testing.assert_close(streamed_logits(folder, tokens), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "qwen3"])
def test_streamed_logits_are_those_of_the_plain_model_in_bfloat16(tiny_models, family):
    folder, tokens = tiny_models(family, dtype=torch.bfloat16), some_tokens()
    model = plain_model(folder)
    assert model.dtype == torch.bfloat16
    logits = streamed_logits(folder, tokens)
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits.float(), plain_logits(model, tokens).float(), rtol=0, atol=1e-5)


def test_half_precision_weights_are_computed_in_float32_on_a_cpu(tiny_models):
    folder = tiny_models("llama", dtype=torch.float16)
    assert open_decoder(folder, CPU).dtype == torch.float32


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma"])
@pytest.mark.parametrize("tied", [True, False])
def test_tied_and_untied_heads_are_their_own_weights(tiny_models, family, tied):
    folder, tokens = tiny_models(family, tie_word_embeddings=tied), some_tokens()
    expected = plain_logits(plain_model(folder), tokens)
    torch.testing.assert_close(streamed_logits(folder, tokens), expected, rtol=0, atol=1e-5)


def test_only_one_layer_has_weights_at_a_time(tiny_models):
    decoder = open_decoder(tiny_models("llama"), CPU)
    assert weights_present(decoder) == set()
    decoder.enter(some_tokens())
    assert weights_present(decoder) == set()
    with decoder.layer(3):
        inside = weights_present(decoder)
        assert inside
        assert all(name.startswith("model.layers.3.") for name in inside)
        assert not any(parameter.is_meta for parameter in decoder.skeleton.layers[3].parameters())
    assert weights_present(decoder) == set()
    with decoder.head():
        assert weights_present(decoder) == {"model.norm.weight", "lm_head.weight"}
    assert weights_present(decoder) == set()


def test_weights_leave_memory_after_an_error_too(tiny_models):
    decoder = open_decoder(tiny_models("llama"), CPU)
    with pytest.raises(KeyboardInterrupt), decoder.layer(0):
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), decoder.head():
        raise KeyboardInterrupt
    assert weights_present(decoder) == set()


def test_a_pass_of_many_batches_is_a_pass_of_each(tiny_models):
    folder = tiny_models("mistral")
    tokens = some_tokens(TOKENS_AT_ONCE // 40 + 3, 40)
    decoder = open_decoder(folder, CPU)
    assert [len(batch) for batch in decoder.enter(tokens)] == [51, 3]
    expected = plain_logits(plain_model(folder), tokens)
    torch.testing.assert_close(streamed_logits(folder, tokens), expected, rtol=0, atol=1e-5)


def test_entering_again_replaces_what_was_entered(tiny_models):
    folder = tiny_models("qwen3")
    decoder = open_decoder(folder, CPU)
    decoder.enter(some_tokens(length=64))
    tokens = some_tokens(length=17)
    hidden = run_layers(decoder, decoder.enter(tokens), range(6))
    with decoder.head() as logits_of:
        logits = logits_of(hidden[0][:1])
    torch.testing.assert_close(logits, plain_logits(plain_model(folder), tokens[:1]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kept", [(0, 2, 3, 5), (3, 4), ()])
def test_layers_can_be_left_out(tiny_models, kept):
    folder, tokens = tiny_models("gemma3_text"), some_tokens()
    decoder = open_decoder(folder, CPU)
    hidden = run_layers(decoder, decoder.enter(tokens), kept)
    with decoder.head() as logits_of:
        logits = torch.cat([logits_of(sequence) for sequence in hidden[0].split(1)])
    torch.testing.assert_close(logits, plain_logits(plain_model(folder), tokens, kept), rtol=0, atol=1e-5)


def test_states_that_go_in_are_left_as_they_were(tiny_models):
    decoder = open_decoder(tiny_models("llama"), CPU)
    hidden = decoder.enter(some_tokens())
    before = hidden[0].clone()
    after = run_layers(decoder, hidden, [0, 1])
    assert torch.equal(hidden[0], before)
    assert not torch.equal(after[0], before)


def test_a_replacement_stands_for_the_stored_tensor_in_that_call_alone(tiny_models):
    folder, tokens = tiny_models("llama"), some_tokens()
    decoder = open_decoder(folder, CPU)
    name = "model.layers.2.mlp.down_proj.weight"
    hidden = decoder.enter(tokens)
    plain = run_layers(decoder, hidden, [2])[0]
    replaced = run_layers(decoder, hidden, [2], {name: torch.zeros(32, 64)})[0]
    again = run_layers(decoder, hidden, [2])[0]
    assert torch.equal(plain, again)
    assert not torch.allclose(plain, replaced)


@pytest.mark.parametrize(
    ("family", "prefix"), [("gpt2", "transformer."), ("opt", "model."), ("bloom", "transformer.")]
)
def test_older_files_leave_the_base_models_prefix_out(tiny_models, tmp_path, family, prefix):
    folder, tokens = tiny_models(family), some_tokens()
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    older = {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
    assert not set(older) & set(weights)
    save_file(older, tmp_path / "model.safetensors", metadata={"format": "pt"})
    decoder = open_decoder(tmp_path, CPU)
    first = min(decoder.skeleton.layer_numbers)
    assert first.startswith({"gpt2": "h.0.", "opt": "decoder.layers.0.", "bloom": "h.0."}[family])
    assert torch.equal(streamed_logits(tmp_path, tokens), streamed_logits(folder, tokens))


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe", "deepseek_v3", "phimoe"])
def test_a_model_whose_tensors_are_regrouped_on_loading_runs_as_transformers_runs_it(tmp_path, family):
    build(family, tmp_path)
    tokens = some_tokens()
    assert any(conversion.rule for conversion in open_decoder(tmp_path, CPU).skeleton.conversions)
    torch.testing.assert_close(
        streamed_logits(tmp_path, tokens), plain_logits(plain_model(tmp_path), tokens), rtol=1e-4, atol=1e-4
    )


def test_refuses_a_checkpoint_that_lacks_a_tensor(tiny_models, tmp_path):
    shutil.copytree(tiny_models("llama"), tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.layers.4.self_attn.k_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(
        UnsupportedModel, match=r"no tensor .* becomes llama's model\.layers\.4\.self_attn\.k_proj\.weight"
    ):
        open_decoder(tmp_path, CPU)


def test_refuses_a_checkpoint_of_another_shape(tiny_models, tmp_path):
    shutil.copytree(tiny_models("llama"), tmp_path, dirs_exist_ok=True)
    content = json.loads((tmp_path / "config.json").read_text()) | {"intermediate_size": 48}
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(UnsupportedModel, match=r"\[32, 64\], but it is \[32, 48\] by config.json"):
        open_decoder(tmp_path, CPU)


def test_a_saved_buffer_is_read_with_its_layer(tmp_path):
    build("deepseek_v3", tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    biases = [name for name in weights if name.endswith("e_score_correction_bias")]
    assert biases
    save_file(
        weights | {name: torch.randn_like(weights[name]) for name in biases}, tmp_path / "model.safetensors"
    )
    tokens = some_tokens()
    expected = plain_logits(plain_model(tmp_path), tokens)
    torch.testing.assert_close(streamed_logits(tmp_path, tokens), expected, rtol=1e-4, atol=1e-4)


def test_several_streams_side_by_side_are_one_wide_state(tmp_path):
    build("deepseek_v4", tmp_path)
    decoder = open_decoder(tmp_path, CPU)
    (states,) = decoder.enter(some_tokens(2, 8))
    assert states.shape == (2, 8, 4 * 32)
    with decoder.layer(0) as run:
        assert run(0, states).shape == states.shape


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("glm_moe_dsa", "hands more than hidden states from one layer to the next"),
        ("gemma3n_text", "layer 4 of gemma3n_text takes shared_kv_states of an earlier layer"),
        ("mllama", "it runs 4 layers for a text"),
        ("prophetnet", "its hidden states are not one for each token"),
    ],
)
def test_refuses_a_family_whose_layers_are_more_than_one_stream(tmp_path, family, message):
    build(family, tmp_path)
    tokens = some_tokens(2, 8)
    with pytest.raises(UnsupportedModel, match=message) as caught:
        streamed_logits(tmp_path, tokens)
    assert "\n" not in str(caught.value)
