"""The metadata at the top of a model card: reading it, and what the Hub refuses in it."""

import re
from typing import Any

import yaml

from tests.loopback.repository import Json

# The Hub's own expression for the block between the two lines of dashes.
FRONT_MATTER = re.compile(r"^(\s*---(?:\r\n|\r|\n))([\S\s]*?)((?:\r\n|\r|\n)---[ \t]*(\r\n|\n|$))")
REPO_ID = re.compile(r"[\w.-]+/[\w.-]+")
RELATIONS = ("adapter", "finetune", "merge", "quantized")
TEXT_LISTS = ("tags", "datasets", "metrics")
TEXTS = ("library_name", "pipeline_tag", "license", "thumbnail")


def front_matter(content: str) -> Json:
    """The metadata of a card; empty where it has none that can be read."""
    match = FRONT_MATTER.search(content)
    try:
        metadata = yaml.safe_load(match.group(2)) if match else None
    except yaml.YAMLError:
        return {}
    return metadata if isinstance(metadata, dict) else {}


def as_list(value: Any) -> list[Any]:
    """A field that may hold one value or several."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def check_card(content: str) -> tuple[list[str], list[str]]:
    """Errors and warnings, of those the Hub gives that a card generator can run into."""
    match = FRONT_MATTER.search(content)
    if not match:
        return [], ["empty or missing yaml metadata in repo card"]
    try:
        metadata = yaml.safe_load(match.group(2)) or {}
    except yaml.YAMLError as error:
        return [f"invalid yaml: {error}"], []
    if not isinstance(metadata, dict):
        return ['"value" must be an object'], []
    checks = (_type_errors, _base_model_errors, _model_index_errors)
    return [error for check in checks for error in check(metadata)], []


def _type_errors(metadata: Json) -> list[str]:
    errors = [
        f'"{key}" must be an array of strings'
        for key in TEXT_LISTS
        if not all(isinstance(item, str) for item in as_list(metadata.get(key)))
    ]
    errors += [
        f'"{key}" must be a string' for key in TEXTS if not isinstance(metadata.get(key, ""), str | None)
    ]
    return errors


def _base_model_errors(metadata: Json) -> list[str]:
    errors = [
        f'"base_model" with value "{base}" is not valid. Use a model id from https://hf.co/models.'
        for base in as_list(metadata.get("base_model"))
        if not REPO_ID.fullmatch(str(base))
    ]
    if metadata.get("base_model_relation", "finetune") not in RELATIONS:
        errors.append(f'"base_model_relation" must be one of {list(RELATIONS)}')
    return errors


def _model_index_errors(metadata: Json) -> list[str]:
    return [
        f'"model-index[{model_number}].results[{number}].metrics" is required'
        for model_number, model in enumerate(as_list(metadata.get("model-index")))
        for number, result in enumerate(model.get("results", []))
        if not result.get("metrics")
    ]
