"""Whether a run would come to what is published already: decided from records alone."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

from hf_prune.recipe.recipe import SWITCHES, Recipe, option_name
from hf_prune.records import Citation, Presentation
from hf_prune.stages.run import Run

# Which model it is, its id and commit say.
SAID_BY_THE_COMMIT = ("model", "revision")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingredients:
    """What decides the result of a run, all of it known before any weights are fetched."""

    repo_id: str  # of the original
    commit: str
    recipe: Recipe  # as it is published: of local files the name alone
    digests: tuple[str, ...]  # of what is read from files
    hf_prune: str  # the version
    cited: Citation | None
    presentation: Presentation | None


def what_changed(run: Run, now: Ingredients) -> str | None:
    """Why a published run does not stand for what would be made now, in words; None: it does.

    Args:
        run: as it was published.
        now: what a run would be made of.
    """
    source, version = run.source, run.environment.hf_prune
    if source.repo_id != now.repo_id or source.commit is None:
        return f"it was made from {source.repo_id or source.folder}, not from {now.repo_id}"
    if source.commit != now.commit:
        return f"the base moved from {source.commit[:7]} to {now.commit[:7]}"
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
        if field.name not in SAID_BY_THE_COMMIT and before != after:
            yield f"{_said(field.name, after)}, before {_said(field.name, before)}"


def _said(name: str, value: object) -> str:
    """What a field asks for, as on the command line."""
    option = SWITCHES[name][0 if value else 1] if name in SWITCHES else option_name(name)
    if value is None or (value is False and name not in SWITCHES):
        return f"no {option_name(name)}"
    return option if isinstance(value, bool) else f"{option} {value}"
