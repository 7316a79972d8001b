"""The one issue that is open while a model cannot be compressed.

`python -m hf_prune.commands.action.issue failed` and `… solved` are steps of the action.

The first failure opens it. Each further one counts up in its text, and comments only where the reason is
another; the first success closes it. A mark that people do not see says which model an issue is about.

Only the standard library is used: where hf-prune cannot be installed, the Python of the machine says so.
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
from typing import Any

PAGE = 100  # issues that GitHub lists at once, at most
LONGEST_REASON = 10_000  # characters; an issue may have 65,536
TITLE = "hf-prune: {model} could not be compressed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Where this runs, and for what."""

    api: str  # of GitHub: "https://api.github.com"
    token: str
    repository: str  # on GitHub: "acme/models"
    run_url: str
    model: str
    repo_id: str  # on the Hub; empty where hf-prune names it


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What an issue says to the next run."""

    model: str
    repo_id: str
    times: int  # it failed in a row
    first: str  # ISO 8601, UTC
    reason: str

    def hidden(self) -> str:
        """As a comment of Markdown, which nothing within can end."""
        text = json.dumps(asdict(self)).replace("-", "\\u002d")
        return f"<!-- hf_prune {text} -->"


def mark_in(body: str | None) -> Mark | None:
    """What an issue says to the next run; None: it is not one of these."""
    found = re.search(r"<!-- hf_prune (\{.*\}) -->", body or "")
    try:
        return Mark(**json.loads(found[1])) if found else None
    except (ValueError, TypeError):
        return None


def failed(job: Job, reason: str, now: str) -> str:
    """Tell of a failure.

    Args:
        job: that failed.
        reason: in one line.
        now: ISO 8601, UTC.

    Returns:
        The address of the issue.
    """
    reason = reason[:LONGEST_REASON]
    known = _open_issue(job)
    if known is None:
        mark = Mark(model=job.model, repo_id=job.repo_id, times=1, first=now, reason=reason)
        title = TITLE.format(model=job.model)
        issue = _call(job, "POST", "issues", {"title": title, "body": _body(job, mark, now)})
        return str(issue["html_url"])
    issue, before = known
    mark = replace(before, times=before.times + 1, reason=reason)
    _call(job, "PATCH", f"issues/{issue['number']}", {"body": _body(job, mark, now)})
    if before.reason != reason:
        comment = f"It fails for another reason now ([run]({job.run_url})):\n\n{_quoted(reason)}"
        _call(job, "POST", f"issues/{issue['number']}/comments", {"body": comment})
    return str(issue["html_url"])


def solved(job: Job) -> str | None:
    """Close the issue, if there is one.

    Returns:
        Its address.
    """
    known = _open_issue(job)
    if known is None:
        return None
    issue, _ = known
    comment = f"[This run]({job.run_url}) went well."
    _call(job, "POST", f"issues/{issue['number']}/comments", {"body": comment})
    _call(job, "PATCH", f"issues/{issue['number']}", {"state": "closed", "state_reason": "completed"})
    return str(issue["html_url"])


def _body(job: Job, mark: Mark, now: str) -> str:
    goes_to = f", for {_code(job.repo_id)}" if job.repo_id else ""
    times = "once" if mark.times == 1 else f"{mark.times} times in a row, first on {mark.first}"
    return (
        f"The compression of {_code(job.model)}{goes_to} failed {times}; last on {now}, in [this run]"
        f"({job.run_url}):\n\n{_quoted(mark.reason)}\n\nThe next run that goes well closes this issue.\n\n"
        f"{mark.hidden()}\n"
    )


def _quoted(text: str) -> str:
    """Text as a block of code, in which nobody is mentioned."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}text\n{text}\n{fence}"


def _code(text: str) -> str:
    return f"`{text.replace('`', '')}`"


def _open_issue(job: Job) -> tuple[Mapping[str, Any], Mark] | None:
    """The issue that is open for this model and place, the oldest where people made several."""
    found = None
    for issue in _open_issues(job):
        mark = mark_in(issue.get("body"))
        if mark is not None and (mark.model, mark.repo_id) == (job.model, job.repo_id):
            found = issue, mark
    return found


def _open_issues(job: Job) -> Iterator[Mapping[str, Any]]:
    """Every open issue, the newest first; GitHub lists pull requests among them."""
    page, listed = 0, PAGE
    while listed == PAGE:
        page += 1
        issues = _call(job, "GET", f"issues?state=open&per_page={PAGE}&page={page}")
        listed = len(issues)
        yield from (issue for issue in issues if "pull_request" not in issue)


def _call(job: Job, method: str, path: str, content: Mapping[str, str] | None = None) -> Any:
    request = urllib.request.Request(
        f"{job.api}/repos/{job.repository}/{path}",
        method=method,
        data=None if content is None else json.dumps(content).encode(),
        headers={
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {job.token}",
            "Content-Type": "application/json",
            "X-GitHub-Api-Version": "2022-11-28",
        },
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def job_of(environment: Mapping[str, str]) -> Job:
    """The job that a step's environment tells of."""
    server, repository = environment["GITHUB_SERVER_URL"], environment["GITHUB_REPOSITORY"]
    return Job(
        api=environment["GITHUB_API_URL"],
        token=environment["INPUT_GITHUB_TOKEN"],
        repository=repository,
        run_url=f"{server}/{repository}/actions/runs/{environment['GITHUB_RUN_ID']}",
        model=environment["INPUT_MODEL"].strip(),
        repo_id=environment["INPUT_REPO_ID"].strip(),
    )


def main(words: list[str]) -> int:
    """Tell how it went. What GitHub refuses is a warning: whether the job fails is decided already."""
    job = job_of(os.environ)
    try:
        if words == ["failed"]:
            reason = os.environ.get("REASON") or "hf-prune could not be installed: see the log"
            where: str | None = failed(job, reason, datetime.now(UTC).isoformat(timespec="seconds"))
        else:
            where = solved(job)
    except urllib.error.URLError as error:
        refused = isinstance(error, urllib.error.HTTPError) and error.code in (401, 403, 404)
        advice = ": give the job `permissions: issues: write`" if refused else ""
        sys.stdout.write(f"::warning title=hf-prune::No issue could be written ({error}){advice}\n")
        return 0
    sys.stdout.write(f"{where or 'no issue was open'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
