"""With HF_HUB_OFFLINE the cache is enough for everything except publishing."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants, snapshot_download

from hf_prune import hub as our_hub
from hf_prune.errors import HubUnreachable
from tests.loopback import LoopbackHub
from tests.support.tool import FEW, hf_prune

BASE = "acme/kept"
CARD = b"---\nlicense: cc-by-nc-nd-4.0\nlanguage: en\nbase_model: meta/first\n---\n\n# Kept\n"
SMALL = ("config.json", "README.md", "tokenizer.json")


@pytest.fixture
def files(tiny_models: Callable[..., Path]) -> Mapping[str, bytes]:
    """The files of a repository with a tiny Llama."""
    model = {path.name: path.read_bytes() for path in tiny_models("llama").iterdir()}
    return {**model, "README.md": CARD, "LICENSE": b"Keep it.\n"}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, the only source of files after `go_offline`."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def go_offline(home_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Set HF_HUB_OFFLINE as if before huggingface_hub was imported."""

    def go() -> None:
        home_hub.calls.clear()
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    return go


@pytest.mark.parametrize("revision", [None, "v1"])
def test_a_model_that_hf_prune_downloaded_needs_no_hub(
    home_hub: LoopbackHub,
    files: Mapping[str, bytes],
    cache: Path,
    go_offline: Callable[[], None],
    revision: str | None,
) -> None:
    home_hub.add_repository(BASE, files)
    HfApi().create_tag(BASE, tag="v1")
    online = our_hub.look_up(BASE, revision)
    folder = our_hub.download(online, SMALL)
    go_offline()
    offline = our_hub.look_up(BASE, revision)
    assert offline == online
    assert our_hub.download(offline, SMALL) == folder
    assert home_hub.calls == []


def test_a_model_that_another_library_downloaded_file_by_file_needs_no_hub(
    home_hub: LoopbackHub, files: Mapping[str, bytes], cache: Path, go_offline: Callable[[], None]
) -> None:
    home_hub.add_repository(BASE, files)
    for name in SMALL:
        HfApi().hf_hub_download(BASE, name)
    go_offline()
    offline = our_hub.look_up(BASE, None)
    assert offline.files == {name: len(files[name]) for name in SMALL}
    assert (offline.card.license, offline.card.base_model) == ("cc-by-nc-nd-4.0", "meta/first")


def test_a_card_with_fields_for_a_gate_belongs_to_a_gated_model(
    home_hub: LoopbackHub, cache: Path, go_offline: Callable[[], None]
) -> None:
    card = b"---\nlicense: llama3.1\nextra_gated_fields:\n  Name: text\n---\n"
    home_hub.add_repository(BASE, {"README.md": card}, gated="manual").granted.add("tester")
    snapshot_download(BASE)
    go_offline()
    assert our_hub.look_up(BASE, None).gated


def test_the_error_for_a_file_outside_the_cache_names_the_cache(
    home_hub: LoopbackHub, files: Mapping[str, bytes], cache: Path, go_offline: Callable[[], None]
) -> None:
    home_hub.add_repository(BASE, files)
    our_hub.download(our_hub.look_up(BASE, None), SMALL)
    go_offline()
    with pytest.raises(HubUnreachable, match=r"is not in the cache .*, or not whole") as caught:
        our_hub.download(our_hub.look_up(BASE, None), ("model.safetensors",))
    assert str(cache) in str(caught.value)
    with pytest.raises(HubUnreachable, match="HF_HUB_OFFLINE is set, and acme/other is not in the cache"):
        our_hub.look_up("acme/other", None)


def test_the_sizes_of_tensors_are_read_from_the_cache(
    home_hub: LoopbackHub, files: Mapping[str, bytes], cache: Path, go_offline: Callable[[], None]
) -> None:
    home_hub.add_repository(BASE, files)
    online = our_hub.weight_headers(our_hub.look_up(BASE, None))
    snapshot_download(BASE)
    go_offline()
    offline = our_hub.weight_headers(our_hub.look_up(BASE, None))
    shapes = {name: tensor.shape for name, tensor in online.tensors.items()}
    assert {name: tensor.shape for name, tensor in offline.tensors.items()} == shapes
    assert offline.size_bytes == online.size_bytes


def test_publishing_is_refused_at_once(
    home_hub: LoopbackHub, tiny_models: Callable[..., Path], tmp_path: Path, go_offline: Callable[[], None]
) -> None:
    go_offline()
    outcome = hf_prune(str(tiny_models("llama")), "--push", "--output", str(tmp_path / "run"))
    assert outcome.code == 1
    assert "HF_HUB_OFFLINE is set, so nothing can be published" in outcome.error()
    assert not (tmp_path / "run").exists()


def test_a_run_works_from_the_files_of_hf_download(
    home_hub: LoopbackHub,
    files: Mapping[str, bytes],
    cache: Path,
    go_offline: Callable[[], None],
    tmp_path: Path,
) -> None:
    home_hub.add_repository(BASE, files)
    snapshot_download(BASE)
    go_offline()
    words = ("--drop-layers", "2", "--method", "angular", "--bridge", "none", *FEW)
    outcome = hf_prune(BASE, *words, "--output", str(tmp_path / "run"))
    assert outcome.code == 0, outcome.err
    assert home_hub.calls == []
    forbidden = "the licence of the original, CC BY-NC-ND 4.0, lets nobody share a changed version"
    assert f"{forbidden} (NoDerivatives): do not publish the result" in outcome.err
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "license: cc-by-nc-nd-4.0" in card
    assert "**you may not publish this model.**" in card
    assert (tmp_path / "run" / "model" / "LICENSE").read_bytes() == files["LICENSE"]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["analyze", "eval"])
def test_the_other_commands_work_from_the_cache_too(
    home_hub: LoopbackHub,
    files: Mapping[str, bytes],
    cache: Path,
    go_offline: Callable[[], None],
    tmp_path: Path,
    command: str,
) -> None:
    home_hub.add_repository(BASE, files)
    snapshot_download(BASE)
    go_offline()
    few = FEW[:2] + FEW[-2:] if command == "analyze" else FEW[2:]
    outcome = hf_prune(command, BASE, *few, "--output", str(tmp_path / "run"))
    assert outcome.code == 0, outcome.err
    assert home_hub.calls == []
