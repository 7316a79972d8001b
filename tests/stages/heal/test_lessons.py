"""What the original teaches is what it says when it is run as its users run it."""

from pathlib import Path

import pytest
import torch

from hf_prune.errors import DiskFull
from hf_prune.machine.progress import silent
from hf_prune.model.activations import ActivationMemory
from hf_prune.model.decoder import open_decoder
from hf_prune.stages.heal.lessons import Lessons, write_lessons
from tests.support.plain import boundaries, plain_logits, plain_model, some_tokens

CPU = torch.device("cpu")
TOKENS = some_tokens(10, 24)


def written(model: Path, path: Path, *, limit: int | None = None, **changes) -> Lessons:
    layout = {"num_windows": 10, "length": 24, "top": 6, "boundaries": (2, 5), "hidden_size": 32} | changes
    lessons = Lessons(path=str(path), **layout)
    memory = ActivationMemory(limit=limit, folder=path.parent)
    write_lessons(open_decoder(model, CPU, memory), TOKENS, lessons, silent)
    return lessons


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_the_most_likely_tokens_and_states_are_the_originals(tiny_models, tmp_path, family):
    lessons = written(tiny_models(family), tmp_path / "lessons")
    model = plain_model(tiny_models(family))
    logprobs, which = plain_logits(model, TOKENS)[:, :-1].log_softmax(-1).topk(6, dim=-1)
    states = boundaries(model, TOKENS)
    for window in (0, 3, 9):
        said = lessons.read(window)
        assert torch.equal(said["top_ids"].long(), which[window])
        torch.testing.assert_close(said["top_logprobs"].float(), logprobs[window], rtol=2e-3, atol=2e-3)
        for place, boundary in enumerate((2, 5)):
            wanted = states[boundary][window].to(torch.bfloat16)
            torch.testing.assert_close(said["states"][place], wanted, rtol=1e-2, atol=1e-2)


def test_the_last_boundary_is_before_the_final_norm(tiny_models, tmp_path):
    lessons = written(tiny_models("llama"), tmp_path / "lessons", boundaries=(6,))
    state = boundaries(plain_model(tiny_models("llama")), TOKENS)[6][4]
    torch.testing.assert_close(lessons.read(4)["states"][0].float(), state, rtol=1e-2, atol=1e-2)


def test_little_memory_means_more_readings_and_the_same_file(tiny_models, tmp_path):
    at_once = written(tiny_models("llama"), tmp_path / "one")
    window = 2 * 24 * 32 * 4  # bytes before and after a layer
    in_parts = written(tiny_models("llama"), tmp_path / "many", limit=3 * window)
    for number in range(10):
        first, second = at_once.read(number), in_parts.read(number)
        assert torch.equal(first["top_ids"], second["top_ids"])
        torch.testing.assert_close(first["top_logprobs"], second["top_logprobs"])
        torch.testing.assert_close(first["states"], second["states"])


def test_states_alone_are_stored_without_predictions(tiny_models, tmp_path):
    lessons = written(tiny_models("llama"), tmp_path / "lessons", top=0, boundaries=(3,))
    assert set(lessons.read(0)) == {"states"}
    assert Path(lessons.path).stat().st_size == 10 * 24 * 32 * 2


def test_what_does_not_fit_on_the_disk_is_said_before_anything_is_computed(tiny_models, tmp_path):
    with pytest.raises(DiskFull, match="what the original teaches"):
        written(tiny_models("llama"), tmp_path / "lessons", top=10**12)
    assert list(tmp_path.iterdir()) == []
