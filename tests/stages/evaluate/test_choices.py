"""The loss of every option is what transformers' own logits say of it, read alone and without padding."""

import pytest
import torch

from hf_prune.machine.progress import silent
from hf_prune.model.decoder import open_decoder
from hf_prune.stages.evaluate.choices import answer
from hf_prune.stages.evaluate.items import Item, Items
from tests.support.plain import plain_logits, plain_model, some_tokens

CPU = torch.device("cpu")


def drawn_items(*lengths: tuple[int, ...]) -> Items:
    """Of each item the length of the prompt, and of the options; the right one is the first."""
    tokens = iter(some_tokens(1, sum(map(sum, lengths)))[0].tolist())
    items = []
    for prompt, *options in lengths:
        parts = [tuple(next(tokens) for _ in range(count)) for count in (prompt, *options)]
        items.append(Item(parts[0], tuple(parts[1:]), 0))
    return Items("drawn", tuple(items))


def plain_losses(folder, item: Item) -> list[float]:
    """Summed over the tokens of each option."""
    model, losses = plain_model(folder), []
    for option in item.options:
        logits = plain_logits(model, torch.tensor([[*item.prompt, *option]]))[0].double().log_softmax(-1)
        first = len(item.prompt) - 1
        losses.append(-sum(logits[first + n, token].item() for n, token in enumerate(option)))
    return losses


def check(folder, items: Items) -> None:
    answered = answer(open_decoder(folder, CPU), items, "cut", silent)
    assert len(answered) == len(items.items)
    for item, found in zip(items.items, answered, strict=True):
        expected = plain_losses(folder, item)
        per_token = [loss / len(option) for loss, option in zip(expected, item.options, strict=True)]
        assert found.losses == pytest.approx(per_token, abs=1e-4)
        assert found.is_right == (expected[item.right] == min(expected))


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "opt"])
def test_losses_are_those_of_the_plain_model(tiny_models, family):
    check(tiny_models(family), drawn_items((9, 4, 4, 4), (9, 4, 4, 4), (9, 4, 4, 4)))


def test_lengths_may_be_mixed_and_come_back_in_the_order_of_the_items(tiny_models):
    check(tiny_models("llama"), drawn_items((40, 3, 17), (1, 1, 1, 2), (5, 9, 1), (70, 2, 2, 2), (4, 6, 5)))


def test_many_batches_are_matched_with_their_own_options(tiny_models):
    check(tiny_models("llama"), drawn_items(*[(30, 10, 9)] * 30))  # 51 sequences a batch


def test_more_positions_than_the_model_knows_go_through_the_head_in_parts(tiny_models):
    folder = tiny_models("gpt2", n_positions=24)
    check(folder, drawn_items(*[(8, 16, 16)] * 4))


def test_the_likeliest_option_is_by_the_sum_not_by_the_mean(tiny_models):
    """A short option and a long one that is likelier by token: the short one is chosen."""
    folder = tiny_models("llama")
    items = drawn_items((9, 2, 20), (7, 2, 20), (8, 1, 30))
    answered = answer(open_decoder(folder, CPU), items, "dense", silent)
    assert all(found.is_right for found in answered)
    assert any(found.losses[0] > found.losses[1] for found in answered)
