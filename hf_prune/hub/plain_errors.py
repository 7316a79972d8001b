"""What huggingface_hub raises, in words that say what to do next."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hf_prune.errors import AccessDenied, HubUnreachable, ModelNotFound, first_line


@contextmanager
def plain_hub_errors(repo_id: str, revision: str | None = None) -> Iterator[None]:
    """Turn what huggingface_hub raises into errors that say what to do.

    Raises:
        AccessDenied: gated, or the token is missing, wrong, or not allowed to.
        ModelNotFound: no such repository, revision or file.
        HubUnreachable: no answer, or not now.
    """
    where = f"{repo_id} at revision {revision}" if revision else repo_id
    try:
        yield
    except GatedRepoError as error:  # a kind of RepositoryNotFoundError, so it is asked first
        raise AccessDenied(
            f"{repo_id} is gated: accept its terms at {constants.ENDPOINT}/{repo_id}, then log in with "
            f"`hf auth login` or set HF_TOKEN"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelNotFound(
            f"there is no model {repo_id} on {constants.ENDPOINT}, or it is private and you are not "
            f"logged in as one who may see it: check the name, or `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise ModelNotFound(f"{repo_id} has no revision {revision}: check --revision") from error
    except RemoteEntryNotFoundError as error:
        raise ModelNotFound(f"a file of {where} is missing: {first_line(error)}") from error
    except OfflineModeIsEnabled as error:
        raise HubUnreachable(
            f"HF_HUB_OFFLINE is set, so the Hub cannot be asked about {where}: unset it, or give a folder"
        ) from error
    except HFValidationError as error:
        raise ModelNotFound(
            f"{repo_id!r} is neither a folder here nor a name that the Hub could have: {error}"
        ) from error
    except HfHubHTTPError as error:
        raise _http_error(error, where) from error
    except (httpx2.TransportError, ConnectionError) as error:
        raise _unreachable(where) from error
    except (LocalEntryNotFoundError, RuntimeError) as error:  # both hide what really happened
        raise _hidden_cause(error, where) from error


def _http_error(error: HfHubHTTPError, where: str) -> Exception:
    status = error.response.status_code if error.response is not None else 0
    said = error.server_message or first_line(error)
    if status in (401, 403):
        return AccessDenied(
            f"the Hub refused access to {where} ({status}: {said}): log in with `hf auth login`, or "
            f"use a token that may do this"
        )
    if status == 429:
        return HubUnreachable(
            f"the Hub asks to slow down (429) on {where}: give the same command again in a few "
            f"minutes; finished stages are kept"
        )
    return HubUnreachable(
        f"the Hub answered {status} for {where} ({said}): give the same command again later; finished "
        f"stages are kept"
    )


def _unreachable(where: str) -> HubUnreachable:
    return HubUnreachable(
        f"the Hub at {constants.ENDPOINT} does not answer, so {where} cannot be had: check the network, "
        f"or give a local folder; finished stages are kept"
    )


def _hidden_cause(error: Exception, where: str) -> Exception:
    """What huggingface_hub wrapped: a failed upload in RuntimeError, a failed look-up in "not cached"."""
    cause = error.__cause__
    if isinstance(cause, HfHubHTTPError):
        return _http_error(cause, where)
    if isinstance(cause, httpx2.TransportError | ConnectionError | OfflineModeIsEnabled):
        return _unreachable(where)
    return error if isinstance(error, RuntimeError) else _unreachable(where)
