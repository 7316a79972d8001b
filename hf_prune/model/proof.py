"""The proof after each cut: the checkpoint on disk is the original without the removed layers.

transformers loads the result as its users will, and its logits are compared with those of the original, run
layer by layer from the original's own files without those layers. The two ways share no code of the cut.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from hf_prune.errors import ProofFailed, UnsupportedModel, first_line
from hf_prune.machine.environment import reason_not_to_load
from hf_prune.machine.progress import Progress, silent
from hf_prune.model.anatomy import count_parameters
from hf_prune.model.decoder import StreamedDecoder, load_with_info, logits_by_sequence, open_decoder
from hf_prune.model.model_class import first_output, model_inputs
from hf_prune.model.stream import FORWARD_ERRORS
from hf_prune.model.weights import TORCH_DTYPES, read_index
from hf_prune.records import DECODER, Check, Proof

PROOF_SEQUENCES = 2
PROOF_LENGTH = 48  # tokens
NEW_TOKENS = 16
# How far the logits of one position may differ from those expected: root mean square over the vocabulary, in
# standard deviations of all logits. Other kernels and another order of summing differ by less than this. A
# wrong layer differs by about one.
TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}


def expected_logits(
    decoder: StreamedDecoder, tokens: Tensor, kept: tuple[int, ...], replacements: Mapping[str, Tensor]
) -> Tensor:
    """Logits of the original with only the layers `kept`, straight from the original's files.

    Bridged tensors, the `replacements` by their name in the original, are rounded as on disk.

    Returns:
        (sequences, length, vocabulary), float32.
    """
    tensors = decoder.skeleton.index.tensors
    stored = {name: value.to(TORCH_DTYPES[tensors[name].dtype]) for name, value in replacements.items()}
    return torch.cat(list(logits_by_sequence(decoder, tokens, kept, stored)))


def proof_tokens(ids: Tensor) -> Tensor:
    """The tokens to prove a model on: the beginnings of the first windows, (sequences, length).

    Images stay whole: (images, channels, height, width).
    """
    first = ids[:PROOF_SEQUENCES]
    return first[:, :PROOF_LENGTH] if first.dim() == 2 else first


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
    decoding with the cache is not checked.

    Args:
        tokens: (sequences, length), for which `expected` was computed.
        expected: logits, (sequences, length, vocabulary).
        decoder: the original, whose device and dtype are used.

    Raises:
        ProofFailed: at the first check that fails.
    """
    share = read_index(folder).size_bytes / decoder.skeleton.index.size_bytes
    too_large = reason_not_to_load(int(share * _size_in_memory(decoder)), decoder.device.type)
    checks_of = _checks_of_files if too_large else _checks_of_model
    to_run = checks_of(folder, tokens.to(decoder.device), expected, decoder)
    checks = []
    for run_check in progress(to_run, f"proving, {variant}", len(to_run), "check"):
        check = run_check()
        if not check.passed:
            raise ProofFailed(
                f"the {variant} checkpoint in {folder} is not the planned model ({check.name}: "
                f"{check.detail}); nothing is published: please report this with the model's name"
            )
        checks.append(check)
    unchecked = "loading it whole" if decoder.skeleton.kind != DECODER else "decoding with the cache"
    left_out = f"{unchecked} was not compared: {too_large}" if too_large else None
    return Proof(variant=variant, checks=tuple(checks), left_out=left_out)


def check_streaming(decoder: StreamedDecoder, tokens: Tensor) -> None:
    """Check that the original computes the same layer by layer as in one piece, before anything relies on it.

    A model that does not fit into memory is not checked before the proof of the cut.

    Raises:
        UnsupportedModel: it computes something else.
    """
    tokens = tokens.to(decoder.device)
    streamed = expected_logits(decoder, tokens, tuple(range(decoder.num_layers)), {})
    if reason_not_to_load(_size_in_memory(decoder), decoder.device.type):
        return
    model, _ = load_with_info(decoder.skeleton.index.folder, decoder)
    difference = _difference(streamed, _plain_logits(model, tokens, decoder.skeleton.kind))
    if difference > TOLERANCE[decoder.dtype]:
        raise UnsupportedModel(
            f"run layer by layer, {type(model).__name__} computes something else than in one piece (logits "
            f"{difference:.2g} standard deviations apart): more goes from layer to layer than hidden states"
        )


def _size_in_memory(decoder: StreamedDecoder) -> int:
    return count_parameters(decoder.skeleton) * decoder.dtype.itemsize


def _checks_of_model(
    folder: Path, tokens: Tensor, expected: Tensor, decoder: StreamedDecoder
) -> tuple[Callable[[], Check], ...]:
    model, loading_info = load_with_info(folder, decoder)
    kind = decoder.skeleton.kind
    decoding = (lambda: _check_decoding(model, tokens, decoder),) if kind == DECODER else ()
    return (
        lambda: _check_keys(loading_info, decoder),
        lambda: _check_logits(_plain_logits(model, tokens, kind), expected, decoder),
        *decoding,
    )


def _checks_of_files(
    folder: Path, tokens: Tensor, expected: Tensor, decoder: StreamedDecoder
) -> tuple[Callable[[], Check], ...]:
    trusted = decoder.skeleton.trust_remote_code
    written = open_decoder(folder, decoder.device, trust_remote_code=trusted)  # refuses a missing tensor
    layers = tuple(range(written.num_layers))
    return (lambda: _check_logits(expected_logits(written, tokens, layers, {}), expected, decoder),)


def _check_keys(loading_info: Mapping[str, Any], original: StreamedDecoder) -> Check:
    known = original.skeleton.unused
    by_fault = {fault: sorted(set(map(str, names)) - known) for fault, names in loading_info.items()}
    faults = "; ".join(f"{fault}: {', '.join(names[:3])}" for fault, names in by_fault.items() if names)
    return Check(
        name="every tensor is used and none is made up",
        passed=not faults,
        detail=faults or "0 missing, 0 unexpected, 0 of another shape",
    )


@torch.inference_mode()
def _plain_logits(model: Any, tokens: Tensor, kind: str = DECODER) -> Tensor:
    return first_output(model, kind, **model_inputs(kind, tokens)).float()


def _check_logits(logits: Tensor, expected: Tensor, decoder: StreamedDecoder) -> Check:
    difference = _difference(logits, expected.to(logits))
    decodes = decoder.skeleton.kind == DECODER
    where = f"any of {logits.shape[0]} x {logits.shape[1]} tokens" if decodes else "any place"
    what = "logits equal" if decodes else "the answer equals"
    return Check(
        name=f"{what} the original's with those layers left out",
        passed=difference <= TOLERANCE[decoder.dtype],
        detail=f"at most {difference:.2g} standard deviations apart at {where}",
    )


def _check_decoding(model: Any, tokens: Tensor, original: StreamedDecoder) -> Check:
    """Compare greedy decoding with the cache to running without it; they may differ if the original's do."""
    name = "decoding with the cache equals running without it"
    tolerance = TOLERANCE[model.dtype]
    difference, detail = _decoding_difference(model, tokens)
    if difference <= tolerance:
        return Check(name=name, passed=True, detail=detail)
    whole, _ = load_with_info(original.skeleton.index.folder, original)
    in_original, its_detail = _decoding_difference(whole, tokens)
    return Check(name=name, passed=in_original > tolerance, detail=f"{detail}; in the original, {its_detail}")


def _decoding_difference(model: Any, tokens: Tensor) -> tuple[float, str]:
    try:
        difference = _cache_difference(model, tokens)
    except FORWARD_ERRORS as error:  # a stale layer number in the cache
        return float("inf"), f"decoding with the cache fails: {first_line(error)}"
    return difference, (
        f"at most {difference:.2g} standard deviations apart at any of {NEW_TOKENS} greedy tokens"
    )


@torch.inference_mode()
def _cache_difference(model: Any, tokens: Tensor) -> float:
    """How far the logits of greedy decoding with the cache are from those without it.

    They are compared with one pass over the decoded tokens first. Some families number their positions in
    another way while they decode. Those are compared with decoding without the cache, up to the first token
    that differs.
    """
    prompt = tokens[:1, : PROOF_LENGTH // 2]
    # Some families number their positions by the padding token, and differently with a cache.
    padding = getattr(model.config.get_text_config(), "pad_token_id", None)
    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=NEW_TOKENS,
        min_new_tokens=NEW_TOKENS,
        output_logits=True,
        return_dict_in_generate=True,
        pad_token_id=0,
        suppress_tokens=None if padding is None else [padding],
    )
    options: dict[str, Any] = {"attention_mask": torch.ones_like(prompt), "generation_config": settings}
    decoded = model.generate(prompt, **options, use_cache=True)
    cached = torch.stack(decoded.logits, dim=1).float()  # (1, new, vocabulary)
    whole = _plain_logits(model, decoded.sequences[:, :-1])[:, prompt.shape[1] - 1 :]
    difference = _difference(cached, whole)
    if difference <= TOLERANCE[model.dtype]:
        return difference
    without = model.generate(prompt, **options, use_cache=False)
    agree = int((without.sequences != decoded.sequences)[0, prompt.shape[1] :].cumsum(0).eq(0).sum())
    comparable = min(agree + 1, NEW_TOKENS)
    plain = torch.stack(without.logits, dim=1).float()
    return min(difference, _difference(cached[:, :comparable], plain[:, :comparable]))


def _difference(logits: Tensor, expected: Tensor) -> float:
    """The difference at the position that differs most; both are (sequences, length, vocabulary)."""
    spread = expected.std().clamp_min(1e-12)
    return ((logits - expected).square().mean(dim=-1).sqrt().max() / spread).item()
