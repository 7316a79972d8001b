"""Whether this user may publish under a name, asked before the hours of work."""

from huggingface_hub import HfApi, get_token

from hf_prune.errors import AccessDenied
from hf_prune.hub.plain_errors import plain_hub_errors


def check_may_publish(repo_id: str | None, name: str) -> str:
    """The full name that a result called `name` is published under, if this user may write there.

    Asked before the hours of work, not after.

    Args:
        repo_id: the name the user gave, or None for `USER/name`.
        name: of the result.

    Raises:
        AccessDenied: not logged in, or the token cannot write.
    """
    api = HfApi()
    with plain_hub_errors(repo_id or name):
        if get_token() is None:
            raise AccessDenied(
                "publishing needs a login: `hf auth login`, or set HF_TOKEN to a token with write access"
            )
        user = api.whoami()
    full = repo_id or f"{user['name']}/{name}"
    namespaces = {user["name"], *(org["name"] for org in user.get("orgs", ()))}
    role = user.get("auth", {}).get("accessToken", {}).get("role")
    if role == "read" or full.split("/")[0] not in namespaces:
        reason = "the token may only read" if role == "read" else f"{user['name']} is not part of it"
        raise AccessDenied(
            f"{full} cannot be written ({reason}): use a token with write access, or another --repo-id"
        )
    return full
