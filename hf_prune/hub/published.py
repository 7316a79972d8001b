"""What is published of an earlier run."""

from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

from hf_prune.hub.plain_errors import plain_hub_errors
from hf_prune.records import Published

PULL_REQUEST = "refs/pr/"


def find_published(repo_id: str, marker: str, revision: str | None = None) -> tuple[Published, Path] | None:
    """What a repository holds of a run, and the record of it, fetched; None where there is none.

    Args:
        repo_id: the repository.
        marker: the name of the record in it.
        revision: a branch, or `refs/pr/N`; None: main.
    """
    api = HfApi()
    with plain_hub_errors(repo_id, revision):
        try:
            info = api.model_info(repo_id, revision=revision)
        except GatedRepoError:  # a kind of RepositoryNotFoundError
            raise
        except (RepositoryNotFoundError, RevisionNotFoundError):
            return None
        if marker not in {sibling.rfilename for sibling in info.siblings or ()}:
            return None
        commit = info.sha or ""
        record = Path(hf_hub_download(repo_id, marker, revision=commit))
    url = f"{api.endpoint}/{repo_id}{_below(revision)}"
    return Published(repo_id=repo_id, url=url, commit=commit, private=bool(info.private)), record


def _below(revision: str | None) -> str:
    """Where the page of a revision is, below that of its repository."""
    if revision is None:
        return ""
    if revision.startswith(PULL_REQUEST):
        return f"/discussions/{revision.removeprefix(PULL_REQUEST)}"
    return f"/tree/{revision}"


def own_pull_requests(repo_id: str) -> Iterator[str]:
    """The revisions of this user's open pull requests, the newest first; none where there is no repository.

    Those of others do not count: anyone may propose anything to a public repository.
    """
    api = HfApi()
    with plain_hub_errors(repo_id):
        if not api.repo_exists(repo_id):
            return
        found = api.get_repo_discussions(
            repo_id,
            author=api.whoami()["name"],
            discussion_type="pull_request",
            discussion_status="open",
        )
        numbers = sorted((discussion.num for discussion in found), reverse=True)
    yield from (f"{PULL_REQUEST}{number}" for number in numbers)
