"""What an `hf-prune run` came to, as the outputs of the action tell it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hf_prune.errors import GateRefused


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How the command ended."""

    code: int
    told: Mapping[str, Any]  # its JSON object; empty where it printed none
    error: str | None  # what the last line on stderr says that is its own

    @property
    def published(self) -> Mapping[str, Any]:
        """Where the result is on the Hub; empty where it is not there."""
        return self.told.get("published") or {}

    @property
    def unchanged(self) -> bool:
        """Whether there was nothing to do, or nothing to push."""
        return bool(self.told.get("unchanged") or self.published.get("unchanged"))

    @property
    def refused(self) -> bool:
        """Whether a quality gate kept the result from being published."""
        return self.code == GateRefused.exit_code

    @property
    def reason(self) -> str | None:
        """Why it did not end well, in one line; None where it did."""
        if self.code == 0:
            return None
        if self.error is not None:
            return self.error
        if self.code < 0:
            return f"hf-prune was killed by signal {-self.code}, as happens where memory runs out"
        return f"hf-prune ended with exit code {self.code}: see the log"


def outputs_of(ending: Ending, folder: str) -> dict[str, str]:
    """Every output of the action; what there is nothing to say about is empty.

    Args:
        ending: of the command.
        folder: of the run.
    """
    published, run = ending.published, ending.told.get("run") or {}
    perplexities = {each["variant"]: each["perplexity"] for each in run.get("perplexities", ())}
    result = run.get("result", {})
    done = bool(published) and ending.code == 0
    return {
        "published": _truth(done and not ending.unchanged),
        "unchanged": _truth(done and ending.unchanged),
        "refused": _truth(ending.refused),
        "reason": ending.reason or "",
        "repo-id": _text(published.get("repo_id")),
        "url": _text(published.get("url")),
        "commit": _text(published.get("commit")),
        "pull-request": _text(published.get("pull_request")),
        "perplexity": _text(perplexities.get(result.get("variant"))),
        "original-perplexity": _text(perplexities.get("dense")),
        "parameters": _text(result.get("parameters")),
        "folder": folder if run else "",
    }


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _text(value: object) -> str:
    return "" if value is None else str(value)
