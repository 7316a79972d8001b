"""Every criterion: planted layers must be found, and any table of scores is read as brute force reads it."""

import itertools
import random
from dataclasses import replace

import pytest
import torch

from hf_prune.errors import RecipeError
from hf_prune.machine.progress import silent
from hf_prune.model.decoder import open_decoder
from hf_prune.recipe.criteria import CRITERIA
from hf_prune.recipe.recipe import METHODS
from hf_prune.records import LayerScores, RemovalOrder, Similarity
from hf_prune.stages.choose.criteria import allowed_layers, layer_scores, propose, ranked_blocks
from hf_prune.stages.measure.importance import drop_one, greedy_removal
from hf_prune.stages.measure.similarity import measure
from hf_prune.stages.measure.taylor import taylor
from tests.support.plain import plain_model, text_by, windows_of
from tests.support.sample_run import sample_similarity, sample_text

CPU = torch.device("cpu")
DISTANCES = ("angular", "angular-all", "cosine")
BLOCKS = (*DISTANCES, "streamline")
SUMS = ("bi", "relative-magnitude", "magnitude", "taylor", "taylor+", "loss")
SCORED = ("bi", "relative-magnitude", "magnitude", "taylor", "loss")
LAYERS = 10


@pytest.fixture(scope="module")
def planted(with_identity_layer):
    """`planted(layer, num_layers)`: all that is measured of a model in which that layer adds nothing.

    The text is the model's own, so that losing any other layer raises the loss.
    """
    made = {}

    def get(layer, num_layers=6):
        if (layer, num_layers) not in made:
            folder = with_identity_layer([layer], num_hidden_layers=num_layers)
            windows, decoder = windows_of(text_by(plain_model(folder), 24, 32)), open_decoder(folder, CPU)
            similarity = measure(decoder, windows, silent)
            scores = (taylor(decoder, windows, silent), drop_one(decoder, windows, silent))
            may_go = range(1, num_layers - 1)
            order = greedy_removal(decoder, windows, 1, silent, candidates=may_go)
            made[layer, num_layers] = replace(
                similarity, layer_scores=(*similarity.layer_scores, *scores), removal_order=order
            )
        return made[layer, num_layers]

    return get


def scored_at_random(seed, num_layers=LAYERS):
    """No two values are equal."""
    drawn = random.Random(seed)

    def matrix(own):
        rows = [[own] * (num_layers + 1) for _ in range(num_layers + 1)]
        for one, other in itertools.combinations(range(num_layers + 1), 2):
            rows[one][other] = rows[other][one] = drawn.random()
        return tuple(map(tuple, rows))

    def values():
        return tuple(drawn.uniform(-1, 1) for _ in range(num_layers))

    order = drawn.sample(range(1, num_layers - 1), num_layers - 2)
    return Similarity(
        num_layers=num_layers,
        calibration=sample_text(),
        angular_last_token=matrix(0.0),
        angular_all_tokens=matrix(0.0),
        cosine_all_tokens=matrix(1.0),
        sampled_tokens=64,
        layer_scores=tuple(LayerScores(criterion=name, values=values(), text=None) for name in SCORED),
        removal_order=RemovalOrder(
            layers=tuple(order), losses=(2.0,) * len(order), width=None, text=sample_text()
        ),
    )


def all_equal(num_layers=LAYERS):
    similarity = sample_similarity(num_layers)
    matrix = ((0.5,) * (num_layers + 1),) * (num_layers + 1)
    return replace(
        similarity,
        angular_last_token=matrix,
        angular_all_tokens=matrix,
        cosine_all_tokens=matrix,
        layer_scores=tuple(
            LayerScores(criterion=name, values=(0.5,) * num_layers, text=None) for name in SCORED
        ),
    )


def price(method, similarity, start, end):
    """What a criterion says of the block [start, end): the lowest goes first."""
    if method == "angular":
        return similarity.angular_last_token[start][end]
    if method == "angular-all":
        return similarity.angular_all_tokens[start][end]
    if method == "cosine":
        return -similarity.cosine_all_tokens[start][end]
    if method == "streamline":  # with the layer before, which will be trained
        return -similarity.cosine_all_tokens[start - 1][end]
    return sum(similarity.scores(method.removesuffix("+"))[start:end])


def may_go(method, protected, num_layers=LAYERS):
    paper = {
        "taylor+": {0, 1, 2, 3, num_layers - 2, num_layers - 1},
        "greedy": {0, num_layers - 1},
        "deepest": {num_layers - 1},
        "streamline": {0},
    }
    return [layer for layer in range(num_layers) if layer not in {*protected, *paper.get(method, ())}]


def blocks_free(method, protected, count):
    """Every block of that many layers that may go."""
    free = may_go(method, protected)
    everything = [tuple(range(start, start + count)) for start in range(LAYERS - count + 1)]
    return [block for block in everything if set(block) <= set(free)]


def some_protected(seed):
    return random.Random(seed).sample(range(LAYERS), seed % 4)


@pytest.mark.parametrize("layer", range(6))
@pytest.mark.parametrize("method", [*DISTANCES, *SCORED])
def test_a_layer_that_adds_nothing_is_the_first_to_go(planted, method, layer):
    similarity = planted(layer)
    for contiguous in (None, True, False):
        assert propose(method, similarity, 1, contiguous=contiguous) == (layer,)


@pytest.mark.parametrize("layer", range(1, 5))
def test_a_layer_that_adds_nothing_is_the_first_to_go_of_a_greedy_search(planted, layer):
    assert propose("greedy", planted(layer), 1) == (layer,)


@pytest.mark.parametrize("layer", [4, 5, 6])
def test_a_layer_that_adds_nothing_is_the_first_to_go_between_protected_ends(planted, layer):
    assert propose("taylor+", planted(layer, 9), 1) == (layer,)


@pytest.mark.parametrize("layer", [0, 7])
def test_protected_ends_stay_though_they_add_nothing(planted, layer):
    similarity = planted(layer, 9)
    assert propose("taylor", similarity, 1) == (layer,)
    assert propose("taylor+", similarity, 1)[0] in (4, 5, 6)


def test_every_criterion_can_be_asked_for():
    assert ("auto", *CRITERIA) == METHODS
    assert all(name == criterion.name for name, criterion in CRITERIA.items())
    assert {*BLOCKS, *SUMS, "greedy", "reverse", "deepest", "random"} == set(CRITERIA)


def test_each_criterion_removes_as_its_paper_does():
    block = {name for name, criterion in CRITERIA.items() if criterion.contiguous}
    assert block == {*BLOCKS, "reverse", "deepest"}
    measured = {name: criterion.needs for name, criterion in CRITERIA.items()}
    own = {"taylor": "taylor", "taylor+": "taylor", "loss": "loss", "greedy": "greedy"}
    assert measured == dict.fromkeys(CRITERIA, "similarity") | own
    similarity = scored_at_random(0)
    for method in CRITERIA:
        if method != "greedy":
            as_published = propose(method, similarity, 2)
            assert as_published == propose(method, similarity, 2, contiguous=method in block)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("method", [*BLOCKS, *SUMS])
def test_a_block_is_the_cheapest_of_all_blocks_that_may_go(method, seed):
    similarity, protected = scored_at_random(seed), some_protected(seed)
    for count in range(1, LAYERS + 1):
        blocks = blocks_free(method, protected, count)
        if not blocks:
            with pytest.raises(RecipeError):
                propose(method, similarity, count, protected=protected, contiguous=True)
            continue
        cheapest = min(blocks, key=lambda block: price(method, similarity, block[0], block[-1] + 1))
        assert propose(method, similarity, count, protected=protected, contiguous=True) == cheapest


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("method", [*DISTANCES, *SUMS])
def test_scattered_layers_are_the_cheapest_of_all_sets_that_may_go(method, seed):
    similarity, protected = scored_at_random(seed), some_protected(seed)
    free = may_go(method, protected)
    for count in range(1, len(free) + 1):
        cheapest = min(
            itertools.combinations(free, count),
            key=lambda layers: sum(price(method, similarity, layer, layer + 1) for layer in layers),
        )
        assert propose(method, similarity, count, protected=protected, contiguous=False) == cheapest


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("method", [*BLOCKS, *SUMS])
def test_blocks_are_ranked_by_what_they_cost(method, seed):
    similarity, free = scored_at_random(seed), may_go(method, some_protected(seed))
    for size in (1, 2, 3):
        blocks = blocks_free(method, some_protected(seed), size)
        ranked = sorted(blocks, key=lambda block: price(method, similarity, block[0], block[-1] + 1))
        assert ranked_blocks(method, similarity, size, free) == [block[0] for block in ranked]


@pytest.mark.parametrize("seed", range(4))
def test_a_greedy_search_goes_in_its_own_order(seed):
    similarity = scored_at_random(seed)
    for count in range(1, LAYERS - 1):
        chosen = propose("greedy", similarity, count)
        assert chosen == tuple(sorted(similarity.removal_order.layers[:count]))


@pytest.mark.parametrize("contiguous", [None, True, False])
@pytest.mark.parametrize("method", [name for name in CRITERIA if name != "greedy"])
def test_as_many_layers_go_as_were_asked_for_and_no_protected_one(method, contiguous):
    for seed in range(20):
        similarity, protected, count = scored_at_random(seed), some_protected(seed), 1 + seed % 3
        free, blocks = may_go(method, protected), blocks_free(method, protected, count)
        one_block = contiguous or (contiguous is None and CRITERIA[method].contiguous)
        if len(free) < count or (one_block and not blocks):
            with pytest.raises(RecipeError):
                propose(method, similarity, count, protected=protected, contiguous=contiguous)
            continue
        chosen = propose(method, similarity, count, protected=protected, contiguous=contiguous, seed=seed)
        assert list(chosen) == sorted(set(chosen))
        assert len(chosen) == count
        assert set(chosen) <= set(free)
        assert chosen in blocks or not one_block


@pytest.mark.parametrize("method", CRITERIA)
def test_a_method_keeps_what_its_paper_keeps_and_what_the_user_protects(method):
    assert allowed_layers(method, LAYERS, ()) == tuple(may_go(method, ()))
    assert allowed_layers(method, LAYERS, {4, 7}) == tuple(may_go(method, {4, 7}))


@pytest.mark.parametrize("contiguous", [True, False])
@pytest.mark.parametrize("method", [*DISTANCES, *SUMS])
def test_of_equals_the_lower_goes(method, contiguous):
    first = 4 if method == "taylor+" else 0
    for count in (1, 3):
        chosen = propose(method, all_equal(), count, contiguous=contiguous)
        assert chosen == tuple(range(first, first + count))
    protected = {first}
    assert propose(method, all_equal(), 2, protected=protected, contiguous=contiguous) == (
        first + 1,
        first + 2,
    )


def test_streamline_keeps_the_first_layer_of_the_block_that_adds_least(with_identity_layer):
    """Layers 2 and 3 of six add nothing: of the block of two, layer 2 stays to be trained."""
    folder = with_identity_layer([2, 3])
    similarity = measure(open_decoder(folder, CPU), windows_of(text_by(plain_model(folder), 24, 32)), silent)
    assert propose("cosine", similarity, 2) == (2, 3)
    assert propose("streamline", similarity, 1) == (3,)


def test_streamline_never_takes_the_first_layer():
    similarity = scored_at_random(0)
    assert propose("streamline", similarity, LAYERS - 1) == tuple(range(1, LAYERS))
    with pytest.raises(RecipeError, match="--method streamline may remove only 9 of 10"):
        propose("streamline", similarity, LAYERS)
    assert 0 not in propose("streamline", similarity, 4, contiguous=False)


def test_reverse_ends_with_the_final_layer_and_deepest_before_it():
    similarity = scored_at_random(0)
    for count in range(1, LAYERS):
        assert propose("reverse", similarity, count) == tuple(range(LAYERS - count, LAYERS))
        assert propose("deepest", similarity, count) == tuple(range(LAYERS - 1 - count, LAYERS - 1))


@pytest.mark.parametrize(("method", "last"), [("reverse", 9), ("deepest", 8)])
def test_the_last_layers_go_around_or_before_a_protected_one(method, last):
    similarity, protected = scored_at_random(0), {last - 1}
    assert propose(method, similarity, 3, protected=protected) == (last - 4, last - 3, last - 2)
    scattered = propose(method, similarity, 3, protected=protected, contiguous=False)
    assert scattered == (last - 3, last - 2, last)
    with pytest.raises(RecipeError, match="no 3 neighbouring layers"):
        propose(method, similarity, 3, protected=range(2, LAYERS, 2))


def test_what_is_drawn_at_random_is_drawn_by_the_seed():
    similarity = scored_at_random(0)
    for contiguous in (True, False):
        drawn = [propose("random", similarity, 3, contiguous=contiguous, seed=seed) for seed in range(40)]
        again = [propose("random", similarity, 3, contiguous=contiguous, seed=seed) for seed in range(40)]
        assert drawn == again
        assert len(set(drawn)) > 5
        assert {layer for layers in drawn for layer in layers} == set(range(LAYERS))
    assert propose("random", scored_at_random(1), 3, seed=5) == propose("random", similarity, 3, seed=5)


def test_no_layers_is_no_layer():
    for method in CRITERIA:
        assert propose(method, scored_at_random(0), 0) == ()


@pytest.mark.parametrize(
    ("method", "count", "protected", "contiguous", "told"),
    [
        ("bi", 9, {3, 4}, None, "9 layers are to be removed, but --method bi may remove only 8 of 10"),
        (
            "taylor+",
            5,
            (),
            None,
            "5 layers are to be removed, but --method taylor[+] may remove only 4 of 10",
        ),
        ("greedy", 9, (), None, "9 layers are to be removed, but --method greedy may remove only 8 of 10"),
        (
            "deepest",
            10,
            (),
            None,
            "10 layers are to be removed, but --method deepest may remove only 9 of 10",
        ),
        ("angular", 5, {4, 6}, None, "no 5 neighbouring layers are unprotected"),
        ("loss", 5, {4, 6}, True, "no 5 neighbouring layers are unprotected"),
        ("random", 5, {4, 6}, True, "no 5 neighbouring layers are unprotected"),
        ("greedy", 2, (), True, "--method greedy removes single layers, not one block"),
    ],
)
def test_what_cannot_be_proposed_is_refused_in_plain_words(method, count, protected, contiguous, told):
    similarity = scored_at_random(0)
    with pytest.raises(RecipeError, match=told):
        propose(method, similarity, count, protected=protected, contiguous=contiguous)


@pytest.mark.parametrize("method", SUMS)
def test_a_score_that_was_not_measured_is_not_made_up(method):
    similarity = replace(scored_at_random(0), layer_scores=())
    for contiguous in (True, False):
        with pytest.raises(ValueError, match="was not measured"):
            propose(method, similarity, 1, contiguous=contiguous)


def test_a_greedy_order_that_ends_too_early_is_not_made_up():
    similarity = scored_at_random(0)
    short = replace(similarity.removal_order, layers=(4, 2), losses=(2.0, 2.1))
    assert propose("greedy", replace(similarity, removal_order=short), 2) == (2, 4)
    for order in (short, None):
        with pytest.raises(ValueError, match="not measured far enough"):
            propose("greedy", replace(similarity, removal_order=order), 3)


def test_a_distance_scores_single_layers_by_their_own_two_boundaries():
    similarity = scored_at_random(0)
    for method in DISTANCES:
        own = [price(method, similarity, layer, layer + 1) for layer in range(LAYERS)]
        ranked = sorted(range(LAYERS), key=layer_scores(method, similarity).__getitem__)
        assert ranked == sorted(range(LAYERS), key=own.__getitem__)
