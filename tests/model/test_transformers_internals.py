"""What transformers does not promise to keep is listed in CONTRIBUTING.md, and used where the list says."""

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pytest
import torch
import transformers

from tests.support.checkout import ROOT

PACKAGE = ROOT / "hf_prune"


@dataclass(frozen=True)
class Internal:
    path: str  # in transformers: "modeling_utils.PreTrainedModel._from_config"
    module: str  # in hf_prune: "skeleton"
    ours: str

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]


def listed() -> list[Internal]:
    """The rows of the table in CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text().split("### Internals of transformers")[1]
    return [Internal(*row) for row in re.findall(r"^\| `([\w.]+)` \| `([\w.]+)` \| `(\w+)` \|$", text, re.M)]


INTERNALS = listed()


def resolve(path: str) -> Any:
    """What stands at a dotted path: in its module, or in a class of it."""
    module, names = path, list[str]()
    while True:
        try:
            found = import_module(module)
            break
        except ModuleNotFoundError:
            module, _, name = module.rpartition(".")
            names.insert(0, name)
    for name in names:
        found = getattr(found, name)
    return found


def is_there(internal: Internal) -> bool:
    """Whether transformers still has it; some attributes are only set in an instance."""
    owner_path, _, name = f"transformers.{internal.path}".rpartition(".")
    try:
        owner = resolve(owner_path)
    except AttributeError:
        return False
    if hasattr(owner, name) or not inspect.isclass(owner):
        return hasattr(owner, name)
    source = inspect.getsource(sys.modules[owner.__module__])
    return re.search(rf"\.{name}(: [^=\n]+)? = ", source) is not None


@pytest.mark.parametrize("internal", INTERNALS, ids=lambda internal: internal.path)
def test_transformers_still_has(internal: Internal) -> None:
    assert is_there(internal), (
        f"transformers {transformers.__version__} has no {internal.path} any more: "
        f"hf_prune.{internal.module}.{internal.ours} needs it"
    )


def test_an_internal_that_is_gone_is_noticed() -> None:
    gone = (
        "modeling_utils.PreTrainedModel._gone",
        "core_model_loading.gone",
        "gone.thing",
        "trainer.Gone.thing",
    )
    assert [path for path in gone if is_there(Internal(path, "", ""))] == []


@pytest.mark.parametrize("internal", INTERNALS, ids=lambda internal: internal.path)
def test_it_stands_behind_a_name_of_our_own(internal: Internal) -> None:
    assert hasattr(import_module(f"hf_prune.{internal.module}"), internal.ours)


def modules() -> dict[str, ast.Module]:
    """The package's modules by name: "heal.student"."""
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(path.read_text())
        for path in PACKAGE.rglob("*.py")
    }


def words(tree: ast.Module) -> Iterator[str]:
    """Every name, attribute and string of a module."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=word) | ast.Name(id=word) | ast.alias(name=word):
                yield word
            case ast.Constant(value=str(word)):
                yield word


def test_each_is_used_in_its_module_alone() -> None:
    used = {module: set(words(tree)) for module, tree in modules().items()}
    for internal in INTERNALS:
        users = {module for module, found in used.items() if internal.name in found}
        homes = {each.module for each in INTERNALS if each.name == internal.name}
        assert users == homes, internal.path


def imported(tree: ast.Module) -> Iterator[str]:
    """What a module imports from within transformers, by its path there."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("transformers."):
            inside = (node.module or "").removeprefix("transformers.")
            yield from (f"{inside}.{alias.name}" for alias in node.names)
        if isinstance(node, ast.Import):
            names = (alias.name for alias in node.names)
            yield from (name.partition(".")[2] for name in names if name.startswith("transformers."))


def private(tree: ast.Module) -> Iterator[str]:
    """The private attributes of others that a module reads or sets, by attribute or by `getattr`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and not (
            isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
        ):
            yield node.attr
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
            yield from (word.value for word in node.args[1:2] if isinstance(word, ast.Constant))


def test_whatever_else_is_internal_is_on_the_list() -> None:
    trees = modules()
    own = {word for tree in trees.values() for word in own_names(tree)}
    of_torch = set(vars(torch.nn.Module())) | set(dir(torch.nn.Module))
    for module, tree in trees.items():
        paths = [internal.path for internal in INTERNALS if internal.module == module]
        unlisted = {
            path for path in imported(tree) if not any(f"{each}.".startswith(f"{path}.") for each in paths)
        }
        assert unlisted == set(), f"hf_prune.{module}"
        names = {internal.name for internal in INTERNALS if internal.module == module}
        hidden = {name for name in private(tree) if re.match(r"_[^_]", name)}
        assert hidden - own - of_torch - names == set(), f"hf_prune.{module}"


def own_names(tree: ast.Module) -> Iterator[str]:
    """What a module defines itself: functions, and attributes of its own classes."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name):
                yield name
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                yield name
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
