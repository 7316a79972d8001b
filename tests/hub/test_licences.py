"""The licence and the gate of the original apply to the published model."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from huggingface_hub import HfApi, ModelCard

from hf_prune import hub as our_hub
from hf_prune.errors import AccessDenied
from tests.loopback import Fault, LoopbackHub
from tests.support.tool import FEW, hf_prune

CARD = b"---\nlicense: llama3.1\nextra_gated_prompt: Agree\n---\n\n# SuperChat\n"
LEGAL = {"LICENSE": b"LLAMA 3.1 COMMUNITY LICENSE AGREEMENT\n", "USE_POLICY.md": b"# Use it well\n"}
BASE, RESULT = "meta/SuperChat", "tester/Llama-SuperChat-4L"
NOTICE = "Llama 3.1 is licensed under the Llama 3.1 Community License, Copyright © Meta Platforms, Inc."


@pytest.fixture
def files(tiny_models: Callable[..., Path]) -> Mapping[str, bytes]:
    """The files of a repository with a tiny Llama under a licence of Meta's."""
    model = {path.name: path.read_bytes() for path in tiny_models("llama").iterdir()}
    return {**model, "README.md": CARD, **LEGAL}


def test_licence_name_notice_and_gate_are_published_before_the_weights(
    home_hub: LoopbackHub, files: Mapping[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home_hub.add_repository(BASE, files, gated="auto").granted.add("tester")
    monkeypatch.chdir(tmp_path)
    outcome = hf_prune(BASE, "--push", "--public", "--drop-layers", "2", *FEW)
    assert (outcome.code, outcome.out) == (0, f"{home_hub.url}/{RESULT}\n")
    assert "the result is Llama-SuperChat-4L" in outcome.err
    published = home_hub.files(RESULT)
    assert {name: published[name] for name in LEGAL} == LEGAL
    assert published["NOTICE"].decode().startswith(NOTICE)
    card = ModelCard(published["README.md"].decode())
    assert (card.data.license, card.data.base_model) == ("llama3.1", BASE)
    assert "# Llama-SuperChat-4L" in card.text
    assert "**Built with Llama**" in card.text
    assert f"[the original](https://huggingface.co/{BASE}) is gated" in card.text
    assert home_hub.url not in published["README.md"].decode()  # nobody else can use a mirror's address
    repository = home_hub.repositories["model", RESULT.lower()]
    assert (repository.gated, repository.private) == ("auto", False)
    written = [call.route for call in home_hub.calls if call.method in ("PUT", "POST")]
    assert written.index("/api/{kind}/{repo_id}/settings") < written.index("/storage/{oid}")


@pytest.mark.parametrize(
    ("license_id", "words", "message"),
    [
        ("cc-by-nc-nd-4.0", (), "lets nobody share a changed version (NoDerivatives): leave --push out"),
        ("llama3.1", ("--repo-id", "acme/small"), "give --repo-id acme/Llama-small"),
    ],
)
def test_a_publication_that_breaks_the_licence_is_refused_before_any_download(
    home_hub: LoopbackHub,
    files: Mapping[str, bytes],
    tmp_path: Path,
    license_id: str,
    words: tuple[str, ...],
    message: str,
) -> None:
    card = f"---\nlicense: {license_id}\n---\n".encode()
    home_hub.add_repository(BASE, {**files, "README.md": card})
    outcome = hf_prune(BASE, "--push", "--drop-layers", "2", *words, "--output", str(tmp_path / "run"))
    assert outcome.code == 1
    assert message in outcome.error()
    assert not (tmp_path / "run").exists()
    assert home_hub.calls_to("GET", "^/storage/") == []


# The gate


@pytest.fixture
def api(home_hub: LoopbackHub) -> HfApi:
    """The user `tester`."""
    return HfApi()


@pytest.mark.parametrize("gate", ["auto", "manual"])
def test_a_public_repository_gets_the_gate_of_the_original(api: HfApi, gate: str) -> None:
    our_hub.keep_gate("tester/small", gate, private=False)
    assert (api.model_info("tester/small").gated, api.model_info("tester/small").private) == (gate, False)


@pytest.mark.parametrize(("gate", "private"), [(None, False), ("auto", True)])
def test_without_a_gate_no_repository_is_made(home_hub: LoopbackHub, gate: str | None, private: bool) -> None:
    our_hub.keep_gate("tester/small", gate, private=private)
    assert home_hub.calls == []


def test_a_gate_that_the_owner_set_stays(home_hub: LoopbackHub, api: HfApi) -> None:
    home_hub.add_repository("tester/small", {}, gated="manual")
    our_hub.keep_gate("tester/small", "auto", private=False)
    assert api.model_info("tester/small").gated == "manual"
    assert home_hub.calls_to("PUT") == []


def test_a_gate_that_cannot_be_set_stops_the_run_before_the_weights(home_hub: LoopbackHub) -> None:
    home_hub.inject(Fault(method="PUT", path="/settings$", status=403))
    with pytest.raises(AccessDenied, match="may not put the same gate before tester/small") as caught:
        our_hub.keep_gate("tester/small", "manual", private=False)
    assert f"{home_hub.url}/tester/small/settings" in str(caught.value)
