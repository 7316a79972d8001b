"""The result as a GGUF file, for llama.cpp and the programs built on it.

The package `gguf` knows the names of tensors and settings. This module adds, for families of plain decoder
layers, how queries and keys are ordered and which of llama.cpp's pre-tokenizers a tokenizer has.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import torch

from hf_prune.errors import UnsupportedModel
from hf_prune.model.weights import StoredTensor, WeightIndex, read_index
from hf_prune.records import Check
from hf_prune.stages.export.comparison import Array

FILE = "model.gguf"
ARCHITECTURES = {  # by model type, llama.cpp's name
    "llama": gguf.MODEL_ARCH.LLAMA,
    "mistral": gguf.MODEL_ARCH.LLAMA,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
}
STORED = {  # the type of a matrix in the file, so that not a bit changes; vectors become float32
    "BF16": (gguf.GGMLQuantizationType.BF16, gguf.LlamaFileType.MOSTLY_BF16),
    "F16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "F32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
}
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPLITS = {WORDS % "{1,3}": "llama-bpe", WORDS % "": "qwen2"}  # llama.cpp's name by the pattern


def write_gguf(folder: Path, path: Path) -> None:
    """Write the model in a folder as one GGUF file, with one tensor at a time in memory.

    Raises:
        UnsupportedModel: the file could not describe something that the model has.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder)
    index = read_index(folder)
    architecture = ARCHITECTURES[config.model_type]
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[architecture])
    _add_settings(writer, config, index)
    _add_tokenizer(writer, folder, config.vocab_size)
    names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    for tensor in index.tensors.values():
        name = names.get_name(tensor.name, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise UnsupportedModel(f"llama.cpp has no name for {tensor.name}")
        content, kind = _content(tensor, config)
        writer.add_tensor_info(name, content.shape, content.dtype, content.nbytes, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in index.tensors.values():
        writer.write_tensor_data(_content(tensor, config)[0])
    writer.close()


def _add_settings(writer: gguf.GGUFWriter, config: Any, index: WeightIndex) -> None:
    rope = config.rope_parameters or {}
    if rope.get("rope_type", "default") != "default":
        raise UnsupportedModel(f"its rotary embedding is scaled ({rope['rope_type']}), not supported yet")
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"} or (config.model_type == "mistral" and config.sliding_window):
        raise UnsupportedModel("its attention is limited to a sliding window, not supported yet")
    head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    dtypes = [tensor.dtype for tensor in index.tensors.values() if len(tensor.shape) > 1]
    if unknown := set(dtypes) - set(STORED):
        raise UnsupportedModel(f"its weights are stored as {', '.join(sorted(unknown))}")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head_size)
    writer.add_value_length(head_size)
    writer.add_rope_dimension_count(head_size)
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(STORED[max(set(dtypes), key=dtypes.count)][1])


def _content(tensor: StoredTensor, config: Any) -> tuple[Array, gguf.GGMLQuantizationType]:
    """One tensor as it goes into the file, and its type there."""
    values = tensor.read()
    if config.model_type in ("llama", "mistral"):  # llama.cpp rotates neighbouring rows, transformers halves
        if ".q_proj." in tensor.name:
            values = _neighbours(values, config.num_attention_heads)
        elif ".k_proj." in tensor.name:
            values = _neighbours(values, config.num_key_value_heads)
    if values.dim() == 1:
        return values.float().numpy(), gguf.GGMLQuantizationType.F32
    kind = STORED[tensor.dtype][0]
    if kind == gguf.GGMLQuantizationType.BF16:  # which numpy does not know: its bytes
        return values.contiguous().view(torch.uint8).numpy(), kind
    return values.numpy(), kind


def _neighbours(values: torch.Tensor, heads: int) -> torch.Tensor:
    """Reorder the rows of each head: the two that the rotary embedding turns together become neighbours."""
    return values.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2).contiguous()


def _add_tokenizer(writer: gguf.GGUFWriter, folder: Path, size: int) -> None:
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    writer.add_tokenizer_model("gpt2")  # byte-level BPE
    writer.add_tokenizer_pre(pre_tokenizer(tokenizer))
    known = {number: (text, gguf.TokenType.NORMAL) for text, number in tokenizer["model"]["vocab"].items()}
    for added in tokenizer["added_tokens"]:
        kind = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
        known[added["id"]] = added["content"], kind
    tokens = [known.get(number, (f"[PAD{number}]", gguf.TokenType.UNUSED)) for number in range(size)]
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_types([kind for _, kind in tokens])
    gguf.SpecialVocab(folder, load_merges=True, n_vocab=size).add_to_gguf(writer, quiet=True)


def pre_tokenizer(tokenizer: Mapping[str, Any]) -> str:
    """Llama.cpp's name for how a tokenizer, read from tokenizer.json, splits text before it merges bytes.

    Raises:
        UnsupportedModel: the way it splits text is not known here.
    """
    kind = (tokenizer.get("model") or {}).get("type")
    split = tokenizer.get("pre_tokenizer") or {}
    steps = split.get("pretokenizers", [split])
    if kind == "BPE" and steps[-1].get("type") == "ByteLevel" and not steps[-1].get("add_prefix_space"):
        before, own_pattern = steps[:-1], steps[-1].get("use_regex", True)
        if own_pattern and not before:
            return "gpt-2"
        if own_pattern and [(s["type"], s.get("individual_digits")) for s in before] == [("Digits", True)]:
            return "smollm"
        if not own_pattern and [step["type"] for step in before] == ["Split"]:
            pattern = before[0]["pattern"].get("Regex")
            if pattern in SPLITS:
                return SPLITS[pattern]
    raise UnsupportedModel(
        "its tokenizer splits text in a way that hf-prune cannot name for llama.cpp: "
        "try llama.cpp's convert_hf_to_gguf.py on the result"
    )


def check_tokens(path: Path, folder: Path) -> Check:
    """Compare the tokens in the file with those of the tokenizer, one by one."""
    from transformers import AutoConfig, AutoTokenizer

    field = gguf.GGUFReader(path).get_field(gguf.Keys.Tokenizer.LIST)
    written = field.contents() if field else []
    size = AutoConfig.from_pretrained(folder).vocab_size  # a tokenizer may know more tokens than the model
    names = {t: n for t, n in AutoTokenizer.from_pretrained(folder).get_vocab().items() if n < size}
    wrong = sum(written[number : number + 1] != [text] for text, number in names.items())
    detail = f"{wrong} of {len(names):,} differ"
    return Check(name="tokens of the vocabulary", passed=wrong == 0, detail=detail)
