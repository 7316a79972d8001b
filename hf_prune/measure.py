"""One pass over the layers that compares the residual stream at every pair of boundaries.

Angular distance: Gromov et al., "The Unreasonable Ineffectiveness of the Deeper Layers" (2403.17887),
section 3.2. Block Influence: Men et al., "ShortGPT" (2403.03853), equation 1.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hf_prune.calibration import Windows
from hf_prune.decoder import StreamedDecoder
from hf_prune.progress import Progress
from hf_prune.records import Matrix, Similarity

SAMPLED_TOKENS = 4096  # remembered at every boundary for the all-token matrices
ROWS_AT_ONCE = 1024  # of hidden states raised to float32 together


@dataclass
class _Boundaries:
    """States remembered at each boundary so far, one row a token: (boundaries, tokens, hidden).

    They are kept in the dtype they were computed in, so nothing is rounded.
    """

    states: Tensor
    reached: int = 0

    def add(self, rows: Tensor) -> None:
        self.states[self.reached] = rows
        self.reached += 1


def measure(decoder: StreamedDecoder, windows: Windows, progress: Progress) -> Similarity:
    """Run the calibration tokens through every layer once and compare all boundaries.

    Every token counts for Block Influence and, at the last position, for the last-token distances; for
    the all-token matrices up to `SAMPLED_TOKENS` evenly spaced tokens are remembered at each boundary.

    Args:
        decoder: the original model.
        windows: calibration tokens.
        progress: shows the layers going by.
    """
    hidden = decoder.enter(windows.ids)
    sampled = _sampled_positions(windows.ids.numel(), decoder.device)
    last, all_tokens = (
        _Boundaries(torch.empty(decoder.num_layers + 1, count, hidden[0].shape[-1]).to(hidden[0]))
        for count in (windows.ids.shape[0], len(sampled))
    )
    influence: list[float] = []
    _remember(hidden, last, all_tokens, sampled)
    for number in progress(range(decoder.num_layers), "measuring", decoder.num_layers, "layer"):
        similarity, count = 0.0, 0
        with decoder.layer(number) as run:
            for batch, state in enumerate(hidden):
                output = run(batch, state)
                cosines = token_cosines(state.flatten(0, 1), output.flatten(0, 1))
                similarity += cosines.sum(dtype=torch.float64).item()
                count += cosines.numel()
                hidden[batch] = output
        influence.append(1 - similarity / count)
        _remember(hidden, last, all_tokens, sampled)
    angular_last, _ = _compare(last.states)
    angular_all, cosine_all = _compare(all_tokens.states)
    return Similarity(
        num_layers=decoder.num_layers,
        calibration=windows.record,
        angular_last_token=angular_last,
        angular_all_tokens=angular_all,
        cosine_all_tokens=cosine_all,
        block_influence=tuple(influence),
        sampled_tokens=len(sampled),
    )


def _sampled_positions(num_tokens: int, device: torch.device) -> Tensor:
    """Evenly spaced over all tokens of all sequences; an odd stride does not favour a position."""
    stride = math.ceil(num_tokens / SAMPLED_TOKENS)
    stride += 1 - stride % 2
    return torch.arange(0, num_tokens, stride, device=device)


@torch.inference_mode()
def _remember(hidden: list[Tensor], last: _Boundaries, all_tokens: _Boundaries, sampled: Tensor) -> None:
    last.add(torch.cat([state[:, -1] for state in hidden]))  # (sequences, hidden)
    rows, start = [], 0
    for state in hidden:
        tokens = state.shape[0] * state.shape[1]
        here = sampled[(sampled >= start) & (sampled < start + tokens)] - start
        rows.append(state.flatten(0, 1)[here])
        start += tokens
    all_tokens.add(torch.cat(rows))  # (sampled tokens, hidden)


@torch.inference_mode()
def token_cosines(first: Tensor, second: Tensor) -> Tensor:
    """Cosine of each row of one with the same row of the other: (rows,), float32, in [-1, 1]."""
    parts = []
    for one, other in zip(first.split(ROWS_AT_ONCE), second.split(ROWS_AT_ONCE), strict=True):
        one, other = one.float(), other.float()
        norms = one.norm(dim=-1) * other.norm(dim=-1)
        parts.append(((one * other).sum(dim=-1) / norms.clamp_min(1e-30)).clamp(-1, 1))
    return torch.cat(parts)


def _compare(states: Tensor) -> tuple[Matrix, Matrix]:
    """Mean angular distance and mean cosine between all boundaries of (boundaries, tokens, hidden)."""
    boundaries = states.shape[0]
    angular = [[0.0] * boundaries for _ in range(boundaries)]
    cosine = [[1.0] * boundaries for _ in range(boundaries)]
    for first in range(boundaries):
        for second in range(first + 1, boundaries):
            cosines = token_cosines(states[first], states[second]).double()
            cosine[first][second] = cosine[second][first] = cosines.mean().item()
            distance = (cosines.arccos() / math.pi).mean().item()
            angular[first][second] = angular[second][first] = distance
    return tuple(map(tuple, angular)), tuple(map(tuple, cosine))
