"""The forms in which a result can be had, by the names that `--format` has for them."""

from importlib.util import find_spec

from hf_prune.errors import MissingPackage, UnsupportedModel
from hf_prune.machine.packages import how_to_install
from hf_prune.recipe.formats import GGUF, PACKAGES
from hf_prune.records import DECODER, Anatomy

GGUF_FAMILIES = ("llama", "mistral", "qwen2", "qwen3")  # model types that can be read back to be compared


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
