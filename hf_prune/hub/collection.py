"""The collection that a result is added to."""

import time

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError

from hf_prune.errors import CollectionNotFound
from hf_prune.hub.plain_errors import plain_hub_errors
from hf_prune.hub.retrying import Wait, retry


def check_collection(slug: str) -> None:
    """Make sure, before the work, that a collection exists.

    Raises:
        CollectionNotFound: it does not, or this user may not see it.
    """
    with plain_hub_errors(f"the collection {slug}"):
        try:
            retry(lambda: HfApi().get_collection(slug))
        except HfHubHTTPError as error:
            if error.response.status_code != 404:
                raise
            raise CollectionNotFound(
                f"there is no collection {slug}, or you may not see it: give --collection the part of its "
                f"address after {constants.ENDPOINT}/collections/"
            ) from error


def add_to_collection(slug: str, repo_id: str, wait: Wait = time.sleep) -> None:
    """Add a model to a collection, unless it is in it."""
    with plain_hub_errors(f"the collection {slug}"):
        retry(lambda: HfApi().add_collection_item(slug, repo_id, "model", exists_ok=True), wait)
