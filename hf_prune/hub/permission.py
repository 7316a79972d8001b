"""Permission to publish under a name: checked before the hours of work."""

import os
import re
from collections.abc import Mapping
from typing import Any, Literal, cast

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError

from hf_prune.errors import AccessDenied, HubUnreachable
from hf_prune.hub.plain_errors import origin_of_token, plain_hub_errors, tokens_page
from hf_prune.hub.retrying import retry_if_limited
from hf_prune.hub.upload import make_repository

# Permissions of a fine-grained token that write to repositories: "repo.write", "repo.content.write", and that
# of a contributor, who may write to the repositories it made. The Hub adds permissions from time to time, so
# each one that does not only read counts. The Hub itself refuses the rest later.
WRITES = re.compile(r"repo\.(?!.*\bread$)|contribut")
MAY_CREATE = ("admin", "write", "contributor")  # roles in an organization


def check_may_publish(repo_id: str | None, name: str) -> str:
    """The full id of the repository to publish to, if this user may write there.

    Args:
        repo_id: with or without an owner; None for `USER/name`, or for the one repository that
            HF_OIDC_RESOURCE lets a job write to.

    Raises:
        AccessDenied: not logged in, or the token cannot write there.
        HubUnreachable: HF_HUB_OFFLINE is set, or the Hub does not answer.
    """
    if constants.is_offline_mode():
        raise HubUnreachable(
            "HF_HUB_OFFLINE is set, so nothing can be published: unset it, or leave --push out and publish "
            "the finished run later with `hf-prune push`"
        )
    if resource := os.environ.get("HF_OIDC_RESOURCE"):
        full = _only_repository(resource, repo_id)
        if not _check_writable(full):
            raise AccessDenied(
                f"there is no repository {full}, and the token of a job cannot make one: make it at "
                f"{constants.ENDPOINT}/new, and add this job to its Trusted Publishers"
            )
        return full
    with plain_hub_errors(repo_id or name):
        if get_token() is None:
            raise AccessDenied(
                f"publishing needs a login: `hf auth login`, or set HF_TOKEN to a token with write access "
                f"({tokens_page()})"
            )
        user = retry_if_limited(HfApi().whoami)
    full = repo_id or name
    full = full if "/" in full else f"{user['name']}/{full}"
    _check_token(user, full)
    if not _check_writable(full):
        _check_namespace(user, full)
    return full


def _only_repository(resource: str, repo_id: str | None) -> str:
    """The one repository that the token of a job may write to."""
    if resource.count("/") != 1:
        raise AccessDenied(
            f"HF_OIDC_RESOURCE is {resource}, which lets this job read and not write: set it to the model "
            f"repository to publish to (OWNER/NAME), which needs a trusted publisher"
        )
    if repo_id not in (None, resource):
        raise AccessDenied(
            f"{repo_id} cannot be written (HF_OIDC_RESOURCE lets this job write to {resource} alone): give "
            f"--repo-id {resource}, or set HF_OIDC_RESOURCE to {repo_id}"
        )
    return resource


def _check_token(user: Mapping[str, Any], full: str) -> None:
    token = user.get("auth", {}).get("accessToken", {})
    if token.get("role") == "read":
        raise AccessDenied(
            f"{full} cannot be written ({origin_of_token()} may only read): make one with the role write at "
            f"{tokens_page()}"
        )
    scopes = token.get("fineGrained")
    if isinstance(scopes, dict) and not _writes_to(scopes, full):
        raise AccessDenied(
            f"{full} cannot be written ({origin_of_token()} has no write access there): tick write access to "
            f"repositories of {full.split('/')[0]} at {tokens_page()}"
        )


def _writes_to(scopes: Mapping[str, Any], full: str) -> bool:
    """Whether a fine-grained token may write there; the Hub decides if a scope names nobody."""
    namespace = full.split("/")[0]
    for scope in scopes.get("scoped", ()):
        entity = scope.get("entity", {})
        if any(WRITES.search(str(permission)) for permission in scope.get("permissions", ())):
            covered = namespace if entity.get("type") in ("user", "org") else full
            if entity.get("name", covered).lower() == covered.lower():
                return True
    return False


def _check_writable(full: str) -> bool:
    """Whether the repository exists; stop if it does and this user may not write to it."""
    with plain_hub_errors(full):
        if not retry_if_limited(lambda: HfApi().repo_exists(full)):
            return False
        try:
            retry_if_limited(lambda: HfApi().auth_check(full, write=True))
        except HfHubHTTPError as error:
            if error.response.status_code != 403:
                raise
            raise AccessDenied(
                f"{full} cannot be written ({origin_of_token()} may not write to it): ask its owner for the "
                f"role write, let the token write at {tokens_page()}, or give another --repo-id"
            ) from error
    return True


def _check_namespace(user: Mapping[str, Any], full: str) -> None:
    namespace, own = full.split("/")[0], user["name"]
    roles = {org["name"].lower(): org.get("roleInOrg") for org in user.get("orgs", ())}
    roles[own.lower()] = "admin"
    if namespace.lower() not in roles:
        raise AccessDenied(
            f"{full} cannot be written ({own} is not part of {namespace}): give a --repo-id under {own} or "
            f"an organization of yours"
        )
    role = roles[namespace.lower()]
    if role is not None and role not in MAY_CREATE:
        raise AccessDenied(
            f"{full} cannot be made ({own} has the role {role} in {namespace}): ask for the role contributor "
            f"or write, or give another --repo-id"
        )


def keep_gate(repo_id: str, gate: str | None, *, private: bool) -> None:
    """Make a repository with the gate of the original, before anybody can see its files.

    A private repository needs no gate, and one that has a gate keeps it.

    Args:
        gate: "manual": the owner decides each request; "auto": all are granted; None: there is no gate.

    Raises:
        AccessDenied: this token may not set a gate.
    """
    if gate is None or private:
        return
    make_repository(repo_id, private=private)
    with plain_hub_errors(repo_id):
        if retry_if_limited(lambda: HfApi().model_info(repo_id)).gated:
            return
        try:
            kind = cast(Literal["auto", "manual"], gate)
            retry_if_limited(lambda: HfApi().update_repo_settings(repo_id, gated=kind))
        except HfHubHTTPError as error:
            if error.response.status_code not in (401, 403):
                raise
            raise AccessDenied(
                f"the original is gated, and {origin_of_token()} may not put the same gate before {repo_id}: "
                f"switch on access requests at {constants.ENDPOINT}/{repo_id}/settings, then run the same "
                f"command again; finished stages are kept"
            ) from error
