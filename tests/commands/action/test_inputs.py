"""From the inputs of the action to the words of a command."""

import pytest

from hf_prune.commands.action.inputs import Request, read_request, split_words
from hf_prune.errors import RecipeError


def request_for(**inputs: str) -> Request:
    given = {"model": "acme/base"} | inputs
    return read_request({"PATH": "/bin"} | {f"INPUT_{name.upper()}": value for name, value in given.items()})


def test_a_model_alone_is_published_where_something_changed() -> None:
    request = request_for(arguments="", repo_id="", public="false", hf_token="")
    assert request.words == ("run", "--push", "--if-changed", "--json", "--", "acme/base")
    assert (request.is_local, request.output, request.environment) == (True, None, {"PATH": "/bin"})


def test_every_input_becomes_its_option() -> None:
    request = request_for(
        repo_id="acme/small",
        recipe="gromov",
        eval="arc_easy,gsm8k",
        min_score="arc_easy=0.6\n gsm8k:exact_match=0.3 ",
        max_loss="0.3",
        public="true",
        create_pr="true",
        on="a10g-small",
        arguments="--drop-layers 8",
    )
    assert request.words[4:-2] == (
        *("--repo-id=acme/small", "--recipe=gromov", "--eval=arc_easy,gsm8k", "--max-loss=0.3"),
        *("--on=a10g-small", "--min-score=arc_easy=0.6", "--min-score=gsm8k:exact_match=0.3"),
        *("--public", "--create-pr", "--drop-layers", "8"),
    )


def test_access_is_handed_over_in_the_environment_and_never_among_the_words() -> None:
    request = request_for(hf_token="hf_secret", oidc_resource="acme/small", cache="/data/hub")
    assert request.environment == {
        "PATH": "/bin",
        "HF_TOKEN": "hf_secret",
        "HF_OIDC_RESOURCE": "acme/small",
        "HF_HOME": "/data/hub",
    }
    assert "--repo-id=acme/small" in request.words
    assert not any("hf_secret" in word for word in request.words)


def test_a_job_of_the_hub_has_no_folder_here() -> None:
    assert not request_for(on="a10g-small").is_local


def test_a_model_that_looks_like_an_option_is_none() -> None:
    assert request_for(model="--public").words[-2:] == ("--", "--public")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("--a 1\n--b 2", ["--a", "1", "--b", "2"]),
        ("--notes 'two words.md' # why\n\n# nothing\n--x", ["--notes", "two words.md", "--x"]),
        ("--x $(touch here) `id` $HOME ; | &", ["--x", "$(touch", "here)", "`id`", "$HOME", ";", "|", "&"]),
        ("", []),
    ],
)
def test_arguments_are_words_and_never_run(text: str, words: list[str]) -> None:
    assert split_words(text) == words


def test_a_quotation_mark_that_is_never_closed_is_named() -> None:
    with pytest.raises(RecipeError, match=r"cannot be taken apart \(No closing quotation\): --notes 'x"):
        split_words("--notes 'x")


def test_an_empty_model_is_refused() -> None:
    with pytest.raises(RecipeError, match="the input model is empty"):
        request_for(model=" ")
