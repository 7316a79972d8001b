"""The card's pictures: from a record to the bytes of a PNG. Nothing is read or written."""

from hf_prune.stages.card.plots.curves import healing_curve, removals
from hf_prune.stages.card.plots.depths import depths
from hf_prune.stages.card.plots.distances import best_distance_per_block_size, similarity_heatmap
from hf_prune.stages.card.plots.growth import growth
from hf_prune.stages.card.plots.layers import layer_map
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
