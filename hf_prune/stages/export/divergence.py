"""How far predictions in one form of a model are from those in another."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def mean_divergence(expected: Array, found: Array) -> float:
    """The mean Kullback-Leibler divergence over tokens, in nats: of `found` from `expected`.

    Args:
        expected: logits, (..., vocabulary).
        found: the same of another form.
    """
    reference, other = _log_probabilities(expected), _log_probabilities(found)
    return float((np.exp(reference) * (reference - other)).sum(axis=-1).mean())


def _log_probabilities(logits: Array) -> Array:
    above = logits.astype(np.float64)
    above -= above.max(axis=-1, keepdims=True)
    return above - np.log(np.exp(above).sum(axis=-1, keepdims=True))
