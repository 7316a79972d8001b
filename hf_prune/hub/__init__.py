"""The Hugging Face Hub: the one place that talks to it, through huggingface_hub.

Every failure leaves here as an error of ours that names the repository and the next step. The token is
the one of `hf auth login` or HF_TOKEN; it is never an argument.
"""

from hf_prune.hub.cache import kept_scores, kept_task_scores
from hf_prune.hub.permission import check_may_publish, keep_gate, refuse_foreign
from hf_prune.hub.repository import (
    Repository,
    download,
    exists,
    look_up,
    only_base,
    stated_license,
    weight_headers,
)
from hf_prune.hub.upload import upload, upload_branch

__all__ = [
    "Repository",
    "check_may_publish",
    "download",
    "exists",
    "keep_gate",
    "kept_scores",
    "kept_task_scores",
    "look_up",
    "only_base",
    "refuse_foreign",
    "stated_license",
    "upload",
    "upload_branch",
    "weight_headers",
]
