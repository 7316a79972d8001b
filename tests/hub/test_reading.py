"""Who may read a model: each refusal of the Hub in words that say what to do next."""

from pathlib import Path

import pytest
from huggingface_hub import constants

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


def said_of(model: str, output: Path) -> str:
    """The line that a run ends with; it has left nothing."""
    outcome = hf_prune(model, "--output", str(output))
    assert outcome.code == 1
    assert not output.exists()
    return outcome.error()


def test_who_is_not_logged_in_is_told_to_accept_and_to_log_in(
    gated: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    line = said_of(MODEL, tmp_path / "run")
    assert f"{MODEL} is gated and you are not logged in: accept its terms at {gated.url}/{MODEL}" in line
    assert "`hf auth login` or set HF_TOKEN" in line


def test_who_has_not_accepted_is_told_where(gated: LoopbackHub, tmp_path: Path) -> None:
    line = said_of(MODEL, tmp_path / "run")
    assert f"has not accepted its terms: accept them at {gated.url}/{MODEL}" in line
    assert "log in" not in line


@pytest.mark.parametrize(
    ("request_of_user", "said"),
    [
        (PENDING, "your request waits for its authors"),
        (REJECTED, "its authors have turned your request down"),
    ],
)
def test_who_has_asked_is_told_what_became_of_it(
    gated: LoopbackHub, tmp_path: Path, request_of_user: str, said: str
) -> None:
    gated.repositories["model", MODEL].requests["tester"] = request_of_user
    line = said_of(MODEL, tmp_path / "run")
    assert f"{MODEL} is gated and {said}" in line
    assert f"{gated.url}/{MODEL}" in line


def test_a_token_that_may_not_read_gated_models_is_told_apart(
    gated: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = Scope(kind="user", name="tester", permissions=("repo.content.read",))
    fine = Account(name="tester", scopes=(scope,), reads_gated=False)
    monkeypatch.setitem(gated.tokens, "hf_fine", fine)
    monkeypatch.setenv("HF_TOKEN", "hf_fine")
    gated.repositories["model", MODEL].granted.add("tester")
    line = said_of(MODEL, tmp_path / "run")
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
    line = said_of("acme/open", tmp_path / "run")
    origin = "the token that `hf auth login` stored" if stored else "the token in HF_TOKEN"
    assert f"the Hub does not know {origin} (401 on acme/open: " in line
    assert f"{home_hub.url}/settings/tokens" in line
    assert "hf_revoked" not in line


def test_who_has_no_token_is_not_told_of_one(
    home_hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    home_hub.inject(Fault(method="GET", path="^/api/models/", status=401))
    line = said_of("acme/open", tmp_path / "run")
    assert "the Hub wants to know who asks for acme/open (401: " in line
    assert "log in with `hf auth login` or set HF_TOKEN" in line


def test_a_private_model_of_others_is_said_to_be_missing_or_private(
    home_hub: LoopbackHub, tmp_path: Path
) -> None:
    home_hub.add_repository("other/secret", FILES, private=True)
    line = said_of("other/secret", tmp_path / "run")
    assert f"there is no model other/secret on {home_hub.url}, or it is private" in line


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (429, "asks to slow down (429)"),
        (503, "answered 503"),
        (418, "refused what hf-prune asked of acme/open (418: "),
    ],
)
def test_a_mirror_is_named_where_it_does_not_answer(
    home_hub: LoopbackHub, tmp_path: Path, status: int, said: str
) -> None:
    home_hub.add_repository("acme/open", FILES)
    home_hub.inject(Fault(method="GET", path="^/api/models/", status=status))
    line = said_of("acme/open", tmp_path / "run")
    assert f"the Hub at {home_hub.url} {said}" in line
