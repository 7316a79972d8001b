"""Models that bring their own code: Python files beside the weights, which `auto_map` refers to.

transformers imports, and so runs, such files if it is told to trust them. hf-prune does that only with
`--trust-remote-code`. Without it, such files are neither fetched nor copied nor run.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING, AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedModel
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from hf_prune.errors import UnsupportedModel

CONFIG, TOKENIZER = "config.json", "tokenizer_config.json"


def code_files(folder: Path) -> tuple[str, ...]:
    """The files of code that a model's settings refer to: "modeling_mine.py", or "… of acme/mine"."""
    references = [reference for name in (CONFIG, TOKENIZER) for reference in _references(folder / name)]
    return tuple(dict.fromkeys(map(_file_of, references)))


def read_trusted_config(folder: Path) -> PreTrainedConfig:
    """The configuration in `folder`, read by the model's own code if it brings any.

    Raises:
        UnsupportedModel: the code cannot be run here.
    """
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
    except Exception as error:  # the model's own code raises whatever it likes
        raise _cannot_run(folder, error) from error
    config.name_or_path = str(folder)  # the code is looked for there, whatever the file says
    return config


def own_model_class(config: PreTrainedConfig, auto_class: Any) -> type[PreTrainedModel] | None:
    """The class that the model's own code has for an auto class of transformers; None: it has none.

    The code is run. `config` is from `read_trusted_config`.

    Raises:
        UnsupportedModel: the code cannot be run here.
    """
    reference = own_classes(config).get(auto_class.__name__)
    if reference is None:
        return None
    folder = Path(str(config.name_or_path))
    try:
        return get_class_from_dynamic_module(reference, folder)
    except Exception as error:  # the model's own code raises whatever it likes
        raise _cannot_run(folder, error) from error


def own_classes(config: PreTrainedConfig) -> dict[str, str]:
    """By the name of an auto class of transformers, the class that the model's own code has for it."""
    return getattr(config, "auto_map", None) or {}


def refuse_own_model(folder: Path) -> None:
    """Stop if transformers does not know the model's type and the model brings code for it.

    A type that transformers knows is loaded by its own class, whatever code lies beside the weights.

    Raises:
        UnsupportedModel: with the files of code, and the option that allows them to be run.
    """
    content = _read(folder / CONFIG)
    if content.get("auto_map") and content.get("model_type") not in CONFIG_MAPPING:
        raise own_code_refusal(folder)


def refuse_own_tokenizer(folder: Path) -> None:
    """Stop if the model brings code for its tokenizer and transformers cannot do without it.

    Raises:
        UnsupportedModel: with the files of code, and the option that allows them to be run.
    """
    if not list(_references(folder / TOKENIZER)):
        return
    try:
        AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # other faults are reported when the tokenizer is needed
        if "trust_remote_code" in str(error):
            raise own_code_refusal(folder) from error


def own_code_refusal(folder: Path) -> UnsupportedModel:
    """The refusal of a model that only its own code can load."""
    return UnsupportedModel(
        f"the model brings its own code ({', '.join(code_files(folder))}), which would be run on this "
        f"machine: read it, and add --trust-remote-code if you trust it"
    )


def _references(path: Path) -> Iterator[str]:
    """What the `auto_map` of a file refers to: "modeling_mine.Mine", "acme/mine--modeling_mine.Mine"."""
    auto_map = _read(path).get("auto_map") or {}
    for value in auto_map.values() if isinstance(auto_map, dict) else (auto_map,):
        yield from (item for item in (value if isinstance(value, list) else [value]) if item)


def _file_of(reference: str) -> str:
    repo_id, _, inside = reference.rpartition("--")
    file = f"{inside.split('.')[0]}.py"
    return f"{file} of {repo_id}" if repo_id else file


def _read(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return content if isinstance(content, dict) else {}


def _cannot_run(folder: Path, error: Exception) -> UnsupportedModel:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return UnsupportedModel(
        f"the model's own code ({', '.join(code_files(folder)) or 'none'}) cannot be run here: {reason}"
    )
