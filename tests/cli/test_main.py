"""The command line from outside: its help, what it imports, and which way imports point."""

import ast
import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from hf_prune.cli.help import SECTIONS
from hf_prune.cli.main import cli
from tests.loopback import LoopbackHub
from tests.support.checkout import ROOT
from tests.support.tool import hf_prune, hf_prune_apart

PACKAGE = ROOT / "hf_prune"
HEAVY = {"torch", "transformers", "lm_eval", "huggingface_hub", "numpy", "matplotlib", "rich", "jinja2"}
LIGHT = (
    "cli",
    "options",
    "gates",
    "recipe",
    "recipe_files",
    "errors",
    "report",
    "progress",
    "__init__",
    "__main__",
)
LIGHT_FOLDERS = ("choose", "records")
HEAVY_HOMES = {
    "measure",
    "decoder",
    "activations",
    "original",
    "trials",
    "weights",
    "anatomy",
    "skeleton",
    "bridge",
    "loading",
    "stream",
    "in_place",
}
OUTSIDE = {"cli", "pipeline", "analysis", "evaluation", "console"}
MAY_IMPORT_THE_HUB = {
    "skeleton",
    "hub",
    "front_matter",
    "source",
    "demo",
    "console/terminal",
}  # the others: cards, logging, a folder


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


# Which way imports point


def imported_by(path: Path) -> Iterator[str]:
    """Every module that a file imports anywhere, dotted; of `from hf_prune import x` both."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


MODULES = {path.relative_to(PACKAGE).with_suffix("").as_posix() for path in PACKAGE.rglob("*.py")}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_dependencies_point_inwards(module: str) -> None:
    names = set(imported_by(PACKAGE / f"{module}.py"))
    roots = {name.split(".")[0] for name in names}
    inner = {name.split(".")[1] for name in names if name.startswith("hf_prune.")}
    if not {module, module.split("/")[0]} & MAY_IMPORT_THE_HUB:
        assert "huggingface_hub" not in roots
    if module in LIGHT or module.split("/")[0] in LIGHT_FOLDERS:
        assert inner & HEAVY_HOMES == set()
        assert "torch" not in roots
    if module.split("/")[0] not in {*OUTSIDE, "__init__", "__main__"}:
        assert inner & OUTSIDE == set()
