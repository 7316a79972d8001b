"""The card's templates: where they are, what they can say, and the text that comes of them.

A user's template is untrusted like anything that a repository may hold, so all are rendered in a sandbox:
they see records and filters, and reach neither files nor attributes that begin with an underscore.
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, FileSystemLoader, FunctionLoader, StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from hf_prune.errors import UnusableTemplate, first_line
from hf_prune.records import Presentation
from hf_prune.records.blocks import ranges
from hf_prune.stages.card.numbers import (
    accuracy,
    cell,
    change,
    code,
    count,
    duration,
    fenced,
    figure,
    grouped,
    percent,
    ratio,
    repeated,
    scored,
    sentence,
    series,
    size,
    spread,
    with_error,
)

PACKAGE = Path(__file__).parents[2]  # hf_prune/
FOLDERS = (PACKAGE / "templates", PACKAGE.parent / "templates")  # of the wheel, and of an editable install
BASE = "model_card.md.j2"  # what a user's template extends, whatever kind of model the card is of
NO_BREAK = "\N{NO-BREAK SPACE}"
OWN = "the user's own template"
CARDS = (BASE, "encoder_card.md.j2")


def rendered(template: str, context: Mapping[str, Any], presentation: Presentation | None = None) -> str:
    """A card, without the blank lines that unused sections leave.

    Args:
        template: the file of the card.
        context: its values.
        presentation: the user's own template in its place, where there is one.

    Raises:
        UnusableTemplate: the user's template asks for something that this run does not have.
    """
    own = presentation.template if presentation else None
    if own is None:
        text = card_environment().get_template(template).render(context)
    else:
        text = _rendered_by(own, presentation.template_name if presentation else None, template, context)
    text = re.sub(r"^\|.*$", lambda row: _unbroken(row[0]), text, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _unbroken(row: str) -> str:
    """A row of a table whose figures stay on one line: no break before an error or a percent sign."""
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
            f"{name}{f', line {line}' if line else ''}: {first_line(error)}; mend it and give the same "
            "command again: what is finished is kept"
        ) from error


def _line_of(error: BaseException) -> int | None:
    """The line of the user's template that an error comes from, where it comes from there."""
    line, traceback = None, error.__traceback__
    while traceback is not None:
        # Jinja rewrites tracebacks: a frame of a template bears its file's name and the template's line.
        if traceback.tb_frame.f_code.co_filename == OWN:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


@cache
def card_environment() -> ImmutableSandboxedEnvironment:
    """What the templates are compiled and rendered in; each is compiled once."""
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
    environment.filters.update(
        accuracy=accuracy,
        cell=cell,
        change=change,
        code=code,
        count=count,
        duration=duration,
        fenced=fenced,
        figure=figure,
        grouped=grouped,
        percent=percent,
        ranges=ranges,
        ratio=ratio,
        repeated=repeated,
        scored=scored,
        sentence=sentence,
        series=series,
        size=size,
        spread=spread,
        with_error=with_error,
    )
    return environment


def _refuse_none(value: Any) -> Any:
    if value is None:
        raise ValueError("the card's template prints a value that this run does not have")
    return value
