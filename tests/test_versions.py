"""The pins of pyproject.toml, and the script that makes them and tries other versions."""

import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.checkout import ROOT

SCRIPT = ROOT / ".ci" / "versions.py"
PYPROJECT = (ROOT / "pyproject.toml").read_text()
CONTENT: dict[str, Any] = tomllib.loads(PYPROJECT)
PINS = [Requirement(pin) for pin in CONTENT["tool"]["uv"]["constraint-dependencies"]]


@pytest.fixture(scope="module")
def versions() -> ModuleType:
    specification = importlib.util.spec_from_file_location("versions", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def named(content: dict[str, Any]) -> list[Requirement]:
    """What pyproject.toml names itself, for users and for development."""
    project, groups = content["project"], content["dependency-groups"].values()
    lists = [project["dependencies"], *project["optional-dependencies"].values(), *groups]
    words = [word for each in lists for word in each if isinstance(word, str)]
    return [Requirement(word) for word in words]


@pytest.mark.skipif(not PINS, reason="the pins are lifted: the oldest or the newest versions are tried")
@pytest.mark.parametrize("requirement", named(CONTENT), ids=str)
def test_all_that_is_named_is_pinned_within_its_range(requirement: Requirement) -> None:
    pinned = [pin for pin in PINS if canonicalize_name(pin.name) == canonicalize_name(requirement.name)]
    assert pinned
    for pin in pinned:
        [exact] = pin.specifier
        assert exact.operator == "=="
        assert requirement.specifier.contains(exact.version)


@pytest.mark.parametrize("requirement", named(CONTENT), ids=str)
def test_all_that_is_named_has_an_oldest_version(requirement: Requirement) -> None:
    assert {each.operator for each in requirement.specifier} & {">=", "=="}


def test_users_are_told_which_transformers_it_runs_with() -> None:
    [requirement] = [each for each in named(CONTENT) if each.name == "transformers"]
    page = (ROOT / "docs" / "installing.md").read_text()
    allowed = [minor for minor in range(100) if requirement.specifier.contains(f"5.{minor}.0")]
    assert f"transformers {' and '.join(f'5.{minor}' for minor in allowed)}." in page


def test_no_pin_names_where_it_comes_from() -> None:
    assert [pin.name for pin in PINS if pin.url] == []
    assert not {"index", "index-url", "extra-index-url", "find-links", "sources"} & set(CONTENT["tool"]["uv"])


def test_without_its_pins_the_ranges_are_left(versions: ModuleType) -> None:
    content = tomllib.loads(versions.without_pins(PYPROJECT))
    assert content["tool"]["uv"].pop("constraint-dependencies") == []
    assert content["tool"]["uv"].pop("build-constraint-dependencies") == []
    kept = {key: value for key, value in CONTENT["tool"]["uv"].items() if "constraint" not in key}
    assert content["tool"]["uv"] == kept
    assert content["project"] == CONTENT["project"]


def test_the_newest_versions_have_no_upper_bound_and_the_same_lower_one(versions: ModuleType) -> None:
    content = tomllib.loads(versions.without_upper_bounds(PYPROJECT))
    for before, after in zip(named(CONTENT), named(content), strict=True):
        lower = [each for each in before.specifier if each.operator != "<"]
        assert (after.name, after.extras, list(after.specifier)) == (before.name, before.extras, lower)


def test_pins_are_written_where_they_stood(versions: ModuleType) -> None:
    written = versions.with_pins(PYPROJECT, "constraint-dependencies", ["torch==9.9", "numpy==8.8"])
    content = tomllib.loads(written)
    assert content["tool"]["uv"]["constraint-dependencies"] == ["torch==9.9", "numpy==8.8"]
    assert {**content, "tool": None} == {**CONTENT, "tool": None}


def test_a_marker_is_kept_where_a_package_has_several_versions(versions: ModuleType) -> None:
    requirements = (
        "# by uv\ncolorama==0.4.6 ; sys_platform == 'win32'\n"
        "numpy==2.4.6 ; python_full_version < '3.12'\nnumpy==2.5.5 ; python_full_version >= '3.12'\n"
    )
    assert versions.pins_of(requirements) == [
        "colorama==0.4.6",
        "numpy==2.4.6 ; python_full_version < '3.12'",
        "numpy==2.5.5 ; python_full_version >= '3.12'",
    ]


def test_a_command_runs_in_a_copy_with_the_oldest_versions_asked_for() -> None:
    told = (
        "import os, pathlib, tomllib\n"
        "content = tomllib.loads(pathlib.Path('pyproject.toml').read_text())\n"
        "print(pathlib.Path.cwd(), os.environ['UV_RESOLUTION'], content['tool']['uv']"
        "['constraint-dependencies'], pathlib.Path('hf_prune/cli/main.py').is_file())\n"
        "raise SystemExit(7)"
    )
    command = [sys.executable, str(SCRIPT), "lowest", sys.executable, "-c", told]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    folder, *rest = done.stdout.split()
    assert (done.returncode, rest) == (7, ["lowest-direct", "[]", "True"])
    assert folder != str(ROOT)
    assert not Path(folder).exists()


def test_words_that_it_does_not_know_are_answered_with_what_it_does() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "oldest"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "pin the newest versions that pyproject.toml allows" in done.stderr
