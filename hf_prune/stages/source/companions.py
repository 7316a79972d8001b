"""The files beside the weights: tokenizer, processors, templates, licences."""

import json
import shutil
from fnmatch import fnmatchcase
from pathlib import Path

LICENCES = ("licen[cs]e*", "copying*")
LEGAL = (*LICENCES, "notice*", "*use_policy*")
COMPANIONS = (  # files beside the weights that a user of the model needs, in any case, copied byte for byte
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "bpe.codes",
    "*.tiktoken",
    "tekken.json",
    "spiece.model",
    "sentencepiece*",
    "*.spm",
    "chat_template*",
    "*.jinja",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "image_processor*",
    "audio*.json",
    *LEGAL,
)
WEIGHTS = (  # however such a file is called, it holds the layers that go
    *(".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".onnx", ".onnx_data", ".gguf", ".ggml"),
    *(".h5", ".msgpack", ".tflite", ".ot", ".mlmodel", ".index.json"),
)


def copy_companions(source: Path, target: Path, *, code: bool = False) -> None:
    """Copy them from a model's folder into another, byte for byte.

    Args:
        source: of the model.
        target: a folder that exists.
        code: whether Python files go along.
    """
    for path in companion_files(source, code=code):
        shutil.copyfile(path, target / path.name)


def has_chat_template(folder: Path) -> bool:
    """Whether the tokenizer of a model knows how a conversation is written."""
    settings = folder / "tokenizer_config.json"
    if any((folder / name).is_file() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    return settings.is_file() and bool(json.loads(settings.read_text("utf-8")).get("chat_template"))


def companion_files(folder: Path, *, code: bool = False) -> list[Path]:
    """The files of a local model that are copied along, in order of their names.

    Args:
        folder: of the model.
        code: whether Python files are among them.
    """
    files = (path for path in sorted(folder.iterdir()) if path.is_file())
    return [path for path in files if is_companion(path.name, code=code)]


def legal_files(folder: Path) -> tuple[str, ...]:
    """The licences, notices and rules of use among the files that are copied along."""
    return tuple(path.name for path in companion_files(folder) if is_legal(path.name))


def is_legal(name: str) -> bool:
    """Whether a file of this name is a licence, a notice or rules of use."""
    return is_companion(name, code=False) and _matches(name.lower(), LEGAL)


def is_licence(name: str) -> bool:
    """Whether a file of this name holds the text of a licence."""
    return _matches(name.lower(), LICENCES)


def is_companion(name: str, *, code: bool) -> bool:
    """Whether a file of this name is copied along; Python files are where `code` says so."""
    if "/" in name or name.endswith(".py"):
        return code and "/" not in name
    lower = name.lower()
    return not lower.endswith(WEIGHTS) and _matches(lower, COMPANIONS)


def _matches(lower: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(lower, pattern) for pattern in patterns)
