"""What a job tells of its run on the page of a workflow, in Markdown: of one that ended well, or did not.

The figures and the words are those of the card. A job summary shows neither pictures of a private repository
nor pictures within the text, so the layers and their distances are drawn in coloured squares.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from hf_prune.records import DECODER, Published
from hf_prune.stages.card.card import card_context
from hf_prune.stages.card.encoder_card import encoder_card_context
from hf_prune.stages.card.sections import growth_section, published_bridge
from hf_prune.stages.card.squares import BRIDGED, KEPT, NEW, REMOVED, distances_in_squares, layer_lines
from hf_prune.stages.card.templates import rendered
from hf_prune.stages.run import Run

NO_PICTURES = {"layer_map": None}
LONGEST_REASON = 4000  # characters; a summary may have 1 MiB in all


def run_summary(
    run: Run, *, repo_id: str | None = None, published: Published | None = None, refused: Sequence[str] = ()
) -> str:
    """The summary of a finished run.

    Args:
        run: what it decided and measured.
        repo_id: where its card says that it goes; None: nowhere.
        published: where it went; None: it was not published.
        refused: in what the result is worse than was let through.
    """
    decoder = run.dense.kind == DECODER
    context = (card_context if decoder else encoder_card_context)(run, repo_id)
    similarity = run.similarity
    told = {
        "decoder": decoder,
        "published": published,
        "repo_id": repo_id,
        "refused": refused,
        "pictures": NO_PICTURES,
        "layers": _layers(run),
        "squares": distances_in_squares(similarity.angular_last_token, run.plan.blocks),
        "distance": run.plan.distance,
    }
    return rendered("job_summary.j2", {**context, **told})


def unchanged_summary(model: str, published: Mapping[str, Any]) -> str:
    """The summary of a run that had nothing to do.

    Args:
        model: that was asked for.
        published: what is known of the repository that is there: its repo_id, url and commit.
    """
    return rendered("job_summary_unchanged.j2", {"model": model, "published": dict(published)})


def elsewhere_summary(model: str, job: Mapping[str, Any], published: Mapping[str, Any]) -> str:
    """The summary of a run that was sent to Hugging Face Jobs.

    Args:
        model: that was asked for.
        job: its url.
        published: the repo_id, url and commit of what it published; empty where nobody waited.
    """
    context = {"model": model, "job": dict(job), "published": dict(published)}
    return rendered("job_summary_elsewhere.j2", context)


def failed_summary(model: str, reason: str) -> str:
    """The summary of a run that went wrong.

    Args:
        model: that was asked for.
        reason: in one line.
    """
    return rendered("job_summary_failed.j2", {"model": model, "reason": reason[:LONGEST_REASON]})


def _layers(run: Run) -> dict[str, Any]:
    """The layers in squares, and what each colour says."""
    bridged = {folded.layer for folded in published_bridge(run).folded}
    followed = growth_section(run, run.growth)["followed"] if run.growth is not None else []
    legend = {KEPT: "kept" if run.plan.removed else "of the original"}
    legend |= {REMOVED: "removed"} if run.plan.removed else {}
    legend |= {BRIDGED: "kept, carries a bridge"} if bridged else {}
    legend |= {NEW: "new"} if followed else {}
    lines = layer_lines(run.plan.num_layers, removed=run.plan.removed, bridged=bridged, followed=followed)
    return {"lines": lines, "legend": legend}
