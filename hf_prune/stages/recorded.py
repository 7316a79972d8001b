"""The record of a run, read back from the file that it left."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from hf_prune.errors import UnreadableRecord
from hf_prune.records import from_data
from hf_prune.stages.run import SCHEMA_VERSION, Run

# What only tells of the run: where an older schema has it otherwise, the rest can still be read.
MAY_BE_LEFT_OUT = ("speeds", "speculations")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A run as its record has it."""

    run: Run
    schema_version: int  # that it was written in
    left_out: tuple[str, ...] = ()  # fields that an older schema has otherwise, and that are empty here


def read_record(path: Path) -> Recorded:
    """The record of a run; what an older schema has otherwise is left out where it only tells of the run.

    Raises:
        UnreadableRecord: it is no such record, or one that this version cannot read.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UnreadableRecord(f"{path} is not JSON: {error}") from error
    version = data.get("schema_version") if isinstance(data, dict) else None
    if not isinstance(version, int):
        raise UnreadableRecord(f"{path} is no record of a run: it states no schema_version")
    try:
        return Recorded(run=from_data(Run, data), schema_version=version)
    except ValueError as error:
        reason = error
    if version < SCHEMA_VERSION:
        known = {name: value for name, value in data.items() if name in get_type_hints(Run)}
        left_out = tuple(name for name in MAY_BE_LEFT_OUT if known.get(name))
        depths = [{**depth, "speed": None} for depth in known.get("depths") or ()]
        try:
            return Recorded(
                run=from_data(Run, {**known, **dict.fromkeys(left_out, ()), "depths": depths}),
                schema_version=version,
                left_out=left_out,
            )
        except ValueError as error:
            reason = error
    raise UnreadableRecord(
        f"{path} has schema {version}, and this hf-prune reads {SCHEMA_VERSION} ({reason}): use hf-prune "
        f"{_maker(data)}, which made it"
    ) from reason


def _maker(data: Mapping[str, Any]) -> str:
    environment = data.get("environment")
    return str(environment.get("hf_prune", "of then")) if isinstance(environment, dict) else "of then"
