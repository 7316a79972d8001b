"""The checks that a model in another format computes what it computes in PyTorch.

Both are called through one signature, so that both get the same prompts, padding and continuations.
"""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hf_prune.records import Check

Array = np.ndarray[Any, np.dtype[Any]]
Cache = Sequence[Array]  # the keys and values of each layer in turn, (batch, heads, tokens, head size)
# From ids (batch, tokens), a mask over cached and new tokens (batch, all tokens) and the cache before them,
# or None: the logits of the new tokens, and the cache after them.
Runner = Callable[[Array, Array, Cache | None], tuple[Array, Cache]]

SEQUENCES = 2
LENGTH = 48  # tokens of each
PADDING = 7  # of the shorter one of a batch
NEW_TOKENS = 20
# The largest difference allowed at one position: the root mean square over the vocabulary, in standard
# deviations of all logits. `prove` allows as much in float32.
TOLERANCE = 1e-3


def load_in_float32(folder: Path, *, trust_remote_code: bool, gguf_file: str | None = None) -> Any:
    """Load the model in a folder, or in a GGUF file there, to compute in float32 on the CPU."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, trust_remote_code=trust_remote_code, gguf_file=gguf_file
    )
    return model.eval()


def model_runner(model: Any) -> Runner:
    """Run a model in PyTorch, on the CPU."""
    from transformers import DynamicCache

    parameters = inspect.signature(model.forward).parameters
    takes_positions = "position_ids" in parameters
    # Until transformers 5.23, and in code that models bring: past_key_values.
    cache_argument = "cache" if "cache" in parameters else "past_key_values"

    @torch.inference_mode()
    def run(ids: Array, mask: Array, cache: Cache | None) -> tuple[Array, Cache]:
        model_cache: Any = DynamicCache(config=model.config)
        for layer, start in enumerate(range(0, len(cache or ()), 2)):
            keys, values = (torch.from_numpy(each) for each in (cache or ())[start : start + 2])
            model_cache.update(keys, values, layer)
        positions = {"position_ids": torch.from_numpy(positions_of(ids, mask))} if takes_positions else {}
        output = model(
            torch.from_numpy(ids),
            attention_mask=torch.from_numpy(mask),
            use_cache=True,
            **{cache_argument: model_cache},
            **positions,
        )
        after = [each.numpy() for layer in model_cache.layers for each in (layer.keys, layer.values)]
        return output.logits.numpy(), after

    return run


def positions_of(ids: Array, mask: Array) -> Array:
    """The position of each new token in its text, padding not counted."""
    return np.maximum(mask.cumsum(axis=1) - 1, 0)[:, -ids.shape[1] :]


def compare(other: Runner, model: Runner, windows: Array) -> tuple[tuple[Check, ...], float]:
    """Compare an export, under its own runtime or read back, with the model.

    Returns the checks and the mean divergence of its predictions, on held-out windows (sequences, length).
    """
    tokens = windows[:SEQUENCES, :LENGTH]
    whole = np.ones_like(tokens)
    expected, _ = model(tokens, whole, None)
    logits, _ = other(tokens, whole, None)
    checks = (
        _agreement("logits of a prompt", logits, expected),
        _padded(other, model, tokens),
        _continued(other, tokens, expected),
        _same_tokens(other, model, tokens[:1]),
    )
    return checks, mean_divergence(expected, logits)


def _padded(other: Runner, model: Runner, tokens: Array) -> Check:
    """Check a batch whose first text is shorter, and so padded on the left."""
    padding = min(PADDING, tokens.shape[1] // 2)
    ids, mask = tokens.copy(), np.ones_like(tokens)
    ids[0], mask[0, :padding] = np.roll(tokens[0], padding), 0
    seen = mask.astype(bool)
    logits, expected = (run(ids, mask, None)[0][seen] for run in (other, model))
    return _agreement("logits of a padded batch", logits, expected)


def _continued(other: Runner, tokens: Array, expected: Array) -> Check:
    """Check the end of a text, computed from the cache of its beginning, against the whole text."""
    start = tokens.shape[1] * 2 // 3
    whole = np.ones_like(tokens)
    _, cache = other(tokens[:, :start], whole[:, :start], None)
    logits, _ = other(tokens[:, start:], whole, cache)
    return _agreement("logits of a continuation", logits, expected[:, start:])


def _same_tokens(other: Runner, model: Runner, prompt: Array) -> Check:
    written, expected = (greedy(run, prompt) for run in (other, model))
    same = next((n for n in range(NEW_TOKENS) if written[n] != expected[n]), NEW_TOKENS)
    return Check(
        name=f"{NEW_TOKENS} greedy tokens",
        passed=same == NEW_TOKENS,
        detail=f"the first {same} of {NEW_TOKENS} are the same",
    )


def greedy(run: Runner, prompt: Array) -> tuple[int, ...]:
    """The tokens that greedy decoding writes after a prompt of shape (1, tokens), with the cache."""
    ids, mask, cache, written = prompt, np.ones_like(prompt), None, []
    for _ in range(NEW_TOKENS):
        logits, cache = run(ids, mask, cache)
        ids = logits[:, -1:].argmax(axis=-1)
        mask = np.ones((1, mask.shape[1] + 1), dtype=mask.dtype)
        written.append(int(ids[0, 0]))
    return tuple(written)


def _agreement(name: str, logits: Array, expected: Array) -> Check:
    errors = np.abs(logits - expected)
    difference = float(np.sqrt(np.square(errors, dtype=np.float64).mean(axis=-1)).max() / expected.std())
    detail = (
        f"at most {difference:.2g} standard deviations apart at any token, {errors.max():.2g} at any logit"
    )
    return Check(name=name, passed=difference <= TOLERANCE, detail=detail)  # False for NaN


def mean_divergence(expected: Array, logits: Array) -> float:
    """The mean KL(expected || logits) over tokens, in nats; both are logits, (..., vocabulary)."""
    reference, other = _log_probabilities(expected), _log_probabilities(logits)
    return float((np.exp(reference) * (reference - other)).sum(axis=-1).mean())


def _log_probabilities(logits: Array) -> Array:
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
