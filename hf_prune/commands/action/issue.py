"""One issue that stays open while a model cannot be compressed.

`python -m hf_prune.commands.action.issue failed` and `… solved` are steps of the action. The first failure
opens the issue. Later ones update the count in its text, and comment only if the reason is new. The first
success closes it. Only the standard library is used, because hf-prune itself may not be installed.
"""

import json
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import count
from typing import Any

PAGE = 100  # issues that GitHub lists at once, at most
LONGEST_REASON = 10_000  # characters; an issue may have 65,536
TITLE = "hf-prune: {model} could not be compressed"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowRun:
    """The run of a workflow, and what it compresses."""

    api: str  # of GitHub: "https://api.github.com"
    token: str
    repository: str  # on GitHub: "acme/models"
    url: str
    model: str
    repo_id: str  # on the Hub; empty: hf-prune names it


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What an issue tells the next run."""

    model: str
    repo_id: str
    times: int  # failures in a row
    first: str  # the first failure, ISO 8601, UTC
    reason: str

    def hidden(self) -> str:
        """The mark as a comment in Markdown. Without hyphens, its text cannot end the comment."""
        text = json.dumps(asdict(self)).replace("-", "\\u002d")
        return f"<!-- hf_prune {text} -->"


def mark_in(body: str | None) -> Mark | None:
    """The mark in the text of an issue; None: the issue is not one of these."""
    match = re.search(r"<!-- hf_prune (\{.*\}) -->", body or "")
    try:
        return Mark(**json.loads(match[1])) if match else None
    except (ValueError, TypeError):
        return None


def report_failure(run: WorkflowRun, reason: str, now: str) -> str:
    """Open or update the issue, and return its address. `now` is in ISO 8601, UTC."""
    reason = reason[:LONGEST_REASON]
    issue, known = _open_issue(run)
    if known is None:
        mark = Mark(model=run.model, repo_id=run.repo_id, times=1, first=now, reason=reason)
        content = {"title": TITLE.format(model=run.model), "body": _body(run, mark, now)}
        return str(_call(run, "POST", "issues", content)["html_url"])
    mark = replace(known, times=known.times + 1, reason=reason)
    _call(run, "PATCH", f"issues/{issue['number']}", {"body": _body(run, mark, now)})
    if known.reason != reason:
        text = f"It fails for another reason now ([run]({run.url})):\n\n{_code_block(reason)}"
        _call(run, "POST", f"issues/{issue['number']}/comments", {"body": text})
    return str(issue["html_url"])


def close_issue(run: WorkflowRun) -> str | None:
    """Close the issue, if there is one, and return its address."""
    issue, known = _open_issue(run)
    if known is None:
        return None
    _call(run, "POST", f"issues/{issue['number']}/comments", {"body": f"[This run]({run.url}) went well."})
    _call(run, "PATCH", f"issues/{issue['number']}", {"state": "closed", "state_reason": "completed"})
    return str(issue["html_url"])


def _body(run: WorkflowRun, mark: Mark, now: str) -> str:
    target = f", for {_code(run.repo_id)}" if run.repo_id else ""
    times = "once" if mark.times == 1 else f"{mark.times} times in a row, first on {mark.first}"
    return (
        f"The compression of {_code(run.model)}{target} failed {times}; last on {now}, in [this run]"
        f"({run.url}):\n\n{_code_block(mark.reason)}\n\nThe next run that goes well closes this issue.\n\n"
        f"{mark.hidden()}\n"
    )


def _code_block(text: str) -> str:
    """Text as a block of code, so that it mentions nobody."""
    fence = "`" * max(3, 1 + max((len(ticks) for ticks in re.findall("`+", text)), default=0))
    return f"{fence}text\n{text}\n{fence}"


def _code(text: str) -> str:
    return f"`{text.replace('`', '')}`"


def _open_issue(run: WorkflowRun) -> tuple[Mapping[str, Any], Mark | None]:
    """The oldest open issue for this model and repository, with its mark; None: there is none."""
    marked = [(issue, mark_in(issue.get("body"))) for issue in _open_issues(run)]
    own = [(i, mark) for i, mark in marked if mark and (mark.model, mark.repo_id) == (run.model, run.repo_id)]
    return own[-1] if own else ({}, None)


def _open_issues(run: WorkflowRun) -> Iterator[Mapping[str, Any]]:
    """Every open issue, the newest first, without the pull requests that GitHub lists among them."""
    for page in count(1):
        issues = _call(run, "GET", f"issues?state=open&per_page={PAGE}&page={page}")
        yield from (issue for issue in issues if "pull_request" not in issue)
        if len(issues) < PAGE:
            return


def _call(run: WorkflowRun, method: str, path: str, content: Mapping[str, str] | None = None) -> Any:
    request = urllib.request.Request(
        f"{run.api}/repos/{run.repository}/{path}",
        method=method,
        data=None if content is None else json.dumps(content).encode(),
        headers={
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {run.token}",
            "Content-Type": "application/json",
            "X-GitHub-Api-Version": "2022-11-28",
        },
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def run_of(environment: Mapping[str, str]) -> WorkflowRun:
    """The run of the workflow that a step belongs to."""
    server, repository = environment["GITHUB_SERVER_URL"], environment["GITHUB_REPOSITORY"]
    return WorkflowRun(
        api=environment["GITHUB_API_URL"],
        token=environment["INPUT_GITHUB_TOKEN"],
        repository=repository,
        url=f"{server}/{repository}/actions/runs/{environment['GITHUB_RUN_ID']}",
        model=environment["INPUT_MODEL"].strip(),
        repo_id=environment["INPUT_REPO_ID"].strip(),
    )


def main(words: list[str]) -> int:
    """Open, update or close the issue. If GitHub refuses that, it is only a warning in the log."""
    run = run_of(os.environ)
    try:
        if words == ["failed"]:
            reason = os.environ.get("REASON") or "hf-prune could not be installed: see the log"
            message = report_failure(run, reason, datetime.now(UTC).isoformat(timespec="seconds"))
        else:
            message = close_issue(run) or "no issue was open"
    except urllib.error.URLError as error:
        refused = isinstance(error, urllib.error.HTTPError) and error.code in (401, 403, 404)
        advice = ": give the job `permissions: issues: write`" if refused else ""
        message = f"::warning title=hf-prune::No issue could be written ({error}){advice}"
    sys.stdout.write(f"{message}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
