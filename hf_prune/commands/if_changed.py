"""`--if-changed`: no run is made if the published result would come out the same."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from importlib.metadata import version

from hf_prune import hub
from hf_prune.errors import RecipeError, UnreadableRecord
from hf_prune.machine.progress import Reporter
from hf_prune.recipe.faults import check_recipe
from hf_prune.recipe.recipe import Publication, Recipe, option_name
from hf_prune.recipe.words import SWITCHES, without_folders
from hf_prune.records import Citation, Presentation, Published
from hf_prune.stages.original import find_original
from hf_prune.stages.publish.naming import name_and_kind
from hf_prune.stages.publish.published import published_revisions
from hf_prune.stages.publish.stage import check_publication
from hf_prune.stages.run import MARKER, Run, read_record
from hf_prune.stages.texts.material import digests_of, read_material

STATED_BY_THE_COMMIT = ("model", "revision")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingredients:
    """What decides the result of a run. All of it is known before any weights are fetched."""

    repo_id: str  # of the original
    commit: str
    recipe: Recipe  # as it is published: local files without their folders
    digests: tuple[str, ...]  # of what is read from files
    hf_prune: str  # the version
    cited: Citation | None
    presentation: Presentation | None


def still_published(
    recipe: Recipe,
    publication: Publication | None,
    reporter: Reporter,
    *,
    cited: Citation | None = None,
    presentation: Presentation | None = None,
) -> Published | None:
    """What is published and would come out the same; None: there is a reason for the run, which is reported.

    No weights are fetched. With `create_pr`, an open pull request of this user counts too, so that the same
    proposal is not made twice.

    Raises:
        RecipeError: nothing is to be published, or the original is no model on the Hub.
        HfPruneError: any error that the run itself would raise before it fetches weights.
    """
    if publication is None:
        raise RecipeError("--if-changed compares with what is published: add --push")
    check_recipe(recipe)
    original = find_original(recipe, Reporter())
    if (repository := original.repository) is None:
        raise RecipeError(
            f"--if-changed compares the commit of a model on the Hub, and {recipe.model} is a folder here, "
            f"which has none: leave it out"
        )
    name, kind = name_and_kind(recipe, publication, original)
    repo_id = check_publication(publication, name, original.terms, depths=recipe.depths is not None)
    now = Ingredients(
        repo_id=repository.repo_id,
        commit=repository.commit,
        recipe=without_folders(recipe),
        digests=digests_of(recipe, read_material(recipe, kind)),
        hf_prune=version("hf-prune"),
        cited=cited,
        presentation=presentation,
    )
    reasons = []
    for snapshot, published in published_revisions(repo_id, publication):
        try:
            reason = what_changed(read_record(hub.download_file(snapshot, MARKER)).run, now)
        except UnreadableRecord:
            reason = f"another version of hf-prune made it, and this is {now.hf_prune}"
        if reason is None:
            reporter.tell(
                f"{published.address} was made from {now.repo_id} at {now.commit[:7]} by the same recipe: "
                f"nothing is to be done"
            )
            return published
        reasons.append(reason)
    reporter.tell(f"{repo_id}: {reasons[0] if reasons else 'nothing is published there yet'}")
    return None


def what_changed(run: Run, now: Ingredients) -> str | None:
    """Why a published run would come out differently now; None: it would not."""
    source, version = run.source, run.environment.hf_prune
    if source.repo_id != now.repo_id or source.commit is None:
        return f"it was made from {source.repo_id or source.folder}, not from {now.repo_id}"
    if source.commit != now.commit:
        return f"the original moved from {source.commit[:7]} to {now.commit[:7]}"
    if version != now.hf_prune:
        return f"hf-prune {version} made it, and this is {now.hf_prune}"
    if differences := list(_differences(run.recipe, now.recipe)):
        return f"the recipe is another: {', '.join(differences)}"
    if run.digests != now.digests:
        return "the texts, images or tasks that it was made with are others"
    if run.cited != now.cited or run.presentation != now.presentation:
        return "the card is to say something else: --template, --notes, or the paper of the recipe"
    return None


def _differences(then: Recipe, now: Recipe) -> Iterator[str]:
    for field in fields(Recipe):
        before, after = getattr(then, field.name), getattr(now, field.name)
        if field.name not in STATED_BY_THE_COMMIT and before != after:
            yield f"{_as_option(field.name, after)}, before {_as_option(field.name, before)}"


def _as_option(name: str, value: object) -> str:
    option = SWITCHES[name][0 if value else 1] if name in SWITCHES else option_name(name)
    if value is None or (value is False and name not in SWITCHES):
        return f"no {option_name(name)}"
    return option if isinstance(value, bool) else f"{option} {value}"
