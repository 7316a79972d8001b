"""The summary of a run on the page of its workflow, in Markdown, whether the run succeeded or failed.

Its figures and words are those of the card. A job summary cannot show pictures of a private repository, so
coloured squares stand for the layers.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from hf_prune.records import DECODER, Published
from hf_prune.stages.card.card import card_context
from hf_prune.stages.card.encoder_card import encoder_card_context
from hf_prune.stages.card.sections import growth_section, published_bridge
from hf_prune.stages.card.templates import rendered
from hf_prune.stages.run import Run

NO_PICTURES = {"layer_map": None}
LONGEST_REASON = 4000  # characters; a summary may have 1 MiB in all
KEPT, REMOVED, BRIDGED, NEW = "🟦", "⬜", "🟧", "🟩"
PER_LINE = 32  # layers, as in the picture of the card


def run_summary(
    run: Run, *, repo_id: str | None = None, published: Published | None = None, refused: Sequence[str] = ()
) -> str:
    """The summary of a finished run.

    Args:
        run: its record.
        repo_id: the repository that the card names. None: no repository.
        published: where the result was published. None: it was not.
        refused: the limits that the result misses, so that it was not published.
    """
    decoder = run.dense.kind == DECODER
    context = (card_context if decoder else encoder_card_context)(run, repo_id)
    own = {
        "decoder": decoder,
        "published": published,
        "repo_id": repo_id,
        "refused": refused,
        "pictures": NO_PICTURES,
        "layers": _layers(run),
    }
    return rendered("job_summary.j2", {**context, **own})


def unchanged_summary(model: str, published: Mapping[str, Any]) -> str:
    """The summary of a run that had nothing to do, with the repo_id, url and commit of what is published."""
    return rendered("job_summary_unchanged.j2", {"model": model, "published": dict(published)})


def elsewhere_summary(model: str, job: Mapping[str, Any], published: Mapping[str, Any]) -> str:
    """The summary of a run that was sent to Hugging Face Jobs.

    `job` has its url. `published` has the repo_id, url and commit of the result, or nothing if nobody waited.
    """
    context = {"model": model, "job": dict(job), "published": dict(published)}
    return rendered("job_summary_elsewhere.j2", context)


def failed_summary(model: str, reason: str) -> str:
    """The summary of a run that failed, with the reason in one line."""
    return rendered("job_summary_failed.j2", {"model": model, "reason": reason[:LONGEST_REASON]})


def _layers(run: Run) -> dict[str, Any]:
    """The layers in squares, and the meaning of each colour."""
    bridged = {folded.layer for folded in published_bridge(run).folded}
    followed = growth_section(run, run.growth)["followed"] if run.growth is not None else []
    legend = {KEPT: "kept" if run.plan.removed else "of the original"}
    legend |= {REMOVED: "removed"} if run.plan.removed else {}
    legend |= {BRIDGED: "kept, with a bridge"} if bridged else {}
    legend |= {NEW: "new"} if followed else {}
    lines = layer_lines(run.plan.num_layers, removed=run.plan.removed, bridged=bridged, followed=followed)
    return {"lines": lines, "legend": legend}


def layer_lines(
    num_layers: int,
    *,
    removed: Collection[int] = (),
    bridged: Collection[int] = (),
    followed: Sequence[int] = (),
) -> tuple[str, ...]:
    """The original's layers as squares for a block of code, `PER_LINE` in each line after the first's number.

    `followed` has the layers after which there is a new one, each as often as there are new ones.
    """
    width = len(str(num_layers - 1))
    lines = []
    for first in range(0, num_layers, PER_LINE):
        layers = range(first, min(first + PER_LINE, num_layers))
        squares = [
            (REMOVED if layer in removed else BRIDGED if layer in bridged else KEPT)
            + NEW * followed.count(layer)
            for layer in layers
        ]
        lines.append(f"{first:>{width}} {''.join(squares)}")
    return tuple(lines)
