"""The user's own words on the card: a template that overrides its blocks, and notes.

Both are read and checked before the long work begins. The record of the run keeps both, so that the card can
be rendered again from the record, and so that `hf-prune verify` can tell which words are the user's.
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
    """Read a Jinja template that extends model_card.md.j2 and a section in Markdown. None: there is neither.

    Raises:
        UnusableTemplate: a file cannot be read, or the template has an error that shows without a run.
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
        raise UnusableTemplate(f"{option} {path} is not UTF-8 text. Save it as UTF-8") from error
    if not text.strip():
        raise UnusableTemplate(f"{option} {path} is empty. Write something into it, or leave out {option}")
    return text


def check_template(text: str, name: str) -> None:
    """Find the errors of a template that show without a run to render. `name` is that of its file.

    Raises:
        UnusableTemplate: with the line of the first error.
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
            f'{name} must begin with {{% extends "{BASE}" %}}, because it overrides blocks of that template'
        )
    for line, message in sorted(_faults(tree)):
        raise UnusableTemplate(f"{name}, line {line}: {message}")


def _faults(tree: nodes.Template) -> Iterator[tuple[int, str]]:
    """Names that no card has, each with its line and a message."""
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
    """Fields such as `run.source.licence` that the record does not have."""
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
    trees = [environment.parse(_source(card)) for card in CARDS]
    return list(dict.fromkeys(block.name for tree in trees for block in tree.find_all(nodes.Block)))


def _known_values() -> set[str]:
    """Every value that a built-in template uses."""
    environment = card_environment()
    names = environment.list_templates(filter_func=lambda name: name.endswith(".md.j2"))
    return set().union(*(meta.find_undeclared_variables(environment.parse(_source(name))) for name in names))


def _source(name: str) -> str:
    return next(
        (folder / name).read_text(encoding="utf-8") for folder in FOLDERS if (folder / name).is_file()
    )
