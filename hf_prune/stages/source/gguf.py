"""A GGUF file, converted to a model in transformers' format, from which hf-prune cuts layers."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig

from hf_prune.errors import UnsupportedModel, first_line
from hf_prune.machine.disk import check_room, whole_folder, write_whole
from hf_prune.stages.source.companions import legal_files


def read_gguf_config(folder: Path, gguf_file: str) -> PreTrainedConfig:
    """The configuration in the header of a GGUF file.

    Raises:
        UnsupportedModel: transformers cannot read this file.
    """
    with _plain_errors(gguf_file):
        return AutoConfig.from_pretrained(folder, gguf_file=gguf_file, trust_remote_code=False)


@contextmanager
def _plain_errors(gguf_file: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, NotImplementedError, OSError) as error:
        raise UnsupportedModel(f"transformers cannot read {gguf_file}: {first_line(error)}") from error


def convert_gguf(folder: Path, gguf_file: str, target: Path) -> Path:
    """Write a GGUF file as a model in transformers' format, in bfloat16.

    transformers reads the whole file, so only this step needs memory for the whole model. It loads the model
    in bfloat16 rather than casting it, because a cast would also round the rotary frequencies.

    Raises:
        UnsupportedModel: transformers cannot read this file.
    """
    if target.is_dir():
        return target
    check_room(target.parent, 4 * (folder / gguf_file).stat().st_size, f"converting {gguf_file}")
    options: dict[str, Any] = {"gguf_file": gguf_file, "trust_remote_code": False}
    with _plain_errors(gguf_file):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, **options)
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    for attribute in ("hf_quantizer", "is_quantized", "quantization_method"):
        if hasattr(model, attribute):  # else save_pretrained writes the packed form
            delattr(model, attribute)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    with whole_folder(target) as partial:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        _make_portable(partial)
        for name in legal_files(folder):
            shutil.copyfile(folder / name, partial / name)
    return target


def _make_portable(folder: Path) -> None:
    """Rewrite the files of transformers 5 so that transformers 4 reads them too.

    Version 4 silently ignores `rope_parameters` and computes with a base of 10000. It has no tokenizer class
    "TokenizersBackend".
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for name in ("_name_or_path", "_model_name_or_path"):  # of the GGUF file's author
        config.pop(name, None)
    rope = dict(config.get("rope_parameters") or {})
    if "rope_theta" in rope:
        config["rope_theta"] = rope.pop("rope_theta")
        if rope.get("rope_type", "default") != "default":
            config["rope_scaling"] = rope
    config["torch_dtype"] = config.get("dtype", "bfloat16")
    write_whole(folder / "config.json", json.dumps(config, indent=2) + "\n")
    path = folder / "tokenizer_config.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    if tokenizer.get("tokenizer_class") == "TokenizersBackend":
        tokenizer["tokenizer_class"] = "PreTrainedTokenizerFast"
        write_whole(path, json.dumps(tokenizer, indent=2, ensure_ascii=False) + "\n")
