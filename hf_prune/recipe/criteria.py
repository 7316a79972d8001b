"""The criteria for `--method`: the paper of each, and what it needs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Criterion:
    """One way to choose layers, as in its paper."""

    name: str  # for --method
    title: str
    paper: str = ""  # arXiv number
    needs: str = "similarity"  # the measurement: "similarity" (one pass), "taylor", "loss" or "greedy"
    contiguous: bool = False  # whether the paper removes one block


AUTO = "auto"
NAMED = "named"
CRITERIA = {
    criterion.name: criterion
    for criterion in (
        Criterion("angular", "angular distance at the last token", "2403.17887", contiguous=True),
        Criterion("angular-all", "angular distance over all tokens", "2403.17887", contiguous=True),
        Criterion("cosine", "cosine over all tokens", "2403.19135", contiguous=True),
        Criterion(
            "streamline", "cosine over all tokens, a layer kept to be trained", "2403.19135", contiguous=True
        ),
        Criterion("bi", "Block Influence", "2403.03853"),
        Criterion("relative-magnitude", "relative magnitude", "2403.03853"),
        Criterion("magnitude", "magnitude of the weights", "2402.02834"),
        Criterion("taylor", "Taylor importance", "2402.02834", "taylor"),
        Criterion("taylor+", "Taylor importance, ends protected", "2402.02834", "taylor"),
        Criterion("loss", "loss without the layer", "2402.02834", "loss"),
        Criterion("greedy", "greedy removal by loss", "2402.09025", "greedy"),
        Criterion("reverse", "the last layers", "2411.15558", contiguous=True),
        Criterion("deepest", "the last layers but the final one", "2403.17887", contiguous=True),
        Criterion("random", "drawn at random"),
    )
}
