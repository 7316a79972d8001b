"""From what was asked for to the layers that go: measure what the method needs, then choose.

The decisions themselves are in `choose`; this module only brings them what they ask for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from hf_prune.errors import RecipeError
from hf_prune.machine.progress import Reporter
from hf_prune.recipe.criteria import AUTO, CRITERIA, NAMED
from hf_prune.recipe.parse import parse_protected
from hf_prune.recipe.recipe import Recipe
from hf_prune.records import DECODER, CutAgreement, CutLosses, RemovalOrder, Selected, Similarity, Tournament
from hf_prune.records.blocks import all_but, ranges
from hf_prune.stages.choose import tournament
from hf_prune.stages.choose.criteria import NEVER_PROPOSED, allowed_layers, probe_passes, propose
from hf_prune.stages.choose.plan import plan_for
from hf_prune.stages.choose.tournament import Field, Removed
from hf_prune.stages.measure.measurements import Scores, with_scores
from hf_prune.stages.original import Original

GREEDY_SHARE = 0.5  # of a tournament's budget
DEPTHS_AT_ONCE = 4  # tried together in search of the deepest cut


class CutTrials(Protocol):
    """What tries cuts of the original on text, each with its bridge: see `bridge.trials`."""

    @property
    def bridge_tokens(self) -> int:
        """Tokens that each bridge is fitted on; 0: no bridges."""

    def __call__(self, cuts: Sequence[Removed], first: int, end: int) -> list[CutLosses]:
        """The losses of cuts on the windows from `first` to `end`."""

    def agreements(self, cuts: Sequence[Removed]) -> list[tuple[float, bool]]:
        """The cosine of each cut's final states to the original's, and whether the cut has a bridge."""


@dataclass(frozen=True)
class Selection:
    """Chooses the layers of one original."""

    original: Original
    scores: Scores
    reporter: Reporter
    trials: CutTrials

    def select(self, similarity: Similarity, wanted: Removed | int | None) -> Selected:
        """The plan, and the similarity with the scores it rests on.

        Args:
            similarity: of the original.
            wanted: the layers that the user named, or how many are to go, or None where a loss decides.

        Raises:
            RecipeError: no cut meets what was asked for.
        """
        if isinstance(wanted, tuple):
            return Selected(similarity=similarity, plan=plan_for(similarity, wanted, NAMED))
        if wanted is None:
            return self._deepest(similarity)
        if self.recipe.method == AUTO and self.original.dense.kind != DECODER:
            return self._nearest(similarity, wanted)
        if self.recipe.method == AUTO:
            return self._tournament(similarity, wanted)
        method = self.recipe.method
        similarity = self._measured_for(similarity, method, wanted)
        plan = plan_for(similarity, self._propose(method, similarity, wanted), method)
        return Selected(similarity=similarity, plan=plan)

    @property
    def recipe(self) -> Recipe:
        """What the user asked for."""
        return self.original.recipe

    @property
    def protected(self) -> frozenset[int]:
        """The layers that stay."""
        return parse_protected(self.recipe.protect, self.original.dense.num_layers)

    def _propose(self, method: str, similarity: Similarity, count: int) -> Removed:
        return propose(
            method,
            similarity,
            count,
            protected=self.protected,
            contiguous=self.recipe.contiguous,
            seed=self.recipe.seed,
            possible=self._possible,
        )

    def _possible(self, removed: Removed) -> bool:
        return self.original.reason_against(removed) is None

    def _tournament(self, similarity: Similarity, count: int) -> Selected:
        similarity = self._all_scores(similarity, count)
        field = self._field(similarity, count)
        held = tournament.hold(field, self.trials)
        self.reporter.tell(_told(held))
        plan = plan_for(similarity, held.trials[0].removed, AUTO, held)
        return Selected(similarity=similarity, plan=plan)

    def _all_scores(self, similarity: Similarity, count: int) -> Similarity:
        """What every criterion needs; the greedy search as wide as its share of the budget allows."""
        for criterion in ("taylor", "loss"):
            similarity = with_scores(similarity, self.scores.of_layers(criterion))
        if self.recipe.contiguous:
            return similarity
        width = self._greedy_width(similarity.num_layers, count)
        return replace(similarity, removal_order=self._removal_order(similarity, count, width))

    def _removal_order(self, similarity: Similarity, count: int, width: int | None) -> RemovalOrder:
        candidates = allowed_layers("greedy", similarity.num_layers, self.protected)
        return self.scores.removal_order(similarity, count, candidates, width)

    def _measured_for(self, similarity: Similarity, method: str, count: int) -> Similarity:
        """The similarity with the scores that one criterion needs to choose `count` layers."""
        needs = CRITERIA[method].needs
        if needs in ("loss", "greedy", "taylor"):
            scores = self.scores.of_layers("loss" if needs == "greedy" else needs)
            similarity = with_scores(similarity, scores)
        if needs == "greedy":
            similarity = replace(similarity, removal_order=self._removal_order(similarity, count, None))
        return similarity

    def _greedy_width(self, num_layers: int, count: int) -> int:
        """A step of width w costs about 1 + w / 2 passes over the probe."""
        passes = GREEDY_SHARE * self.recipe.budget * self._pass_tokens / self.original.probe.ids.numel()
        return max(1, min(num_layers, int(2 * (passes / count - 1))))

    @property
    def _pass_tokens(self) -> int:
        return self.original.calibration[0].ids.numel()

    def _proposals(self, similarity: Similarity, count: int) -> dict[Removed, tuple[str, ...]]:
        """By the layers that it removes, who proposes a cut: every criterion whose scores there are."""
        encodes = self.original.dense.kind != DECODER
        proposals: dict[Removed, tuple[str, ...]] = {}
        for method, criterion in CRITERIA.items():
            if method in NEVER_PROPOSED or (method == "greedy" and self.recipe.contiguous):
                continue
            if encodes and criterion.needs != "similarity":
                continue
            try:
                removed = self._propose(method, similarity, count)
            except RecipeError:  # this one protects too much, or takes what the model cannot lose
                continue
            proposals[removed] = (*proposals.get(removed, ()), method)
        if not proposals:
            raise RecipeError(
                f"no criterion can propose {count} layers: protect fewer, or try a number that fits the "
                f"pattern of this family's layers"
            )
        return proposals

    def _nearest(self, similarity: Similarity, count: int) -> Selected:
        """Of what the criteria propose, the cut whose final states are nearest the original's.

        An encoder has no loss on a plain text, so no tournament can be held.
        """
        proposals = self._proposals(similarity, count)
        found = self.trials.agreements(list(proposals))
        tried = [
            CutAgreement(removed=removed, proposed_by=names, cosine=cosine, bridged=bridged)
            for (removed, names), (cosine, bridged) in zip(proposals.items(), found, strict=True)
        ]
        tried.sort(key=lambda trial: (-trial.cosine, trial.removed))
        best = tried[0]
        self.reporter.tell(
            f"of {len(tried)} cuts, that of layers {ranges(best.removed)} is the nearest to the original "
            f"({', '.join(best.proposed_by)}): cosine {best.cosine:.4f}"
        )
        plan = plan_for(similarity, best.removed, AUTO, agreements=tuple(tried))
        return Selected(similarity=similarity, plan=plan)

    def _field(self, similarity: Similarity, count: int) -> Field:
        proposals = self._proposals(similarity, count)
        promise = similarity.scores("loss")
        assert promise is not None
        return Field(
            num_layers=similarity.num_layers,
            proposals=proposals,
            allowed=all_but(self.protected, similarity.num_layers),
            contiguous=self.recipe.contiguous,
            promise=promise,
            text=self.original.calibration[1].record,
            budget=self.recipe.budget,
            pass_tokens=self._pass_tokens,
            bridge_tokens=self.trials.bridge_tokens,
            spent=self._spent(similarity, count),
            possible=self._possible,
        )

    def _spent(self, similarity: Similarity, count: int) -> float:
        """What Taylor, drop-one and greedy scores cost, in passes over the calibration text."""
        layers, order = similarity.num_layers, similarity.removal_order
        by_loss, width = ("greedy", order.width) if order else ("loss", None)
        passes = probe_passes("taylor", layers, count) + probe_passes(by_loss, layers, count, width)
        return passes * self.original.probe.ids.numel() / self._pass_tokens

    def _deepest(self, similarity: Similarity) -> Selected:
        """The deepest cut whose loss, after its bridge, stays within --max-loss of the original's.

        Depths are tried a few at a time, until all of a few are too deep. For `auto`, the criteria that
        cost little find the depth, and the tournament takes it from there as deep as it can.
        """
        limit = self.recipe.max_loss
        assert limit is not None
        methods = ("angular", "bi", "loss") if self.recipe.method == AUTO else (self.recipe.method,)
        trials, windows = self.trials, len(self.original.calibration[1].ids)
        allowed = trials([()], 0, windows)[0].loss + limit
        found: Selected | None = None
        for first in range(1, similarity.num_layers, DEPTHS_AT_ONCE):
            depths = range(first, min(first + DEPTHS_AT_ONCE, similarity.num_layers))
            cuts: dict[Removed, str] = {}
            for method in methods:
                measured = self._measured_for(similarity, method, depths[-1])
                for count in depths:
                    try:
                        cuts.setdefault(self._propose(method, measured, count), method)
                    except RecipeError:  # no more layers that may go
                        break
                similarity = measured
            tried = trials(list(cuts), 0, windows) if cuts else []
            results = zip(cuts, tried, strict=True)
            within = [(len(cut), -result.loss, cut) for cut, result in results if result.loss <= allowed]
            if not within:
                break
            cut = max(within)[2]
            found = Selected(similarity=similarity, plan=plan_for(similarity, cut, cuts[cut]))
        if self.recipe.method == AUTO:
            found = self._deeper(similarity, found, allowed)
        if found is None:
            raise RecipeError(
                f"--max-loss {limit:g}: already one layer less costs more than that; allow a larger rise"
            )
        return found

    def _deeper(self, similarity: Similarity, found: Selected | None, allowed: float) -> Selected | None:
        """Tournaments at ever greater depths, as long as their winner stays within the loss."""
        start = len(found.plan.removed) if found else 1
        for count in range(start, similarity.num_layers):
            try:
                held = self._tournament(similarity, count)
            except RecipeError:
                break
            contest = held.plan.tournament
            assert contest is not None
            if contest.trials[0].loss > allowed:
                break
            found = held
        return found


def _told(held: Tournament) -> str:
    """What the tournament came to, in a line."""
    winner = held.trials[0]
    return (
        f"tournament: of {len(held.trials)} cuts, that of layers {ranges(winner.removed)} is the best "
        f"({', '.join(winner.proposed_by)}): loss {winner.loss:.3f}, the original's {held.original_loss:.3f}"
    )
