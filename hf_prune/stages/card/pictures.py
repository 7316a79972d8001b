"""The pictures of a card: which ones a run has figures for, their paths beside README.md, and their bytes."""

from hf_prune.records import Healing
from hf_prune.stages.card.sections import published_bridge
from hf_prune.stages.run import Run

LAYER_MAP = "plots/layer_map.png"
SIMILARITY = "plots/similarity.png"
BLOCK_SIZES = "plots/block_sizes.png"
LAYER_SCORES = "plots/layer_scores.png"
DROP_EFFECTS = "plots/drop_effects.png"
TOURNAMENT = "plots/tournament.png"
GROWTH = "plots/growth.png"
DEPTHS = "plots/depths.png"
HEALING = "plots/healing.png"
REMOVALS = "plots/removals.png"


def picture_paths(run: Run) -> dict[str, str | None]:
    """The path of each picture beside README.md. None: this run has no figures for it."""
    cut, similarity = bool(run.plan.removed), run.similarity
    return {
        "layer_map": LAYER_MAP if has_layer_map(run) else None,
        "similarity": SIMILARITY if cut else None,
        "block_sizes": BLOCK_SIZES if cut else None,
        "layer_scores": LAYER_SCORES if cut else None,
        "drop_effects": DROP_EFFECTS if cut and similarity.scores("loss") is not None else None,
        "tournament": TOURNAMENT if run.plan.tournament is not None else None,
        "removals": REMOVALS if has_removals(run) else None,
        "growth": GROWTH if run.growth is not None else None,
        "depths": DEPTHS if run.evaluated.depths else None,
        "healing": HEALING if has_curve(run.healing) else None,
    }


def render_pictures(run: Run) -> dict[str, bytes]:
    """The pictures that the card shows: PNG bytes by their path beside README.md."""
    from hf_prune.stages.card import plots

    pictures = _of_cut(run) if run.plan.removed else {}
    if has_layer_map(run):
        pictures[LAYER_MAP] = plots.layer_map(run.plan, published_bridge(run), run.growth)
    if run.growth is not None:
        pictures[GROWTH] = plots.growth(run.growth, run.plan)
    if run.evaluated.depths:
        pictures[DEPTHS] = plots.depths(run.evaluated.depths)
    if has_curve(run.healing):
        pictures[HEALING] = plots.healing_curve(run.healing)
    return pictures


def _of_cut(run: Run) -> dict[str, bytes]:
    """The pictures of why these layers were removed."""
    from hf_prune.stages.card import plots

    pictures = {
        LAYER_SCORES: plots.layer_scores(run.similarity, run.plan),
        SIMILARITY: plots.similarity_heatmap(run.similarity, run.plan),
        BLOCK_SIZES: plots.best_distance_per_block_size(run.similarity, run.plan),
    }
    if run.similarity.scores("loss") is not None:
        pictures[DROP_EFFECTS] = plots.drop_effects(run.similarity, run.plan)
    if run.plan.tournament is not None:
        pictures[TOURNAMENT] = plots.tournament(run.plan.tournament)
    if run.similarity.removal_order is not None and has_removals(run):
        pictures[REMOVALS] = plots.removals(run.similarity.removal_order, run.plan)
    return pictures


def has_layer_map(run: Run) -> bool:
    """Whether any layer was removed or added."""
    return bool(run.plan.removed) or run.growth is not None


def has_removals(run: Run) -> bool:
    """Whether the run followed the order of a greedy search of two layers or more."""
    order = run.similarity.removal_order
    return run.plan.method == "greedy" and order is not None and len(order.layers) > 1


def has_curve(healing: Healing) -> bool:
    """Whether the loss on the text set aside was measured often enough for a line."""
    return sum(point.watched_loss is not None for point in healing.curve) > 1
