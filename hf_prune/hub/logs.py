"""What huggingface_hub itself prints."""

from huggingface_hub.utils import logging
from huggingface_hub.utils.tqdm import disable_progress_bars


def quieten(*, bars: bool) -> None:
    """Keep huggingface_hub's log to errors.

    Args:
        bars: whether it still shows its progress bars.
    """
    logging.set_verbosity_error()
    if not bars:
        disable_progress_bars()
