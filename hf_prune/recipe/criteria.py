"""The criteria for `--method`: the paper of each, and what it needs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Criterion:
    """One way to choose layers, as in its paper."""

    name: str  # for --method
    title: str
    paper: str  # arXiv number; empty without a paper
    needs: str  # the measurement: "similarity" (one pass), "taylor", "loss" or "greedy"
    contiguous: bool  # whether the paper removes one block


AUTO = "auto"
NAMED = "named"
CRITERIA = {
    criterion.name: criterion
    for criterion in (
        Criterion("angular", "angular distance at the last token", "2403.17887", "similarity", True),
        Criterion("angular-all", "angular distance over all tokens", "2403.17887", "similarity", True),
        Criterion("cosine", "cosine over all tokens", "2403.19135", "similarity", True),
        Criterion(
            "streamline",
            "cosine over all tokens, a layer kept to be trained",
            "2403.19135",
            "similarity",
            True,
        ),
        Criterion("bi", "Block Influence", "2403.03853", "similarity", False),
        Criterion("relative-magnitude", "relative magnitude", "2403.03853", "similarity", False),
        Criterion("magnitude", "magnitude of the weights", "2402.02834", "similarity", False),
        Criterion("taylor", "Taylor importance", "2402.02834", "taylor", False),
        Criterion("taylor+", "Taylor importance, ends protected", "2402.02834", "taylor", False),
        Criterion("loss", "loss without the layer", "2402.02834", "loss", False),
        Criterion("greedy", "greedy removal by loss", "2402.09025", "greedy", False),
        Criterion("reverse", "the last layers", "2411.15558", "similarity", True),
        Criterion("deepest", "the last layers but the final one", "2403.17887", "similarity", True),
        Criterion("random", "drawn at random", "", "similarity", False),
    )
}
