"""Many cuts tried together against plain forwards of each with its layers skipped."""

import copy

import pytest
import torch

from hf_prune.machine.progress import silent
from hf_prune.model.activations import ActivationMemory
from hf_prune.model.decoder import TOKENS_AT_ONCE, open_decoder
from hf_prune.stages.choose.tournament import layers_run
from hf_prune.stages.measure.ablation import Cut, try_cuts
from tests.support.plain import plain_losses, plain_model, some_tokens, windows_of

CPU = torch.device("cpu")
WHOLE = (0, 1, 2, 3, 4, 5)
SHARING = [(0, 1, 2, 5), (0, 1, 2, 4, 5), (0, 1, 3, 5), WHOLE]  # what they begin with is run once
APART = [(3, 4, 5), (1, 2), (5,), ()]
NAME = "model.layers.2.mlp.down_proj.weight"


def tried(folder, tokens, cuts, memory=None):
    return try_cuts(open_decoder(folder, CPU, memory), windows_of(tokens), cuts, silent, "trying")


def assert_is(found, expected, tolerance=1e-4):
    losses, divergences = expected
    assert found.losses == pytest.approx(losses, abs=tolerance)
    assert found.divergences == pytest.approx(divergences, abs=tolerance)


@pytest.fixture
def changed(tiny_models):
    """`changed(seed)`: another matrix for NAME, and the plain model with it in place."""

    def change(seed):
        model = plain_model(tiny_models("llama"))
        weight = model.model.layers[2].mlp.down_proj.weight
        generator = torch.Generator().manual_seed(seed)
        weight.data = torch.empty_like(weight).normal_(std=0.3, generator=generator)
        return {NAME: weight.detach().clone()}, model

    return change


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
@pytest.mark.parametrize(
    "kept", [SHARING, APART, [*APART, *SHARING, *APART]], ids=["sharing", "apart", "all"]
)
def test_every_cut_does_as_the_plain_model_with_those_layers_skipped(tiny_models, family, kept):
    folder, tokens = tiny_models(family), some_tokens(3, 40)
    model = plain_model(folder)
    results = tried(folder, tokens, [Cut(layers) for layers in kept])
    assert len(results) == len(kept)
    for layers, found in zip(kept, results, strict=True):
        assert_is(found, plain_losses(model, tokens, layers))


def test_a_cut_that_removes_nothing_is_the_original(tiny_models):
    folder, tokens = tiny_models("llama"), some_tokens(3, 40)
    (found,) = tried(folder, tokens, [Cut(WHOLE)])
    losses, divergences = plain_losses(plain_model(folder), tokens)
    assert divergences == [0, 0, 0]
    assert found.divergences == pytest.approx([0, 0, 0], abs=1e-6)
    assert found.losses == pytest.approx(losses, abs=1e-5)


def test_windows_keep_their_order_over_several_batches(tiny_models):
    folder, tokens = tiny_models("llama"), some_tokens(60, 40)
    assert tokens.numel() > TOKENS_AT_ONCE
    model = plain_model(folder)
    for layers, found in zip(SHARING, tried(folder, tokens, list(map(Cut, SHARING))), strict=True):
        assert len(found.losses) == len(found.divergences) == 60
        assert_is(found, plain_losses(model, tokens, layers))


def test_windows_longer_than_the_head_takes_at_once_are_whole(tiny_models):
    folder, tokens = tiny_models("llama"), some_tokens(2, 300)
    (found,) = tried(folder, tokens, [Cut((0, 1, 5))])
    assert_is(found, plain_losses(plain_model(folder), tokens, (0, 1, 5)))


def test_the_loss_of_a_cut_is_the_mean_over_its_windows(tiny_models):
    (found,) = tried(tiny_models("llama"), some_tokens(3, 40), [Cut((0, 5))])
    assert found.loss == pytest.approx(sum(found.losses) / 3)
    assert found.divergence == pytest.approx(sum(found.divergences) / 3)
    assert found.divergence > 0.01


@pytest.mark.parametrize("limit", [0, 30_000])  # states of one boundary take 15,360 bytes
def test_states_that_went_through_a_file_give_the_same_losses(tiny_models, tmp_path, limit):
    folder, tokens = tiny_models("llama"), some_tokens(3, 40)
    cuts, memory = [Cut(kept) for kept in SHARING], ActivationMemory(limit=limit, folder=tmp_path)
    assert tried(folder, tokens, cuts, memory) == tried(folder, tokens, cuts)
    assert memory.in_use == 0


def test_a_replaced_projection_counts_for_its_cut_alone(tiny_models, changed):
    folder, tokens = tiny_models("llama"), some_tokens(3, 40)
    original = plain_model(folder)
    (first, with_first), (second, with_second) = changed(1), changed(2)
    tries = [
        (Cut((0, 1, 2, 5)), original),
        (Cut((0, 1, 2, 5), first), with_first),
        (Cut((0, 1, 2, 4, 5), first), with_first),  # parts from the one before after the replaced layer
        (Cut((0, 1, 2, 4, 5), second), with_second),
        (Cut((1, 2, 5), first), with_first),
        (Cut((0, 1, 3, 5), second), original),  # without the layer that would be replaced
        (Cut(WHOLE), original),
        (Cut(WHOLE, second), with_second),
    ]
    results = tried(folder, tokens, [cut for cut, _ in tries])
    for (cut, model), found in zip(tries, results, strict=True):
        assert_is(found, plain_losses(model, tokens, cut.kept, original))
    assert len({found.losses for found in results}) == len(tries)


def test_the_divergence_is_from_the_original_without_any_replacement(tiny_models, changed):
    folder, tokens = tiny_models("llama"), some_tokens(3, 40)
    replacements, model = changed(1)
    (alone,) = tried(folder, tokens, [Cut(WHOLE, replacements)])
    assert_is(alone, plain_losses(model, tokens, WHOLE, plain_model(folder)))
    assert min(alone.divergences) > 1e-3


def test_an_equal_replacement_changes_nothing(tiny_models):
    folder, tokens = tiny_models("llama"), some_tokens(3, 40)
    stored = plain_model(folder).model.layers[2].mlp.down_proj.weight.detach()
    with_it, without = tried(folder, tokens, [Cut((0, 2, 5), {NAME: stored}), Cut((0, 2, 5))])
    assert with_it == without


def test_what_is_handed_in_is_left_as_it_was(tiny_models, changed):
    cuts = [Cut((0, 2, 5), changed(1)[0]), Cut((0, 5))]
    before = copy.deepcopy(cuts)
    tried(tiny_models("llama"), some_tokens(3, 40), cuts)
    assert [cut.kept for cut in cuts] == [cut.kept for cut in before]
    assert torch.equal(cuts[0].replacements[NAME], before[0].replacements[NAME])


@pytest.mark.parametrize(
    "kept",
    [
        [],
        [WHOLE],
        SHARING,
        APART,
        [(0, 1), (0, 1), (0, 1)],
        [tuple(layer for layer in WHOLE if layer != gone) for gone in WHOLE],
        [*SHARING, *APART],
    ],
    ids=str,
)
def test_layers_are_run_as_often_as_the_tournament_reckons(tiny_models, kept):
    decoder = open_decoder(tiny_models("llama"), CPU)
    calls = []
    for number, layer in enumerate(decoder.skeleton.layers):  # its MLP runs only where the layer does
        layer.mlp.register_forward_hook(lambda *_, number=number: calls.append(number))
    try_cuts(decoder, windows_of(some_tokens(3, 40)), [Cut(layers) for layers in kept], silent, "trying")
    assert len(calls) == layers_run(kept, 6)
    assert set(calls) == set(WHOLE)


def test_each_layer_is_read_once_and_again_only_where_a_cut_replaces_something(tiny_models, changed):
    decoder = open_decoder(tiny_models("llama"), CPU)
    read_layer, read = decoder.layer, []

    def counted(number, replacements=None):
        read.append(number)
        return read_layer(number, replacements)

    decoder.layer = counted
    first, second = changed(1)[0], changed(2)[0]
    cuts = [
        *(Cut(kept) for kept in [*SHARING, *APART]),
        Cut((0, 1, 2, 5), first),
        Cut((0, 2, 5), second),
        Cut((0, 1, 3, 5), second),
    ]
    try_cuts(decoder, windows_of(some_tokens(2, 8)), cuts, silent, "trying")
    assert read == [0, 1, 2, 2, 2, 3, 4, 5]


def test_progress_goes_layer_by_layer(tiny_models):
    shown = []

    def progress(items, label, total, unit):
        shown.append((list(items), label, total))
        return iter(shown[-1][0])

    decoder = open_decoder(tiny_models("llama"), CPU)
    try_cuts(decoder, windows_of(some_tokens(2, 8)), [Cut((0, 5))], progress, "trying 1 cut")
    assert shown == [(list(WHOLE), "trying 1 cut", 6)]
