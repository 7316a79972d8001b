"""The command that installs a missing package into the environment of hf-prune."""

import sys

import pytest

from hf_prune.machine import packages


@pytest.mark.parametrize(
    ("pip", "installer"),
    [(object(), f"{sys.executable} -m pip install"), (None, f"uv pip install --python {sys.executable}")],
    ids=["with pip", "without"],
)
def test_the_command_is_for_the_environment_that_runs_this(
    monkeypatch: pytest.MonkeyPatch, pip: object, installer: str
) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: pip)
    assert packages.install_command("--no-deps", "a[b]") == f"{installer} --no-deps 'a[b]'"
