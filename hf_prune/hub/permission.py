"""Whether this user may publish under a name, asked before the hours of work."""

from huggingface_hub import HfApi, get_token

from hf_prune.errors import AccessDenied, PublishRefused
from hf_prune.hub.plain_errors import plain_hub_errors


def check_may_publish(repo_id: str | None, name: str) -> str:
    """The full name that a result called `name` is published under, if this user may write there.

    Asked before the hours of work, not after.

    Args:
        repo_id: the name the user gave, or None for `USER/name`.
        name: of the result.

    Raises:
        AccessDenied: not logged in, or the token cannot write.
        PublishRefused: a repository of that name exists and hf-prune did not make it.
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


def refuse_foreign(repo_id: str, marker: str, *, overwrite: bool) -> None:
    """Stop before overwriting a repository that lacks the marker file of hf-prune.

    Raises:
        PublishRefused: it exists, has files of its own and no marker.
    """
    api = HfApi()
    with plain_hub_errors(repo_id):
        if overwrite or not api.repo_exists(repo_id):
            return
        files = set(api.list_repo_files(repo_id)) - {".gitattributes"}
    if files and marker not in files:
        raise PublishRefused(
            f"{repo_id} exists and was not made by hf-prune: choose another --repo-id, or overwrite it "
            f"with --yes"
        )
