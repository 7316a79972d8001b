"""The Hugging Face Hub: the one place that talks to it, through huggingface_hub.

Every failure leaves here as an error of ours that names the repository and the next step. The token is
the one of `hf auth login` or HF_TOKEN; it is never an argument.
"""

from hf_prune.hub.cache import kept_scores, kept_task_scores
from hf_prune.hub.jobs import (
    end_of,
    end_schedule,
    job_log,
    machines,
    other_endpoint,
    page_of,
    schedules_for,
    start_job,
    start_on_change,
    start_on_schedule,
)
from hf_prune.hub.permission import check_may_publish, refuse_foreign
from hf_prune.hub.published import find_published, own_pull_requests
from hf_prune.hub.repository import Repository, download, exists, look_up, only_base, weight_headers
from hf_prune.hub.upload import upload, upload_branch

__all__ = [
    "Repository",
    "check_may_publish",
    "download",
    "end_of",
    "end_schedule",
    "exists",
    "find_published",
    "job_log",
    "kept_scores",
    "kept_task_scores",
    "look_up",
    "machines",
    "only_base",
    "other_endpoint",
    "own_pull_requests",
    "page_of",
    "refuse_foreign",
    "schedules_for",
    "start_job",
    "start_on_change",
    "start_on_schedule",
    "upload",
    "upload_branch",
    "weight_headers",
]
