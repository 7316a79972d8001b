"""Publishing a run: to main, a branch or a pull request, and each depth of a sorted model to its own branch.

The weights are uploaded first, where nobody sees them. One commit then shows weights, card and record.
Nothing is sent or committed twice, so the same command can be given again whatever went wrong.
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
from hf_prune.stages.publish.delivery import Delivered, announced, deliver, files_in, look_at_branch
from hf_prune.stages.publish.folder import CARD, card_of, with_sections_of, write_card_and_record
from hf_prune.stages.publish.replaced import (
    card_with_sections,
    open_proposal,
    published_sections,
    stale_files,
    version_in,
)
from hf_prune.stages.run import MARKER, Run, read_record
from hf_prune.stages.source.licence import Terms, fitting_name, refuse_by_licence
from hf_prune.stages.work import RunFolder

GIT_ATTRIBUTES = ".gitattributes"  # written by the Hub itself
BRANCH = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[\w][\w.-]*)*")  # a part of the names that git allows


def check_publication(publication: Publication, name: str, terms: Terms, *, depths: bool = False) -> str:
    """The repository to publish to, once it is sure that this user may.

    Args:
        name: of the result. Where the terms of the original's licence demand another name, that one is used.
        depths: whether it is a sorted model, whose depths go to branches.

    Raises:
        RecipeError: the branch has an impossible name, or no pull request against it can be opened.
        AccessDenied: not logged in, or the token cannot write.
        LicenceForbids: the original's licence does not allow publication, or not under this name.
        PublishRefused: the repository exists and hf-prune did not make it.
        CollectionNotFound: there is no such collection.
        BrokenSection: the published card has a section of the user's that could be lost.
    """
    _check_destination(publication, depths=depths)
    name = fitting_name(terms, name)
    refuse_by_licence(terms, publication.repo_id or name)
    repo_id = hub.check_may_publish(publication.repo_id, name)
    refuse_by_licence(terms, repo_id)
    if publication.collection is not None:
        hub.check_collection(publication.collection)
    snapshot = hub.snapshot_of(repo_id, publication.branch or hub.MAIN) or hub.snapshot_of(repo_id)
    if snapshot is not None:
        refuse_foreign(snapshot, overwrite=publication.overwrite)
        published_sections(snapshot, time.sleep)
    return repo_id


def _check_destination(publication: Publication, *, depths: bool) -> None:
    branch = publication.branch
    if branch is not None and (not BRANCH.fullmatch(branch) or ".." in branch or branch.endswith(".lock")):
        raise RecipeError(f"--branch {branch!r} cannot be the name of a branch: give one like next or v2")
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


def refuse_foreign(snapshot: hub.Snapshot, *, overwrite: bool) -> None:
    """Refuse to overwrite files in a repository without the marker file of hf-prune.

    Raises:
        PublishRefused: there are files of others and no marker.
    """
    others = snapshot.files.keys() - {GIT_ATTRIBUTES}
    if not overwrite and others and MARKER not in others:
        raise PublishRefused(
            f"{snapshot.repo_id} exists and was not made by hf-prune: choose another --repo-id, or overwrite "
            f"it with --yes"
        )


def publish(
    run: Run,
    folder: RunFolder,
    repo_id: str,
    publication: Publication,
    reporter: Reporter,
    sleep: hub.Wait = time.sleep,
) -> tuple[Run, Published]:
    """Publish an assembled folder, and each depth of a sorted model on a branch of its own.

    The card and the record are written anew: they, and the run that is returned, name the version replaced.

    Raises:
        PublishRefused: it would overwrite what hf-prune did not make.
        RepositoryChanged: somebody else committed meanwhile.
        UploadDiffers: the Hub does not hold what was sent.
        BrokenSection: a section of the user's could be lost.
        SourceError: the Hub does not answer, or refuses this user.
    """
    wait, branch = announced(sleep, reporter), publication.branch or hub.MAIN
    hub.keep_gate(repo_id, run.source.gate_to_keep, private=publication.private)
    private = _prepare_repository(repo_id, publication, bool(run.evaluated.depths), reporter, wait)
    depths = []
    for depth in run.evaluated.depths[:-1]:
        model = folder.depths / depth_name(depth.layers)
        card = render_depth_card(run, depth.layers, repo_id)
        depths.append(publish_depth(repo_id, model, depth.layers, card, reporter, sleep))
        write_whole(model / CARD, with_sections_of(model / CARD, card))
    delivered = _publish_whole(run, folder, repo_id, publication, reporter, wait)
    if publication.collection is not None:
        hub.add_to_collection(publication.collection, repo_id, wait)
    number = delivered.pull_request
    published = Published(
        repo_id=repo_id,
        url=hub.address_of(repo_id, branch),
        commit=delivered.commit,
        private=private,
        pull_request=None if number is None else hub.address_of(repo_id, pull_request=number),
        unchanged=delivered.unchanged and all(depth.unchanged for depth in depths),
    )
    return read_record(folder.model / MARKER).run, published


def _prepare_repository(
    repo_id: str, publication: Publication, depths: bool, reporter: Reporter, wait: hub.Wait
) -> bool:
    """Make the repository and the branch if they do not exist; whether the repository is private."""
    branch, main = publication.branch or hub.MAIN, hub.snapshot_of(repo_id, wait=wait)
    is_new_branch = branch != hub.MAIN and hub.snapshot_of(repo_id, branch, wait) is None
    if main is None:
        hub.make_repository(repo_id, private=publication.private, wait=wait)
    else:
        if main.private != publication.private:
            reporter.tell(f"{repo_id} exists and is {'private' if main.private else 'public'}: it stays so")
        if depths or is_new_branch:  # a new branch begins with the files of main
            refuse_foreign(main, overwrite=publication.overwrite)
    if is_new_branch:
        hub.make_branch(repo_id, branch, wait)
    return publication.private if main is None else main.private


def _publish_whole(
    run: Run, folder: RunFolder, repo_id: str, publication: Publication, reporter: Reporter, wait: hub.Wait
) -> Delivered:
    branch, removed = publication.branch or hub.MAIN, run.plan.removed
    origin = run.source.repo_id or run.source.folder
    made = f"layers {ranges(removed)} of {origin} removed" if removed else f"from {origin}"

    def look() -> hub.Snapshot:
        snapshot = look_at_branch(repo_id, branch, wait)
        refuse_foreign(snapshot, overwrite=publication.overwrite)
        return (open_proposal(run, snapshot, wait) if publication.create_pr else None) or snapshot

    def plan(snapshot: hub.Snapshot) -> hub.Change:
        replaced = snapshot if snapshot.revision == branch else look_at_branch(repo_id, branch, wait)
        compared = replace(run, before=version_in(replaced, run, wait))
        sections = published_sections(snapshot, wait)
        write_card_and_record(compared, folder.model, folder, repo_id)
        card = card_with_sections(card_of(compared, repo_id), sections, folder.model / CARD, reporter)
        change = hub.Change(
            snapshot=snapshot,
            files=hub.outgoing(files_in(folder.model) | {CARD: card}),
            message=f"{run.name}: {made}",
            propose=publication.create_pr and snapshot is replaced,
        )
        return replace(change, deleted=stale_files(change, wait))

    return deliver(look, plan, reporter, wait)


def publish_depth(
    repo_id: str, folder: Path, depth: int, card: str | None, reporter: Reporter, sleep: hub.Wait = time.sleep
) -> Delivered:
    """Publish a depth on its own branch of an existing repository, in place of all that the branch holds.

    Raises:
        RepositoryChanged, UploadDiffers, BrokenSection, SourceError: as `publish`.
    """
    wait, branch = announced(sleep, reporter), depth_name(depth)
    hub.make_branch(repo_id, branch, wait)

    def plan(snapshot: hub.Snapshot) -> hub.Change:
        files = files_in(folder)
        if card is not None:
            # A new branch begins with the files of main, and the user's sections there are not about a depth.
            published = () if MARKER in snapshot.files else published_sections(snapshot, wait)
            files[CARD] = card_with_sections(card, published, folder / CARD, reporter)
        return hub.Change(
            snapshot=snapshot,
            files=hub.outgoing(files),
            message=f"The first {depth} layers",
            deleted=tuple(sorted(snapshot.files.keys() - files.keys() - {GIT_ATTRIBUTES})),
        )

    return deliver(lambda: look_at_branch(repo_id, branch, wait), plan, reporter, wait)
