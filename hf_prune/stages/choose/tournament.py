"""The tournament of `--method auto`: cuts are tried against each other on text, and losers leave early.

No criterion is safe on every model, so each one only proposes. Its proposals, the blocks beside a proposed
block, and neighbours of the best cuts are tried on a few windows of text that nothing was fitted on. The
better half goes on to more windows, until the best remain (successive halving). A criterion's own proposal
leaves only once it cannot win any more, so the winner's loss on the whole text is never above that of the
best single criterion.

This module runs no model: `try_cuts` is passed in, and gives the losses of cuts on some windows.
"""

import dataclasses
import statistics
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

from hf_prune.records import CutLosses, TextTokens, Tournament, Trial
from hf_prune.records.blocks import all_but, blocks_of
from hf_prune.stages.choose.criteria import always_possible
from hf_prune.stages.measure.standard_error import standard_error

Removed = tuple[int, ...]  # the layers that a cut removes, in order; () is the original
TryCuts = Callable[[Sequence[Removed], int, int], Sequence[CutLosses]]  # cuts, first window, end window

FIRST_SHARE = 0.25  # of the windows are read in the first round; each later round doubles them
SEARCHED_AT_ONCE = 16  # neighbours of one cut
SEARCHED_FROM = 6  # best cuts
NEIGHBOUR = "neighbour"


@dataclass(frozen=True, kw_only=True)
class Field:
    """The cuts that compete, and the rules."""

    num_layers: int
    proposals: Mapping[Removed, tuple[str, ...]]  # the criteria that proposed each cut
    allowed: Collection[int]  # layers that may be removed
    contiguous: bool | None  # True: only blocks are searched
    layer_scores: Sequence[float]  # the layer with the lowest is the likeliest to be removed
    text: TextTokens
    budget: float  # in forward passes over `pass_tokens` tokens
    pass_tokens: int
    bridge_tokens: int  # that each bridge is fitted on; 0: no bridges
    spent: float = 0.0  # of the budget, before the tournament
    possible: Callable[[Removed], bool] = always_possible  # whether the model can lose these layers


@dataclass
class _State:
    """The cuts that were tried so far, and their losses."""

    field: Field
    try_cuts: TryCuts
    tried: dict[Removed, CutLosses] = dataclasses.field(default_factory=dict)
    cost: float = 0.0

    def windows(self, cut: Removed) -> int:
        """The number of windows that a cut was tried on."""
        return len(self.tried[cut].losses) if cut in self.tried else 0

    def advance(self, cuts: Iterable[Removed], end: int) -> None:
        """Try cuts on the windows up to `end` that they have not seen."""
        waiting: dict[int, list[Removed]] = {}
        for cut in cuts:
            if self.windows(cut) < end:
                waiting.setdefault(self.windows(cut), []).append(cut)
        for first, group in sorted(waiting.items()):
            self.cost += self.cost_of(group, first, end)
            for cut, new in zip(group, self.try_cuts(group, first, end), strict=True):
                old = self.tried.get(cut, CutLosses(losses=(), divergences=()))
                self.tried[cut] = CutLosses(
                    losses=old.losses + new.losses, divergences=old.divergences + new.divergences
                )

    def cost_of(self, cuts: Sequence[Removed], first: int, end: int) -> float:
        """The cost of trying cuts, in forward passes of the original over `pass_tokens` tokens."""
        layers = self.field.num_layers
        kept = [all_but(cut, layers) for cut in cuts]
        work = layers_run(kept, layers) * (end - first) * self.field.text.sequence_length
        if first == 0 and any(cuts):
            work += bridging_layers_run(cuts) * self.field.bridge_tokens
        return work / (layers * self.field.pass_tokens)

    def ranked(self, cuts: Iterable[Removed]) -> list[Removed]:
        """The cuts by their loss on the windows that all of them have seen, the best first."""
        contenders = [cut for cut in cuts if cut]
        seen = min(map(self.windows, contenders))
        return sorted(contenders, key=lambda cut: (sum(self.tried[cut].losses[:seen]), cut))


def hold(field: Field, try_cuts: TryCuts) -> Tournament:
    """Hold the tournament; `try_cuts` tries cuts on some windows of the text, each with its bridge."""
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
    """Try the neighbours of the best cut whose neighbours were not tried yet, again and again.

    The search ends with the budget, or when all neighbours of the `SEARCHED_FROM` best cuts were tried.
    """
    searched: set[Removed] = set()
    while True:
        best = [cut for cut in state.ranked(state.tried)[:SEARCHED_FROM] if cut not in searched]
        if not best:
            return
        searched.add(best[0])
        untried = (cut for cut in neighbours(best[0], state.field) if cut not in state.tried)
        near = list(islice(filter(state.field.possible, untried), SEARCHED_AT_ONCE))
        while near and state.cost + _expected_cost(state, near, windows, total) > state.field.budget:
            near.pop()
        state.advance(near, windows)


def _expected_cost(state: _State, near: list[Removed], windows: int, total: int) -> float:
    """The cost of trying these cuts, and of the rounds that follow.

    All proposals may stay to the end. Half of the other cuts read as much again, a quarter twice as much, and
    so on. In two rounds that amounts to what all of them have read so far.
    """
    proposals = state.cost_of(list(state.field.proposals), windows, total)
    others = [*(cut for cut in state.tried if cut and cut not in state.field.proposals), *near]
    return state.cost_of(near, 0, windows) + proposals + state.cost_of(others, windows, 2 * windows)


def _can_still_win(state: _State, cut: Removed, leader: Removed) -> bool:
    """Whether a criterion's proposal would beat the leader if its loss on the other windows were 0."""
    return cut in state.field.proposals and sum(state.tried[cut].losses) <= sum(state.tried[leader].losses)


def neighbours(removed: Removed, field: Field) -> list[Removed]:
    """Similar cuts of the same size, the likeliest to be better first.

    They are the blocks beside a block and, unless only blocks are searched, every cut in which another layer
    is removed in place of one of these.
    """
    cuts = dict.fromkeys(blocks_beside(removed, field))
    if not field.contiguous:
        scores = field.layer_scores
        swaps = [(old, new) for old in removed for new in field.allowed if new not in removed]
        swaps.sort(key=lambda swap: (scores[swap[1]] - scores[swap[0]], swap))
        for old, new in swaps:
            cuts[tuple(sorted({*removed, new} - {old}))] = None
    return list(cuts)


def blocks_beside(removed: Removed, field: Field) -> list[Removed]:
    """The blocks one and two layers before and after a block. Scattered layers have none."""
    if len(blocks_of(removed)) > 1:
        return []
    moved = [tuple(layer + shift for layer in removed) for shift in (-1, 1, -2, 2)]
    allowed = (block for block in moved if all(layer in field.allowed for layer in block))
    return [block for block in allowed if field.possible(block)]


def layers_run(kept: Iterable[tuple[int, ...]], num_layers: int) -> int:
    """How many times a layer is run to try the cuts that keep these layers, together with the original.

    What the cuts share is run once.
    """
    models = {tuple(range(num_layers)), *kept}
    return len({layers[:end] for layers in models for end in range(1, len(layers) + 1)})


def bridging_layers_run(cuts: Iterable[Removed]) -> int:
    """How many times a layer is run to fit the bridges of these cuts: the original once, each gap twice."""
    blocks_of_cuts = [blocks_of(cut) for cut in cuts if cut]
    original = max(blocks[-1].end for blocks in blocks_of_cuts)
    between = sum(
        later.start - earlier.end - 1 + 2 for blocks in blocks_of_cuts for earlier, later in pairwise(blocks)
    )
    return original + 2 * len(blocks_of_cuts) + between


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
