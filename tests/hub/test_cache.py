"""The Hub's cache lies below HF_HOME, and an error names it if it is full or read-only."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants

from hf_prune import hub as our_hub
from hf_prune.errors import DiskFull, UnusableCache
from hf_prune.hub.cache import plain_cache_errors
from tests.loopback import LoopbackHub
from tests.support.tool import hf_prune_apart

CLOSED = Path("/sys")  # where nobody can make a folder


@pytest.fixture
def base(home_hub: LoopbackHub) -> our_hub.Repository:
    """A model on the Hub."""
    home_hub.add_repository("acme/open", {"config.json": b"{}", "model.safetensors": b"x" * 1000})
    return our_hub.look_up("acme/open", None)


def test_a_cache_without_room_is_named_with_hf_home(
    base: our_hub.Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DiskFull) as caught:
        our_hub.download(base, ("model.safetensors",))
    assert f"downloading acme/open needs 1 kB in {tmp_path}, where 10 B are free" in str(caught.value)
    assert "set HF_HOME to a folder on another disk" in str(caught.value)
    assert not list(tmp_path.rglob("model.safetensors"))


def test_a_cache_that_fills_up_is_named_with_hf_home(tmp_path: Path) -> None:
    with pytest.raises(DiskFull) as caught, plain_cache_errors(tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert f"the disk with the Hub's cache {tmp_path} is full" in str(caught.value)
    assert "`hf cache rm` removes them) or set HF_HOME" in str(caught.value)


def test_an_error_that_does_not_concern_the_disk_passes(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="else"), plain_cache_errors(tmp_path):
        raise OSError("something else")


def test_a_cache_that_cannot_be_written_is_named_with_hf_home(
    base: our_hub.Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(CLOSED / "hub"))
    usage = shutil.disk_usage("/")._replace(free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UnusableCache, match=r"the Hub's cache /sys/hub cannot be written .*: set HF_HOME"):
        our_hub.download(base, ("config.json",))


def test_a_folder_for_measurements_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    for path in (CLOSED / "assets", tmp_path / "file"):
        monkeypatch.setattr("huggingface_hub.utils._cache_assets.HF_ASSETS_CACHE", str(path))
        monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(path))
        with pytest.raises(UnusableCache, match=f"the Hub's cache {path} cannot be written"):
            our_hub.kept_results("scores")


def test_a_read_only_record_of_commits_does_not_stop_a_download(
    base: our_hub.Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    (tmp_path / "models--acme--open").mkdir()
    (tmp_path / "models--acme--open" / "refs").write_text("in the way")
    assert (our_hub.download(base, ("config.json",)) / "config.json").read_bytes() == b"{}"


@pytest.mark.slow
def test_all_caches_lie_below_hf_home(
    home_hub: LoopbackHub, tiny_models: Callable[..., Path], tmp_path: Path
) -> None:
    model = {path.name: path.read_bytes() for path in tiny_models("llama").iterdir()}
    home_hub.add_repository("acme/open", model)
    home, output, elsewhere = (tmp_path / name for name in ("home", "run", "user"))
    words = ("acme/open", "--seq-len", "32", "--samples", "4", "--output", str(output))
    environment = {"HF_HOME": str(home), "HOME": str(elsewhere), "XDG_CACHE_HOME": str(elsewhere / "cache")}
    outcome = hf_prune_apart("analyze", *words, **environment)
    assert outcome.code == 0, outcome.err
    assert (home / "hub" / "models--acme--open" / "refs" / "main").is_file()
    assert list((home / "assets" / "hf-prune" / "scores").rglob("*.json"))
    assert not list(elsewhere.rglob("*hf-prune*"))
    assert not list(elsewhere.rglob("*huggingface*"))
