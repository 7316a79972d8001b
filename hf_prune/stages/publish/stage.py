"""The way to the Hub: the model on main, a branch or a pull request, each depth of a sorted one on its own.

Weights are sent ahead, where nobody sees them; one commit then shows weights, card and record together. What
is there already is neither sent nor committed again: whatever went wrong, the same command ends well.
"""

import re
import time
from dataclasses import replace
from pathlib import Path

from hf_prune import hub
from hf_prune.errors import PublishRefused, RecipeError
from hf_prune.machine.disk import write_whole
from hf_prune.machine.progress import Reporter
from hf_prune.recipe.recipe import Publication
from hf_prune.records import Published
from hf_prune.records.blocks import ranges
from hf_prune.stages.card.card import render_depth_card
from hf_prune.stages.cut.checkpoint import depth_name
from hf_prune.stages.publish.delivery import Delivered, deliver, files_of, look_at_branch, telling
from hf_prune.stages.publish.folder import CARD, card_of, present, with_sections_of
from hf_prune.stages.publish.replaced import (
    card_with_sections,
    proposed_before,
    published_sections,
    stale_files,
    version_in,
)
from hf_prune.stages.run import MARKER, Run, read_record
from hf_prune.stages.source.licence import Terms, refuse_by_licence
from hf_prune.stages.work import RunFolder

HUBS_OWN = ".gitattributes"
BRANCH = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[\w][\w.-]*)*")  # of the names that git allows


def check_publication(
    publication: Publication | None, name: str, terms: Terms, *, depths: bool = False
) -> str | None:
    """The name to publish under, once it is sure that this user may.

    Args:
        publication: what the user asked for; None: not to publish.
        name: of the result.
        terms: of the original's licence.
        depths: whether it is a sorted model, whose depths go to branches.

    Raises:
        RecipeError: there is no such branch, or no pull request against it.
        AccessDenied: not logged in, or the token cannot write.
        LicenceForbids: the original's licence does not let it be published, or not under this name.
        PublishRefused: a repository of that name exists and hf-prune did not make it.
        CollectionNotFound: there is none to put it into.
        BrokenSection: its card has a section of the user's that could be lost.
    """
    if publication is None:
        return None
    _check_destination(publication, depths=depths)
    refuse_by_licence(terms, publication.repo_id or name)
    repo_id = hub.check_may_publish(publication.repo_id, name)
    refuse_by_licence(terms, repo_id)
    if publication.collection is not None:
        hub.check_collection(publication.collection)
    held = hub.look_at(repo_id, publication.branch or hub.MAIN) or hub.look_at(repo_id)
    if held is not None:
        refuse_foreign(held, overwrite=publication.overwrite)
        published_sections(held, time.sleep)
    return repo_id


def _check_destination(publication: Publication, *, depths: bool) -> None:
    branch = publication.branch
    if branch is not None and (not BRANCH.fullmatch(branch) or ".." in branch or branch.endswith(".lock")):
        raise RecipeError(
            f"--branch {branch!r} is no name that a branch could have: give one like next or v2"
        )
    if publication.create_pr and branch not in (None, hub.MAIN):
        raise RecipeError(
            f"--create-pr proposes a change of main, and the Hub opens no pull request against {branch}: "
            f"leave --branch or --create-pr out"
        )
    if publication.create_pr and depths:
        raise RecipeError(
            "--create-pr proposes one model, and each depth of a sorted one goes to a branch of its own: "
            "leave it out; a new repository is private unless --public is given"
        )


def refuse_foreign(held: hub.Held, *, overwrite: bool) -> None:
    """Stop before overwriting what lacks the marker file of hf-prune.

    Raises:
        PublishRefused: there are files of others and no marker.
    """
    if not overwrite and MARKER not in held.files and held.files.keys() - {HUBS_OWN}:
        raise PublishRefused(
            f"{held.repo_id} exists and was not made by hf-prune: choose another --repo-id, or overwrite it "
            f"with --yes"
        )


def publish(
    run: Run,
    folder: RunFolder,
    repo_id: str,
    publication: Publication,
    reporter: Reporter,
    sleep: hub.Wait = time.sleep,
) -> tuple[Run, Published]:
    """Put what `assemble` left on the Hub, and each depth of a sorted model on a branch of its own.

    Args:
        run: what its card tells.
        folder: of the run; its card and record are written anew, for they tell of the version before.
        repo_id: where to.
        publication: which branch, who may see it.
        reporter: is told where it goes.
        sleep: for so many seconds, where the Hub asks for time.

    Returns:
        The run with the version that it takes the place of, and where it went.

    Raises:
        PublishRefused: it would overwrite what hf-prune did not make.
        RepositoryChanged: somebody else committed meanwhile.
        UploadDiffers: the Hub does not hold what was sent.
        BrokenSection: a section of the user's could be lost.
        SourceError: the Hub does not answer, or not to this user.
    """
    wait, branch = telling(reporter, sleep), publication.branch or hub.MAIN
    hub.keep_gate(repo_id, run.source.gate_to_keep, private=publication.private)
    private = _make_place(repo_id, publication, bool(run.evaluated.depths), reporter, wait)
    of_depths = []
    for depth in run.evaluated.depths[:-1]:
        place, card = folder.depths / depth_name(depth.layers), render_depth_card(run, depth.layers, repo_id)
        of_depths.append(publish_depth(repo_id, place, depth.layers, card, reporter, sleep))
        write_whole(place / CARD, with_sections_of(place / CARD, card))

    def look() -> hub.Held:
        held = look_at_branch(repo_id, branch, wait)
        refuse_foreign(held, overwrite=publication.overwrite)
        return (proposed_before(run, held, wait) if publication.create_pr else None) or held

    def change(held: hub.Held) -> hub.Change:
        replaced = held if held.revision == branch else look_at_branch(repo_id, branch, wait)
        told = replace(run, before=version_in(replaced, run, wait))
        sections = published_sections(held, wait)
        present(told, folder.model, folder, repo_id)
        card = card_with_sections(card_of(told, repo_id), sections, folder.model / CARD, reporter)
        made = hub.Change(
            held=held,
            files=hub.outgoing(files_of(folder.model) | {CARD: card}),
            message=_message(run),
            propose=publication.create_pr and held is replaced,
        )
        return replace(made, deleted=stale_files(made, wait))

    delivered = deliver(look, change, reporter, wait)
    if publication.collection is not None:
        hub.add_to_collection(publication.collection, repo_id, wait)
    number = delivered.pull_request
    published = Published(
        repo_id=repo_id,
        url=hub.address_of(repo_id, branch),
        commit=delivered.commit,
        private=private,
        pull_request=None if number is None else hub.address_of(repo_id, pull_request=number),
        unchanged=delivered.unchanged and all(depth.unchanged for depth in of_depths),
    )
    return read_record(folder.model / MARKER).run, published


def _make_place(
    repo_id: str, publication: Publication, depths: bool, reporter: Reporter, wait: hub.Wait
) -> bool:
    """Make the repository and the branch where they are not there; whether the repository is private."""
    branch, main = publication.branch or hub.MAIN, hub.look_at(repo_id, wait=wait)
    begins_as_main = branch != hub.MAIN and hub.look_at(repo_id, branch, wait) is None
    if main is None:
        hub.make_repository(repo_id, private=publication.private, wait=wait)
    else:
        if main.private != publication.private:
            reporter.tell(f"{repo_id} exists and is {'private' if main.private else 'public'}: it stays so")
        if depths or begins_as_main:
            refuse_foreign(main, overwrite=publication.overwrite)
    if begins_as_main:
        hub.make_branch(repo_id, branch, wait)
    return publication.private if main is None else main.private


def publish_depth(
    repo_id: str,
    folder: Path,
    depth: int,
    card: str | None,
    reporter: Reporter,
    sleep: hub.Wait = time.sleep,
) -> Delivered:
    """Put a depth on its own branch of a repository that is there: all that the branch held goes.

    Args:
        repo_id: where to.
        folder: that holds the depth.
        depth: how many layers.
        card: as it is made now; None: it has none.
        reporter: is told where it goes.
        sleep: for so many seconds, where the Hub asks for time.

    Raises:
        RepositoryChanged, UploadDiffers, BrokenSection, SourceError: as `publish`.
    """
    wait, branch = telling(reporter, sleep), depth_name(depth)
    hub.make_branch(repo_id, branch, wait)

    def look() -> hub.Held:
        return look_at_branch(repo_id, branch, wait)

    def change(held: hub.Held) -> hub.Change:
        files = files_of(folder)
        if card is not None:
            # A new branch begins as main, and what the user says there is not about a depth.
            published = () if MARKER in held.files else published_sections(held, wait)
            files[CARD] = card_with_sections(card, published, folder / CARD, reporter)
        return hub.Change(
            held=held,
            files=hub.outgoing(files),
            message=f"The first {depth} layers",
            deleted=tuple(sorted(held.files.keys() - files.keys() - {HUBS_OWN})),
        )

    return deliver(look, change, reporter, wait)


def _message(run: Run) -> str:
    origin = run.source.repo_id or run.source.folder
    done = f"layers {ranges(run.plan.removed)} of {origin} removed" if run.plan.removed else f"from {origin}"
    return f"{run.name}: {done}"
