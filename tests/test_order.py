"""The rooms of the package stand in one order, and no module imports from a later room than its own."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.checkout import ROOT

PACKAGE = ROOT / "hf_prune"
ORDER = (
    "errors",
    "records",
    "recipe",
    "machine",
    "model",
    "hub",
    "stages/run",
    "stages/source",
    "stages/texts",
    "stages/original",
    "stages/work",
    "stages/measure",
    "stages/choose",
    "stages/cut",
    "stages/bridge",
    "stages/grow",
    "stages/heal",
    "stages/evaluate",
    "stages/export",
    "stages/card",
    "stages/publish",
    "commands",
    "cli",
)
MAY_IMPORT_HUGGINGFACE_HUB = {  # besides hub/, and why
    "model/skeleton": "transformers raises its StrictDataclassError for a configuration",
    "stages/card/metadata": "the card's metadata are its records, which the Hub itself checks",
}
LIGHT = ("errors", "records", "recipe")  # rooms that `--help` and a wrong option load
HEAVY = {"torch", "transformers", "numpy", "matplotlib", "huggingface_hub", "jinja2", "lm_eval"}
MODULES = sorted(path.relative_to(PACKAGE).with_suffix("").as_posix() for path in PACKAGE.rglob("*.py"))


def room_of(module: str) -> str:
    """The room that a module is in: "stages/cut/shards" is in "stages/cut"."""
    parts = module.split("/")
    return "/".join(parts[:2]) if parts[0] == "stages" else parts[0]


def imported_by(path: Path) -> Iterator[str]:
    """Every name that a file imports anywhere, under TYPE_CHECKING too: "hf_prune/hub/cache/kept_results"."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.replace(".", "/") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}".replace(".", "/") for alias in node.names)


def test_the_package_has_no_room_besides_those_in_order() -> None:
    rooms = {room_of(module) for module in MODULES} - {"__init__", "__main__", "stages/__init__"}
    assert rooms == set(ORDER)
    assert (
        len(
            [
                entry
                for entry in PACKAGE.iterdir()
                if entry.suffix == ".py" or (entry / "__init__.py").exists()
            ]
        )
        <= 12
    )


@pytest.mark.parametrize("module", [m for m in MODULES if room_of(m) in ORDER])
def test_a_module_imports_from_its_own_room_or_an_earlier_one(module: str) -> None:
    own = ORDER.index(room_of(module))
    ours = [name for name in imported_by(PACKAGE / f"{module}.py") if name.startswith("hf_prune/")]
    names = [name for name in (each.removeprefix("hf_prune/") for each in ours) if room_of(name) in ORDER]
    assert [name for name in names if ORDER.index(room_of(name)) > own] == []


@pytest.mark.parametrize("module", MODULES)
def test_only_the_hub_room_talks_to_the_hub(module: str) -> None:
    imports = {name.split("/")[0] for name in imported_by(PACKAGE / f"{module}.py")}
    may = room_of(module) == "hub" or module in MAY_IMPORT_HUGGINGFACE_HUB
    assert may or "huggingface_hub" not in imports


@pytest.mark.parametrize("module", [m for m in MODULES if room_of(m) in LIGHT])
def test_a_recipe_and_the_records_load_nothing_heavy(module: str) -> None:
    imports = {name.split("/")[0] for name in imported_by(PACKAGE / f"{module}.py")}
    assert imports & HEAVY == set()
