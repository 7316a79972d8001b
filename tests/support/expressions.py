"""The expressions of GitHub's workflows, as far as this project's files use them.

As on GitHub, a missing value is null, `a || b` is a value, and values of two types are compared as numbers.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

TOKEN = re.compile(r"\s*('(?:[^']|'')*'|&&|\|\||==|!=|!|[()]|\d+|[A-Za-z_][\w.-]*)")

Functions = Mapping[str, Callable[..., Any]]


def evaluate(text: str, names: Mapping[str, Any], functions: Functions | None = None) -> Any:
    """The value of an expression.

    Args:
        text: without the braces around it.
        names: the contexts: "inputs", "steps".
        functions: those that depend on the job, such as "success".
    """
    tokens, position = [], 0
    text = text.strip()
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"no expression that is known here: {text!r}")
        tokens.append(match[1])
        position = match.end()
    parser = _Parser(tokens, names, {"fromJSON": json.loads, **(functions or {})})
    value = parser.either()
    assert parser.tokens == [], f"left over in {text!r}: {parser.tokens}"
    return value


def filled(text: str, names: Mapping[str, Any]) -> str:
    """A text with the values of its expressions in it."""
    return re.sub(r"\$\{\{(.*?)\}\}", lambda match: shown(evaluate(match[1], names)), text)


def shown(value: Any) -> str:
    """A value inside a text."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


class _Parser:
    """By recursive descent; nothing has a side effect, so both sides are always evaluated."""

    def __init__(self, tokens: list[str], names: Mapping[str, Any], functions: Functions) -> None:
        self.tokens = tokens
        self.names = names
        self.functions = functions

    def either(self) -> Any:
        value = self.both()
        while self.took("||"):
            other = self.both()
            value = value or other
        return value

    def both(self) -> Any:
        value = self.compared()
        while self.took("&&"):
            other = self.compared()
            value = value and other
        return value

    def compared(self) -> Any:
        value = self.one()
        if self.took("=="):
            return _equal(value, self.one())
        if self.took("!="):
            return not _equal(value, self.one())
        return value

    def one(self) -> Any:
        token = self.tokens.pop(0)
        if token == "!":
            return not self.one()
        if token == "(":
            value = self.either()
            assert self.took(")")
            return value
        if token.startswith("'"):
            return token[1:-1].replace("''", "'")
        if token.isdigit():
            return int(token)
        if token in ("true", "false", "null"):
            return json.loads(token)
        if self.took("("):
            arguments = [] if self.tokens[0] == ")" else [self.either()]
            assert self.took(")")
            return self.functions[token](*arguments)
        return self.named(token)

    def named(self, path: str) -> Any:
        first, *parts = path.split(".")
        value = self.names[first]  # KeyError: there is no such context
        for part in parts:
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

    def took(self, token: str) -> bool:
        if self.tokens[:1] != [token]:
            return False
        self.tokens.pop(0)
        return True


def _equal(one: Any, other: Any) -> bool:
    if type(one) is type(other):
        return bool(one.lower() == other.lower() if isinstance(one, str) else one == other)
    return _number(one) == _number(other)


def _number(value: Any) -> float:
    if value is None or value == "":
        return 0.0
    try:
        return float(value)
    except ValueError:
        return float("nan")
