"""The output of huggingface_hub itself."""

from huggingface_hub.utils import logging
from huggingface_hub.utils.tqdm import disable_progress_bars


def quieten(*, bars: bool) -> None:
    """Limit huggingface_hub's log to errors, and without `bars` hide its progress bars."""
    logging.set_verbosity_error()
    if not bars:
        disable_progress_bars()
