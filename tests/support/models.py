"""Tiny random models of many families, each saved with a small tokenizer as the Hub would have it."""

import json
import shutil
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from hf_prune.stages.texts.text import BUILT_IN_CALIBRATION, BUILT_IN_HELDOUT, built_in_text

VOCABULARY = 320
COMMON = {
    "vocab_size": VOCABULARY,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
MODERN = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
}
SETTINGS = {
    "gpt2": {"n_embd": 32, "n_layer": 6, "n_head": 4, "n_positions": 128},
    "opt": {
        "hidden_size": 32,
        "ffn_dim": 64,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
        "word_embed_proj_dim": 32,
    },
    "gemma2": {**MODERN, "sliding_window": 16, "query_pre_attn_scalar": 8},
    "gemma3_text": {**MODERN, "sliding_window": 16, "query_pre_attn_scalar": 8},
    "mixtral": {**MODERN, "num_local_experts": 4, "num_experts_per_tok": 2},
    "mistral": {**MODERN, "sliding_window": 16},
    "phi": {name: value for name, value in MODERN.items() if name != "head_dim"},
    "bloom": {"hidden_size": 32, "n_layer": 6, "n_head": 4},
    "gpt_bigcode": {"n_embd": 32, "n_layer": 6, "n_head": 4, "n_positions": 128},
    "gptj": {"n_embd": 32, "n_layer": 6, "n_head": 4, "n_positions": 128, "rotary_dim": 4},
    "falcon": {"hidden_size": 32, "num_hidden_layers": 6, "num_attention_heads": 4},
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 6, "max_seq_len": 128},
    "mamba": {"hidden_size": 32, "num_hidden_layers": 6, "state_size": 4},
}


@cache
def small_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with 320 entries, trained on a few documents; starts a text with <s>."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(built_in_text(BUILT_IN_HELDOUT).documents[:20], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


def build_tiny_model(folder: Path, family: str, **settings: object) -> None:
    """Save a tiny random model of a family, float32 unless `dtype` says otherwise.

    Weights are drawn wider than a fresh model's, so that each layer visibly changes the stream.

    Args:
        folder: where to.
        family: a model type of transformers.
        settings: of its configuration; `max_shard_size` and `dtype` go to saving.
    """
    shard_size = settings.pop("max_shard_size", "5GB")
    dtype = settings.pop("dtype", torch.float32)
    config = AutoConfig.for_model(family, **{**SETTINGS.get(family, MODERN), **COMMON, **settings})
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.15)
    model.to(dtype).save_pretrained(folder, max_shard_size=shard_size)
    small_tokenizer().save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps({"do_sample": False}))


def silence_layers(folder: Path, layers: Iterable[int]) -> None:
    """Make layers of a saved Llama add nothing to the stream."""
    weights = load_file(folder / "model.safetensors")
    for layer in layers:
        for name in ("self_attn.o_proj", "mlp.down_proj"):
            weights[f"model.layers.{layer}.{name}.weight"].zero_()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def train_tiny_model(source: Path, target: Path, steps: int = 120) -> None:
    """A copy of a tiny model that has read some text, so that losing a layer costs it something."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(source).train()
    tokenizer = small_tokenizer()
    text = "\n\n".join(built_in_text(BUILT_IN_CALIBRATION).documents[:120])
    ids = torch.tensor(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(steps):
        starts = torch.randint(len(ids) - 64, (16,))
        batch = torch.stack([ids[start : start + 64] for start in starts])
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    shutil.copytree(source, target)
    model.eval().save_pretrained(target)


def insert_identity_layers(source: Path, target: Path, places: list[int]) -> Path:
    """A copy of a Llama with layers that add nothing; `places` are their numbers in the copy."""
    shutil.copytree(source, target)
    weights = load_file(source / "model.safetensors")
    config = json.loads((source / "config.json").read_text())
    total = config["num_hidden_layers"] + len(places)
    own = iter(range(config["num_hidden_layers"]))
    made = {name: value for name, value in weights.items() if ".layers." not in name}
    for number in range(total):
        original = 0 if number in places else next(own)
        prefix = f"model.layers.{original}."
        for name in [name for name in weights if name.startswith(prefix)]:
            adds = name.endswith(("o_proj.weight", "down_proj.weight"))
            value = weights[name] * 0 if number in places and adds else weights[name].clone()
            made[name.replace(prefix, f"model.layers.{number}.", 1)] = value
    save_file(made, target / "model.safetensors", metadata={"format": "pt"})
    config["num_hidden_layers"] = total
    (target / "config.json").write_text(json.dumps(config))
    return target


def write_tiny_gguf(path: Path) -> None:
    """A random Llama of six layers with tied embeddings, its weights in 8 bits."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(MODERN["num_hidden_layers"])
    writer.add_context_length(MODERN["max_position_embeddings"])
    writer.add_embedding_length(MODERN["hidden_size"])
    writer.add_feed_forward_length(MODERN["intermediate_size"])
    writer.add_head_count(MODERN["num_attention_heads"])
    writer.add_head_count_kv(MODERN["num_key_value_heads"])
    writer.add_rope_dimension_count(MODERN["head_dim"])
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(VOCABULARY)
    _add_tokenizer(writer)
    _add_weights(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(writer: gguf.GGUFWriter) -> None:
    tokenizer = json.loads(small_tokenizer().backend_tokenizer.to_str())["model"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(sorted(tokenizer["vocab"], key=tokenizer["vocab"].get))
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["merges"]])
    writer.add_bos_token_id(COMMON["bos_token_id"])
    writer.add_eos_token_id(COMMON["eos_token_id"])


def _add_weights(writer: gguf.GGUFWriter) -> None:
    width, inner, layers = MODERN["hidden_size"], MODERN["intermediate_size"], MODERN["num_hidden_layers"]
    narrow = MODERN["head_dim"] * MODERN["num_key_value_heads"]
    matrices = {
        "attn_q": (width, width),
        "attn_k": (narrow, width),
        "attn_v": (narrow, width),
        "attn_output": (width, width),
        "ffn_gate": (inner, width),
        "ffn_up": (inner, width),
        "ffn_down": (width, inner),
    }
    blocks = [f"blk.{layer}" for layer in range(layers)]
    norms = [f"{block}.{norm}" for block in blocks for norm in ("attn_norm", "ffn_norm")]
    for norm in (*norms, "output_norm"):
        writer.add_tensor(f"{norm}.weight", np.ones(width, dtype=np.float32))
    shapes = {f"{block}.{name}": shape for block in blocks for name, shape in matrices.items()}
    shapes["token_embd"] = (VOCABULARY, width)
    drawn, packing = np.random.default_rng(0), gguf.GGMLQuantizationType.Q8_0
    for name, shape in shapes.items():
        weights = drawn.normal(scale=0.15, size=shape).astype(np.float32)
        writer.add_tensor(f"{name}.weight", gguf.quantize(weights, packing), raw_dtype=packing)


def store_as_fp8(folder: Path, full_precision: tuple[str, ...]) -> None:
    """Store the projections of a saved model in 8 bits with a scale for each 16 x 16 block, as DeepSeek does.

    Args:
        folder: of the model; its widths are multiples of 16.
        full_precision: projections that stay as they are, by name.
    """
    stored = {}
    for name, value in load_file(folder / "model.safetensors").items():
        module = name.removesuffix(".weight")
        if ".layers." not in name or value.dim() != 2 or module in full_precision:
            stored[name] = value
            continue
        blocks = value.float().unflatten(0, (-1, 16)).unflatten(2, (-1, 16))  # (rows, 16, columns, 16)
        scale = blocks.abs().amax((1, 3)) / 448
        scaled = blocks / scale[:, None, :, None]
        stored[name] = scaled.reshape(value.shape).to(torch.float8_e4m3fn)
        stored[f"{name}_scale_inv"] = scale
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    _say_quantised(folder, "fp8", full_precision, weight_block_size=[16, 16], activation_scheme="dynamic")


def store_as_mxfp4(folder: Path) -> None:
    """Store the experts of a saved gpt-oss in 4 bits, as it is published: random ones."""
    torch.manual_seed(0)
    stored = {}
    for name, value in load_file(folder / "model.safetensors").items():
        if not name.endswith(("gate_up_proj", "down_proj")):
            stored[name] = value.bfloat16()
            continue
        experts, inner, outer = value.shape
        packed = (experts, outer, inner // 32)
        stored[f"{name}_blocks"] = torch.randint(256, (*packed, 16), dtype=torch.uint8)
        stored[f"{name}_scales"] = torch.randint(122, 126, packed, dtype=torch.uint8)
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    _say_quantised(folder, "mxfp4", ("model.layers.*.self_attn", "lm_head"))


def _say_quantised(folder: Path, method: str, full_precision: tuple[str, ...], **settings: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "dtype": "bfloat16",
        "quantization_config": {
            "quant_method": method,
            "modules_to_not_convert": list(full_precision),
            **settings,
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
