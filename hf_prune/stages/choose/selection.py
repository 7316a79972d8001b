"""The choose stage: measure what the method needs, then choose the layers to remove.

The criteria and the tournament decide. This module brings them the measurements that they need.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from hf_prune.errors import RecipeError
from hf_prune.machine.progress import Reporter
from hf_prune.recipe.criteria import AUTO, CRITERIA, NAMED
from hf_prune.recipe.parse import parse_protected
from hf_prune.recipe.recipe import Recipe
from hf_prune.records import (
    DECODER,
    CutAgreement,
    CutLosses,
    LayerCount,
    NamedLayers,
    Removal,
    Selected,
    Similarity,
    WithinLoss,
)
from hf_prune.records.blocks import all_but, ranges
from hf_prune.stages.choose import tournament
from hf_prune.stages.choose.criteria import NEVER_PROPOSED, allowed_layers, measuring_passes, propose
from hf_prune.stages.choose.plan import plan_for
from hf_prune.stages.choose.tournament import Field, Removed
from hf_prune.stages.measure.measurements import Measurements, with_scores
from hf_prune.stages.original import Original

GREEDY_SHARE = 0.5  # of a tournament's budget
DEPTHS_AT_ONCE = 4  # tried together in the search for the deepest cut


class CutTrials(Protocol):
    """Tries cuts of the original on text, each with its bridge: see `bridge.trials`."""

    @property
    def bridge_tokens(self) -> int:
        """Tokens that each bridge is fitted on; 0: no bridges."""

    def __call__(self, cuts: Sequence[Removed], first: int, end: int) -> list[CutLosses]:
        """The losses of cuts on the windows from `first` to `end`."""

    def agreements(self, cuts: Sequence[Removed]) -> list[tuple[float, bool]]:
        """The cosine of each cut's final states with the original's, and whether the cut has a bridge."""


@dataclass(frozen=True)
class Selection:
    """Chooses the layers of one original."""

    original: Original
    measurements: Measurements
    reporter: Reporter
    trials: CutTrials

    def select(self, similarity: Similarity, removal: Removal) -> Selected:
        """The plan for a removal, and the similarity with the scores behind the plan.

        Raises:
            RecipeError: no cut does what the recipe asks for.
        """
        match removal:
            case NamedLayers(layers):
                return Selected(similarity=similarity, plan=plan_for(similarity, layers, NAMED))
            case WithinLoss(max_loss):
                return self._deepest(similarity, max_loss)
            case LayerCount(count) if self.recipe.method != AUTO:
                method = self.recipe.method
                similarity = self._measured(similarity, {CRITERIA[method].needs}, count)
                removed = self._propose(method, similarity, count)
                return Selected(similarity=similarity, plan=plan_for(similarity, removed, method))
            case LayerCount(count) if self.original.anatomy.kind != DECODER:
                return self._nearest(similarity, count)
            case LayerCount(count):
                return self._tournament(similarity, count)

    @property
    def recipe(self) -> Recipe:
        """What the user asked for."""
        return self.original.recipe

    @property
    def protected(self) -> frozenset[int]:
        """The layers that must stay."""
        return parse_protected(self.recipe.protect, self.original.anatomy.num_layers)

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

    def _measured(
        self, similarity: Similarity, needs: Collection[str], count: int, width: int | None = None
    ) -> Similarity:
        """The similarity with what criteria need to choose `count` layers; `width` is the greedy search's."""
        for criterion in ("taylor", "loss"):
            if criterion in needs or (criterion == "loss" and "greedy" in needs):
                similarity = with_scores(similarity, self.measurements.layer_scores(criterion))
        if "greedy" in needs:
            candidates = allowed_layers("greedy", similarity.num_layers, self.protected)
            order = self.measurements.removal_order(similarity, count, candidates, width)
            similarity = replace(similarity, removal_order=order)
        return similarity

    def _greedy_width(self, num_layers: int, count: int) -> int:
        """A step of width w costs about 1 + w / 2 passes over the short calibration text."""
        tokens = self.original.short_calibration.ids.numel()
        passes = GREEDY_SHARE * self.recipe.budget * self._pass_tokens / tokens
        return max(1, min(num_layers, int(2 * (passes / count - 1))))

    @property
    def _pass_tokens(self) -> int:
        return self.original.calibration.ids.numel()

    def _proposals(self, similarity: Similarity, count: int) -> dict[Removed, tuple[str, ...]]:
        """The cuts that the criteria propose, each with its criteria. Of an encoder no loss is measured."""
        is_decoder = self.original.anatomy.kind == DECODER
        proposals: dict[Removed, tuple[str, ...]] = {}
        for method, criterion in CRITERIA.items():
            if method in NEVER_PROPOSED or (method == "greedy" and self.recipe.contiguous):
                continue
            if not is_decoder and criterion.needs != "similarity":
                continue
            try:
                removed = self._propose(method, similarity, count)
            except RecipeError:  # it protects too many layers, or selects some that the model cannot lose
                continue
            proposals[removed] = (*proposals.get(removed, ()), method)
        if not proposals:
            raise RecipeError(
                f"no criterion can propose {count} layers: protect fewer, or try a number that fits the "
                f"pattern of this family's layers"
            )
        return proposals

    def _nearest(self, similarity: Similarity, count: int) -> Selected:
        """The proposal whose final states are nearest the original's.

        An encoder has no loss on a plain text, so no tournament can be held.
        """
        proposals = self._proposals(similarity, count)
        agreements = self.trials.agreements(list(proposals))
        tried = [
            CutAgreement(removed=removed, proposed_by=names, cosine=cosine, bridged=bridged)
            for (removed, names), (cosine, bridged) in zip(proposals.items(), agreements, strict=True)
        ]
        tried.sort(key=lambda trial: (-trial.cosine, trial.removed))
        best = tried[0]
        self.reporter.tell(
            f"of {len(tried)} cuts, removing layers {ranges(best.removed)} stays nearest to the original "
            f"({', '.join(best.proposed_by)}): cosine {best.cosine:.4f}"
        )
        plan = plan_for(similarity, best.removed, AUTO, agreements=tuple(tried))
        return Selected(similarity=similarity, plan=plan)

    def _tournament(self, similarity: Similarity, count: int) -> Selected:
        needs = {"taylor", "loss"} if self.recipe.contiguous else {"taylor", "loss", "greedy"}
        width = self._greedy_width(similarity.num_layers, count)
        similarity = self._measured(similarity, needs, count, width)
        result = tournament.hold(self._field(similarity, count), self.trials)
        winner = result.trials[0]
        self.reporter.tell(
            f"tournament: of {len(result.trials)} cuts, removing layers {ranges(winner.removed)} is the best "
            f"({', '.join(winner.proposed_by)}): loss {winner.loss:.3f}, the original's "
            f"{result.original_loss:.3f}"
        )
        plan = plan_for(similarity, winner.removed, AUTO, result)
        return Selected(similarity=similarity, plan=plan)

    def _field(self, similarity: Similarity, count: int) -> Field:
        scores = similarity.scores("loss")
        assert scores is not None
        return Field(
            num_layers=similarity.num_layers,
            proposals=self._proposals(similarity, count),
            allowed=all_but(self.protected, similarity.num_layers),
            contiguous=self.recipe.contiguous,
            layer_scores=scores,
            text=self.original.selection.record,
            budget=self.recipe.budget,
            pass_tokens=self._pass_tokens,
            bridge_tokens=self.trials.bridge_tokens,
            spent=self._spent(similarity, count),
            possible=self._possible,
        )

    def _spent(self, similarity: Similarity, count: int) -> float:
        """The cost of Taylor, drop-one and greedy scores, in passes over the calibration text."""
        layers, order = similarity.num_layers, similarity.removal_order
        by_loss, width = ("greedy", order.width) if order else ("loss", None)
        passes = measuring_passes("taylor", layers, count) + measuring_passes(by_loss, layers, count, width)
        return passes * self.original.short_calibration.ids.numel() / self._pass_tokens

    def _deepest(self, similarity: Similarity, max_loss: float) -> Selected:
        """The deepest cut whose loss, with its bridge, stays within `max_loss` of the original's.

        Depths are tried a few at a time, until all of them are too deep. For `auto`, the criteria that cost
        little find the depth, and tournaments go on from there.
        """
        methods = ("angular", "bi", "loss") if self.recipe.method == AUTO else (self.recipe.method,)
        limit = self._losses([()])[0] + max_loss
        deepest: Selected | None = None
        for first in range(1, similarity.num_layers, DEPTHS_AT_ONCE):
            depths = range(first, min(first + DEPTHS_AT_ONCE, similarity.num_layers))
            similarity, cuts = self._propose_depths(similarity, methods, depths)
            best = self._deepest_within(list(cuts), limit)
            if best is None:
                break
            deepest = Selected(similarity=similarity, plan=plan_for(similarity, best, cuts[best]))
        if self.recipe.method == AUTO:
            deepest = self._deeper(similarity, deepest, limit)
        if deepest is None:
            raise RecipeError(
                f"--max-loss {max_loss:g}: removing a single layer already costs more. Allow a larger rise"
            )
        return deepest

    def _losses(self, cuts: Sequence[Removed]) -> list[float]:
        windows = len(self.original.selection.ids)
        return [result.loss for result in self.trials(cuts, 0, windows)] if cuts else []

    def _propose_depths(
        self, similarity: Similarity, methods: Sequence[str], depths: range
    ) -> tuple[Similarity, dict[Removed, str]]:
        """The cut that each criterion proposes at each depth, and the similarity with the scores for them."""
        cuts: dict[Removed, str] = {}
        for method in methods:
            similarity = self._measured(similarity, {CRITERIA[method].needs}, depths[-1])
            for count in depths:
                try:
                    cuts.setdefault(self._propose(method, similarity, count), method)
                except RecipeError:  # no more layers may be removed
                    break
        return similarity, cuts

    def _deepest_within(self, cuts: Sequence[Removed], limit: float) -> Removed | None:
        """The deepest cut with a loss of at most `limit`. Of equally deep cuts it is the best."""
        tried = zip(cuts, self._losses(cuts), strict=True)
        within = [(len(cut), -loss, cut) for cut, loss in tried if loss <= limit]
        return max(within)[-1] if within else None

    def _deeper(self, similarity: Similarity, deepest: Selected | None, limit: float) -> Selected | None:
        """The winner of tournaments at ever greater depths, as long as its loss is at most `limit`."""
        start = len(deepest.plan.removed) if deepest else 1
        for count in range(start, similarity.num_layers):
            try:
                selected = self._tournament(similarity, count)
            except RecipeError:
                break
            result = selected.plan.tournament
            assert result is not None
            if result.trials[0].loss > limit:
                break
            deepest = selected
        return deepest
