"""The collection that a result is added to."""

import time

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from hf_prune.errors import CollectionNotFound
from hf_prune.hub.plain_errors import plain_hub_errors
from hf_prune.hub.retrying import Wait, retry

NOT_FOUND = 404


def check_collection(slug: str, wait: Wait = time.sleep) -> None:
    """Make sure, before the work, that a collection exists.

    Raises:
        CollectionNotFound: it does not, or this user may not see it.
    """
    api = HfApi()
    with plain_hub_errors(f"the collection {slug}"):
        try:
            retry(lambda: api.get_collection(slug), wait)
        except HfHubHTTPError as error:
            if error.response.status_code != NOT_FOUND:
                raise
            raise CollectionNotFound(
                f"there is no collection {slug}, or you may not see it: give --collection the part of its "
                f"address after {api.endpoint}/collections/"
            ) from error


def add_to_collection(slug: str, repo_id: str, wait: Wait = time.sleep) -> None:
    """Add a model to a collection, unless it is in it."""
    api = HfApi()
    with plain_hub_errors(f"the collection {slug}"):
        retry(lambda: api.add_collection_item(slug, repo_id, "model", exists_ok=True), wait)
