"""The tournament of `--method auto`: cuts tried against each other on text, losers dropped early.

No criterion is safe on every model, so each one only proposes. What it proposes, the blocks beside a
proposed block, and neighbours of the best, are tried on a few windows of text that nothing was fitted on;
the better half goes on to more windows, until the best are left (successive halving). What a criterion itself
proposed leaves only once it cannot win any more, so the winner's loss on the whole text is never above that
of the best single criterion.

Pure: `try_cuts` is handed in, and says what a cut costs on some windows.
"""

import dataclasses
import statistics
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

from hf_prune.records import CutLosses, TextTokens, Tournament, Trial
from hf_prune.records.blocks import all_but, blocks_of
from hf_prune.stages.choose.criteria import always
from hf_prune.stages.measure.standard_error import standard_error

Removed = tuple[int, ...]  # layers, in order; () is the original
TryCuts = Callable[[Sequence[Removed], int, int], Sequence[CutLosses]]  # cuts, first window, end window

FIRST_SHARE = 0.25  # of the windows in the first round; each later round doubles them
SEARCHED_AT_ONCE = 16  # neighbours of one cut
SEARCHED_FROM = 6  # cuts
NEIGHBOUR = "neighbour"


@dataclass(frozen=True, kw_only=True)
class Field:
    """Who competes, and on what terms."""

    num_layers: int
    proposals: Mapping[Removed, tuple[str, ...]]  # who proposed it
    allowed: Collection[int]  # layers that may go
    contiguous: bool | None  # True: one block alone is searched
    promise: Sequence[float]  # of each layer; the lowest is the likeliest to go
    text: TextTokens
    budget: float  # in forward passes over `pass_tokens` tokens
    pass_tokens: int
    bridge_tokens: int  # that each bridge is fitted on; 0: no bridges
    spent: float = 0.0  # of the budget, before the tournament
    possible: Callable[[Removed], bool] = always  # whether the model can lose these layers


@dataclass
class _State:
    """What has been tried so far."""

    field: Field
    try_cuts: TryCuts
    tried: dict[Removed, CutLosses] = dataclasses.field(default_factory=dict)
    cost: float = 0.0

    def windows(self, cut: Removed) -> int:
        """How many windows a cut was tried on."""
        return len(self.tried[cut].losses) if cut in self.tried else 0

    def advance(self, cuts: Iterable[Removed], end: int) -> None:
        """Try cuts on the windows up to `end` that they have not seen."""
        waiting: dict[int, list[Removed]] = {}
        for cut in cuts:
            if self.windows(cut) < end:
                waiting.setdefault(self.windows(cut), []).append(cut)
        for first, group in sorted(waiting.items()):
            self.cost += self.cost_of(group, first, end)
            for cut, found in zip(group, self.try_cuts(group, first, end), strict=True):
                before = self.tried.get(cut, CutLosses(losses=(), divergences=()))
                self.tried[cut] = CutLosses(
                    losses=before.losses + found.losses, divergences=before.divergences + found.divergences
                )

    def cost_of(self, cuts: Sequence[Removed], first: int, end: int) -> float:
        """In forward passes of the original over `pass_tokens` tokens."""
        layers = self.field.num_layers
        kept = [all_but(cut, layers) for cut in cuts]
        work = layers_run(kept, layers) * (end - first) * self.field.text.sequence_length
        if first == 0 and any(cuts):
            work += bridging_layers_run(cuts) * self.field.bridge_tokens
        return work / (layers * self.field.pass_tokens)

    def ranked(self, cuts: Iterable[Removed]) -> list[Removed]:
        """The best first, by the loss on the windows that all of them have seen."""
        contenders = [cut for cut in cuts if cut]
        seen = min(map(self.windows, contenders))
        return sorted(contenders, key=lambda cut: (sum(self.tried[cut].losses[:seen]), cut))


def hold(field: Field, try_cuts: TryCuts) -> Tournament:
    """Hold the tournament.

    Args:
        field: who competes.
        try_cuts: tries cuts on some windows of the text, each with its bridge.
    """
    state = _State(field, try_cuts, cost=field.spent)
    total = field.text.num_sequences
    first = max(1, round(total * FIRST_SHARE))
    beside = [cut for proposal in field.proposals for cut in blocks_beside(proposal, field)]
    state.advance(dict.fromkeys([(), *field.proposals, *beside]), first)
    _search(state, first, total)
    survivors = state.ranked(state.tried)
    leader = survivors[0]
    state.advance([(), leader], total)
    end = first
    while end < total:
        end = min(2 * end, total)
        half = survivors[: max(1, len(survivors) // 2)]
        survivors = [cut for cut in survivors if cut in half or _can_still_win(state, cut, leader)]
        state.advance(survivors, end)
        survivors = state.ranked(survivors)
    return _record(state, survivors[0])


def _search(state: _State, windows: int, total: int) -> None:
    """Try the neighbours of the best cut, then of the best whose neighbours were not tried yet, and so on.

    It ends with the budget, or when the `SEARCHED_FROM` best cuts have no neighbour that was not tried.
    """
    searched: set[Removed] = set()
    while True:
        best = [cut for cut in state.ranked(state.tried)[:SEARCHED_FROM] if cut not in searched]
        if not best:
            return
        searched.add(best[0])
        untried = (cut for cut in neighbours(best[0], state.field) if cut not in state.tried)
        near = list(islice(filter(state.field.possible, untried), SEARCHED_AT_ONCE))
        while near and state.cost + _outlook(state, near, windows, total) > state.field.budget:
            near.pop()
        state.advance(near, windows)


def _outlook(state: _State, near: list[Removed], windows: int, total: int) -> float:
    """What trying these cuts costs, and then everything that follows.

    The proposals may all go to the end. Of the others half reads as much again, a quarter twice as much, and
    so on: in two rounds that comes to what all of them have read so far.
    """
    proposals = state.cost_of(list(state.field.proposals), windows, total)
    others = [*(cut for cut in state.tried if cut and cut not in state.field.proposals), *near]
    return state.cost_of(near, 0, windows) + proposals + state.cost_of(others, windows, 2 * windows)


def _can_still_win(state: _State, cut: Removed, leader: Removed) -> bool:
    """Whether a criterion's own proposal could end below the leader, were it to lose nothing on the rest."""
    return cut in state.field.proposals and sum(state.tried[cut].losses) <= sum(state.tried[leader].losses)


def neighbours(removed: Removed, field: Field) -> list[Removed]:
    """Cuts of the same size that differ little, the likeliest to be better first.

    Of a block: the blocks beside it. Of any cut, unless only blocks are wanted: one removed layer stays
    and another goes in its place.
    """
    found = dict.fromkeys(blocks_beside(removed, field))
    if not field.contiguous:
        swaps = [(back, gone) for back in removed for gone in field.allowed if gone not in removed]
        swaps.sort(key=lambda swap: (field.promise[swap[1]] - field.promise[swap[0]], swap))
        for back, gone in swaps:
            found[tuple(sorted({*removed, gone} - {back}))] = None
    return list(found)


def blocks_beside(removed: Removed, field: Field) -> list[Removed]:
    """The blocks one and two layers before and behind a block; none for scattered layers."""
    if len(blocks_of(removed)) > 1:
        return []
    moved = [tuple(layer + shift for layer in removed) for shift in (-1, 1, -2, 2)]
    free = (block for block in moved if all(layer in field.allowed for layer in block))
    return [block for block in free if field.possible(block)]


def layers_run(kept: Iterable[tuple[int, ...]], num_layers: int) -> int:
    """How many times a layer is run to try these cuts together, what they share counted once.

    Args:
        kept: the layers that each keeps; the whole model is run beside them.
        num_layers: of the original.
    """
    everything = {tuple(range(num_layers)), *kept}
    return len({layers[:end] for layers in everything for end in range(1, len(layers) + 1)})


def bridging_layers_run(cuts: Iterable[Removed]) -> int:
    """How many times a layer is run to fit the bridges of these cuts: the original once, each gap twice."""
    found = [blocks_of(cut) for cut in cuts if cut]
    between = sum(
        later.start - earlier.end - 1 + 2 for blocks in found for earlier, later in pairwise(blocks)
    )
    return max(blocks[-1].end for blocks in found) + 2 * len(found) + between


def _record(state: _State, winner: Removed) -> Tournament:
    original = state.tried[()]
    trials = [_trial(state, cut, winner) for cut in state.tried if cut]
    trials.sort(key=lambda trial: (trial.removed != winner, -trial.num_tokens, trial.behind, trial.removed))
    return Tournament(
        text=state.field.text,
        original_loss=original.loss,
        trials=tuple(trials),
        budget=state.field.budget,
        cost=state.cost,
    )


def _trial(state: _State, cut: Removed, winner: Removed) -> Trial:
    own, best = state.tried[cut], state.tried[winner]
    behind = [a - b for a, b in zip(own.losses, best.losses, strict=False)]
    return Trial(
        removed=cut,
        proposed_by=state.field.proposals.get(cut, (NEIGHBOUR,)),
        num_tokens=len(own.losses) * state.field.text.sequence_length,
        loss=own.loss,
        divergence=own.divergence,
        behind=statistics.fmean(behind),
        behind_stderr=standard_error(behind),
        bridged=state.field.bridge_tokens > 0,
    )
