"""The plan: which layers are removed, and by which criterion."""

from hf_prune.recipe.criteria import AUTO, NAMED
from hf_prune.records import CutAgreement, Plan, Similarity, Tournament
from hf_prune.records.blocks import all_but, best_blocks, blocks_of
from hf_prune.stages.choose.criteria import title_of

TITLES = {
    AUTO: "lowest loss of all cuts that were tried",
    NAMED: "named by the user",
}
NEAREST = "final states nearest to the original's of all cuts that were tried"


def plan_for(
    similarity: Similarity,
    removed: tuple[int, ...],
    method: str,
    tournament: Tournament | None = None,
    agreements: tuple[CutAgreement, ...] = (),
) -> Plan:
    """The plan that removes the layers `removed`, which `method` chose."""
    blocks = blocks_of(removed)
    distances = similarity.angular_last_token
    return Plan(
        num_layers=similarity.num_layers,
        removed=removed,
        kept=all_but(removed, similarity.num_layers),
        blocks=blocks,
        method=method,
        criterion=_criterion(method, similarity, removed, nearest=bool(agreements)),
        distance=distances[blocks[0].start][blocks[0].end] if len(blocks) == 1 else None,
        best_blocks=best_blocks(distances),
        tournament=tournament,
        agreements=agreements,
    )


def _criterion(method: str, similarity: Similarity, removed: tuple[int, ...], *, nearest: bool) -> str:
    if not removed:
        return "none was to go"
    return NEAREST if nearest else TITLES.get(method) or title_of(method, similarity)
