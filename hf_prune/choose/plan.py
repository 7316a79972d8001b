"""The plan: which layers go, and by whose word."""

from hf_prune.choose.blocks import all_but, best_blocks, blocks_of
from hf_prune.choose.criteria import AUTO, CRITERIA, NAMED
from hf_prune.records import Plan, Similarity, Tournament

TITLES = {
    **{criterion.name: criterion.title for criterion in CRITERIA.values()},
    AUTO: "lowest loss of all cuts that were tried",
    NAMED: "named by the user",
}


def plan_for(
    similarity: Similarity, removed: tuple[int, ...], method: str, tournament: Tournament | None = None
) -> Plan:
    """The plan that removes these layers.

    Args:
        similarity: of the original.
        removed: the layers, in order.
        method: who chose them.
        tournament: how, where there was one.
    """
    blocks = blocks_of(removed)
    only = blocks[0] if len(blocks) == 1 else None
    return Plan(
        num_layers=similarity.num_layers,
        removed=removed,
        kept=all_but(removed, similarity.num_layers),
        blocks=blocks,
        method=method,
        criterion=TITLES[method] if removed else "none was to go",
        distance=similarity.angular_last_token[only.start][only.end] if only else None,
        best_blocks=best_blocks(similarity.angular_last_token),
        tournament=tournament,
    )
