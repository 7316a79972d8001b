"""Similarity of the residual stream at every pair of layer boundaries, from one pass over the layers.

Angular distance: Gromov et al., "The Unreasonable Ineffectiveness of the Deeper Layers" (2403.17887),
section 3.2. Block Influence and relative magnitude: Men et al., "ShortGPT" (2403.03853), equation 1 and
section 4.3. Magnitude: Kim et al., "Shortened LLaMA" (2402.02834), section 3.1.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hf_prune.errors import RecipeError
from hf_prune.machine.processes import ALONE, Ranks
from hf_prune.machine.progress import Progress
from hf_prune.model.activations import Activations
from hf_prune.model.decoder import StreamedDecoder
from hf_prune.records import DECODER, LayerScores, Matrix, Similarity
from hf_prune.stages.texts.windows import Windows, windows_part

SAMPLED_TOKENS = 4096  # kept at every boundary for the all-token matrices
ROWS_AT_ONCE = 1024  # hidden states converted to float32 together
WEIGHTS_AT_ONCE = 1 << 21  # converted to float64 together
COMPARED_BYTES = 32 << 20  # float64 states compared together


@dataclass
class _Boundaries:
    """Hidden states kept at each boundary: one batch per boundary, one row per token.

    They stay in the dtype they were computed in, so nothing is rounded.
    """

    compared: Activations  # (sequences, hidden): the last token's, or an encoder's first
    sampled: Activations  # (sampled tokens, hidden)
    sampled_positions: Tensor  # among all tokens of this process
    compared_position: int  # in each sequence

    def add(self, hidden: Activations) -> None:
        compared, rows, start = [], [], 0
        for state in hidden:
            tokens = state.shape[0] * state.shape[1]
            sampled = _between(self.sampled_positions, start, tokens)
            compared.append(state[:, self.compared_position])
            rows.append(state.flatten(0, 1)[sampled])
            start += tokens
        self.compared.append(torch.cat(compared))
        self.sampled.append(torch.cat(rows))


@torch.no_grad()
def measure(
    decoder: StreamedDecoder, windows: Windows, progress: Progress, ranks: Ranks = ALONE
) -> Similarity:
    """Run the calibration tokens through every layer once and compare all boundaries.

    Every token counts for Block Influence. The last token of each window counts for the last-token
    distances. An encoder's last token is like any other, so there the first is compared, which many
    encoders are read out by. Every token but position 0, the attention sink, counts for the relative
    magnitude. For the all-token matrices up to `SAMPLED_TOKENS` evenly spaced tokens are kept.

    Every process is given all windows, and measures its share.
    """
    part, sequences_before = share_of_process(windows, ranks)
    record = windows.record
    positions = _sampled_positions(record.num_tokens, decoder.device)
    before = sequences_before * record.sequence_length
    is_decoder = decoder.skeleton.kind == DECODER
    boundaries = _Boundaries(
        compared=Activations(decoder.memory),
        sampled=Activations(decoder.memory),
        sampled_positions=_between(positions, before, part.record.num_tokens),
        compared_position=-1 if is_decoder else 0,
    )
    hidden = decoder.enter(part.ids)
    boundaries.add(hidden)
    changes, magnitudes = [], []
    for layer in progress(range(decoder.num_layers), "measuring", decoder.num_layers, "layer"):
        change = torch.zeros(2, dtype=torch.float64)
        with decoder.layer(layer) as run:
            magnitudes.append(weight_magnitude(decoder.skeleton.layers[layer]))
            for batch, state in enumerate(hidden):
                output = run(batch, state)
                change += _change(state, output)
                hidden[batch] = output
        changes.append(change)
        boundaries.add(hidden)
    sums = ranks.total(torch.stack(changes))
    angular_last, _ = _compare(boundaries.compared, record.num_sequences, ranks)
    angular_all, cosine_all = _compare(boundaries.sampled, len(positions), ranks)
    moved = record.num_sequences * (record.sequence_length - 1)
    influence, relative = (1 - sums[:, 0] / record.num_tokens).tolist(), (sums[:, 1] / moved).tolist()
    return Similarity(
        num_layers=decoder.num_layers,
        calibration=record,
        angular_last_token=angular_last,
        angular_all_tokens=angular_all,
        cosine_all_tokens=cosine_all,
        sampled_tokens=len(positions),
        layer_scores=(
            LayerScores(criterion="bi", values=tuple(influence), text=record),
            LayerScores(criterion="relative-magnitude", values=tuple(relative), text=record),
            LayerScores(criterion="magnitude", values=tuple(magnitudes), text=None),
        ),
        compared_token="last" if is_decoder else "first",
    )


def _sampled_positions(num_tokens: int, device: torch.device) -> Tensor:
    """Evenly spaced over all tokens of all sequences. The stride is odd, so it favours no position."""
    stride = math.ceil(num_tokens / SAMPLED_TOKENS)
    stride += 1 - stride % 2
    return torch.arange(0, num_tokens, stride, device=device)


def _between(positions: Tensor, first: int, count: int) -> Tensor:
    """The positions among the `count` tokens from `first`, counted from there."""
    return positions[(positions >= first) & (positions < first + count)] - first


def _change(state: Tensor, output: Tensor) -> Tensor:
    """How a layer changes a batch (batch, length, hidden), as two sums over its tokens in float64.

    They are the cosine of input and output, and |output - input| / |output| without position 0.
    """
    cosines = token_cosines(state.flatten(0, 1), output.flatten(0, 1))
    relative = 0.0
    rows = zip(state.split(1), output.split(1), strict=True)
    for row, output_row in rows:
        before, after = row[0, 1:].float(), output_row[0, 1:].float()
        share = (after - before).norm(dim=-1) / after.norm(dim=-1).clamp_min(1e-30)  # (length - 1,)
        relative += share.sum(dtype=torch.float64).item()
    return torch.tensor([cosines.sum(dtype=torch.float64).item(), relative], dtype=torch.float64)


def token_cosines(first: Tensor, second: Tensor) -> Tensor:
    """The cosine of each row of `first` with the same row of `second`: (rows,), float32, in [-1, 1]."""
    parts = []
    for one, other in zip(first.split(ROWS_AT_ONCE), second.split(ROWS_AT_ONCE), strict=True):
        one, other = one.float(), other.float()
        norms = one.norm(dim=-1) * other.norm(dim=-1)
        parts.append(((one * other).sum(dim=-1) / norms.clamp_min(1e-30)).clamp(-1, 1))
    return torch.cat(parts)


def weight_magnitude(layer: nn.Module) -> float:
    """The sum of |W| over the linear and norm weights of a layer whose weights are in place."""
    parts = (part for _, weight in weights_of(layer) for part in weight.flatten().split(WEIGHTS_AT_ONCE))
    return sum(torch.linalg.vector_norm(part, ord=1, dtype=torch.float64).item() for part in parts)


def weights_of(layer: nn.Module) -> list[tuple[str, Tensor]]:
    """The parameters of a layer that count for magnitude and Taylor scores: all but biases."""
    return [(name, p) for name, p in layer.named_parameters() if name.rpartition(".")[2] != "bias"]


def _compare(states: Activations, num_tokens: int, ranks: Ranks) -> tuple[Matrix, Matrix]:
    """Mean angular distance and mean cosine between all boundaries, over the tokens of all processes.

    `states` has one batch per boundary, (tokens of this process, hidden).
    """
    rows, hidden = states[0].shape
    size = len(states)
    sums = torch.zeros(2, size, size, dtype=torch.float64, device=states[0].device)
    step = max(1, COMPARED_BYTES // (8 * size * hidden))
    for start in range(0, rows, step):
        parts = [states.rows(b, start, min(start + step, rows)).double() for b in range(size)]
        directions = nn.functional.normalize(torch.stack(parts, dim=1), dim=-1, eps=1e-30)
        cosines = (directions @ directions.mT).clamp(-1, 1)  # (tokens, boundaries, boundaries)
        sums += torch.stack([cosines.arccos().sum(dim=0) / math.pi, cosines.sum(dim=0)])
    angular, cosine = ranks.total(sums) / num_tokens
    angular = ((angular + angular.T) / 2).fill_diagonal_(0)
    cosine = ((cosine + cosine.T) / 2).fill_diagonal_(1)
    return tuple(map(tuple, angular.tolist())), tuple(map(tuple, cosine.tolist()))


def share_of_process(windows: Windows, ranks: Ranks) -> tuple[Windows, int]:
    """The windows that this process measures, and how many windows the processes before it measure.

    Raises:
        RecipeError: there are fewer windows than processes.
    """
    sequences = windows.ids.shape[0]
    if sequences < ranks.count:
        raise RecipeError(
            f"{sequences} calibration windows cannot be shared by {ranks.count} processes: raise "
            f"--samples or start fewer processes"
        )
    first, end = (sequences * rank // ranks.count for rank in (ranks.rank, ranks.rank + 1))
    return (windows if ranks.count == 1 else windows_part(windows, first, end)), first
