"""The proof after each cut: the checkpoint on disk is the original with those layers left out.

The result is loaded by transformers as its users will load it, and compared with the original run layer
by layer from its own files: two ways that share no code of the cut.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, GenerationConfig

from hf_prune.decoder import StreamedDecoder, open_decoder, run_layers
from hf_prune.environment import reason_not_to_load
from hf_prune.errors import ProofFailed
from hf_prune.progress import Progress, silent
from hf_prune.records import Check, Proof
from hf_prune.weights import TORCH_DTYPES, read_index

PROOF_SEQUENCES = 2
PROOF_LENGTH = 48  # tokens
NEW_TOKENS = 16
# How far the logits of one position may be from those they are meant to equal, as the root mean square over
# the vocabulary, in standard deviations of all logits: what other kernels and other orders of summing do. A
# wrong layer moves them by about one.
TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}


def expected_logits(
    decoder: StreamedDecoder,
    tokens: Tensor,
    kept: tuple[int, ...],
    replacements: Mapping[str, Tensor],
) -> Tensor:
    """Logits of the original with only the layers `kept`, straight from the original's files.

    Args:
        decoder: the original.
        tokens: (sequences, length).
        kept: layers that stay, in order.
        replacements: bridged tensors by their name in the original.

    Returns:
        (sequences, length, vocabulary), float32.
    """
    stored = {name: _as_stored(decoder, name, value) for name, value in replacements.items()}
    return _streamed_logits(decoder, tokens, kept, stored)


@torch.inference_mode()
def _streamed_logits(
    decoder: StreamedDecoder, tokens: Tensor, layers: Iterable[int], replacements: Mapping[str, Tensor]
) -> Tensor:
    hidden = run_layers(decoder, decoder.enter(tokens), layers, replacements)
    with decoder.head() as logits_of:
        rows = [logits_of(sequence) for batch in hidden for sequence in batch.split(1)]
    return torch.cat(rows).float()


def _as_stored(decoder: StreamedDecoder, name: str, value: Tensor) -> Tensor:
    """The value after the rounding that writing it to disk brings."""
    return value.to(TORCH_DTYPES[decoder.skeleton.index.tensors[name].dtype])


def prove(
    folder: Path,
    variant: str,
    tokens: Tensor,
    expected: Tensor,
    decoder: StreamedDecoder,
    progress: Progress = silent,
) -> Proof:
    """Reload a checkpoint and compare it with what it should compute.

    A checkpoint that does not fit into memory is run layer by layer from its own files instead, and
    decoding with the cache is left out.

    Args:
        folder: the checkpoint.
        variant: "cut" or "bridged".
        tokens: (sequences, length), what `expected` was computed on.
        expected: logits, (sequences, length, vocabulary).
        decoder: the original, for the device and dtype to compute in.
        progress: shows the checks going by.

    Raises:
        ProofFailed: at the first check that does not hold.
    """
    size_bytes = read_index(folder).parameters * decoder.dtype.itemsize
    too_large = reason_not_to_load(size_bytes, decoder.device.type)
    make_checks = _checks_of_files if too_large else _checks_of_model
    makers = make_checks(folder, tokens.to(decoder.device), expected, decoder)
    checks = []
    for make in progress(makers, f"proving, {variant}", len(makers), "check"):
        check = make()
        if not check.passed:
            raise ProofFailed(
                f"the {variant} checkpoint in {folder} is not the planned model ({check.name}: "
                f"{check.detail}); nothing is published: please report this with the model's name"
            )
        checks.append(check)
    left_out = f"decoding with the cache was not compared: {too_large}" if too_large else None
    return Proof(variant=variant, checks=tuple(checks), left_out=left_out)


def _checks_of_model(
    folder: Path, tokens: Tensor, expected: Tensor, decoder: StreamedDecoder
) -> tuple[Callable[[], Check], ...]:
    model, loading = _reload(folder, decoder)
    return (
        lambda: _check_keys(loading),
        lambda: _check_logits(_plain_logits(model, tokens), expected, decoder.dtype),
        lambda: _check_decoding(model, tokens),
    )


def _checks_of_files(
    folder: Path, tokens: Tensor, expected: Tensor, decoder: StreamedDecoder
) -> tuple[Callable[[], Check], ...]:
    written = open_decoder(folder, decoder.device)  # refuses a folder that lacks a tensor
    return (
        lambda: _check_logits(
            _streamed_logits(written, tokens, range(written.num_layers), {}), expected, decoder.dtype
        ),
    )


def _reload(folder: Path, decoder: StreamedDecoder) -> tuple[Any, dict[str, Any]]:
    """The checkpoint as a user of the Hub would load it, and what transformers noticed on the way."""
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype=decoder.dtype, output_loading_info=True, trust_remote_code=False
    )
    model, loading = loaded
    return model.to(decoder.device).eval(), loading


def _check_keys(loading: Mapping[str, Any]) -> Check:
    strays = {kind: sorted(map(str, found)) for kind, found in loading.items() if found}
    told = "; ".join(f"{kind}: {', '.join(names[:3])}" for kind, names in strays.items())
    return Check(
        name="every tensor is used and none is made up",
        passed=not strays,
        detail=told or "0 missing, 0 unexpected, 0 of another shape",
    )


@torch.inference_mode()
def _plain_logits(model: Any, tokens: Tensor) -> Tensor:
    return model(input_ids=tokens, use_cache=False).logits.float()


def _check_logits(logits: Tensor, expected: Tensor, dtype: torch.dtype) -> Check:
    difference = _difference(logits, expected.to(logits))
    return Check(
        name="logits equal the original's with those layers left out",
        passed=difference <= TOLERANCE[dtype],
        detail=f"at most {difference:.2g} standard deviations apart at any of {logits.shape[0]} x "
        f"{logits.shape[1]} tokens",
    )


@torch.inference_mode()
def _check_decoding(model: Any, tokens: Tensor) -> Check:
    """Greedy decoding with the cache against one pass without it over the same tokens."""
    prompt = tokens[:1, : PROOF_LENGTH // 2]
    name = "decoding with the cache equals running without it"
    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=NEW_TOKENS,
        min_new_tokens=NEW_TOKENS,
        use_cache=True,
        output_logits=True,
        return_dict_in_generate=True,
        pad_token_id=0,
    )
    try:
        generated = model.generate(prompt, attention_mask=torch.ones_like(prompt), generation_config=settings)
    except IndexError as error:  # a stale layer number in the cache
        return Check(name=name, passed=False, detail=f"decoding with the cache fails: {error}")
    cached = torch.stack(generated.logits, dim=1).float()  # (1, new, vocabulary)
    whole = _plain_logits(model, generated.sequences[:, :-1])
    difference = _difference(cached, whole[:, prompt.shape[1] - 1 :])
    return Check(
        name=name,
        passed=difference <= TOLERANCE[model.dtype],
        detail=f"at most {difference:.2g} standard deviations apart at any of {NEW_TOKENS} greedy tokens",
    )


def _difference(logits: Tensor, expected: Tensor) -> float:
    """Of the position that differs most: (sequences, length, vocabulary) against the same."""
    spread = expected.std().clamp_min(1e-12)
    return ((logits - expected).square().mean(dim=-1).sqrt().max() / spread).item()
