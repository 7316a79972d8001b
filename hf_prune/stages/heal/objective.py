"""What a healed model is taught: the text, the original's predictions, or its states after each gap."""

import torch
from torch import Tensor
from torch.nn import functional

LEAST = 1e-6  # probability of all tokens that were not stored


def text_loss(logits: Tensor, ids: Tensor, loss_mask: Tensor) -> Tensor:
    """Cross entropy of the next token, in nats, over the positions that count.

    Args:
        logits: (windows, length, vocabulary); `ids` and `loss_mask` are (windows, length).
        loss_mask: which tokens are to be predicted; the first of a window never is.
    """
    predicting, following = logits[:, :-1].float(), ids[:, 1:]
    losses = functional.cross_entropy(predicting.flatten(0, 1), following.flatten(), reduction="none")
    return _mean(losses.view(following.shape), loss_mask[:, 1:])


def prediction_loss(logits: Tensor, top_ids: Tensor, top_logprobs: Tensor, loss_mask: Tensor) -> Tensor:
    """KL(original || model) in nats over the original's most likely tokens, all others merged into one.

    Merging tokens can only lower a divergence: this one never exceeds that over the whole vocabulary, and is
    zero where that is zero.

    Args:
        logits: (windows, length, vocabulary); `loss_mask`, of tokens to be predicted, is (windows, length).
        top_ids: the original's most likely next tokens, (windows, length - 1, top).
        top_logprobs: their log-probabilities in the whole vocabulary, (windows, length - 1, top).
    """
    predicting = logits[:, :-1].float()
    top_logprobs = top_logprobs.float()
    own = predicting.gather(-1, top_ids.long()) - predicting.logsumexp(-1, keepdim=True)
    shares = top_logprobs.exp()
    rest = (1 - shares.sum(-1)).clamp_min(LEAST)
    own_rest = (1 - own.exp().sum(-1)).clamp_min(LEAST)
    divergence = (shares * (top_logprobs - own)).sum(-1) + rest * (rest.log() - own_rest.log())
    return _mean(divergence, loss_mask[:, 1:])


def state_loss(reached: Tensor, states: Tensor) -> Tensor:
    """|reached - state|^2 / |state|^2, the mean over tokens.

    LLM-Streamline (2403.19135) takes the plain mean squared error. The attention sink at position 0, whose
    states are a hundred times as large, would then be most of the loss. Both are (windows, length, hidden):
    the model's states after a gap, and the original's at the same boundary.
    """
    states = states.float()
    distances = (reached.float() - states).square().sum(-1)
    return (distances / states.square().sum(-1).clamp_min(torch.finfo(torch.float32).tiny)).mean()


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean over the positions that count; zero where none does."""
    counted = mask.to(values.dtype)
    return (values * counted).sum() / counted.sum().clamp_min(1)
