"""The formats that `--format` names, and the packages that each needs."""

from collections.abc import Mapping

from hf_prune.errors import RecipeError

SAFETENSORS, ONNX, ONNX_8BIT, GGUF = "safetensors", "onnx", "onnx-8bit", "gguf"
FORMATS = (SAFETENSORS, ONNX, ONNX_8BIT, GGUF)
PACKAGES: Mapping[str, tuple[str, ...]] = {  # those that the base install lacks
    ONNX: ("onnx", "onnxscript", "onnxruntime"),
    ONNX_8BIT: ("onnx", "onnxscript", "onnxruntime"),
}


def parse_formats(text: str) -> tuple[str, ...]:
    """The formats that "safetensors,onnx" names besides safetensors, which is always written.

    Raises:
        RecipeError: there is no such format.
    """
    named = [word.strip() for word in text.split(",")]
    if unknown := [word for word in named if word not in FORMATS]:
        raise RecipeError(f"--format {unknown[0]!r} is not one of {', '.join(FORMATS)}")
    return tuple(name for name in FORMATS[1:] if name in named)
