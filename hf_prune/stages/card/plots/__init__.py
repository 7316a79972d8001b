"""The card's pictures: from a record to the bytes of a PNG; nothing is read, nothing is written."""

from hf_prune.stages.card.plots.depths import depths
from hf_prune.stages.card.plots.distances import best_distance_per_block_size, similarity_heatmap
from hf_prune.stages.card.plots.growth import growth
from hf_prune.stages.card.plots.healing import healing_curve
from hf_prune.stages.card.plots.layers import layer_map
from hf_prune.stages.card.plots.removals import removals
from hf_prune.stages.card.plots.scores import drop_effects, layer_scores
from hf_prune.stages.card.plots.trials import tournament

__all__ = [
    "best_distance_per_block_size",
    "depths",
    "drop_effects",
    "growth",
    "healing_curve",
    "layer_map",
    "layer_scores",
    "removals",
    "similarity_heatmap",
    "tournament",
]
