"""A GGUF file holds the model and its tokenizer, as other readers have them."""

import json

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Regex, pre_tokenizers

from hf_prune.errors import UnsupportedModel
from hf_prune.stages.export.comparison import compare, load_in_float32, model_runner
from hf_prune.stages.export.gguf import SPLITS, check_tokens, pre_tokenizer, write_gguf

TOKENS = np.random.default_rng(0).integers(2, 320, (3, 64))
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
WHOLE = pre_tokenizers.ByteLevel(add_prefix_space=False)


def says(split):
    """What tokenizer.json says of a way to split, as the library writes it."""
    return {"model": {"type": "BPE"}, "pre_tokenizer": json.loads(split.__getstate__())}


def split_by(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), BYTES])


@pytest.mark.parametrize(
    ("split", "name"),
    [
        (WHOLE, "gpt-2"),
        (pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), WHOLE]), "smollm"),
        *((split_by(pattern), name) for pattern, name in SPLITS.items()),
    ],
    ids=["gpt-2", "smollm", *SPLITS.values()],
)
def test_a_way_to_split_text_has_llama_cpp_s_name(split, name):
    assert pre_tokenizer(says(split)) == name


@pytest.mark.parametrize(
    "split",
    [
        pre_tokenizers.Metaspace(),
        pre_tokenizers.ByteLevel(add_prefix_space=True),
        pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=False), WHOLE]),
        split_by(r"\w+"),
        BYTES,
    ],
)
def test_refuses_a_way_to_split_text_that_it_does_not_know(split):
    with pytest.raises(UnsupportedModel, match="splits text in a way"):
        pre_tokenizer(says(split))


def test_matrices_keep_their_bits_and_vectors_become_float32(tiny_models, tmp_path):
    folder = tiny_models("llama", num_hidden_layers=2, dtype=torch.bfloat16)
    write_gguf(folder, tmp_path / "model.gguf")
    found = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "model.gguf").tensors}
    source = load_file(folder / "model.safetensors")
    assert len(found) == len(source)
    down = found["blk.1.ffn_down.weight"]
    assert down.tensor_type == gguf.GGMLQuantizationType.BF16
    assert (
        down.data.tobytes()
        == source["model.layers.1.mlp.down_proj.weight"].view(torch.uint8).numpy().tobytes()
    )
    norm = found["output_norm.weight"]
    assert norm.tensor_type == gguf.GGMLQuantizationType.F32
    assert np.array_equal(norm.data, source["model.norm.weight"].float().numpy())
    assert check_tokens(tmp_path / "model.gguf", folder).passed


@pytest.mark.parametrize(
    ("family", "settings", "reason"),
    [
        ("mistral", {}, "limited to a sliding window"),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}, "scaled"),
    ],
)
def test_refuses_what_the_file_would_not_say(tiny_models, tmp_path, family, settings, reason):
    with pytest.raises(UnsupportedModel, match=reason):
        write_gguf(tiny_models(family, num_hidden_layers=2, **settings), tmp_path / "model.gguf")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("llama", {"tie_word_embeddings": True}),
        ("mistral", {"sliding_window": None, "dtype": torch.bfloat16}),
        ("qwen2", {"dtype": torch.float16}),
        ("qwen3", {"head_dim": 128}),
    ],
)
def test_what_is_read_back_is_the_model(tiny_models, tmp_path, family, settings):
    folder = tiny_models(family, num_hidden_layers=2, **settings)
    write_gguf(folder, tmp_path / "model.gguf")
    model = load_in_float32(folder, trust_remote_code=False)
    back = load_in_float32(tmp_path, trust_remote_code=False, gguf_file="model.gguf")
    checks, divergence = compare(model_runner(back), model_runner(model), TOKENS)
    assert [check for check in checks if not check.passed] == []
    assert divergence < 1e-9
    with torch.no_grad():
        back.model.layers[0].self_attn.k_proj.weight.mul_(-1)
    assert not compare(model_runner(back), model_runner(model), TOKENS)[0][0].passed
