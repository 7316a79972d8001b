"""Losses of many cuts of one model, from one reading of its weights.

All cuts pass through a layer before the next layer is read. Cuts that agree on the layers so far share
their hidden states, so their common part is computed once. The cuts form a tree, and each of its edges is
run once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hf_prune.machine.progress import Progress
from hf_prune.model.activations import Activations
from hf_prune.model.decoder import POSITIONS_AT_ONCE, RunLayer, StreamedDecoder, states_after
from hf_prune.model.skeleton import Skeleton
from hf_prune.records import CutLosses
from hf_prune.stages.texts.windows import Windows


@dataclass(frozen=True)
class Cut:
    """A model made of some layers of another, in order."""

    kept: tuple[int, ...]  # a layer that is listed twice is run twice
    replacements: Mapping[str, Tensor] = field(default_factory=dict)  # by tensor name in the original

    def replaced_layers(self, skeleton: Skeleton) -> frozenset[int]:
        """The layers of the original that hold a replaced tensor."""
        return frozenset(skeleton.layer_numbers[name].layer for name in self.replacements)


@dataclass
class Branch:
    """Hidden states that some cuts have in common."""

    states: Activations
    cuts: list[int]


@torch.no_grad()
def try_cuts(
    decoder: StreamedDecoder, windows: Windows, cuts: Sequence[Cut], progress: Progress, label: str
) -> list[CutLosses]:
    """The losses of several cuts of one model, and the divergence of each from the original."""
    branches = through_all_layers(decoder, windows, cuts, progress, label)
    original = next(number for number, branch in enumerate(branches) if 0 in branch.cuts)
    per_batch = len(branches[0].states[0])
    losses: list[list[float]] = [[] for _ in (None, *cuts)]
    divergences: list[list[float]] = [[] for _ in (None, *cuts)]
    with decoder.head() as logits_of:
        for sequence, tokens in enumerate(windows.ids):
            batch, row = divmod(sequence, per_batch)
            states = [branch.states.rows(batch, row, row + 1) for branch in branches]
            results = _through_head(logits_of, states, original, tokens)
            for branch, (loss, divergence) in zip(branches, results, strict=True):
                for cut in branch.cuts:
                    losses[cut].append(loss)
                    divergences[cut].append(divergence)
    return [
        CutLosses(losses=tuple(losses[cut]), divergences=tuple(divergences[cut]))
        for cut in range(1, len(cuts) + 1)
    ]


def through_all_layers(
    decoder: StreamedDecoder, windows: Windows, cuts: Sequence[Cut], progress: Progress, label: str
) -> list[Branch]:
    """The final hidden states of a model and of several cuts, as branches. In them cut 0 is the original."""
    models = [Cut(kept=tuple(range(decoder.num_layers))), *cuts]
    branches = [Branch(decoder.enter(windows.ids), list(range(len(models))))]
    for layer in progress(range(decoder.num_layers), label, decoder.num_layers, "layer"):
        branches = _through_layer(decoder, layer, branches, models)
    return branches


def _through_layer(
    decoder: StreamedDecoder, layer: int, branches: list[Branch], cuts: Sequence[Cut]
) -> list[Branch]:
    """Every branch after a layer. A branch whose cuts differ in this layer becomes several."""
    replacing = {n for n, cut in enumerate(cuts) if layer in cut.replaced_layers(decoder.skeleton)}
    following: list[Branch] = []
    running: dict[int | None, list[Branch]] = {}  # by the cut that replaces tensors of the layer, or None
    for branch in branches:
        groups: dict[int | None, list[int]] = {}
        for cut in branch.cuts:
            if layer in cuts[cut].kept:
                groups.setdefault(cut if cut in replacing else None, []).append(cut)
        if skipping := [cut for cut in branch.cuts if layer not in cuts[cut].kept]:
            following.append(Branch(branch.states, skipping))
        for owner, members in groups.items():
            running.setdefault(owner, []).append(Branch(branch.states, members))
    for owner, parts in running.items():
        with decoder.layer(layer, None if owner is None else cuts[owner].replacements) as run:
            for branch in parts:
                following += _repeated(run, branch, {cut: cuts[cut].kept.count(layer) for cut in branch.cuts})
    return following


def _repeated(run: RunLayer, branch: Branch, times: Mapping[int, int]) -> list[Branch]:
    """A branch after a layer that its cuts run `times` each."""
    states, following = branch.states, []
    for turn in range(1, max(times.values()) + 1):
        states = states_after(run, states)
        if through := [cut for cut in branch.cuts if times[cut] == turn]:
            following.append(Branch(states, through))
    return following


def _through_head(
    logits_of: Callable[[Tensor], Tensor], states: Sequence[Tensor], original: int, tokens: Tensor
) -> list[tuple[float, float]]:
    """Each branch's mean loss on one sequence, and its mean divergence from the branch `original`.

    The states of a branch are (1, length, hidden), the tokens (length,).
    """
    predicting = [state[:, :-1] for state in states]
    following = tokens[1:].to(states[0].device)
    sums = torch.zeros(len(states), 2, dtype=torch.float64)
    for start in range(0, len(following), POSITIONS_AT_ONCE):
        chunk = slice(start, start + POSITIONS_AT_ONCE)
        expected = logits_of(predicting[original][:, chunk])[0].float()  # (positions, vocabulary)
        normaliser = expected.logsumexp(-1)
        probabilities = (expected - normaliser[:, None]).exp_()
        entropy_part = (probabilities * expected).sum(-1) - normaliser  # sum of p log p
        for number, state in enumerate(predicting):
            logits = expected if number == original else logits_of(state[:, chunk])[0].float()
            own = logits.logsumexp(-1)
            loss = own - logits.gather(-1, following[chunk, None])[:, 0]
            divergence = entropy_part - (probabilities * logits).sum(-1) + own
            sums[number, 0] += loss.sum(dtype=torch.float64).item()
            sums[number, 1] += divergence.sum(dtype=torch.float64).item()
    return [(loss, divergence) for loss, divergence in (sums / len(following)).tolist()]
