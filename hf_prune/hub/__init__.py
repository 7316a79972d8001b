"""The Hugging Face Hub: only this room talks to it, through huggingface_hub.

Every failure becomes one of our errors, which names the repository and the next step. The token comes from
`hf auth login` or HF_TOKEN. It is never an argument.
"""

from hf_prune.hub.cache import kept_demo as kept_demo
from hf_prune.hub.cache import kept_results as kept_results
from hf_prune.hub.collection import add_to_collection as add_to_collection
from hf_prune.hub.collection import check_collection as check_collection
from hf_prune.hub.jobs import end_schedule as end_schedule
from hf_prune.hub.jobs import job_log as job_log
from hf_prune.hub.jobs import machines as machines
from hf_prune.hub.jobs import other_endpoint as other_endpoint
from hf_prune.hub.jobs import schedules_for as schedules_for
from hf_prune.hub.jobs import start_job as start_job
from hf_prune.hub.jobs import start_on_change as start_on_change
from hf_prune.hub.jobs import start_on_schedule as start_on_schedule
from hf_prune.hub.jobs import wait_for_end as wait_for_end
from hf_prune.hub.logs import quieten as quieten
from hf_prune.hub.permission import check_may_publish as check_may_publish
from hf_prune.hub.permission import keep_gate as keep_gate
from hf_prune.hub.repository import Card as Card
from hf_prune.hub.repository import Repository as Repository
from hf_prune.hub.repository import card_in as card_in
from hf_prune.hub.repository import download as download
from hf_prune.hub.repository import exists as exists
from hf_prune.hub.repository import look_up as look_up
from hf_prune.hub.repository import weight_headers as weight_headers
from hf_prune.hub.retrying import Wait as Wait
from hf_prune.hub.upload import MAIN as MAIN
from hf_prune.hub.upload import PULL_REQUEST as PULL_REQUEST
from hf_prune.hub.upload import Change as Change
from hf_prune.hub.upload import Snapshot as Snapshot
from hf_prune.hub.upload import address_of as address_of
from hf_prune.hub.upload import commit as commit
from hf_prune.hub.upload import download_file as download_file
from hf_prune.hub.upload import last_change as last_change
from hf_prune.hub.upload import make_branch as make_branch
from hf_prune.hub.upload import make_repository as make_repository
from hf_prune.hub.upload import open_pull_requests as open_pull_requests
from hf_prune.hub.upload import outgoing as outgoing
from hf_prune.hub.upload import send_large_files as send_large_files
from hf_prune.hub.upload import snapshot_of as snapshot_of
