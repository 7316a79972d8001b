"""The files beside the weights: tokenizer, processors, templates, licences."""

import json
import shutil
from fnmatch import fnmatchcase
from pathlib import Path

LICENCES = ("licen[cs]e*", "copying*")
LEGAL = (*LICENCES, "notice*", "*use_policy*")
TOKENIZERS = (
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt", "bpe.codes"),
    *("*.tiktoken", "tekken.json", "spiece.model", "sentencepiece*", "*.spm"),
)
PROCESSORS = (
    *("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json"),
    *("image_processor*", "audio*.json"),
)
TEMPLATES = ("chat_template*", "*.jinja")
# Files that a user of the model needs, in upper or lower case.
COMPANIONS = ("generation_config.json", *TOKENIZERS, *TEMPLATES, *PROCESSORS, *LEGAL)
WEIGHTS = (  # never copied, because they hold the removed layers
    *(".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".onnx", ".onnx_data", ".gguf", ".ggml"),
    *(".h5", ".msgpack", ".tflite", ".ot", ".mlmodel", ".index.json"),
)


def copy_companions(source: Path, target: Path, *, code: bool = False) -> None:
    """Copy the companion files of a model into an existing folder. `code`: its Python files too."""
    for path in companion_files(source, code=code):
        shutil.copyfile(path, target / path.name)


def has_chat_template(folder: Path) -> bool:
    """Whether a model's tokenizer has a chat template."""
    settings = folder / "tokenizer_config.json"
    if any((folder / name).is_file() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    return settings.is_file() and bool(json.loads(settings.read_text("utf-8")).get("chat_template"))


def companion_files(folder: Path, *, code: bool = False) -> list[Path]:
    """The companion files in a model's folder, sorted by name. `code`: Python files too."""
    files = (path for path in sorted(folder.iterdir()) if path.is_file())
    return [path for path in files if is_companion(path.name, code=code)]


def legal_files(folder: Path) -> tuple[str, ...]:
    """The names of the licences, notices and use policies in a model's folder."""
    return tuple(path.name for path in companion_files(folder) if is_legal(path.name))


def is_legal(name: str) -> bool:
    """Whether a file of this name is a licence, a notice or a use policy."""
    return is_companion(name, code=False) and _matches(name.lower(), LEGAL)


def is_licence(name: str) -> bool:
    """Whether a file of this name holds the text of a licence."""
    return _matches(name.lower(), LICENCES)


def is_companion(name: str, *, code: bool) -> bool:
    """Whether a file of this name is a companion. Python files are companions only with `code`."""
    if "/" in name or name.endswith(".py"):
        return code and "/" not in name
    lower = name.lower()
    return not lower.endswith(WEIGHTS) and _matches(lower, COMPANIONS)


def _matches(lower: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(lower, pattern) for pattern in patterns)
