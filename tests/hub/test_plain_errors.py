"""Each refusal of the Hub becomes an error that says what to do next."""

from pathlib import Path

import httpx2
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError

from hf_prune.errors import AccessDenied, HubUnreachable, QuotaExceeded
from hf_prune.hub.plain_errors import HTTP_ERRORS, plain_hub_errors
from tests.loopback import Account, Fault, LoopbackHub, Scope
from tests.support.tool import hf_prune

MODEL = "meta/gated"
FILES = {"config.json": b'{"model_type": "llama", "num_hidden_layers": 6}', "model.safetensors": b"x"}
PENDING = "is awaiting a review from the repo authors."
REJECTED = "has been rejected by the repo's authors."


@pytest.fixture
def gated(home_hub: LoopbackHub) -> LoopbackHub:
    """The Hub with a model that is gated by hand."""
    home_hub.add_repository(MODEL, FILES, gated="manual")
    return home_hub


def error_of(model: str, output: Path) -> str:
    """The line that a run ends with before it writes anything."""
    outcome = hf_prune(model, "--output", str(output))
    assert outcome.code == 1
    assert not output.exists()
    return outcome.error()


def test_without_a_login_the_user_is_to_accept_and_log_in(
    gated: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    line = error_of(MODEL, tmp_path / "run")
    assert f"{MODEL} is gated and you are not logged in: accept its terms at {gated.url}/{MODEL}" in line
    assert "`hf auth login` or set HF_TOKEN" in line


def test_an_account_that_has_not_accepted_the_terms_is_sent_to_the_page(
    gated: LoopbackHub, tmp_path: Path
) -> None:
    line = error_of(MODEL, tmp_path / "run")
    assert f"has not accepted its terms: accept them at {gated.url}/{MODEL}" in line
    assert "log in" not in line


@pytest.mark.parametrize(
    ("request_of_user", "outcome"),
    [
        (PENDING, "your request waits for its authors"),
        (REJECTED, "its authors have turned your request down"),
    ],
)
def test_the_state_of_a_request_for_access_is_named(
    gated: LoopbackHub, tmp_path: Path, request_of_user: str, outcome: str
) -> None:
    gated.repositories["model", MODEL].requests["tester"] = request_of_user
    line = error_of(MODEL, tmp_path / "run")
    assert f"{MODEL} is gated and {outcome}" in line
    assert f"{gated.url}/{MODEL}" in line


def test_a_token_that_may_not_read_gated_models_has_an_error_of_its_own(
    gated: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = Scope(kind="user", name="tester", permissions=("repo.content.read",))
    fine = Account(name="tester", scopes=(scope,), reads_gated=False)
    monkeypatch.setitem(gated.tokens, "hf_fine", fine)
    monkeypatch.setenv("HF_TOKEN", "hf_fine")
    gated.repositories["model", MODEL].granted.add("tester")
    line = error_of(MODEL, tmp_path / "run")
    assert "the token may not read gated models: allow it to, at " in line
    assert f"{gated.url}/settings/tokens" in line


@pytest.mark.parametrize("stored", [False, True])
def test_a_token_that_was_revoked_is_named_by_where_it_comes_from(
    home_hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: bool
) -> None:
    home_hub.add_repository("acme/open", FILES)
    if stored:
        monkeypatch.delenv("HF_TOKEN")
        (tmp_path / "token").write_text("hf_revoked")
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    else:
        monkeypatch.setenv("HF_TOKEN", "hf_revoked")
    line = error_of("acme/open", tmp_path / "run")
    origin = "the token that `hf auth login` stored" if stored else "the token in HF_TOKEN"
    assert f"the Hub does not know {origin} (401 on acme/open: " in line
    assert f"{home_hub.url}/settings/tokens" in line
    assert "hf_revoked" not in line


def test_without_a_token_none_is_blamed(
    home_hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    home_hub.inject(Fault(method="GET", path="^/api/models/", status=401))
    line = error_of("acme/open", tmp_path / "run")
    assert "the Hub wants to know who asks for acme/open (401: " in line
    assert "log in with `hf auth login` or set HF_TOKEN" in line


def test_a_private_model_of_others_is_missing_or_private(home_hub: LoopbackHub, tmp_path: Path) -> None:
    home_hub.add_repository("other/secret", FILES, private=True)
    line = error_of("other/secret", tmp_path / "run")
    assert f"there is no model other/secret on {home_hub.url}, or it is private" in line


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (429, "asks to slow down (429)"),
        (503, "answered 503"),
        (418, "refused what hf-prune asked of acme/open (418: "),
    ],
)
def test_a_mirror_that_does_not_answer_is_named(
    home_hub: LoopbackHub, tmp_path: Path, status: int, reason: str
) -> None:
    home_hub.add_repository("acme/open", FILES)
    home_hub.inject(Fault(method="GET", path="^/api/models/", status=status))
    line = error_of("acme/open", tmp_path / "run")
    assert f"the Hub at {home_hub.url} {reason}" in line


# Refusals: one case for each row of the table, in its order. Later rows would apply to most of them, too.

REFUSALS = [
    ("/oauth/token", 401, "no match", AccessDenied, "the Hub does not trust this job with"),
    ("/api", 403, "the storage limit is reached", QuotaExceeded, "the Hub has no room left for"),
    ("/api", 403, "enable gated repositories", AccessDenied, "a/b is gated and the token may not read"),
    ("/api", 401, "login", AccessDenied, "the Hub wants to know who asks for"),
    ("/api", 401, "login", AccessDenied, "the Hub does not know the token in HF_TOKEN"),
    ("/api", 403, "denied", AccessDenied, "the Hub refused access to"),
    ("/api", 429, "slow", HubUnreachable, "asks to slow down (429)"),
    ("/api", 418, "teapot", HubUnreachable, "refused what hf-prune asked of"),
    ("/api", 500, "down", HubUnreachable, "answered 500"),
]


def test_each_row_of_the_table_has_a_case() -> None:
    assert len(REFUSALS) == len(HTTP_ERRORS)


@pytest.mark.parametrize("number", range(len(REFUSALS)))
def test_the_first_row_that_applies_decides(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    path, status, reason, kind, words = REFUSALS[number]
    monkeypatch.delenv("HF_OIDC_RESOURCE", raising=False)
    monkeypatch.setenv("HF_TOKEN", "" if "who asks" in words else "hf_test")
    response = httpx2.Response(status, request=httpx2.Request("GET", f"http://hub{path}"))
    with pytest.raises(kind) as caught, plain_hub_errors("a/b"):
        raise HfHubHTTPError("refused", response=response, server_message=reason)
    assert words in str(caught.value)
    assert HTTP_ERRORS[number][1] is kind
    assert str(caught.value).partition("{")[0] == str(caught.value)  # every value is filled in


@pytest.mark.parametrize("status", [402, 413, 507])
def test_an_upload_that_is_too_large_is_a_matter_of_room(status: int) -> None:
    response = httpx2.Response(status, request=httpx2.Request("PUT", "http://hub/storage"))
    with pytest.raises(QuotaExceeded), plain_hub_errors("a/b"):
        raise HfHubHTTPError("refused", response=response)


def test_the_cause_of_a_failed_upload_is_named_and_an_error_of_ours_passes() -> None:
    response = httpx2.Response(507, request=httpx2.Request("PUT", "http://hub/storage"))
    with pytest.raises(QuotaExceeded), plain_hub_errors("a/b"):
        raise RuntimeError("upload failed") from HfHubHTTPError("refused", response=response)
    with pytest.raises(RuntimeError, match="not the Hub"), plain_hub_errors("a/b"):
        raise RuntimeError("not the Hub")
