"""Speculative decoding: a draft proposes tokens one by one, and the model checks several in one pass.

The text is always the model's own (Leviathan et al., 2211.17192; greedy here, as in transformers' assisted
generation), so a bad draft costs time and not quality. The draft is a pruned model with the same tokenizer,
or the model's own first layers with its norm and head, as in Sorted LLaMA (2309.08968).

`python -m hf_prune.stages.evaluate.speculation REQUEST` runs in its own process, as `evaluate.speed` does.
It prints one JSON object per turn. Both models are in that process, because one checks the other.
"""

import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hf_prune.errors import UnsupportedModel, first_line
from hf_prune.machine.environment import reason_not_to_load
from hf_prune.machine.own_process import print_answers, run_module
from hf_prune.machine.progress import Progress
from hf_prune.model.whole import load_whole
from hf_prune.records import Attempt, Speculation
from hf_prune.stages.evaluate.speed import exact_settings
from hf_prune.stages.texts.windows import Windows

PROMPTS = 4
PROMPT_TOKENS = 32
NEW_TOKENS = 48
TURNS = 3

Write = Callable[[torch.Tensor], torch.Tensor]  # (1, tokens) to these token ids and what follows


def beginnings(windows: Windows) -> Any:
    """Prompts: the first tokens of the first windows."""
    return windows.ids[:PROMPTS, :PROMPT_TOKENS].tolist()


def measure_speculation(
    parent: Path,
    draft: Path | int,
    prompts: Sequence[Sequence[int]],
    size_bytes: int,
    device: str,
    progress: Progress,
    *,
    trust_remote_code: bool = False,
) -> Attempt[Speculation]:
    """Time a model that writes with a draft and without it, in turns.

    Args:
        draft: the folder of the model that proposes, named after its variant; or how many of the parent's
            own first layers propose.
        prompts: token ids to continue, equally many in each.
        size_bytes: the weights of all models.
    """
    name, depth = (parent.name, draft) if isinstance(draft, int) else (draft.name, None)
    if reason := reason_not_to_load(size_bytes, device):
        return Attempt(reason=reason)
    request = {
        "parent": str(parent),
        "draft": str(draft) if depth is None else None,
        "depth": depth,
        "prompts": [list(prompt) for prompt in prompts],
        "device": device,
        "trust_remote_code": trust_remote_code,
    }
    module, words = "hf_prune.stages.evaluate.speculation", [json.dumps(request)]
    printed, reason = run_module(module, words, progress, "speculation", 1 + TURNS)
    reason = reason or printed[0].get("reason")
    if reason is not None:
        return Attempt(reason=reason)
    counted, *turns = printed
    tokens = len(prompts) * NEW_TOKENS
    rates = [tokens / turn["seconds"] for turn in turns]
    rates_alone = [tokens / turn["seconds_alone"] for turn in turns]
    speculation = Speculation(
        draft=name,
        depth=depth,
        tokens_per_second=statistics.median(rates),
        tokens_per_second_range=(min(rates), max(rates)),
        tokens_per_second_alone=statistics.median(rates_alone),
        tokens_per_second_alone_range=(min(rates_alone), max(rates_alone)),
        runs=len(turns),
        prompt_tokens=len(prompts[0]),
        new_tokens=NEW_TOKENS,
        **counted,
    )
    return Attempt(found=(speculation,))


def measurements(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The objects to print: the counts, or the reason why there are none, then the seconds of each turn."""
    device = request["device"]

    def load(folder: str) -> Any:
        return load_whole(Path(folder), device, trust_remote_code=request["trust_remote_code"])

    parent, depth = load(request["parent"]), request["depth"]
    draft = request["draft"] and load(request["draft"])
    prompts = [torch.tensor([ids], device=device) for ids in request["prompts"]]

    write_alone = partial(_write, parent)
    write = partial(_write, parent, assistant=draft, early_exit=depth)
    try:
        verifier, proposer = _counted_modules(parent, draft, depth, prompts[0])
        texts_alone = [write_alone(prompt) for prompt in prompts]
        with _calls(verifier) as verifications, _calls(proposer) as proposals:
            texts = [write(prompt) for prompt in prompts]
    except UnsupportedModel as error:
        yield {"reason": str(error)}
        return
    except (ValueError, IndexError, AttributeError, TypeError, RuntimeError, NotImplementedError) as error:
        name = type(parent).__name__
        yield {"reason": f"transformers cannot use a draft with {name}: {first_line(error)}"}
        return
    yield {
        # If the parent is its own draft, its module also runs for verifications.
        "proposed_tokens": len(proposals) - (len(verifications) if draft is None else 0),
        # Each verification adds one token of the parent's own.
        "accepted_tokens": len(prompts) * NEW_TOKENS - len(verifications),
        "same_text": all(map(torch.equal, texts, texts_alone)),
        "prompts": len(prompts),
        "device": device,
        "dtype": str(parent.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
    }
    for _ in range(TURNS):
        yield {"seconds_alone": _seconds(write_alone, prompts), "seconds": _seconds(write, prompts)}


def _write(model: Any, prompt: torch.Tensor, assistant: Any = None, early_exit: int | None = None) -> Any:
    settings = exact_settings(NEW_TOKENS, assistant_early_exit=early_exit)
    mask = torch.ones_like(prompt)
    with _fixed_threshold():
        return model.generate(
            prompt, attention_mask=mask, generation_config=settings, assistant_model=assistant
        )


@contextmanager
def _fixed_threshold() -> Iterator[None]:
    """Keep transformers' default threshold: proposals end at the first token below a probability of 0.4.

    If scikit-learn is installed, transformers adapts the threshold while it writes, so the same draft would
    get other figures.
    """
    from transformers.generation import candidate_generator

    module: Any = candidate_generator
    available, module.is_sklearn_available = module.is_sklearn_available, lambda: False
    try:
        yield
    finally:
        module.is_sklearn_available = available


def _seconds(write: Write, prompts: list[torch.Tensor]) -> float:
    start = time.perf_counter()
    for prompt in prompts:
        write(prompt)
    if prompts[0].is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


@contextmanager
def _calls(module: nn.Module) -> Iterator[list[None]]:
    """A list that gets one entry each time the module runs."""
    calls: list[None] = []
    handle = module.register_forward_hook(lambda *_: calls.append(None))
    try:
        yield calls
    finally:
        handle.remove()


def _counted_modules(
    parent: Any, draft: Any, depth: int | None, prompt: torch.Tensor
) -> tuple[nn.Module, nn.Module]:
    """The module that runs once per verification, and the module that runs once per proposal.

    Assisted generation has no counters of its own. Each pass of the draft proposes one token, and each pass
    of the parent checks several. If the parent is its own draft, only verifications run its layers after
    the depth.

    Raises:
        UnsupportedModel: the model cannot be its own draft, because its forward runs all layers.
    """
    if draft is not None:
        return parent, draft
    from hf_prune.model.skeleton import find_layers

    assert depth is not None
    layers: Any = parent.get_submodule(find_layers(parent, parent.config.get_text_config()))
    _check_early_exit(parent, layers[depth], depth, prompt)
    return layers[depth], parent


@torch.no_grad()
def _check_early_exit(parent: Any, layer: nn.Module, depth: int, prompt: torch.Tensor) -> None:
    """Check that the parent stops before `layer` when transformers asks for an early exit.

    transformers sets `num_hidden_layers`, which families that loop over all their layers ignore.
    """
    config = getattr(parent, parent.base_model_prefix).config
    all_layers = config.num_hidden_layers
    config.num_hidden_layers = depth
    try:
        with _calls(layer) as calls:
            parent(input_ids=prompt, use_cache=False)
    finally:
        config.num_hidden_layers = all_layers
    if calls:
        raise UnsupportedModel(
            f"{type(parent).__name__} ignores `num_hidden_layers` and runs all its layers, so its first "
            f"{depth} cannot be the draft"
        )


if __name__ == "__main__":
    print_answers(measurements)
