"""Records of runs as earlier schemas had them."""

from copy import deepcopy
from typing import Any

from hf_prune.stages.run import ATTEMPTS


def in_schema_5(record: dict[str, Any]) -> dict[str, Any]:
    """A record as schema 5 had it: each measurement was a field of the run."""
    record = deepcopy(record) | {"schema_version": 5}
    evaluated, exports = record.pop("evaluated"), record.pop("exports")
    for name, reason in ATTEMPTS.items():
        record[reason], evaluated[name] = evaluated[name]["reason"], evaluated[name]["found"]
    for choices in evaluated["choices"]:
        choices |= {"literal_stability": 0.5, "literal_stability_items": 1.5}
    del record["intermediate"]
    return {**record, **evaluated, "exports": exports["found"], "exports_reason": exports["reason"]}
