"""Records as JSON, and back."""

import hashlib
import json
import types
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
    """Build a record of type `kind` from parsed JSON.

    Raises:
        ValueError: a field is unknown or missing.
    """
    if not isinstance(data, dict):
        raise ValueError(f"{kind.__name__} is made from an object, not from {type(data).__name__}")
    hints = get_type_hints(kind)
    if unknown := set(data) - set(hints):
        raise ValueError(f"{kind.__name__} has no field {', '.join(sorted(unknown))}")
    try:
        return kind(**{name: _value(hints[name], value) for name, value in data.items()})
    except TypeError as error:  # a required field is missing
        raise ValueError(str(error)) from error


def _value(hint: Any, value: Any) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if value is None:
        return None
    if origin in (types.UnionType,):
        return _value(next(kind for kind in arguments if kind is not types.NoneType), value)
    if origin is tuple:
        repeated = len(arguments) == 2 and arguments[1] is Ellipsis
        kinds = [arguments[0]] * len(value) if repeated else arguments
        return tuple(_value(kind, item) for kind, item in zip(kinds, value, strict=True))
    if isinstance(hint, type) and is_dataclass(hint):
        return from_data(hint, value)
    return float(value) if hint is float else value
