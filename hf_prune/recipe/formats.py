"""The formats that `--format` names, and the packages that each needs."""

from collections.abc import Mapping

from hf_prune.errors import RecipeError

SAFETENSORS, ONNX, ONNX_8BIT, GGUF = "safetensors", "onnx", "onnx-8bit", "gguf"
FORMATS = (SAFETENSORS, ONNX, ONNX_8BIT, GGUF)
PACKAGES: Mapping[str, tuple[str, ...]] = {  # what each needs that the base install lacks
    ONNX: ("onnx", "onnxscript", "onnxruntime"),
    ONNX_8BIT: ("onnx", "onnxscript", "onnxruntime"),
}


def parse_formats(text: str) -> tuple[str, ...]:
    """The forms that "safetensors,onnx" names beside safetensors, which there always is, each once.

    Raises:
        RecipeError: there is no such form.
    """
    named = [word.strip() for word in text.split(",")]
    if unknown := [word for word in named if word not in FORMATS]:
        raise RecipeError(f"--format {unknown[0]!r} is none of {', '.join(FORMATS)}")
    return tuple(form for form in FORMATS[1:] if form in named)
