"""A collection that a result is put into."""

import time

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from hf_prune.errors import CollectionNotFound
from hf_prune.hub.plain_errors import plain_hub_errors
from hf_prune.hub.retrying import Wait, retried

NOT_FOUND = 404


def check_collection(slug: str, wait: Wait = time.sleep) -> None:
    """Make sure that there is such a collection, before the work.

    Raises:
        CollectionNotFound: there is none, or none that this user may see.
    """
    api = HfApi()
    with plain_hub_errors(f"the collection {slug}"):
        try:
            retried(lambda: api.get_collection(slug), wait)
        except HfHubHTTPError as error:
            if error.response.status_code != NOT_FOUND:
                raise
            raise CollectionNotFound(
                f"there is no collection {slug}, or none that you may see: --collection takes what follows "
                f"{api.endpoint}/collections/ in its address"
            ) from error


def add_to_collection(slug: str, repo_id: str, wait: Wait = time.sleep) -> None:
    """Put a model into a collection; one that is in it stays where it is."""
    api = HfApi()
    with plain_hub_errors(f"the collection {slug}"):
        retried(lambda: api.add_collection_item(slug, repo_id, "model", exists_ok=True), wait)
