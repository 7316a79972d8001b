"""Models as transformers loads them, run without a line of the package: what the tests compare with."""

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModelForCausalLM

from hf_prune.records import TextTokens
from hf_prune.stages.texts.windows import Windows
from tests.support.models import VOCABULARY

LAYER_PATHS = (
    "model.layers",
    "transformer.h",
    "model.decoder.layers",
    "backbone.layers",
    "transformer.blocks",
)


def plain_model(folder: Path) -> nn.Module:
    return AutoModelForCausalLM.from_pretrained(folder).eval()


def layers_of(model: nn.Module) -> nn.ModuleList:
    """The decoder layers of the families that are tested, by name."""
    found = dict(model.named_modules())
    return next(found[path] for path in LAYER_PATHS if path in found)


@torch.no_grad()
def plain_logits(model: nn.Module, tokens: Tensor, kept: tuple[int, ...] | None = None) -> Tensor:
    """Logits without a cache; of the layers `kept` alone, each of which keeps its own settings."""
    skipped: list[torch.utils.hooks.RemovableHandle] = []

    def undo(_: nn.Module, arguments: tuple, keywords: dict, output: object) -> object:
        hidden = arguments[0] if arguments else keywords["hidden_states"]
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    for number, layer in enumerate(layers_of(model)):
        if kept is not None and number not in kept:
            skipped.append(layer.register_forward_hook(undo, with_kwargs=True))
    try:
        return model(input_ids=tokens, use_cache=False).logits
    finally:
        for handle in skipped:
            handle.remove()


def plain_losses(
    model: nn.Module, tokens: Tensor, kept: tuple[int, ...] | None = None, original: nn.Module | None = None
) -> tuple[list[float], list[float]]:
    """Cross entropy, and KL(original || model of the layers `kept`), of each window, in float64."""
    own = plain_logits(model, tokens, kept)[:, :-1].double().log_softmax(-1)
    whole = plain_logits(original or model, tokens)[:, :-1].double().log_softmax(-1)
    losses = -own.gather(-1, tokens[:, 1:, None])[..., 0].mean(-1)
    divergences = (whole.exp() * (whole - own)).sum(-1).mean(-1)
    return losses.tolist(), divergences.tolist()


def plain_loss(model: nn.Module, tokens: Tensor, removed: Iterable[int] = ()) -> float:
    """Mean cross entropy without the layers in `removed`, in float64."""
    kept = tuple(layer for layer in range(len(layers_of(model))) if layer not in set(removed))
    logits = plain_logits(model, tokens, kept)[:, :-1].double()
    return functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).item()


def text_by(model: nn.Module, sequences: int, length: int) -> Tensor:
    """Tokens that the model itself draws: no other model predicts them better, but for chance."""
    generator = torch.Generator().manual_seed(2)
    tokens = some_tokens(sequences, 1)
    while tokens.shape[1] < length:
        following = plain_logits(model, tokens)[:, -1].softmax(-1)
        tokens = torch.cat([tokens, torch.multinomial(following, 1, generator=generator)], dim=1)
    return tokens


@torch.no_grad()
def boundaries(model: nn.Module, tokens: Tensor) -> list[Tensor]:
    """The stream at the input of every layer and after the last, before the final norm."""
    seen: list[Tensor] = []

    def enters(_: nn.Module, arguments: tuple, keywords: dict) -> None:
        seen.append(arguments[0] if arguments else keywords["hidden_states"])

    def leaves(_: nn.Module, __: object, output: object) -> None:
        seen.append(output[0] if isinstance(output, tuple) else output)

    layers = layers_of(model)
    handles = [layer.register_forward_pre_hook(enters, with_kwargs=True) for layer in layers]
    handles.append(layers[-1].register_forward_hook(leaves))
    try:
        model(input_ids=tokens, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def some_tokens(sequences: int = 2, length: int = 40, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(2, VOCABULARY, (sequences, length), generator=generator)


def windows_of(tokens: Tensor) -> Windows:
    record = TextTokens(
        name="drawn",
        dataset=None,
        num_sequences=tokens.shape[0],
        sequence_length=tokens.shape[1],
        num_tokens=tokens.numel(),
        sha256="0" * 64,
    )
    return Windows(ids=tokens, record=record)


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
