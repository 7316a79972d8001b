"""The command that installs a missing package into the environment of hf-prune."""

import shlex
import sys
from importlib.util import find_spec


def install_command(*arguments: str) -> str:
    """The command that installs packages into the environment that runs this, by arguments of pip.

    An extension of `hf` and a tool of uv have environments of their own, often without pip.
    """
    if find_spec("pip") is not None:
        return shlex.join([sys.executable, "-m", "pip", "install", *arguments])
    return shlex.join(["uv", "pip", "install", "--python", sys.executable, *arguments])
