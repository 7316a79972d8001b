"""The runs that are published already where a new run would go."""

from collections.abc import Iterator

from hf_prune import hub
from hf_prune.recipe.recipe import Publication
from hf_prune.records import Published
from hf_prune.stages.run import MARKER


def published_revisions(repo_id: str, publication: Publication) -> Iterator[tuple[hub.Snapshot, Published]]:
    """The branch to publish to, and with `create_pr` this user's open pull requests, the newest first.

    Only those with the record of a run. Others' pull requests do not count: anyone may open one.
    """
    branch = publication.branch or hub.MAIN
    revisions: list[tuple[str, int | None]] = [(branch, None)]
    if publication.create_pr and hub.exists(repo_id):
        revisions += [(f"{hub.PULL_REQUEST}{number}", number) for number in hub.open_pull_requests(repo_id)]
    for revision, number in revisions:
        snapshot = hub.snapshot_of(repo_id, revision)
        if snapshot is not None and MARKER in snapshot.files:
            published = Published(
                repo_id=repo_id,
                url=hub.address_of(repo_id, branch),
                commit=snapshot.commit,
                private=snapshot.private,
                pull_request=None if number is None else hub.address_of(repo_id, pull_request=number),
                unchanged=True,
            )
            yield snapshot, published
