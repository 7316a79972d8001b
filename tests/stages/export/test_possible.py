"""Which formats there are, and what is refused before any work."""

from dataclasses import replace

import pytest

from hf_prune.errors import MissingPackage, RecipeError, UnsupportedModel
from hf_prune.recipe.faults import check_recipe
from hf_prune.recipe.formats import PACKAGES, parse_formats
from hf_prune.recipe.recipe import Recipe
from hf_prune.stages.export.possible import check_exportable
from tests.support.sample_run import sample_run


@pytest.fixture
def anatomy():
    return sample_run().dense


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("safetensors", ()),
        ("onnx", ("onnx",)),
        ("gguf, onnx-8bit,safetensors,gguf", ("onnx-8bit", "gguf")),
    ],
)
def test_each_form_beside_safetensors_is_named_once(text, expected):
    assert parse_formats(text) == expected


def test_refuses_a_form_that_there_is_not():
    with pytest.raises(RecipeError, match="--format 'gptq' is not one of safetensors, onnx, onnx-8bit, gguf"):
        check_recipe(Recipe(model="x", formats="onnx,gptq"))


def test_names_the_command_that_installs_what_is_missing(anatomy, monkeypatch):
    monkeypatch.setitem(PACKAGES, "onnx", ("onnx", "there_is_no_such_package"))
    with pytest.raises(MissingPackage, match=r"needs there_is_no_such_package, .*'hf-prune\[onnx\]'"):
        check_exportable(("onnx",), anatomy)


def test_refuses_gguf_of_a_family_that_could_not_be_compared(anatomy):
    check_exportable(("gguf",), replace(anatomy, model_type="llama"))
    with pytest.raises(UnsupportedModel, match="this is gemma3_text: omit gguf"):
        check_exportable(("gguf",), replace(anatomy, model_type="gemma3_text"))


def test_refuses_to_export_an_encoder(anatomy):
    with pytest.raises(UnsupportedModel, match="for models that write text"):
        check_exportable(("onnx",), replace(anatomy, kind="text encoder"))
    check_exportable((), replace(anatomy, kind="text encoder"))
