"""The card's templates: their folders, their filters, and how they are rendered.

A user's template is as untrusted as anything else in a repository, so all are rendered in a sandbox. They see
records and filters, but neither files nor attributes that begin with an underscore.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, FileSystemLoader, FunctionLoader, StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from hf_prune.errors import UnusableTemplate, first_line
from hf_prune.records import Presentation
from hf_prune.records.blocks import ranges
from hf_prune.records.numbers import byte_size, count, duration, figure
from hf_prune.stages.card.numbers import (
    accuracy,
    cell,
    change,
    code,
    fenced,
    grouped,
    percent,
    ratio,
    repeated,
    scored,
    sentence,
    series,
    spread,
    with_error,
)

PACKAGE = Path(__file__).parents[2]  # hf_prune/
FOLDERS = (PACKAGE / "templates", PACKAGE.parent / "templates")  # of the wheel, and of an editable install
BASE = "model_card.md.j2"  # a user's template extends this, for a decoder and for an encoder
NO_BREAK = "\N{NO-BREAK SPACE}"
OWN = "the user's own template"
CARDS = (BASE, "encoder_card.md.j2")
FILTERS: tuple[Callable[..., str], ...] = (
    *(accuracy, cell, change, code, count, duration, fenced, figure, grouped, percent, ranges, ratio),
    *(repeated, scored, sentence, series, spread, with_error),
)


def rendered(template: str, context: Mapping[str, Any], presentation: Presentation | None = None) -> str:
    """The text of a template, or of the user's own template that extends it, without repeated blank lines.

    Raises:
        UnusableTemplate: the user's template asks for something that this run does not have.
    """
    if presentation is None or presentation.template is None:
        text = card_environment().get_template(template).render(context)
    else:
        text = _rendered_by(presentation.template, presentation.template_name, template, context)
    text = re.sub(r"^\|.*$", lambda row: _unbroken(row[0]), text, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _unbroken(row: str) -> str:
    """A row of a table whose lines do not break before an error or a percent sign."""
    return re.sub(r"(?<=\d) %", f"{NO_BREAK}%", row.replace(" ± ", f"{NO_BREAK}±{NO_BREAK}"))


def _rendered_by(own: str, name: str | None, template: str, context: Mapping[str, Any]) -> str:
    environment = card_environment()
    base, _, _ = environment.loader.get_source(environment, template) if environment.loader else ("", "", "")
    sources = {BASE: (base, BASE, None), OWN: (own, OWN, None)}
    loader = ChoiceLoader([FunctionLoader(sources.get), FileSystemLoader(FOLDERS)])
    environment = environment.overlay(loader=loader)
    try:
        return environment.get_template(OWN).render(context)
    except (TemplateError, ValueError, TypeError, ArithmeticError) as error:
        line = _line_of(error)
        raise UnusableTemplate(
            f"{name}{f', line {line}' if line else ''}: {first_line(error)}. Correct it and repeat the "
            "command. Finished work is kept"
        ) from error


def _line_of(error: BaseException) -> int | None:
    """The line of the user's template that an error comes from. None: it comes from elsewhere."""
    line, traceback = None, error.__traceback__
    while traceback is not None:
        # Jinja rewrites tracebacks: a template's frame has the name of its file and the line in it.
        if traceback.tb_frame.f_code.co_filename == OWN:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


@cache
def card_environment() -> ImmutableSandboxedEnvironment:
    """The environment that the templates are rendered in. It compiles each once."""
    environment = ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(FOLDERS),
        undefined=StrictUndefined,
        finalize=_refuse_none,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # The output is Markdown: escaped for HTML, every `&` and quote in it would be wrong.
        autoescape=False,
    )
    environment.filters |= {function.__name__: function for function in FILTERS} | {"size": byte_size}
    return environment


def _refuse_none(value: Any) -> Any:
    if value is None:
        raise ValueError("the card's template prints a value that this run does not have")
    return value
