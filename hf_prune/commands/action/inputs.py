"""The inputs of the action as the command line of one `hf-prune run`."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hf_prune.errors import RecipeError

PREFIX = "INPUT_"
WITH_VALUE = ("recipe", "eval", "max-loss", "on")  # inputs with the names of options
SWITCHES = ("public", "create-pr")
# Variables of huggingface_hub.
ACCESS = {"hf-token": "HF_TOKEN", "oidc-resource": "HF_OIDC_RESOURCE", "cache": "HF_HOME"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The command that a step is to run."""

    model: str
    words: tuple[str, ...]  # for `hf-prune`, without --output
    is_local: bool  # on this machine, not on one of Hugging Face Jobs
    output: Path | None  # the run folder on this machine; None: a temporary one
    environment: Mapping[str, str]  # for hf-prune: the step's, with its login, without the inputs


def read_request(environment: Mapping[str, str]) -> Request:
    """What the inputs request.

    Args:
        environment: of the step: INPUT_MODEL is the input `model`, INPUT_REPO_ID `repo-id`.

    Raises:
        RecipeError: an input is missing, or has an impossible value.
    """
    model, output = _input(environment, "model"), _input(environment, "output")
    if not model:
        raise RecipeError("the input model is empty: give a Hub id, such as acme/base")
    inputs = {variable: _input(environment, name) for name, variable in ACCESS.items()}
    access = {variable: value for variable, value in inputs.items() if value}
    others = {name: value for name, value in environment.items() if not name.startswith(PREFIX)}
    return Request(
        model=model,
        words=("run", "--push", "--if-changed", "--json", *_options(environment), "--", model),
        is_local=not _input(environment, "on"),
        output=Path(output) if output else None,
        environment=others | access,
    )


def _input(environment: Mapping[str, str], name: str) -> str:
    return environment.get(PREFIX + name.upper().replace("-", "_"), "").strip()


def _options(environment: Mapping[str, str]) -> Iterator[str]:
    if repo_id := _input(environment, "repo-id") or _input(environment, "oidc-resource"):
        yield f"--repo-id={repo_id}"
    for name in WITH_VALUE:
        if value := _input(environment, name):
            yield f"--{name}={value}"
    for gate in _input(environment, "min-score").split():
        yield f"--min-score={gate}"
    for name in SWITCHES:
        value = _input(environment, name) or "false"
        if value not in ("true", "false"):
            raise RecipeError(f"the input {name} is {value!r}: give true or false")
        if value == "true":
            yield f"--{name}"
    yield from split_words(_input(environment, "arguments"))


def split_words(text: str) -> list[str]:
    """Options as a person writes them, one or several per line, in quotes if they hold blanks.

    Nothing is expanded or run: `$HOME` and `$(…)` stay as they are. A line may end in a comment.

    Raises:
        RecipeError: a quotation mark is never closed.
    """
    try:
        return shlex.split(text, comments=True)
    except ValueError as error:
        raise RecipeError(f"the input arguments cannot be taken apart ({error}): {text}") from error
