"""What can be installed beside hf-prune, and how, wherever it lies itself."""

import shlex
import sys
from importlib.util import find_spec


def how_to_install(*words: str) -> str:
    """The command that installs packages into the environment that runs this.

    An extension of `hf` and a tool of uv have environments of their own, often without pip.

    Args:
        words: as pip has them: packages, and options before them.
    """
    if find_spec("pip") is not None:
        return shlex.join([sys.executable, "-m", "pip", "install", *words])
    return shlex.join(["uv", "pip", "install", "--python", sys.executable, *words])
