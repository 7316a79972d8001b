"""What huggingface_hub raises, as errors that say what to do next."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import httpx2
from huggingface_hub import constants, get_token
from huggingface_hub.errors import (
    DryRunError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    OIDCError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
)

from hf_prune.errors import AccessDenied, HubUnreachable, ModelNotFound, QuotaExceeded, first_line
from hf_prune.hub.retrying import requested_wait

TOO_MUCH = (402, 413, 507)  # the upload is larger than what is paid for, or than the room there is
TOKEN_EXCHANGE = "/oauth/token"
NOT_FOUND = (RepositoryNotFoundError, RevisionNotFoundError, RemoteEntryNotFoundError, HFValidationError)
REQUEST_FAILED = (HfHubHTTPError, httpx2.TransportError, ConnectionError)
# Errors that hide one of those as their cause: a failed look-up as "not cached", an upload as RuntimeError.
WRAPPERS = (LocalEntryNotFoundError, RevisionResolutionError, DryRunError, RuntimeError)


class Refusal(NamedTuple):
    """An HTTP response of the Hub that is no success."""

    status: int
    reason: str  # in the Hub's words
    url: str


def _has_no_room(refusal: Refusal) -> bool:
    out_of_storage = any(word in refusal.reason.lower() for word in ("storage", "quota"))
    return refusal.status in TOO_MUCH or (refusal.status == 403 and out_of_storage)


# Which error a refusal becomes, and its message; the first row that applies counts.
HTTP_ERRORS: tuple[tuple[Callable[[Refusal], bool], type[Exception], str], ...] = (
    (
        lambda refusal: TOKEN_EXCHANGE in refusal.url,
        AccessDenied,
        "the Hub does not trust this job with {resource} ({status}: {reason}): compare the claims under "
        "Trusted Publishers at {hub}/{resource}/settings with the job, or set HF_TOKEN and unset "
        "HF_OIDC_RESOURCE",
    ),
    (
        _has_no_room,
        QuotaExceeded,
        "the Hub has no room left for {where} ({status}: {reason}): delete what you no longer need, or see "
        "{hub}/settings/billing, then run the same command again; finished stages are kept",
    ),
    (
        lambda refusal: refusal.status == 403 and "gated repositories" in refusal.reason,
        AccessDenied,
        "{where} is gated and the token may not read gated models: allow it to, at {tokens}",
    ),
    (
        lambda refusal: refusal.status == 401 and not _shows_token(),
        AccessDenied,
        "the Hub wants to know who asks for {where} (401: {reason}): log in with `hf auth login` or set "
        "HF_TOKEN",
    ),
    (
        lambda refusal: refusal.status == 401,
        AccessDenied,
        "the Hub does not know {token} (401 on {where}: {reason}): it was revoked, has expired or is "
        "mistyped; make another at {tokens}, set HF_TOKEN to it or `hf auth login --force`, and run the "
        "same command again",
    ),
    (
        lambda refusal: refusal.status == 403,
        AccessDenied,
        "the Hub refused access to {where} (403: {reason}): log in as a user who may do this, or let the "
        "token do it at {tokens}",
    ),
    (
        lambda refusal: refusal.status == 429,
        HubUnreachable,
        "the Hub at {hub} asks to slow down (429) on {where}: run the same command again {when}; finished "
        "stages are kept",
    ),
    (
        lambda refusal: refusal.status < 500,
        HubUnreachable,
        "the Hub at {hub} refused what hf-prune asked of {where} ({status}: {reason}): if that happens "
        "again, report it with what -v shows",
    ),
    (
        lambda refusal: True,
        HubUnreachable,
        "the Hub at {hub} answered {status} for {where} ({reason}): run the same command again {when}; "
        "finished stages are kept",
    ),
)


@contextmanager
def plain_hub_errors(repo_id: str, revision: str | None = None) -> Iterator[None]:
    """Turn what huggingface_hub raises into errors that say what to do.

    Raises:
        AccessDenied: the model is gated, or the token is missing, wrong, or not allowed to.
        ModelNotFound: there is no such repository, revision or file.
        QuotaExceeded: this account has no room left.
        HubUnreachable: the Hub does not answer, or not now.
    """
    where = f"{repo_id} at revision {revision}" if revision else repo_id
    try:
        yield
    except GatedRepoError as error:  # a kind of RepositoryNotFoundError, so it comes first
        raise _gated(error, repo_id) from error
    except NOT_FOUND as error:
        raise _not_found(error, repo_id, revision, where) from error
    except OIDCError as error:
        raise AccessDenied(
            f"HF_OIDC_RESOURCE is set, and this job cannot prove who it is: {first_line(error)}"
        ) from error
    except (*REQUEST_FAILED, *WRAPPERS) as error:
        cause = error.__cause__ if isinstance(error, WRAPPERS) else error
        of_the_hub = isinstance(cause, REQUEST_FAILED) or constants.is_offline_mode()
        if isinstance(error, RuntimeError) and not of_the_hub:
            raise
        raise _failed_request(cause, where) from error


def _gated(error: GatedRepoError, repo_id: str) -> AccessDenied:
    page, reason = f"{constants.ENDPOINT}/{repo_id}", (error.server_message or "").lower()
    if "awaiting a review" in reason:
        return AccessDenied(
            f"{repo_id} is gated and your request waits for its authors: see {page}, and run the same "
            f"command again once they have accepted it"
        )
    if "rejected" in reason:
        return AccessDenied(
            f"{repo_id} is gated and its authors have turned your request down: ask them at {page}, or "
            f"choose another model"
        )
    if os.environ.get("HF_OIDC_RESOURCE"):
        return AccessDenied(
            f"{repo_id} is gated and {origin_of_token()} may not read it: make the run with HF_OIDC_RESOURCE "
            f"set to a user who may, or with HF_TOKEN, then publish it with `hf-prune push`"
        )
    if error.response.status_code == 401 or not _shows_token():
        return AccessDenied(
            f"{repo_id} is gated and you are not logged in: accept its terms at {page}, then log in with "
            f"`hf auth login` or set HF_TOKEN"
        )
    return AccessDenied(
        f"{repo_id} is gated and this account has not accepted its terms: accept them at {page}, then run "
        f"the same command again"
    )


def _not_found(error: Exception, repo_id: str, revision: str | None, where: str) -> ModelNotFound:
    match error:
        case RepositoryNotFoundError():
            return ModelNotFound(
                f"there is no model {repo_id} on {constants.ENDPOINT}, or it is private and your login may "
                f"not see it: check the name, or log in with `hf auth login`"
            )
        case RevisionNotFoundError():
            return ModelNotFound(f"{repo_id} has no revision {revision}: check --revision")
        case RemoteEntryNotFoundError():
            return ModelNotFound(f"a file of {where} is missing: {first_line(error)}")
    return ModelNotFound(f"{repo_id!r} is neither a folder here nor a name that the Hub could have: {error}")


def _failed_request(error: BaseException | None, where: str) -> Exception:
    if isinstance(error, HfHubHTTPError):
        return _http_error(error, where)
    if isinstance(error, OfflineModeIsEnabled) or constants.is_offline_mode():
        return HubUnreachable(
            f"HF_HUB_OFFLINE is set, and {where} is not in the cache {constants.HF_HUB_CACHE}, or not whole: "
            f"unset it, or give a folder"
        )
    return HubUnreachable(
        f"the Hub at {constants.ENDPOINT} does not answer, so {where} cannot be reached: check the network, "
        f"or give a local folder; finished stages are kept"
    )


def _http_error(error: HfHubHTTPError, where: str) -> Exception:
    status, seconds = error.response.status_code, requested_wait(error)
    reason = " ".join((error.server_message or first_line(error)).split()).rstrip(".")
    refusal = Refusal(status, reason, f"{error.response.url}")
    kind, message = next((kind, message) for applies, kind, message in HTTP_ERRORS if applies(refusal))
    values = {
        "where": where,
        "status": status,
        "reason": reason,
        "hub": constants.ENDPOINT,
        "token": origin_of_token(),
        "tokens": tokens_page(),
        "resource": os.environ.get("HF_OIDC_RESOURCE", ""),
        "when": f"in {-(-seconds // 60)} min" if seconds else "in a few minutes",
    }
    return kind(message.format_map(values))


def _shows_token() -> bool:
    return bool(os.environ.get("HF_OIDC_RESOURCE")) or get_token() is not None


def origin_of_token() -> str:
    """Where the token comes from that the Hub is shown; never the token itself."""
    if os.environ.get("HF_OIDC_RESOURCE"):
        return "the token that this job was given for HF_OIDC_RESOURCE"
    named = next((name for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN") if os.environ.get(name)), None)
    return f"the token in {named}" if named else "the token that `hf auth login` stored"


def tokens_page() -> str:
    """Where a user makes and changes tokens."""
    return f"{constants.ENDPOINT}/settings/tokens"
