"""Someone who has never seen the tool: the commands of README and tutorial, in their order and nothing else.

They have a Python, an account (`HF_TOKEN`), and transformers for what they load. Two things stand in for
the world: a Hub on loopback, where models of the names that are used are tiny ones, and a proxy that gives
GitHub's answers about this checkout. Their line is slow: docs/installing.md has a way for it, by which
packages stay in uv's cache.
"""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from filecmp import cmp
from importlib.metadata import version
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from tests.loopback import LoopbackHub
from tests.support.checkout import ROOT
from tests.support.github import GitHub
from tests.support.tool import bytes_of

PACKAGE = ROOT / "hf_prune"
README, TUTORIAL, INSTALLING = ROOT / "README.md", ROOT / "docs/tutorial.md", ROOT / "docs/installing.md"
REPOSITORY = "OWNER/hf-prune"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ELSEWHERE = re.compile(r"<!-- (demo|tests) -->.*?<!-- /\1 -->", re.DOTALL)  # run by test_demo.py and by CI
WITHHELD = ("PYTHONPATH", "VIRTUAL_ENV", "HF_HOME", "HF_HUB_OFFLINE", "TQDM_DISABLE")
STAND_INS = {"meta-llama/Llama-2-7b": 6, "HuggingFaceTB/SmolLM2-135M-Instruct": 8}  # and their layers
NAMES = {
    "USER/": "tester/",
    "-24L": "-2L",
}  # whose Hub it is, and how deep the stand-in is without six layers
SPLITS = ("train", "validation", "test")
CARD = b"---\nlicense: apache-2.0\n---\n"
SMALL = "tester/SmolLM2-135M-Instruct-2L"


def blocks(document: Path) -> list[tuple[str, str]]:
    """Language and text of each block that a reader may run, in order."""
    return BLOCK.findall(ELSEWHERE.sub("", document.read_text()))


# What `hf extensions install` asks of the repository


def test_the_repository_has_no_file_that_hf_would_take_for_the_whole_extension() -> None:
    assert not (ROOT / "hf-prune").exists()
    assert not (ROOT / "manifest.json").exists()  # its description would be shown in place of the project's


def test_the_package_has_the_command_and_the_line_that_hf_looks_for() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    project = tomllib.loads(text)["project"]
    assert project["scripts"] == {"hf-prune": "hf_prune.cli.main:main"}
    first = next(line.strip() for line in text.splitlines() if line.strip().startswith("description"))
    assert first.partition("=")[2].strip().strip("\"'") == project["description"]


# The documents


@pytest.mark.parametrize("document", [README, TUTORIAL], ids=lambda path: path.name)
def test_every_block_is_run_or_is_what_a_reader_sees(document: Path) -> None:
    assert {language for language, _ in blocks(document)} <= {"bash", "python", "text"}


def test_the_tutorial_installs_as_the_readme_does() -> None:
    (_, first), (_, installing) = blocks(README)[0], blocks(TUTORIAL)[0]
    assert first.startswith(installing)


@dataclass(frozen=True)
class Newcomer:
    """A folder, and a shell with an environment of its own."""

    folder: Path
    environment: dict[str, str]
    hub: LoopbackHub

    def run(self, language: str, text: str) -> str:
        """What a block prints on stdout; it must succeed."""
        interpreters = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}
        for shown, meant in NAMES.items():
            text = text.replace(shown, meant)
        command = [*interpreters[language], text]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def newcomer(
    tiny_models: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Newcomer]:
    """With the tool installed by the README's own lines, as far as the first that uses it."""
    folder = tmp_path_factory.mktemp("newcomer")
    home, begun = folder / "home", folder / "begun"
    subprocess.run([sys.executable, "-m", "venv", str(begun)], check=True)
    cache = subprocess.run(["uv", "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
    with LoopbackHub() as hub, GitHub(REPOSITORY, ROOT, folder) as github:
        for name, layers in STAND_INS.items():
            model = tiny_models("llama", num_hidden_layers=layers, max_position_embeddings=512)
            hub.add_repository(name, {"README.md": CARD} | bytes_of(model))
        hub.add_repository("allenai/ai2_arc", arc_easy(), kind="dataset")
        environment = {name: value for name, value in os.environ.items() if name not in WITHHELD}
        environment |= github.environment | {
            "PATH": f"{begun / 'bin'}:{os.environ['PATH']}",
            "HOME": str(home),
            "UV_CACHE_DIR": cache,
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(home / "huggingface"),
            "HF_TOKEN": "hf_test",
        }
        begins = Newcomer(folder, environment, hub)
        line, both = first_lines()[0].split("\n", 1)
        begins.run("bash", line)
        fetching, installing = slow_line()
        begins.run("bash", fetching)
        assert installing == f"UV_OFFLINE=1 {both.splitlines()[0]}"
        begins.run("bash", f"export UV_OFFLINE=1\n{both}")
        yield begins
        begins.run("bash", "hf extensions remove prune")
        assert (hub.unknown, hub.crashes) == ([], [])
    shutil.rmtree(folder, ignore_errors=True)


def first_lines() -> tuple[str, str]:
    """The README's first block: what installs the tool, and what uses it."""
    installing, use, rest = blocks(README)[0][1].partition("hf prune ")
    return installing, use + rest


def arc_easy() -> dict[str, bytes]:
    """The files of a data set of sixteen questions, where the harness looks for ARC-easy."""
    items = [
        json.loads(line) for line in (ROOT / "tests/support/tasks/own_choices.jsonl").read_text().splitlines()
    ]
    table = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(items), table)
    files = {f"ARC-Easy/{split}-00000-of-00001.parquet": table.getvalue() for split in SPLITS}
    told = [f"  - split: {split}\n    path: ARC-Easy/{split}-*" for split in SPLITS]
    card = "\n".join(["---", "configs:", "- config_name: ARC-Easy", "  data_files:", *told, "---", ""])
    return {"README.md": card.encode()} | files


def slow_line() -> list[str]:
    """What is done on a slow line: to fetch, and to install."""
    section = INSTALLING.read_text().split("<!-- slow line -->")[1].split("<!-- /slow line -->")[0]
    [(_, text)] = BLOCK.findall(section)
    return text.splitlines()


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_the_hub_s_own_command_has_the_extension(newcomer: Newcomer) -> None:
    assert newcomer.run("bash", "hf prune --version").split()[-1] == version("hf-prune")
    description = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["description"]
    assert f"{description[:40]}" in newcomer.run("bash", "hf --help")
    (listed,) = json.loads(newcomer.run("bash", "hf extensions list --format json"))
    assert (listed["command"], listed["source"], listed["type"]) == ("hf prune", REPOSITORY, "python")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert listed["version"] == head.stdout[:7]
    (installed,) = (newcomer.folder / "home").glob(
        ".local/share/hf/extensions/**/site-packages/hf_prune/cli.py"
    )
    modules = [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")]
    other = [name for name in modules if not cmp(PACKAGE / name, installed.parent / name, shallow=False)]
    assert other == []  # nothing is left in a cache of what the repository was before


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_the_readme_leads_to_a_published_model(newcomer: Newcomer) -> None:
    newcomer.run("bash", first_lines()[1])
    assert newcomer.hub.files("tester/Llama-2-7b-4L").keys() >= {"README.md", "model.safetensors"}
    for language, text in blocks(README)[1:]:
        newcomer.run(language, text)
    assert newcomer.hub.files(SMALL).keys() >= {"README.md", "model.safetensors", "hf_prune.json"}


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_the_tutorial_leads_from_a_look_to_a_second_version(newcomer: Newcomer, tmp_path: Path) -> None:
    newcomer.hub.repositories.pop(("model", SMALL.lower()), None)
    follows = Newcomer(tmp_path, newcomer.environment, newcomer.hub)
    printed = [follows.run(language, text) for language, text in blocks(TUTORIAL)[1:] if language != "text"]
    assert any(out.strip() == f"{newcomer.hub.url}/{SMALL}" for out in printed)
    assert len(newcomer.hub.repositories["model", SMALL.lower()].commits) > 2
    assert newcomer.hub.files(SMALL).keys() >= {"README.md", "model.safetensors", "model.gguf"}
