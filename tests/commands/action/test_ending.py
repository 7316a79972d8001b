"""What a command came to, as outputs."""

import pytest

from hf_prune.commands.action.ending import Ending, outputs_of

PUBLISHED = {"repo_id": "a/b", "url": "https://hub/a/b", "commit": "c1", "private": True}
PERPLEXITIES = [{"variant": "dense", "perplexity": 20.5}, {"variant": "cut", "perplexity": 61.25}]
RUN = {
    "evaluated": {"perplexities": PERPLEXITIES},
    "result": {"variant": "cut", "parameters": 7},
}


def outputs_for(code: int = 0, error: str | None = None, **content: object) -> dict[str, str]:
    outputs = outputs_of(Ending(code=code, result=content, error=error), "/runs/1")
    return {name: value for name, value in outputs.items() if value not in ("", "false")}


def test_a_run_that_was_published() -> None:
    assert outputs_for(published=PUBLISHED, refused=[], run=RUN) == {
        "published": "true",
        "repo-id": "a/b",
        "url": "https://hub/a/b",
        "commit": "c1",
        "perplexity": "61.25",
        "original-perplexity": "20.5",
        "parameters": "7",
        "folder": "/runs/1",
    }


def test_a_pull_request() -> None:
    outputs = outputs_for(published=PUBLISHED | {"pull_request": "https://hub/a/b/discussions/3"}, run=RUN)
    assert (outputs["published"], outputs["pull-request"]) == ("true", "https://hub/a/b/discussions/3")


@pytest.mark.parametrize(
    "content",
    [
        {"unchanged": True, "published": PUBLISHED},
        {"run": RUN, "published": PUBLISHED | {"unchanged": True}},
    ],
    ids=["the base did not change", "the push had nothing to do"],
)
def test_where_nothing_changed_nothing_was_published(content: dict[str, object]) -> None:
    outputs = outputs_for(**content)
    assert ("published" in outputs, outputs["unchanged"], outputs["commit"]) == (False, "true", "c1")


def test_a_job_of_the_hub_has_no_folder_here() -> None:
    outputs = outputs_for(job={"id": "5f"}, published=PUBLISHED)
    assert (outputs["published"], "folder" in outputs) == ("true", False)


def test_a_job_that_nobody_waited_for_published_nothing_yet() -> None:
    assert outputs_for(job={"id": "5f"}, published=None) == {}


def test_a_refusal_has_its_reason() -> None:
    outputs = outputs_for(3, "too bad: nothing was pushed", published=None, refused=["too bad"], run=RUN)
    assert (outputs["refused"], outputs["reason"]) == ("true", "too bad: nothing was pushed")
    assert "published" not in outputs


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (-9, "hf-prune was killed by signal 9, as happens where memory runs out"),
        (1, "hf-prune ended with exit code 1: see the log"),
    ],
)
def test_an_end_without_a_word_is_told_by_its_code(code: int, reason: str) -> None:
    assert outputs_for(code) == {"reason": reason}
