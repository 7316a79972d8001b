"""What is published already in the place that a run would publish to."""

from collections.abc import Iterator
from dataclasses import dataclass

from hf_prune import hub
from hf_prune.recipe.recipe import Publication
from hf_prune.records import Published
from hf_prune.stages.run import MARKER


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A revision that holds the record of a run."""

    held: hub.Held
    published: Published


def standing(repo_id: str, publication: Publication) -> Iterator[Standing]:
    """What is on the branch that would be published to; where it would be proposed, what was proposed, too.

    The branch first, then this user's open pull requests, the newest first. Those of others do not count:
    anyone may propose anything to a public repository.

    Args:
        repo_id: the repository; it need not be there.
        publication: which branch, or whether by a pull request.
    """
    branch = publication.branch or hub.MAIN
    places: list[tuple[str, int | None]] = [(branch, None)]
    if publication.create_pr and hub.exists(repo_id):
        places += [(f"refs/pr/{number}", number) for number in hub.open_pull_requests(repo_id)]
    for revision, number in places:
        held = hub.look_at(repo_id, revision)
        if held is not None and MARKER in held.files:
            published = Published(
                repo_id=repo_id,
                url=hub.address_of(repo_id, branch),
                commit=held.commit,
                private=held.private,
                pull_request=None if number is None else hub.address_of(repo_id, pull_request=number),
                unchanged=True,
            )
            yield Standing(held=held, published=published)
