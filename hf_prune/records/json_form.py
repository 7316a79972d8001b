"""Records as JSON, and back."""

import hashlib
import json
import types
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

Record = TypeVar("Record")


def to_json(record: Any) -> str:
    """A record as JSON, the same bytes for the same values."""
    content = asdict(record) if is_dataclass(record) and not isinstance(record, type) else record
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def fingerprint(*inputs: Any) -> str:
    """Sixteen hex digits that change when any of the records or values does."""
    joined = "\0".join(to_json(value) for value in inputs)
    return hashlib.sha256(joined.encode()).hexdigest()[:16]


def from_data(kind: type[Record], data: Any) -> Record:
    """Build a record of type `kind` from parsed JSON; `Attempt[Speed]` is such a type too.

    Raises:
        ValueError: a field is unknown or missing.
    """
    record: Any = get_origin(kind) or kind
    parameters = dict(zip(getattr(record, "__parameters__", ()), get_args(kind), strict=True))
    if not isinstance(data, dict):
        raise ValueError(f"{record.__name__} is made from an object, not from {type(data).__name__}")
    hints = get_type_hints(record)
    if unknown := set(data) - set(hints):
        raise ValueError(f"{record.__name__} has no field {', '.join(sorted(unknown))}")
    try:
        fields = {name: _value(hints[name], value, parameters) for name, value in data.items()}
        built: Record = record(**fields)
    except TypeError as error:  # a required field is missing
        raise ValueError(str(error)) from error
    return built


def _value(hint: Any, value: Any, parameters: Mapping[Any, Any]) -> Any:
    hint = parameters.get(hint, hint) if isinstance(hint, TypeVar) else hint
    origin, arguments = get_origin(hint), get_args(hint)
    if value is None:
        return None
    if origin in (types.UnionType,):
        kind = next(kind for kind in arguments if kind is not types.NoneType)
        return _value(kind, value, parameters)
    if origin is tuple:
        repeated = len(arguments) == 2 and arguments[1] is Ellipsis
        kinds = [arguments[0]] * len(value) if repeated else arguments
        return tuple(_value(kind, item, parameters) for kind, item in zip(kinds, value, strict=True))
    if is_dataclass(origin or hint):
        return from_data(hint, value)
    return float(value) if hint is float else value
