"""One issue, however often a compression fails."""

from collections.abc import Iterator

import pytest

from hf_prune.commands.action.issue import (
    PAGE,
    Mark,
    WorkflowRun,
    close_issue,
    main,
    mark_in,
    report_failure,
    run_of,
)
from tests.support.issues import TOKEN, LoopbackIssues

NOW = "2026-11-22T03:00:00+00:00"
LATER = "2026-11-29T03:00:00+00:00"


@pytest.fixture
def issues() -> Iterator[LoopbackIssues]:
    with LoopbackIssues() as server:
        yield server


def environment(issues: LoopbackIssues, **inputs: str) -> dict[str, str]:
    given = {"MODEL": "acme/base", "REPO_ID": "", "GITHUB_TOKEN": TOKEN} | inputs
    return issues.environment | {f"INPUT_{name}": value for name, value in given.items()}


def run(issues: LoopbackIssues, **inputs: str) -> WorkflowRun:
    return run_of(environment(issues, **inputs))


def test_the_first_failure_opens_an_issue_that_says_why_and_where(issues: LoopbackIssues) -> None:
    assert report_failure(run(issues), "no room", NOW) == "https://github.com/acme/models/issues/1"
    [issue] = issues.open
    assert issue["title"] == "hf-prune: acme/base could not be compressed"
    assert "failed once; last on 2026-11-22" in issue["body"]
    assert "https://github.com/acme/models/actions/runs/77" in issue["body"]
    assert "```text\nno room\n```" in issue["body"]


def test_further_failures_count_up_and_only_another_reason_is_a_comment(issues: LoopbackIssues) -> None:
    for reason in ("no room", "no room", "no login"):
        report_failure(run(issues), reason, LATER)
    [issue] = issues.open
    assert "failed 3 times in a row" in issue["body"]
    assert "no login" in issue["body"]
    assert [text.split("\n")[-2] for _, text in issues.comments] == ["no login"]


def test_the_first_success_closes_it_and_the_next_failure_opens_another(issues: LoopbackIssues) -> None:
    report_failure(run(issues), "no room", NOW)
    assert close_issue(run(issues)) == "https://github.com/acme/models/issues/1"
    assert issues.issues[0]["state"] == "closed"
    assert close_issue(run(issues)) is None
    report_failure(run(issues), "no room", LATER)
    assert [issue["number"] for issue in issues.open] == [2]


def test_each_model_and_place_has_an_issue_of_its_own(issues: LoopbackIssues) -> None:
    report_failure(run(issues), "x", NOW)
    report_failure(run(issues, MODEL="acme/other"), "x", NOW)
    report_failure(run(issues, REPO_ID="acme/small"), "x", NOW)
    assert len(issues.open) == 3
    close_issue(run(issues, MODEL="acme/other"))
    assert [issue["number"] for issue in issues.open] == [1, 3]


def test_it_is_found_behind_pages_of_others(issues: LoopbackIssues) -> None:
    report_failure(run(issues), "x", NOW)
    for _ in range(PAGE):
        issues.add(title="another", body=None)
    report_failure(run(issues), "x", NOW)
    assert "2 times" in issues.issues[0]["body"]
    assert len(issues.open) == PAGE + 1


def test_a_pull_request_is_no_issue(issues: LoopbackIssues) -> None:
    mark = Mark(model="acme/base", repo_id="", times=1, first=NOW, reason="x")
    issues.add(title="a proposal", body=mark.hidden(), pull_request={"url": "…"})
    report_failure(run(issues), "x", NOW)
    assert [issue["number"] for issue in issues.open if "pull_request" not in issue] == [2]
    assert issues.issues[0]["body"] == mark.hidden()


def test_no_reason_ends_the_mark_or_the_block_that_quotes_it(issues: LoopbackIssues) -> None:
    reason = "--> ```\n@everyone <b>"
    report_failure(run(issues), reason, NOW)
    body = issues.issues[0]["body"]
    assert mark_in(body) == Mark(model="acme/base", repo_id="", times=1, first=NOW, reason=reason)
    assert f"````text\n{reason}\n````" in body
    assert body.count("-->") == 2  # the one that is quoted, and the mark's own


@pytest.mark.parametrize("body", [None, "", "<!-- hf_prune {} -->", "<!-- hf_prune {nonsense} -->"])
def test_what_people_write_is_no_mark(body: str | None) -> None:
    assert mark_in(body) is None


def test_a_job_that_may_not_write_issues_warns_and_is_told_what_it_lacks(
    issues: LoopbackIssues, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in environment(issues, GITHUB_TOKEN="none").items():
        monkeypatch.setenv(name, value)
    assert main(["failed"]) == 0
    assert capsys.readouterr().out == (
        "::warning title=hf-prune::No issue could be written (HTTP Error 403: Forbidden): give the job "
        "`permissions: issues: write`\n"
    )
