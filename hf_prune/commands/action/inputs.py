"""From the inputs of the action to the words of one `hf-prune run`."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hf_prune.errors import RecipeError

PREFIX = "INPUT_"
WITH_VALUE = ("recipe", "eval", "max-loss", "on")  # inputs that are named as the options are
SWITCHES = ("public", "create-pr")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a step is asked to do."""

    model: str
    words: tuple[str, ...]  # for `hf-prune`, without --output
    here: bool  # on this machine, and not on one of Hugging Face Jobs
    output: Path | None  # the run folder here; None: one that goes with the job
    environment: Mapping[str, str]  # of hf-prune: the step's, with its login, without the inputs


def read_request(environment: Mapping[str, str]) -> Request:
    """What the inputs ask for.

    Args:
        environment: of the step; INPUT_MODEL is the input `model`, INPUT_REPO_ID `repo-id`.

    Raises:
        RecipeError: an input is missing, or is none of what it can be.
    """
    model = _given(environment, "model")
    if not model:
        raise RecipeError("the input model is empty: give a Hub id, such as acme/base")
    output = _given(environment, "output")
    return Request(
        model=model,
        words=("run", "--push", "--if-changed", "--json", *_options(environment), "--", model),
        here=not _given(environment, "on"),
        output=Path(output) if output else None,
        environment={
            **{name: value for name, value in environment.items() if not name.startswith(PREFIX)},
            **dict(_access(environment)),
        },
    )


def _given(environment: Mapping[str, str], name: str) -> str:
    """An input without the blanks around it; one that was left out is empty."""
    return environment.get(PREFIX + name.upper().replace("-", "_"), "").strip()


def _options(environment: Mapping[str, str]) -> Iterator[str]:
    if repo_id := _given(environment, "repo-id") or _given(environment, "oidc-resource"):
        yield f"--repo-id={repo_id}"
    for name in WITH_VALUE:
        if value := _given(environment, name):
            yield f"--{name}={value}"
    for gate in _given(environment, "min-score").split():
        yield f"--min-score={gate}"
    for name in SWITCHES:
        if _switched(environment, name):
            yield f"--{name}"
    yield from split_words(_given(environment, "arguments"))


def split_words(text: str) -> list[str]:
    """Options as a person writes them, one or several in a line, quoted where they hold blanks.

    Nothing is expanded or run: `$HOME` and `$(…)` stay as they are. A line may end in a comment.

    Raises:
        RecipeError: a quotation mark is never closed.
    """
    try:
        return shlex.split(text, comments=True)
    except ValueError as error:
        raise RecipeError(f"the input arguments cannot be taken apart ({error}): {text}") from error


def _switched(environment: Mapping[str, str], name: str) -> bool:
    value = _given(environment, name) or "false"
    if value not in ("true", "false"):
        raise RecipeError(f"the input {name} is {value!r}: give true or false")
    return value == "true"


def _access(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """How hf-prune is to log in and where it keeps downloads, in the words of huggingface_hub."""
    for name, variable in (
        ("hf-token", "HF_TOKEN"),
        ("oidc-resource", "HF_OIDC_RESOURCE"),
        ("cache", "HF_HOME"),
    ):
        if value := _given(environment, name):
            yield variable, value
