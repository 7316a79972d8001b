"""How what is missing can be had, in whichever environment hf-prune lies."""

import sys

import pytest

from hf_prune.machine import packages as missing


@pytest.mark.parametrize(
    ("pip", "installer"),
    [(object(), f"{sys.executable} -m pip install"), (None, f"uv pip install --python {sys.executable}")],
    ids=["with pip", "without"],
)
def test_the_command_is_for_the_environment_that_runs_this(
    monkeypatch: pytest.MonkeyPatch, pip: object, installer: str
) -> None:
    monkeypatch.setattr(missing, "find_spec", lambda name: pip)
    assert missing.how_to_install("--no-deps", "a[b]") == f"{installer} --no-deps 'a[b]'"
