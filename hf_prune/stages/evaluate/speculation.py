"""Speculative decoding measured: a model checks, in one pass, what a cheaper draft proposed token by token.

The text is the model's own whatever the draft says (Leviathan et al., 2211.17192; greedy here, as in
transformers' assisted generation): a bad draft costs time, not quality. The draft is a pruned model with the
same tokenizer, or the model's own first layers with its norm and head, as in Sorted LLaMA (2309.08968).

`python -m hf_prune.stages.evaluate.speculation REQUEST` runs in its own process, as `evaluate.speed` does.
It prints one JSON object per turn. Both models are in that process: only there can one check the other.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hf_prune.errors import UnsupportedModel, first_line
from hf_prune.machine.environment import reason_not_to_load
from hf_prune.machine.own_process import figures_from
from hf_prune.machine.progress import Progress
from hf_prune.model.whole import load_whole
from hf_prune.records import Attempt, Speculation
from hf_prune.stages.texts.windows import Windows

PROMPTS = 4
PROMPT_TOKENS = 32
NEW_TOKENS = 48
TURNS = 3

Write = Callable[[torch.Tensor], torch.Tensor]  # token ids (1, tokens) to them and what follows


def beginnings(windows: Windows) -> list[list[int]]:
    """Prompts: the first tokens of the first windows."""
    ids: list[list[int]] = windows.ids[:PROMPTS, :PROMPT_TOKENS].tolist()
    return ids


def measure_speculation(
    parent: Path,
    draft: Path | None,
    depth: int | None,
    prompts: Sequence[Sequence[int]],
    size_bytes: int,
    device: str,
    progress: Progress,
    *,
    trust_remote_code: bool = False,
) -> Attempt[Speculation]:
    """Let a model write with a draft and without, turn by turn.

    Args:
        parent: the model that writes.
        draft: the folder of the model that proposes, named after its variant; None: the parent's own first
            layers do, and the parent's folder is named so.
        depth: how many of them, fewer than it has; None with a draft.
        prompts: token ids of what it goes on from, equally many each.
        size_bytes: the weights of both.
        device: "cpu", "cuda" or the like.
        progress: shows the turns going by.
        trust_remote_code: whether code that the models bring may be run.
    """
    if reason := reason_not_to_load(size_bytes, device):
        return Attempt(reason=reason)
    asked = {
        "parent": str(parent),
        "draft": str(draft) if draft else None,
        "depth": depth,
        "prompts": [list(prompt) for prompt in prompts],
        "device": device,
        "trust_remote_code": trust_remote_code,
    }
    module, words = "hf_prune.stages.evaluate.speculation", [json.dumps(asked)]
    found, reason = figures_from(module, words, progress, "speculation", 1 + TURNS)
    if reason is None:
        reason = found[0].get("reason")
    if reason is not None:
        return Attempt(reason=reason)
    speculation = _summary((draft or parent).name, depth, len(prompts[0]), found[0], found[1:])
    return Attempt(found=(speculation,))


def measure_depths(
    parent: Path,
    depths: Sequence[int],
    prompts: Sequence[Sequence[int]],
    size_bytes: int,
    device: str,
    progress: Progress,
    *,
    trust_remote_code: bool = False,
) -> Attempt[Speculation]:
    """Let a sorted model write from the proposals of each of its depths, until one cannot be measured.

    Args:
        parent: the model, in a folder named after its variant.
        depths: how many of its first layers propose.
        prompts: as of `measure_speculation`, and so are the others.
        size_bytes: the model's weights.
        device: "cpu", "cuda" or the like.
        progress: shows the turns going by.
        trust_remote_code: whether code that the model brings may be run.
    """
    found: list[Speculation] = []
    for depth in depths:
        trial = measure_speculation(
            parent, None, depth, prompts, size_bytes, device, progress, trust_remote_code=trust_remote_code
        )
        found += trial.found
        if trial.reason is not None:
            return Attempt(found=tuple(found), reason=trial.reason)
    return Attempt(found=tuple(found))


def _summary(
    draft: str, depth: int | None, prompt_tokens: int, counted: dict[str, Any], turns: list[dict[str, Any]]
) -> Speculation:
    tokens = counted["prompts"] * NEW_TOKENS
    rates = [tokens / turn["seconds"] for turn in turns]
    rates_alone = [tokens / turn["seconds_alone"] for turn in turns]
    return Speculation(
        draft=draft,
        depth=depth,
        tokens_per_second=statistics.median(rates),
        tokens_per_second_range=(min(rates), max(rates)),
        tokens_per_second_alone=statistics.median(rates_alone),
        tokens_per_second_alone_range=(min(rates_alone), max(rates_alone)),
        runs=len(turns),
        prompt_tokens=prompt_tokens,
        new_tokens=NEW_TOKENS,
        **counted,
    )


def figures(asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What there is to print: the counts, or the reason why there are none, then the seconds of each turn.

    Args:
        asked: as `measure_speculation` writes it.
    """
    device = asked["device"]

    def load(folder: str) -> Any:
        return load_whole(Path(folder), device, trust_remote_code=asked["trust_remote_code"])

    parent, draft, depth = load(asked["parent"]), asked["draft"] and load(asked["draft"]), asked["depth"]
    prompts = [torch.tensor([ids], device=device) for ids in asked["prompts"]]

    def write_alone(prompt: torch.Tensor) -> torch.Tensor:
        return _write(parent, prompt)

    def write(prompt: torch.Tensor) -> torch.Tensor:
        return _write(parent, prompt, draft, depth)

    try:
        checked, proposed = _where_passes_show(parent, draft, depth, prompts[0])
        texts_alone = [write_alone(prompt) for prompt in prompts]
        with _calls(checked) as verifications, _calls(proposed) as proposals:
            texts = [write(prompt) for prompt in prompts]
    except UnsupportedModel as error:
        yield {"reason": str(error)}
        return
    except (ValueError, IndexError, AttributeError, TypeError, RuntimeError, NotImplementedError) as error:
        name = type(parent).__name__
        yield {"reason": f"transformers cannot let {name} write with a draft: {first_line(error)}"}
        return
    yield {
        # The parent's module runs for both where it is its own draft.
        "proposed_tokens": len(proposals) - (len(verifications) if draft is None else 0),
        # Each verification writes one token that is the parent's own.
        "accepted_tokens": len(prompts) * NEW_TOKENS - len(verifications),
        "same_text": all(map(torch.equal, texts, texts_alone)),
        "prompts": len(prompts),
        "device": device,
        "dtype": str(parent.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
    }
    for _ in range(TURNS):
        yield {
            "seconds_alone": _seconds(write_alone, prompts),
            "seconds": _seconds(write, prompts),
        }


def _write(
    model: Any, prompt: torch.Tensor, assistant: Any = None, early_exit: int | None = None
) -> torch.Tensor:
    from transformers import GenerationConfig

    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=NEW_TOKENS,
        min_new_tokens=NEW_TOKENS,  # an end of text among the proposals would spoil the count
        use_cache=True,
        pad_token_id=0,
        assistant_early_exit=early_exit,
    )
    mask = torch.ones_like(prompt)
    with _one_threshold():
        written: torch.Tensor = model.generate(
            prompt, attention_mask=mask, generation_config=settings, assistant_model=assistant
        )
    return written


@contextmanager
def _one_threshold() -> Iterator[None]:
    """Let proposals end where transformers has it by default: at the first token of a chance below 0.4.

    It moves that limit while it writes where scikit-learn happens to be installed: the same draft would have
    other figures there.
    """
    from transformers.generation import candidate_generator

    module: Any = candidate_generator
    asked, module.is_sklearn_available = module.is_sklearn_available, lambda: False
    try:
        yield
    finally:
        module.is_sklearn_available = asked


def _seconds(write: Write, prompts: list[torch.Tensor]) -> float:
    start = time.perf_counter()
    for prompt in prompts:
        write(prompt)
    if prompts[0].is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


@contextmanager
def _calls(module: nn.Module) -> Iterator[list[None]]:
    """One entry for each time that the module runs meanwhile."""
    calls: list[None] = []
    handle = module.register_forward_hook(lambda *_: calls.append(None))
    try:
        yield calls
    finally:
        handle.remove()


def _where_passes_show(
    parent: Any, draft: Any, depth: int | None, prompt: torch.Tensor
) -> tuple[nn.Module, nn.Module]:
    """The module that runs once for each verification, and one that runs for each proposal.

    In assisted generation every pass of the draft proposes one token and every pass of the parent checks a
    batch of them. Where the parent is its own draft, its layers behind the depth run in verifications alone.

    Raises:
        UnsupportedModel: it cannot be its own draft, as its forward runs all layers.
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
    """Make sure that the parent stops before the layer where transformers asks for an early exit.

    It asks by setting `num_hidden_layers`, which families that loop over all their layers do not heed.
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
            f"{type(parent).__name__} runs all its layers whatever `num_hidden_layers` says, so it cannot "
            f"propose by its first {depth}"
        )


def _main() -> None:
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for found in figures(json.loads(sys.argv[1])):
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    _main()
