"""The shorter checkpoint on disk is the original with those layers left out, for whoever loads it."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from hf_prune.errors import UnsupportedModel
from hf_prune.machine.progress import silent
from hf_prune.stages.cut.checkpoint import write_checkpoint
from tests.support.families import build
from tests.support.plain import edit_json, plain_logits, plain_model, some_tokens

FAMILIES = [
    "llama",
    "qwen2",
    "qwen3",
    "mistral",
    "gemma2",
    "gemma3_text",
    "gpt2",
    "opt",
    "phi3",
    "bloom",
    "stablelm",
    "olmo2",
    "gpt_bigcode",
]
CUTS = {"middle": (0, 1, 4, 5), "scattered": (0, 2, 5), "first": (2, 3, 4, 5), "last": (0, 1, 2)}
QWEN2 = {
    "use_sliding_window": True,
    "sliding_window": 16,
    "max_window_layers": 3,
}


def cut(source, target, kept, replacements=None):
    target.mkdir()
    return write_checkpoint(
        source,
        target,
        kept=kept,
        variant="cut",
        replacements=replacements or {},
        progress=silent,
    )


def reload(folder):
    model, loading = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert {kind: found for kind, found in loading.items() if found} == {}
    return model.eval()


def assert_decodes_the_same_with_cache(model, prompt):
    """Twenty greedy tokens, past the window of the families that slide one."""
    generated = {
        use_cache: model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            generation_config=GenerationConfig(
                do_sample=False, max_new_tokens=20, min_new_tokens=20, use_cache=use_cache, pad_token_id=0
            ),
        )
        for use_cache in (True, False)
    }
    assert torch.equal(generated[True], generated[False])


def settings_of(family):
    return QWEN2 if family == "qwen2" else {}


@pytest.mark.parametrize("kept", CUTS.values(), ids=CUTS.keys())
@pytest.mark.parametrize("family", FAMILIES)
def test_a_cut_computes_what_the_original_does_with_those_layers_skipped(tiny_models, tmp_path, family, kept):
    source, tokens = tiny_models(family, **settings_of(family)), some_tokens(1, 32)
    written = cut(source, tmp_path / "cut", kept)
    expected = plain_logits(plain_model(source), tokens, kept)
    model = reload(tmp_path / "cut")
    torch.testing.assert_close(plain_logits(model, tokens), expected, rtol=0, atol=1e-5)
    assert written.parameters == sum(
        tensor.numel() for tensor in load_file(tmp_path / "cut/model.safetensors").values()
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_a_cut_decodes_with_its_cache_as_without(tiny_models, tmp_path, family):
    source = tiny_models(family, **settings_of(family))
    cut(source, tmp_path / "cut", CUTS["middle"])
    assert_decodes_the_same_with_cache(reload(tmp_path / "cut"), some_tokens(1, 12))


@pytest.mark.parametrize("shard", [None, "60KB"])
def test_bfloat16_and_sharded_sources_keep_their_form(tiny_models, tmp_path, shard):
    settings = {"max_shard_size": shard} if shard else {}
    source = tiny_models("llama", dtype=torch.bfloat16, **settings)
    tokens, kept = some_tokens(1, 32), CUTS["scattered"]
    written = cut(source, tmp_path / "cut", kept)
    assert (len(written.weights) > 1) == (shard is not None)
    assert (tmp_path / "cut/model.safetensors.index.json").is_file() == (shard is not None)
    model = reload(tmp_path / "cut")
    assert model.dtype == torch.bfloat16
    assert torch.equal(plain_logits(model, tokens), plain_logits(plain_model(source), tokens, kept))


def test_the_files_around_the_weights_are_copied_byte_for_byte(tiny_models, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for path in tiny_models("llama").iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    (source / "chat_template.jinja").write_bytes(b"{{ messages }}\r\n")
    (source / "generation_config.json").write_bytes(b'{"do_sample":  false, "eos_token_id": [1, 2]}')
    (source / "LICENSE").write_bytes(b"Use it well.\n")
    cut(source, tmp_path / "cut", CUTS["middle"])
    for name in (
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
        "chat_template.jinja",
        "LICENSE",
    ):
        assert (tmp_path / "cut" / name).read_bytes() == (source / name).read_bytes()
    AutoTokenizer.from_pretrained(tmp_path / "cut")


def test_the_configuration_differs_in_the_number_of_layers_alone(tiny_models, tmp_path):
    source = tiny_models("llama")
    cut(source, tmp_path / "cut", CUTS["first"])
    before = json.loads((source / "config.json").read_text())
    after = json.loads((tmp_path / "cut/config.json").read_text())
    assert list(after) == list(before)
    assert after == before | {"num_hidden_layers": 4}


def test_no_other_file_is_made(tiny_models, tmp_path):
    source = tiny_models("llama")
    cut(source, tmp_path / "cut", CUTS["first"])
    assert {path.name for path in (tmp_path / "cut").iterdir()} == {path.name for path in source.iterdir()}


@pytest.mark.parametrize("tied", [True, False])
def test_a_head_stays_tied_or_apart_as_it_was(tiny_models, tmp_path, tied):
    cut(tiny_models("qwen3", tie_word_embeddings=tied), tmp_path / "cut", CUTS["first"])
    stored = load_file(tmp_path / "cut/model.safetensors")
    assert ("lm_head.weight" in stored) == (not tied)
    model = reload(tmp_path / "cut")
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == tied


def test_a_replacement_is_written_in_the_stored_dtype(tiny_models, tmp_path):
    source = tiny_models("llama", dtype=torch.bfloat16)
    value = torch.randn(32, 64)
    name = "model.layers.4.mlp.down_proj.weight"
    cut(source, tmp_path / "cut", CUTS["middle"], {name: value})
    before, after = load_file(source / "model.safetensors"), load_file(tmp_path / "cut/model.safetensors")
    assert torch.equal(after["model.layers.2.mlp.down_proj.weight"], value.bfloat16())
    assert torch.equal(
        after["model.layers.3.mlp.down_proj.weight"], before["model.layers.5.mlp.down_proj.weight"]
    )


def test_the_same_cut_has_the_same_bytes(tiny_models, tmp_path):
    records = [cut(tiny_models("llama"), tmp_path / name, CUTS["middle"]) for name in ("one", "two")]
    assert records[0].weights == records[1].weights
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_refuses_a_configuration_that_cannot_be_carried_before_it_writes_a_weight(tiny_models, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for path in tiny_models("llama").iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    edit_json(source / "config.json", num_hidden_layers=6, layer_types=["full_attention"] * 5)
    (tmp_path / "cut").mkdir()
    with pytest.raises(UnsupportedModel, match="Class validation error"):
        write_checkpoint(
            source,
            tmp_path / "cut",
            kept=(0, 1),
            variant="cut",
            replacements={},
            progress=silent,
        )
    assert not list((tmp_path / "cut").glob("*.safetensors"))


def test_the_parts_of_an_embedding_that_belong_to_removed_layers_go_along(tmp_path):
    build("gemma4_text", tmp_path / "source")
    cut(tmp_path / "source", tmp_path / "cut", (0, 2, 5))
    before = load_file(tmp_path / "source" / "model.safetensors")["model.embed_tokens_per_layer.weight"]
    after = load_file(tmp_path / "cut" / "model.safetensors")["model.embed_tokens_per_layer.weight"]
    layers = before.unflatten(1, (6, 8))
    assert torch.equal(after, layers[:, (0, 2, 5)].flatten(1))


def test_a_layer_that_predicts_further_tokens_is_left_out(tiny_models, tmp_path):
    shutil.copytree(tiny_models("llama"), tmp_path / "source")
    weights = load_file(tmp_path / "source" / "model.safetensors")
    weights["model.layers.6.eh_proj.weight"] = torch.ones(2, 2)
    save_file(weights, tmp_path / "source" / "model.safetensors", metadata={"format": "pt"})
    edit_json(tmp_path / "source" / "config.json", num_nextn_predict_layers=1)
    cut(tmp_path / "source", tmp_path / "cut", (0, 1, 4, 5))
    assert not [name for name in load_file(tmp_path / "cut" / "model.safetensors") if "eh_proj" in name]
    assert json.loads((tmp_path / "cut" / "config.json").read_text())["num_nextn_predict_layers"] == 0


def test_weights_that_layers_share_pass_to_the_first_that_stays(tmp_path):
    build("zamba", tmp_path / "source")
    before = load_file(tmp_path / "source" / "model.safetensors")
    stored = {name.split(".shared_transf.")[0] for name in before if ".shared_transf." in name}
    assert stored == {"model.layers.2"}  # of the hybrid layers 2, 5 and 8
    cut(tmp_path / "source", tmp_path / "cut", (0, 1, 3, 5, 6, 8))
    after = load_file(tmp_path / "cut" / "model.safetensors")
    for name in (name for name in before if ".shared_transf." in name):
        assert torch.equal(after[name.replace("layers.2.", "layers.3.")], before[name])


def test_what_the_model_does_not_use_is_copied_along(tmp_path):
    build("llama4", tmp_path / "source")  # loaded as a language model, without its tower for pictures
    cut(tmp_path / "source", tmp_path / "cut", (0, 1, 4, 5))
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("source", "cut"))
    towers = [name for name in before if name.startswith("vision_model.")]
    assert towers
    assert all(torch.equal(before[name], after[name]) for name in towers)
