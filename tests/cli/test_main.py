"""The command line from outside: its help, and what that loads."""

import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

import hf_prune as api
from hf_prune.cli.main import cli
from hf_prune.cli.options import SECTIONS
from tests.loopback import LoopbackHub
from tests.support.checkout import ROOT
from tests.support.tool import hf_prune, hf_prune_apart

PACKAGE = ROOT / "hf_prune"
HEAVY = {"torch", "transformers", "lm_eval", "huggingface_hub", "numpy", "matplotlib", "rich", "jinja2"}


def installed(*words: str) -> str:
    """What the installed command prints on stdout, in a terminal of 80 columns."""
    command = [str(Path(sysconfig.get_path("scripts")) / "hf-prune"), *words]
    environment = {"COLUMNS": "80", "LANG": "C.UTF-8"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_the_help_is_as_it_was_reviewed(golden: Callable[[str, str], None]) -> None:
    golden("help.txt", installed("--help") + "\n" + installed("run", "--help"))


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_the_help_of_each_command_has_an_example(command: str) -> None:
    outcome = hf_prune(command, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert "\\b" not in outcome.out  # click's mark for a paragraph that is not to be wrapped
    example = outcome.out.partition("\n  Example:\n")[2].strip()
    assert example.startswith("hf-prune ")


def test_the_help_of_the_tool_has_examples() -> None:
    outcome = hf_prune("--help")
    assert outcome.code == 0
    assert "hf-prune meta-llama/Llama-2-7b --push" in outcome.out


def test_the_help_of_the_tool_says_of_each_command_whole_what_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    commands = hf_prune("--help").out.partition("\nCommands:\n")[2].partition("\n\n")[0].splitlines()
    assert {line.split()[0] for line in commands} == cli.commands.keys()
    assert [line for line in commands if line.endswith("...")] == []


def test_each_of_many_options_stands_under_a_heading_in_the_order_of_a_run() -> None:
    text = hf_prune("run", "--help").out
    headings = re.findall(r"^(\w.*):$", text, re.MULTILINE)
    assert headings == list(SECTIONS)  # no "Options" besides
    assert text.index("What to remove:") < text.index("--ratio") < text.index("How to choose:")
    assert "\nOptions:\n" in hf_prune("push", "--help").out  # where they are few


@pytest.mark.parametrize("name", api.__all__)
def test_each_public_name_of_the_package_is_there(name: str) -> None:
    assert getattr(api, name).__name__ == name


def test_help_imports_nothing_heavy() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "hf_prune", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "click" in imported  # so the output was understood
    assert imported & HEAVY == set()


def test_the_version_is_that_of_the_package() -> None:
    assert hf_prune("--version").out.split()[-1] == version("hf-prune")


def test_the_package_runs_as_a_module() -> None:
    outcome = hf_prune_apart("--version")
    assert (outcome.code, outcome.out.split()[-1]) == (0, version("hf-prune"))


@pytest.mark.parametrize(
    "words", [("acme/missing",), ("run", "acme/missing"), ("--drop-layers", "2", "acme/missing")]
)
def test_a_word_that_is_no_command_is_a_model(
    home_hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = hf_prune(*words)
    assert outcome.code == 1
    assert "there is no model acme/missing" in outcome.error()
