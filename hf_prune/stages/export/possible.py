"""The forms in which a result can be had, by the names that `--format` has for them."""

from collections.abc import Mapping
from importlib.util import find_spec

from hf_prune.errors import MissingPackage, RecipeError, UnsupportedModel
from hf_prune.machine.packages import how_to_install
from hf_prune.records import DECODER, Anatomy

SAFETENSORS, ONNX, ONNX_8BIT, GGUF = "safetensors", "onnx", "onnx-8bit", "gguf"
FORMATS = (SAFETENSORS, ONNX, ONNX_8BIT, GGUF)
PACKAGES: Mapping[str, tuple[str, ...]] = {  # what each needs that the base install lacks
    ONNX: ("onnx", "onnxscript", "onnxruntime"),
    ONNX_8BIT: ("onnx", "onnxscript", "onnxruntime"),
}
GGUF_FAMILIES = ("llama", "mistral", "qwen2", "qwen3")  # model types that can be read back to be compared


def parse_formats(text: str) -> tuple[str, ...]:
    """The forms that "safetensors,onnx" names beside safetensors, which there always is, each once.

    Raises:
        RecipeError: there is no such form.
    """
    named = [word.strip() for word in text.split(",")]
    if unknown := [word for word in named if word not in FORMATS]:
        raise RecipeError(f"--format {unknown[0]!r} is none of {', '.join(FORMATS)}")
    return tuple(form for form in FORMATS[1:] if form in named)


def check_exportable(formats: tuple[str, ...], anatomy: Anatomy) -> None:
    """Make sure, before any work, that the forms can be written here of a model like this.

    Args:
        formats: what `parse_formats` found.
        anatomy: of the original.

    Raises:
        MissingPackage: what writes one of them is not installed.
        UnsupportedModel: one of them is not for such a model.
    """
    for form in formats:
        lacking = [name for name in PACKAGES.get(form, ()) if find_spec(name) is None]
        if lacking:
            raise MissingPackage(
                f"--format {form} needs {', '.join(lacking)}, not installed here: "
                f"{how_to_install('hf-prune[onnx]')}"
            )
    if formats and anatomy.kind != DECODER:
        raise UnsupportedModel(
            f"--format {','.join(formats)} is for models that write text, and {anatomy.architecture} does "
            f"not: leave --format out"
        )
    if GGUF in formats and anatomy.model_type not in GGUF_FAMILIES:
        raise UnsupportedModel(
            f"--format gguf is for {', '.join(GGUF_FAMILIES)}, which can be read back and compared, and "
            f"this is {anatomy.model_type}: leave gguf out; convert_hf_to_gguf.py of llama.cpp may know it"
        )
