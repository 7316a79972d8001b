"""The token of a CI job (HF_OIDC_RESOURCE) writes to one repository; other requests are refused at once."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub.utils import _auth

from hf_prune import hub as our_hub
from hf_prune.errors import AccessDenied
from tests.loopback import LoopbackHub
from tests.loopback.trust import ID_TOKEN, RUNNER_TOKEN
from tests.support.published_runs import make_folder, published
from tests.support.tool import hf_prune

RESULT = "acme/small"


@pytest.fixture
def job(home_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A job of a workflow that the repository `acme/small` trusts, without any secret."""
    home_hub.add_repository(RESULT, {}, private=True)
    monkeypatch.setattr(home_hub, "tokens", dict(home_hub.tokens))
    monkeypatch.setattr(home_hub, "trusted", {ID_TOKEN: RESULT})
    monkeypatch.setattr(_auth, "_OIDC_TOKEN_CACHE", None)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("HF_OIDC_RESOURCE", RESULT)
    monkeypatch.setenv("HF_OIDC_ID_TOKEN", ID_TOKEN)
    yield home_hub
    _auth._OIDC_TOKEN_CACHE = None


@pytest.mark.parametrize("repo_id", [None, RESULT])
def test_it_may_write_to_the_one_repository_and_needs_no_user(job: LoopbackHub, repo_id: str | None) -> None:
    assert our_hub.check_may_publish(repo_id, "anything") == RESULT
    assert job.calls_to("GET", "/whoami") == []
    assert [call.status for call in job.calls_to("GET", "/auth-check/write$")] == [200]


def test_it_publishes_there(job: LoopbackHub, tmp_path: Path) -> None:
    published(make_folder(tmp_path / "run"), repo_id=RESULT)
    assert "README.md" in job.files(RESULT)


def test_github_mints_its_token_if_there_is_none(job: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_OIDC_ID_TOKEN")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{job.url}/ci/id-token")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", RUNNER_TOKEN)
    assert our_hub.check_may_publish(None, "small") == RESULT


def test_a_gated_model_that_it_may_not_read_needs_a_run_of_its_own(job: LoopbackHub, tmp_path: Path) -> None:
    job.add_repository("meta/gated", {"config.json": b"{}", "model.safetensors": b"x"}, gated="auto")
    outcome = hf_prune("meta/gated", "--push", "--output", str(tmp_path / "run"))
    line = outcome.error()
    assert "meta/gated is gated and the token that this job was given for HF_OIDC_RESOURCE may not" in line
    assert "publish it with `hf-prune push`" in line


def test_another_repository_is_refused_and_the_right_one_named(job: LoopbackHub) -> None:
    with pytest.raises(AccessDenied, match=f"lets this job write to {RESULT} alone"):
        our_hub.check_may_publish("acme/other", "small")


@pytest.mark.parametrize("resource", ["tester", "datasets/acme/small"])
def test_a_resource_that_is_no_model_repository_is_refused(
    job: LoopbackHub, monkeypatch: pytest.MonkeyPatch, resource: str
) -> None:
    monkeypatch.setenv("HF_OIDC_RESOURCE", resource)
    with pytest.raises(AccessDenied, match=f"HF_OIDC_RESOURCE is {resource}, which lets this job read"):
        our_hub.check_may_publish(None, "small")


def test_a_missing_repository_cannot_be_made(job: LoopbackHub) -> None:
    job.repositories.clear()
    with pytest.raises(AccessDenied, match=f"there is no repository {RESULT}, and the token of a job cannot"):
        our_hub.check_may_publish(None, "small")


def test_the_error_of_an_untrusted_job_asks_to_compare_the_claims(
    job: LoopbackHub, tiny_models: Callable[..., Path], tmp_path: Path
) -> None:
    job.trusted.clear()
    outcome = hf_prune(str(tiny_models("llama")), "--push", "--output", str(tmp_path / "run"))
    assert outcome.code == 1
    line = outcome.error()
    assert f"the Hub does not trust this job with {RESULT} (400: " in line
    assert f"Trusted Publishers at {job.url}/{RESULT}/settings" in line
    assert ID_TOKEN not in line


def test_the_error_of_a_job_without_an_identity_says_what_is_missing(
    job: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_OIDC_ID_TOKEN")
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    with pytest.raises(AccessDenied, match="this job cannot prove who it is: HF_OIDC_RESOURCE is set but no"):
        our_hub.check_may_publish(None, "small")
