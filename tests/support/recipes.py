"""Recipes for tests: another value for every field, and what a command line asks for."""

import pytest

from hf_prune.cli.main import cli
from hf_prune.recipe.recipe import Recipe

OTHER_VALUES = {
    "revision": "refs/pr/1",
    "gguf_file": "a b.gguf",
    "allow_pickle": True,
    "trust_remote_code": True,
    "ratio": 0.1,
    "drop_layers": 3,
    "layers": "1-2,5",
    "target_params": 5_000_000_000,
    "target_memory": 8 * 2**30,
    "context_length": 99_999,
    "max_loss": 0.05,
    "method": "taylor+",
    "protect": "first:4,last:2,11",
    "contiguous": False,
    "budget": 7.5,
    "calibration": "it's.txt",
    "samples": 7,
    "sequence_length": 99,
    "seed": -1,
    "bridge": "refit",
    "heal": "partial",
    "heal_data": "self",
    "prompts": "my prompts.jsonl",
    "heal_tokens": 300_000,
    "lr": 3e-5,
    "rank": 8,
    "lora_alpha": 16,
    "heal_targets": "ffn",
    "last_layers": 2,
    "train_head": False,
    "heal_batch": 4,
    "distill": False,
    "boundary_loss": 0.5,
    "eval_data": "-held.jsonl",
    "eval_elsewhere": "else where.txt",
    "eval_samples": 5,
    "choices": "it's.jsonl.gz",
    "choice_items": 0,
    "draft": True,
    "tasks": "arc_easy,gsm8k",
    "limit": 50,
    "fewshot": 0,
    "tasks_from": "my tasks",
    "min_score": "arc_easy=0.45,gsm8k:exact_match=0.1",
    "grow": "auto",
    "depths": "2,4",
    "sample_depths": True,
    "formats": "onnx,gguf",
    "max_shard_size": 2_000_000_000,
    "device": "cuda:1",
    "based_on": "gromov",
}


def requested(words: list[str], command: str = "run") -> Recipe:
    """The recipe that a command line asks for."""
    found = []
    context = cli.commands[command].make_context(command, words)
    with context, pytest.MonkeyPatch.context() as patch:
        patch.setattr("hf_prune.cli.main._prune", lambda request, *_: found.append(request.recipe))
        context.invoke(cli.commands[command].callback, **context.params)
    return found[0]
