"""What huggingface_hub raises, in words that say what to do next."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

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
from hf_prune.hub.waiting import asked_wait

TOO_MUCH = (402, 413, 507)  # what is sent is more than is paid for, or than there is room for
NO_ROOM = ("storage", "quota")  # what a refusal for that reason speaks of
TOKEN_EXCHANGE = "/oauth/token"
NOT_FOUND = (RepositoryNotFoundError, RevisionNotFoundError, RemoteEntryNotFoundError)
HIDING = (LocalEntryNotFoundError, RevisionResolutionError, DryRunError, RuntimeError)  # what happened


@contextmanager
def plain_hub_errors(repo_id: str, revision: str | None = None) -> Iterator[None]:
    """Turn what huggingface_hub raises into errors that say what to do.

    Raises:
        AccessDenied: gated, or the token is missing, wrong, or not allowed to.
        ModelNotFound: no such repository, revision or file.
        QuotaExceeded: the Hub takes no more of this account.
        HubUnreachable: no answer, or not now.
    """
    where = f"{repo_id} at revision {revision}" if revision else repo_id
    try:
        yield
    except GatedRepoError as error:  # a kind of RepositoryNotFoundError, so it is asked first
        raise _gated(error, repo_id) from error
    except (*NOT_FOUND, HFValidationError) as error:
        raise _not_found(error, repo_id, revision) from error
    except OIDCError as error:
        raise AccessDenied(
            f"HF_OIDC_RESOURCE is set, and this job cannot prove who it is: {first_line(error)}"
        ) from error
    except OfflineModeIsEnabled as error:
        raise _offline(where) from error
    except HfHubHTTPError as error:
        raise _http_error(error, where) from error
    except (httpx2.TransportError, ConnectionError) as error:
        raise _unreachable(where) from error
    except HIDING as error:
        raise _hidden_cause(error, where) from error


def origin_of_token() -> str:
    """Where the token comes from that the Hub is shown; never the token itself."""
    if os.environ.get("HF_OIDC_RESOURCE"):
        return "the token that this job was given for HF_OIDC_RESOURCE"
    named = next((name for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN") if os.environ.get(name)), None)
    return f"the token in {named}" if named else "the token that `hf auth login` stored"


def _shows_token() -> bool:
    return bool(os.environ.get("HF_OIDC_RESOURCE")) or get_token() is not None


def tokens_page() -> str:
    """Where a user makes and changes tokens."""
    return f"{constants.ENDPOINT}/settings/tokens"


def _not_found(error: Exception, repo_id: str, revision: str | None) -> ModelNotFound:
    match error:
        case RepositoryNotFoundError():
            return ModelNotFound(
                f"there is no model {repo_id} on {constants.ENDPOINT}, or it is private and you are not "
                f"logged in as one who may see it: check the name, or `hf auth login`"
            )
        case RevisionNotFoundError():
            return ModelNotFound(f"{repo_id} has no revision {revision}: check --revision")
        case RemoteEntryNotFoundError():
            where = f"{repo_id} at revision {revision}" if revision else repo_id
            return ModelNotFound(f"a file of {where} is missing: {first_line(error)}")
    return ModelNotFound(f"{repo_id!r} is neither a folder here nor a name that the Hub could have: {error}")


def _gated(error: GatedRepoError, repo_id: str) -> AccessDenied:
    page, said = f"{constants.ENDPOINT}/{repo_id}", (error.server_message or "").lower()
    if "awaiting a review" in said:
        return AccessDenied(
            f"{repo_id} is gated and your request waits for its authors: see {page}, and give the same "
            f"command again once they have let you in"
        )
    if "rejected" in said:
        return AccessDenied(
            f"{repo_id} is gated and its authors have turned your request down: ask them at {page}, or "
            f"take another model"
        )
    if os.environ.get("HF_OIDC_RESOURCE"):
        return AccessDenied(
            f"{repo_id} is gated and {origin_of_token()} may not read it: make the run with HF_OIDC_RESOURCE "
            f"set to a user who may, or with HF_TOKEN, and publish it with `hf-prune push`"
        )
    if error.response.status_code == 401 or not _shows_token():
        return AccessDenied(
            f"{repo_id} is gated and you are not logged in: accept its terms at {page}, then log in with "
            f"`hf auth login` or set HF_TOKEN"
        )
    return AccessDenied(
        f"{repo_id} is gated and this account has not accepted its terms: accept them at {page}, then "
        f"give the same command again"
    )


def _http_error(error: HfHubHTTPError, where: str) -> Exception:
    status, said = error.response.status_code, error.server_message or first_line(error)
    said = " ".join(said.split()).rstrip(".")
    if TOKEN_EXCHANGE in str(error.response.url):
        return _untrusted(status, said)
    if status in TOO_MUCH or (status == 403 and any(word in said.lower() for word in NO_ROOM)):
        return QuotaExceeded(
            f"the Hub has no room left for {where} ({status}: {said}): delete what you no longer need, or "
            f"see {constants.ENDPOINT}/settings/billing, then give the same command again; finished stages "
            f"are kept"
        )
    if status == 403 and "gated repositories" in said:
        return AccessDenied(
            f"{where} is gated and the token may not read gated models: allow it to, at {tokens_page()}"
        )
    if status == 401 and not _shows_token():
        return AccessDenied(
            f"the Hub wants to know who asks for {where} (401: {said}): log in with `hf auth login` or set "
            f"HF_TOKEN"
        )
    if status == 401:
        return AccessDenied(
            f"the Hub does not know {origin_of_token()} (401 on {where}: {said}): it was revoked, has "
            f"expired or is mistyped; make another at {tokens_page()}, set HF_TOKEN to it or `hf auth login "
            f"--force`, and give the same command again"
        )
    if status == 403:
        return AccessDenied(
            f"the Hub refused access to {where} (403: {said}): log in as one who may do this, or let the "
            f"token do it at {tokens_page()}"
        )
    return _not_now(error.response, where, said)


def _not_now(response: httpx2.Response, where: str, said: str) -> HubUnreachable:
    status, seconds = response.status_code, asked_wait(response)
    when = f"in {-(-seconds // 60)} min" if seconds else "in a few minutes"
    if status == 429:
        return HubUnreachable(
            f"the Hub at {constants.ENDPOINT} asks to slow down (429) on {where}: give the same command "
            f"again {when}; finished stages are kept"
        )
    if status < 500:
        return HubUnreachable(
            f"the Hub at {constants.ENDPOINT} refused what hf-prune asked of {where} ({status}: {said}): if "
            f"that happens again, report it with what -v shows"
        )
    return HubUnreachable(
        f"the Hub at {constants.ENDPOINT} answered {status} for {where} ({said}): give the same command "
        f"again {when}; finished stages are kept"
    )


def _untrusted(status: int, said: str) -> AccessDenied:
    resource = os.environ.get("HF_OIDC_RESOURCE", "")
    return AccessDenied(
        f"the Hub does not trust this job with {resource} ({status}: {said}): compare the claims under "
        f"Trusted Publishers at {constants.ENDPOINT}/{resource}/settings with the job, or set HF_TOKEN and "
        f"unset HF_OIDC_RESOURCE"
    )


def _offline(where: str) -> HubUnreachable:
    return HubUnreachable(
        f"HF_HUB_OFFLINE is set, and {where} is not in the cache {constants.HF_HUB_CACHE}, or not whole: "
        f"unset it, or give a folder"
    )


def _unreachable(where: str) -> HubUnreachable:
    return HubUnreachable(
        f"the Hub at {constants.ENDPOINT} does not answer, so {where} cannot be had: check the network, "
        f"or give a local folder; finished stages are kept"
    )


def _hidden_cause(error: Exception, where: str) -> Exception:
    """What huggingface_hub wrapped: a failed upload in RuntimeError, a failed look-up in "not cached"."""
    cause = error.__cause__
    if constants.is_offline_mode() or isinstance(cause, OfflineModeIsEnabled):
        return _offline(where)
    if isinstance(cause, HfHubHTTPError):
        return _http_error(cause, where)
    if isinstance(cause, httpx2.TransportError | ConnectionError):
        return _unreachable(where)
    return error if isinstance(error, RuntimeError) else _unreachable(where)
