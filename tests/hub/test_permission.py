"""Token, roles and repository decide, before anything is computed, who may publish where."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hf_prune import hub as our_hub
from hf_prune.errors import AccessDenied, QuotaExceeded
from tests.loopback import Account, Fault, LoopbackHub, Scope
from tests.support.published_runs import make_folder, published
from tests.support.tool import hf_prune

FULL = "Private repository storage limit reached, please upgrade your plan to increase your private storage"


@pytest.fixture
def model(tiny_models: Callable[..., Path]) -> str:
    """A tiny model in a folder named `llama`."""
    return str(tiny_models("llama"))


@pytest.fixture
def give_token(home_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> Callable[[Account], None]:
    """Log in with the token of an account."""

    def give(account: Account) -> None:
        monkeypatch.setitem(home_hub.tokens, "hf_given", account)
        monkeypatch.setenv("HF_TOKEN", "hf_given")

    return give


def fine(kind: str, name: str, *permissions: str) -> Account:
    """The user `tester` of the organization `acme` with a token of one scope."""
    scope = Scope(kind=kind, name=name, permissions=permissions)
    return Account(name="tester", organizations=("acme",), scopes=(scope,))


def refused(*words: str, output: Path) -> str:
    """The line that a push ends with before it writes or sends anything."""
    outcome = hf_prune(*words, "--push", "--output", str(output))
    assert outcome.code == 1
    assert not output.exists()
    return outcome.error()


def test_without_a_login_nothing_starts(
    home_hub: LoopbackHub, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    line = refused(model, output=tmp_path / "run")
    assert "publishing needs a login: `hf auth login`, or set HF_TOKEN to a token with write access" in line
    assert f"{home_hub.url}/settings/tokens" in line


def test_a_token_that_only_reads_is_refused(
    home_hub: LoopbackHub, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_read")
    line = refused(model, "--drop-layers", "2", output=tmp_path / "run")
    assert "reader/" in line
    assert "cannot be written (the token in HF_TOKEN may only read)" in line
    assert home_hub.calls_to("POST") == []


@pytest.mark.parametrize(
    "account",
    [
        fine("user", "tester", "repo.content.read", "discussion.write", "inference.serverless.write"),
        fine("org", "acme", "repo.write"),
        fine("model", "tester/other", "repo.write"),
        Account(name="tester", scopes=()),
    ],
    ids=["reads", "elsewhere", "another model", "nothing"],
)
def test_a_fine_grained_token_without_write_access_there_is_refused(
    give_token: Callable[[Account], None], model: str, tmp_path: Path, account: Account
) -> None:
    give_token(account)
    line = refused(model, "--repo-id", "tester/small", output=tmp_path / "run")
    assert "tester/small cannot be written (the token in HF_TOKEN has no write access there)" in line
    assert "tick write access to repositories of tester at " in line


@pytest.mark.parametrize(
    ("account", "repo_id"),
    [
        (fine("user", "tester", "repo.content.read", "repo.write"), None),
        (fine("user", "tester", "repo.content.write"), "tester/new"),
        (fine("org", "acme", "repo.write"), "acme/new"),
        (fine("org", "acme", "repo.contribute"), "acme/new"),
        (fine("user", "Tester", "repo.write"), "tester/new"),
        (Account(name="tester", organizations=("acme",), roles={"acme": "contributor"}), "acme/new"),
    ],
    ids=["own", "content", "organization", "contributor's token", "case", "contributor"],
)
def test_a_token_that_may_make_the_repository_is_accepted(
    give_token: Callable[[Account], None], account: Account, repo_id: str | None
) -> None:
    give_token(account)
    assert our_hub.check_may_publish(repo_id, "small") == (repo_id or "tester/small")


def test_a_name_without_an_owner_belongs_to_the_user(home_hub: LoopbackHub) -> None:
    assert our_hub.check_may_publish("small", "other") == "tester/small"


def test_a_token_for_one_repository_may_write_to_it(
    home_hub: LoopbackHub, give_token: Callable[[Account], None]
) -> None:
    home_hub.add_repository("acme/small", {})
    give_token(fine("model", "acme/small", "repo.write"))
    assert our_hub.check_may_publish("acme/small", "small") == "acme/small"


def test_a_scope_without_a_name_is_left_to_the_hub(
    home_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    scopes = {"scoped": [{"entity": {"type": "user"}, "permissions": ["repo.write"]}]}
    user = {"name": "tester", "auth": {"accessToken": {"role": "fineGrained", "fineGrained": scopes}}}
    monkeypatch.setattr("huggingface_hub.HfApi.whoami", lambda self: user)
    assert our_hub.check_may_publish("tester/small", "small") == "tester/small"


def test_an_organization_of_others_is_refused(home_hub: LoopbackHub, model: str, tmp_path: Path) -> None:
    line = refused(model, "--repo-id", "meta/small", output=tmp_path / "run")
    assert "meta/small cannot be written (tester is not part of meta): give a --repo-id under tester" in line


@pytest.mark.parametrize("exists", [False, True])
def test_a_role_that_only_reads_is_refused(
    home_hub: LoopbackHub, give_token: Callable[[Account], None], exists: bool
) -> None:
    if exists:
        home_hub.add_repository("acme/small", {})
    give_token(Account(name="tester", organizations=("acme",), roles={"acme": "read"}))
    reason = "may not write to it" if exists else "has the role read in acme"
    with pytest.raises(AccessDenied, match=reason):
        our_hub.check_may_publish("acme/small", "small")
    checks = home_hub.calls_to("GET", "/auth-check/write$")
    assert [call.status for call in checks] == ([403] if exists else [])


@pytest.mark.parametrize("path", ["/commit/", "/objects/batch$", "/repos/create$"])
@pytest.mark.parametrize(
    ("status", "message"),
    [(403, FULL), (413, "payload too large"), (507, "insufficient storage"), (402, "pay")],
)
def test_the_error_of_a_hub_without_room_has_its_reason(
    home_hub: LoopbackHub, tmp_path: Path, path: str, status: int, message: str
) -> None:
    folder = make_folder(tmp_path / "run")
    fault = Fault(method="POST", path=path, status=status, headers={"X-Error-Message": message})
    home_hub.inject(fault)
    with pytest.raises(QuotaExceeded) as caught:
        published(folder, repo_id="tester/small")
    assert f"the Hub has no room left for tester/small ({status}: {message}" in str(caught.value)
    assert f"{home_hub.url}/settings/billing" in str(caught.value)


def test_a_limited_question_is_asked_again(home_hub: LoopbackHub) -> None:
    home_hub.inject(Fault(method="GET", path="/whoami", status=429, headers={"Retry-After": "0"}))
    assert our_hub.check_may_publish(None, "small") == "tester/small"
