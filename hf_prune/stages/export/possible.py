"""Which formats a model can be exported to on this machine."""

from importlib.util import find_spec

from hf_prune.errors import MissingPackage, UnsupportedModel
from hf_prune.machine.packages import install_command
from hf_prune.recipe.formats import GGUF, PACKAGES
from hf_prune.records import DECODER, Anatomy

GGUF_FAMILIES = ("llama", "mistral", "qwen2", "qwen3")  # model types that transformers can read back


def check_exportable(formats: tuple[str, ...], anatomy: Anatomy) -> None:
    """Make sure, before any work, that a model like this can be exported to these formats.

    Raises:
        MissingPackage: a package that writes one of them is not installed.
        UnsupportedModel: one of them does not exist for such a model.
    """
    for form in formats:
        if missing := [name for name in PACKAGES.get(form, ()) if find_spec(name) is None]:
            raise MissingPackage(
                f"--format {form} needs {', '.join(missing)}, not installed here: "
                f"{install_command('hf-prune[onnx]')}"
            )
    if formats and anatomy.kind != DECODER:
        raise UnsupportedModel(
            f"--format {','.join(formats)} is for models that write text, and {anatomy.architecture} does "
            f"not: omit --format"
        )
    if GGUF in formats and anatomy.model_type not in GGUF_FAMILIES:
        raise UnsupportedModel(
            f"--format gguf is for {', '.join(GGUF_FAMILIES)}, which can be read back and compared, but this "
            f"is {anatomy.model_type}: omit gguf, or try llama.cpp's convert_hf_to_gguf.py on the result"
        )
