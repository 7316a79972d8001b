"""How an `hf-prune run` ended, and the outputs of the action for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hf_prune.errors import GateRefused


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How the command ended."""

    code: int  # of its exit; negative: the signal that killed it
    result: Mapping[str, Any]  # the JSON object that it printed; empty: it printed none
    error: str | None  # the last error message of hf-prune on stderr

    @property
    def published(self) -> Mapping[str, Any]:
        """Where the result is on the Hub; empty: it is not there."""
        return self.result.get("published") or {}

    @property
    def reason(self) -> str | None:
        """Why it failed, in one line; None: it went well."""
        if self.code == 0:
            return None
        if self.error is not None:
            return self.error
        if self.code < 0:
            return f"hf-prune was killed by signal {-self.code}, as happens where memory runs out"
        return f"hf-prune ended with exit code {self.code}: see the log"


def outputs_of(ending: Ending, folder: str) -> dict[str, str]:
    """Every output of the action; those without a value are empty."""
    published, run = ending.published, ending.result.get("run") or {}
    measured = run.get("evaluated", {}).get("perplexities", ())
    perplexities = {each["variant"]: each["perplexity"] for each in measured}
    result = run.get("result", {})
    went_well = bool(published) and ending.code == 0
    unchanged = bool(ending.result.get("unchanged") or published.get("unchanged"))
    outputs: dict[str, Any] = {
        "published": went_well and not unchanged,
        "unchanged": went_well and unchanged,
        "refused": ending.code == GateRefused.exit_code,
        "reason": ending.reason,
        "repo-id": published.get("repo_id"),
        "url": published.get("url"),
        "commit": published.get("commit"),
        "pull-request": published.get("pull_request"),
        "perplexity": perplexities.get(result.get("variant")),
        "original-perplexity": perplexities.get("dense"),
        "parameters": result.get("parameters"),
        "folder": folder if run else None,
    }
    return {name: _text(value) for name, value in outputs.items()}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
