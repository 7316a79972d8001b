"""Models that bring their own code: Python files beside the weights, which `auto_map` refers to.

transformers imports and so runs such files when it is told to trust them. hf-prune tells it so where the
user did, and nowhere else: without `--trust-remote-code` they are neither fetched nor copied nor run.
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
    """The files of code that a model's settings refer to; those of another repository with its name."""
    references = [reference for name in (CONFIG, TOKENIZER) for reference in _references(folder / name)]
    return tuple(dict.fromkeys(map(_file_of, references)))


def read_trusted_config(folder: Path) -> PreTrainedConfig:
    """The configuration in `folder`, by the model's own code where it brings any.

    Raises:
        UnsupportedModel: the code cannot be run here.
    """
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
    except Exception as error:  # the model's own code raises whatever it likes
        raise _cannot_run(folder, error) from error
    config.name_or_path = str(folder)  # whatever the file says: the code is looked for there
    return config


def own_model_class(config: PreTrainedConfig, auto_class: Any) -> type[PreTrainedModel] | None:
    """The class of the model's own code that one of transformers' auto classes loads; None: it has none.

    Args:
        config: from `read_trusted_config`; its own code is run.
        auto_class: such as AutoModelForCausalLM.

    Raises:
        UnsupportedModel: the code cannot be run here.
    """
    reference = classes_named(config).get(auto_class.__name__)
    if reference is None:
        return None
    folder = Path(str(config.name_or_path))
    try:
        model_class: type[PreTrainedModel] = get_class_from_dynamic_module(reference, folder)
    except Exception as error:  # the model's own code raises whatever it likes
        raise _cannot_run(folder, error) from error
    return model_class


def classes_named(config: PreTrainedConfig) -> dict[str, str]:
    """By the name of an auto class of transformers, the class that the model brings for it."""
    return getattr(config, "auto_map", None) or {}


def refuse_own_model(folder: Path) -> None:
    """Stop where transformers does not know the model's type and the model brings code for it.

    A type that transformers knows is loaded by transformers' own class, whatever code lies beside it.

    Raises:
        UnsupportedModel: with the files of code, and the option that allows them to be run.
    """
    content = _read(folder / CONFIG)
    if content.get("auto_map") and content.get("model_type") not in CONFIG_MAPPING:
        raise needs_trust(folder)


def refuse_own_tokenizer(folder: Path) -> None:
    """Stop where the model brings code for its tokenizer and transformers cannot do without.

    Raises:
        UnsupportedModel: with the files of code, and the option that allows them to be run.
    """
    if not list(_references(folder / TOKENIZER)):
        return
    try:
        AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # what else is wrong with it is said where it is needed
        if "trust_remote_code" in str(error):
            raise needs_trust(folder) from error


def needs_trust(folder: Path) -> UnsupportedModel:
    """What is said of a model that only its own code can load."""
    return UnsupportedModel(
        f"the model brings its own code ({', '.join(code_files(folder))}), which would be run on this "
        f"machine: read it, and add --trust-remote-code if you trust it"
    )


def _references(path: Path) -> Iterator[str]:
    """What the `auto_map` of a file refers to: "modeling_mine.Mine", "acme/mine--modeling_mine.Mine"."""
    named = _read(path).get("auto_map") or {}
    for value in named.values() if isinstance(named, dict) else (named,):
        yield from (item for item in (value if isinstance(value, list) else [value]) if item)


def _file_of(reference: str) -> str:
    repo_id, _, inside = reference.rpartition("--")
    file = f"{inside.split('.')[0]}.py"
    return f"{file} of {repo_id}" if repo_id else file


def _read(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return content if isinstance(content, dict) else {}


def _cannot_run(folder: Path, error: Exception) -> UnsupportedModel:
    said = " ".join(str(error).split())[:300] or type(error).__name__
    return UnsupportedModel(
        f"the model's own code ({', '.join(code_files(folder)) or 'none'}) cannot be run here: {said}"
    )
