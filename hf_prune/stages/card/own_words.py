"""What a user adds to the card: a template that overrides its blocks, and notes.

Both are read and checked before the long work begins, and kept whole in the record of the run: the card can
be rendered again from that record alone, and whoever verifies a card can see that its words are not all the
tool's own.
"""

import types
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from jinja2 import TemplateSyntaxError, meta, nodes

from hf_prune.errors import UnusableTemplate
from hf_prune.records import Presentation
from hf_prune.stages.card.templates import BASE, CARDS, FOLDERS, card_environment
from hf_prune.stages.run import Run


def read_presentation(template: Path | None, notes: Path | None) -> Presentation | None:
    """What the user adds to the card; None where that is nothing.

    Args:
        template: a Jinja template that extends model_card.md.j2.
        notes: a section in Markdown.

    Raises:
        UnusableTemplate: a file cannot be read, or the template has a fault that shows without a run.
    """
    if template is None and notes is None:
        return None
    own = _text_of(template, "--template") if template else None
    if template is not None and own is not None:
        check_template(own, template.name)
    return Presentation(
        template_name=template.name if template else None,
        template=own,
        notes=_text_of(notes, "--notes").strip() if notes else None,
    )


def _text_of(path: Path, option: str) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UnusableTemplate(f"{option} {path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UnusableTemplate(f"{option} {path} is not text in UTF-8: save it so") from error
    if not text.strip():
        raise UnusableTemplate(f"{option} {path} is empty: write something into it, or leave it out")
    return text


def check_template(text: str, name: str) -> None:
    """Find what is wrong with a template without a run to render.

    Args:
        text: of the template.
        name: of its file.

    Raises:
        UnusableTemplate: with the line of the first fault.
    """
    environment = card_environment()
    try:
        environment.compile(text, name)
        tree = environment.parse(text, name)
    except TemplateSyntaxError as error:
        raise UnusableTemplate(f"{name}, line {error.lineno}: {error.message}") from error
    parents = [node.template for node in tree.find_all(nodes.Extends)]
    if [getattr(parent, "value", None) for parent in parents] != [BASE]:
        raise UnusableTemplate(
            f'{name} has to begin with {{% extends "{BASE}" %}}, whose blocks it overrides'
        )
    for line, fault in sorted(_faults(tree)):
        raise UnusableTemplate(f"{name}, line {line}: {fault}")


def _faults(tree: nodes.Template) -> Iterator[tuple[int, str]]:
    """Names that no card has, each with its line."""
    blocks, values = _known_blocks(), _known_values()
    for block in tree.find_all(nodes.Block):
        if block.name not in blocks:
            yield block.lineno, f"the card has no block {block.name!r}; it has {', '.join(blocks)}"
    unknown = meta.find_undeclared_variables(tree) - values
    for name in tree.find_all(nodes.Name):
        if name.name in unknown:
            yield name.lineno, f"the card has no value {name.name!r}; `run` has all that was recorded"
    for attribute in tree.find_all(nodes.Getattr):
        yield from _faults_of_run(attribute)


def _faults_of_run(attribute: nodes.Getattr) -> Iterator[tuple[int, str]]:
    """Whether `run.source.licence` names fields that records have."""
    path: list[str] = []
    node: nodes.Node = attribute
    while isinstance(node, nodes.Getattr):
        path.insert(0, node.attr)
        node = node.node
    if not isinstance(node, nodes.Name) or node.name != "run":
        return
    kind: Any = Run
    for name in path:
        if not is_dataclass(kind):
            return
        if not hasattr(kind, name) and name not in {field.name for field in fields(kind)}:
            yield attribute.lineno, f"run.{'.'.join(path)}: there is no field {name!r}"
            return
        kind = get_type_hints(kind).get(name)
        if isinstance(kind, types.UnionType):
            kind = next((each for each in get_args(kind) if each is not types.NoneType), None)


def _known_blocks() -> list[str]:
    """The names of all blocks, in the order of the card."""
    environment = card_environment()
    found: dict[str, None] = {}
    for card in CARDS:
        found |= dict.fromkeys(block.name for block in environment.parse(_source(card)).find_all(nodes.Block))
    return list(found)


def _known_values() -> set[str]:
    """Every value that some built-in template asks for."""
    environment = card_environment()
    names = environment.list_templates(filter_func=lambda name: name.endswith(".md.j2"))
    return set().union(*(meta.find_undeclared_variables(environment.parse(_source(name))) for name in names))


def _source(name: str) -> str:
    return next(
        (folder / name).read_text(encoding="utf-8") for folder in FOLDERS if (folder / name).is_file()
    )
