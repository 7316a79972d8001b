"""What many cuts of one model cost, from one reading of its weights.

All cuts pass through a layer before the next is read. Cuts that agree on the layers so far share their
hidden states, so what they have in common is computed once: the cuts form a tree, and each of its edges is
run once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hf_prune.machine.progress import Progress
from hf_prune.model.activations import Activations
from hf_prune.model.decoder import POSITIONS_AT_ONCE, RunLayer, StreamedDecoder, states_after
from hf_prune.records import CutLosses
from hf_prune.stages.texts.windows import Windows

Logits = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Cut:
    """A model made of some layers of another, in order."""

    kept: tuple[int, ...]  # one that is there twice is run twice
    replacements: Mapping[str, Tensor] = field(default_factory=dict)  # by name in the original


@dataclass
class Branch:
    """Hidden states that some cuts have in common."""

    states: Activations
    cuts: list[int]


@torch.no_grad()
def try_cuts(
    decoder: StreamedDecoder, windows: Windows, cuts: Sequence[Cut], progress: Progress, label: str
) -> list[CutLosses]:
    """The losses of several cuts of one model, and how far each is from the model itself.

    Args:
        decoder: the original.
        windows: the tokens to predict.
        cuts: what to try.
        progress: shows the layers going by.
        label: what this is for.
    """
    branches = through_all_layers(decoder, windows, cuts, progress, label)
    original = next(place for place, branch in enumerate(branches) if 0 in branch.cuts)
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
    found = list(zip(losses, divergences, strict=True))[1:]
    return [CutLosses(losses=tuple(loss), divergences=tuple(apart)) for loss, apart in found]


def through_all_layers(
    decoder: StreamedDecoder, windows: Windows, cuts: Sequence[Cut], progress: Progress, label: str
) -> list[Branch]:
    """The states behind the last layer of a model and of several cuts of it.

    Args:
        decoder: the original.
        windows: what passes through.
        cuts: of it.
        progress: shows the layers going by.
        label: what this is for.

    Returns:
        Branches whose `cuts` number the whole model 0 and the given ones from 1.
    """
    everything = [Cut(kept=tuple(range(decoder.num_layers))), *cuts]
    branches = [Branch(decoder.enter(windows.ids), list(range(len(everything))))]
    for number in progress(range(decoder.num_layers), label, decoder.num_layers, "layer"):
        branches = _through_layer(decoder, number, branches, everything)
    return branches


def _through_layer(
    decoder: StreamedDecoder, number: int, branches: list[Branch], cuts: Sequence[Cut]
) -> list[Branch]:
    """Every branch after layer `number`; one whose cuts part here becomes several."""
    places = decoder.skeleton.places
    following: list[Branch] = []
    running: dict[int | None, list[Branch]] = {}  # by whose replacements the layer carries
    for branch in branches:
        skipping = [cut for cut in branch.cuts if number not in cuts[cut].kept]
        if skipping:
            following.append(Branch(branch.states, skipping))
        parts: dict[int | None, list[int]] = {}
        for cut in branch.cuts:
            if number in cuts[cut].kept:
                own = any(places[name].layer == number for name in cuts[cut].replacements)
                parts.setdefault(id(cuts[cut].replacements) if own else None, []).append(cut)
        for whose, members in parts.items():
            running.setdefault(whose, []).append(Branch(branch.states, members))
    for together in running.values():
        replacements = cuts[together[0].cuts[0]].replacements
        with decoder.layer(number, replacements) as run:
            for branch in together:
                following += _repeated(
                    run, branch, {cut: cuts[cut].kept.count(number) for cut in branch.cuts}
                )
    return following


def _repeated(run: RunLayer, branch: Branch, times: Mapping[int, int]) -> list[Branch]:
    """A branch after a layer, which some of its cuts run more than once."""
    states, following = branch.states, []
    for turn in range(1, max(times.values()) + 1):
        states = states_after(run, states)
        if through := [cut for cut in branch.cuts if times[cut] == turn]:
            following.append(Branch(states, through))
    return following


def _through_head(
    logits_of: Logits, states: Sequence[Tensor], original: int, tokens: Tensor
) -> list[tuple[float, float]]:
    """Mean loss and mean divergence from the whole model of each branch on one sequence.

    Args:
        logits_of: the head.
        states: of each branch, (1, length, hidden).
        original: which of them is the whole model's.
        tokens: of the sequence.
    """
    predicting = [state[:, :-1] for state in states]
    following = tokens[1:].to(states[0].device)
    sums = torch.zeros(len(states), 2, dtype=torch.float64)
    for start in range(0, len(following), POSITIONS_AT_ONCE):
        chunk = slice(start, start + POSITIONS_AT_ONCE)
        wanted = following[chunk, None]
        expected = logits_of(predicting[original][:, chunk])[0].float()  # (positions, vocabulary)
        normaliser = expected.logsumexp(-1)
        probabilities = (expected - normaliser[:, None]).exp_()
        entropy_part = (probabilities * expected).sum(-1) - normaliser  # sum of p log p
        for place, state in enumerate(predicting):
            logits = expected if place == original else logits_of(state[:, chunk])[0].float()
            own = logits.logsumexp(-1)
            loss = own - logits.gather(-1, wanted)[:, 0]
            divergence = entropy_part - (probabilities * logits).sum(-1) + own
            sums[place, 0] += loss.sum(dtype=torch.float64).item()
            sums[place, 1] += divergence.sum(dtype=torch.float64).item()
    return [(loss, divergence) for loss, divergence in (sums / len(following)).tolist()]
