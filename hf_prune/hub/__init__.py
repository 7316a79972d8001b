"""The Hugging Face Hub: the one place that talks to it, through huggingface_hub.

Every failure leaves here as an error of ours that names the repository and the next step. The token is
the one of `hf auth login` or HF_TOKEN; it is never an argument.
"""

from hf_prune.hub.cache import kept_demo, kept_scores, kept_task_scores
from hf_prune.hub.collection import add_to_collection, check_collection
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
from hf_prune.hub.logs import quieten
from hf_prune.hub.permission import check_may_publish, keep_gate
from hf_prune.hub.repository import (
    Repository,
    card_data,
    download,
    exists,
    look_up,
    only_base,
    stated_license,
    weight_headers,
)
from hf_prune.hub.retrying import Wait
from hf_prune.hub.upload import (
    MAIN,
    Change,
    Held,
    address_of,
    commit,
    last_change,
    look_at,
    make_branch,
    make_repository,
    open_pull_requests,
    outgoing,
    read_held,
    send_large_files,
)

__all__ = [
    "MAIN",
    "Change",
    "Held",
    "Repository",
    "Wait",
    "add_to_collection",
    "address_of",
    "card_data",
    "check_collection",
    "check_may_publish",
    "commit",
    "download",
    "end_of",
    "end_schedule",
    "exists",
    "job_log",
    "keep_gate",
    "kept_demo",
    "kept_scores",
    "kept_task_scores",
    "last_change",
    "look_at",
    "look_up",
    "machines",
    "make_branch",
    "make_repository",
    "only_base",
    "open_pull_requests",
    "other_endpoint",
    "outgoing",
    "page_of",
    "quieten",
    "read_held",
    "schedules_for",
    "send_large_files",
    "start_job",
    "start_on_change",
    "start_on_schedule",
    "stated_license",
    "weight_headers",
]
