"""A whole model in memory, to generate text, to be timed and to be scored."""

from pathlib import Path
from typing import Any


def load_whole(folder: Path, device: str, *, trust_remote_code: bool) -> Any:
    """A model as its users load it, ready to generate on `device`."""
    from transformers import AutoConfig

    from hf_prune.model.model_class import auto_class

    config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    model = auto_class(config).from_pretrained(folder, dtype="auto", trust_remote_code=trust_remote_code)
    return model.to(device).eval()
