"""The card's pictures: whole PNG files of the promised size, the same bytes for the same record."""

import io
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from PIL import Image, ImageChops

from hf_prune.recipe.parse import parse_layers
from hf_prune.records import (
    Block,
    Depth,
    Growth,
    Healing,
    HealingStep,
    LayerScores,
    Plan,
    Similarity,
    Tournament,
    Trial,
)
from hf_prune.stages.card import plots
from hf_prune.stages.card.plots.growth import SHADE
from hf_prune.stages.card.plots.scales import choose_scale
from hf_prune.stages.card.plots.style import (
    BLUE,
    GREEN,
    GRID,
    MUTED,
    ORANGE,
    VERMILLION,
    first_layers,
    first_names,
)
from hf_prune.stages.choose.plan import plan_for
from tests.support.sample_cards import greedy_run
from tests.support.sample_run import (
    sample_bridge,
    sample_depth,
    sample_growth,
    sample_healing,
    sample_similarity,
    sample_text,
)

# Shallow, usual, and as deep as Llama-3.1-405B; one block, and blocks at both ends and in between.
CUTS = [
    (2, "1"),
    (6, "3-4"),
    (30, "15-22"),
    (30, "0,5-6,8,10,20-24,29"),
    (80, "40-59"),
    (126, "1-9,60-70,100-125"),
]
NOTHING_REMOVED = [(1, None), (6, None), (30, None), (126, None)]
CASES = [*CUTS, *NOTHING_REMOVED]

# Of SmolLM2-135M.
BLOCK_INFLUENCE = (
    *(0.991, 0.171, 0.038, 0.03, 0.034, 0.034, 0.034, 0.037, 0.044, 0.035, 0.039, 0.037, 0.028, 0.026, 0.024),
    *(
        0.028,
        0.031,
        0.025,
        0.038,
        0.042,
        0.054,
        0.046,
        0.047,
        0.056,
        0.143,
        0.024,
        0.027,
        0.046,
        0.048,
        0.223,
    ),
)
RELATIVE_MAGNITUDE = (
    *(
        1.003,
        0.563,
        0.287,
        0.234,
        0.251,
        0.253,
        0.255,
        0.266,
        0.306,
        0.266,
        0.275,
        0.266,
        0.233,
        0.228,
        0.218,
    ),
    *(0.252, 0.251, 0.221, 0.273, 0.294, 0.32, 0.321, 0.31, 0.334, 0.519, 0.229, 0.228, 0.321, 0.308, 0.612),
)
RISE_WITHOUT_THE_LAYER = (
    *(7.137, 2.633, 0.589, 0.112, 0.1, 0.096, 0.201, 0.148, 0.527, 0.181, 0.226, 1.342, 0.12, 0.148, 0.083),
    *(
        0.157,
        0.138,
        0.068,
        0.158,
        0.156,
        0.186,
        0.202,
        0.208,
        0.283,
        0.454,
        0.157,
        0.122,
        0.248,
        0.991,
        2.193,
    ),
)
EVERY_SCORE = {
    "bi": BLOCK_INFLUENCE,
    "relative-magnitude": RELATIVE_MAGNITUDE,
    "magnitude": tuple(1.2e6 + 7e3 * layer for layer in range(30)),
    "taylor": tuple(10 ** (-1 - 3 * math.sin(layer / 10)) for layer in range(30)),
    "loss": RISE_WITHOUT_THE_LAYER,
    "shapley": tuple(rise - 0.1 for rise in RISE_WITHOUT_THE_LAYER),
}
Draw = Callable[[Similarity, Plan | None], bytes]


def measured(num_layers: int, scores: dict[str, Sequence[float]] = EVERY_SCORE) -> Similarity:
    """With these scores, stretched or squeezed to that many layers."""
    places = [layer * 29 // max(num_layers - 1, 1) for layer in range(num_layers)]
    layer_scores = tuple(
        LayerScores(criterion=name, values=tuple(values[place] for place in places), text=sample_text())
        for name, values in scores.items()
    )
    return replace(sample_similarity(num_layers), layer_scores=layer_scores)


def without(similarity: Similarity, layers: str | None) -> Plan | None:
    return plan_for(similarity, parse_layers(layers), "named") if layers else None


def tournament(num_trials: int, num_layers: int = 30, proposers: int = 1) -> Tournament:
    """Every other layer goes in each trial but the first, which removes a block."""
    trials = tuple(
        Trial(
            removed=tuple(range(number, num_layers, 2)) if number else tuple(range(num_layers // 2)),
            proposed_by=("relative-magnitude",) * proposers,
            num_tokens=8192 if number < 4 else 2048,
            loss=3.4 + number / 10,
            divergence=0.3,
            behind=number / 10,
            behind_stderr=0.02 * number,
            bridged=True,
        )
        for number in range(num_trials)
    )
    return Tournament(text=sample_text(), original_loss=3.0, trials=trials, budget=20.0, cost=18.0)


def healing(losses: Sequence[float | None], best: int | None = None, before: float = 3.7) -> Healing:
    """With these losses, looked at every ten steps."""
    steps = tuple(HealingStep(step=10 * n, loss=1.0, watched_loss=loss) for n, loss in enumerate(losses))
    return replace(sample_healing(), curve=steps, best_step=best, loss_before=before)


def growth(num_layers: int, after: Sequence[int]) -> Growth:
    """With new layers after these, numbered as in a model of that many that may be a shorter one of 30."""
    half = Block(start=0, end=num_layers // 2)
    return replace(sample_growth(), after=tuple(after), layers=tuple(after), shallow=half)


def depth_curve(counts: Sequence[int], *, fast: bool = True) -> list[Depth]:
    """Worse and smaller the shallower; the original far worse."""
    depths = [sample_depth(count, 20 + 9e4 / count**2, 20 + 500 / count) for count in counts]
    return depths if fast else [replace(depth, speed=None) for depth in depths]


def opened(picture: bytes) -> Image.Image:
    return Image.open(io.BytesIO(picture))


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


def has_colour(image: Image.Image, colour: str) -> bool:
    return rgb(colour) in {found for _, found in image.getcolors(1 << 20) or []}


def columns_of(image: Image.Image, colour: str, at_least: int) -> list[int]:
    """The middles of the runs of columns that hold so many pixels of a colour."""
    wanted, pixels = rgb(colour), image.load()
    assert pixels is not None
    counts = [sum(pixels[x, y] == wanted for y in range(image.height)) for x in range(image.width)]
    found = [x for x, count in enumerate(counts) if count >= at_least]
    runs: list[list[int]] = []
    for x in found:
        if runs and x - runs[-1][-1] <= 2:
            runs[-1].append(x)
        else:
            runs.append([x])
    return [(run[0] + run[-1]) // 2 for run in runs]


def layer_at(x: int, num_layers: int, right: float) -> float:
    """The layer whose column holds a pixel of a panel that leaves `right` inches free beside it."""
    margin = 0.6 + 0.005 * num_layers
    return (x - 140) / (1260 - 140 * right) * (num_layers - 1 + 2 * margin) - margin


@pytest.mark.parametrize(
    "draw",
    [
        plots.similarity_heatmap,
        plots.best_distance_per_block_size,
        plots.layer_scores,
        plots.drop_effects,
    ],
)
@pytest.mark.parametrize(("num_layers", "layers"), CASES)
def test_picture_is_a_small_opaque_png_of_the_width_the_hub_halves(
    draw: Draw, num_layers: int, layers: str | None
) -> None:
    similarity = measured(num_layers)
    check_picture(draw(similarity, without(similarity, layers)))


@pytest.mark.parametrize(("num_layers", "layers"), CUTS)
def test_layer_map_is_such_a_picture_too(num_layers: int, layers: str) -> None:
    plan = without(measured(num_layers), layers)
    check_picture(plots.layer_map(plan, sample_bridge(plan)))


@pytest.mark.parametrize(("num_trials", "num_layers"), [(1, 2), (3, 6), (40, 30), (12, 126)])
def test_tournament_is_such_a_picture_too(num_trials: int, num_layers: int) -> None:
    check_picture(plots.tournament(tournament(num_trials, num_layers)))


def test_removals_are_such_a_picture_too() -> None:
    run = greedy_run()
    order = run.similarity.removal_order
    assert order is not None
    check_picture(plots.removals(order, run.plan))
    # What was chosen is marked: without it the picture is another.
    assert plots.removals(order, run.plan) != plots.removals(order, replace(run.plan, kept=(0,)))


@pytest.mark.parametrize(
    ("losses", "best", "before"),
    [
        ([3.7, 3.6], 10, 3.7),
        ([3.7, 3.6, 3.5, 3.4] * 40, 30, 3.7),
        ([3.7, 3.9, 5.0, None], 0, 3.7),
        ([12.0, 3.0], 10, 12.0),
        ([3.5, 3.5], None, 3.5),
    ],
)
def test_healing_curve_is_such_a_picture_too(losses: list[float | None], best: int, before: float) -> None:
    check_picture(plots.healing_curve(healing(losses, best, before)))


@pytest.mark.parametrize("num_layers", [2, 30, 126])
def test_growth_is_such_a_picture_too(num_layers: int) -> None:
    plan = plan_for(sample_similarity(num_layers), (), "named")
    check_picture(plots.growth(replace(sample_growth(num_layers), after=(0,), layers=(1,)), plan))


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("counts", [(1, 2), (12, 16, 20, 24, 30), tuple(range(2, 81))])
def test_depths_are_such_a_picture_too(counts: Sequence[int], fast: bool) -> None:
    check_picture(plots.depths(depth_curve(counts, fast=fast)))


@pytest.mark.parametrize(
    ("removed", "after", "places"),
    [((), (1, 3, 13), (1.5, 3.5, 13.5)), ((2, 3), (0, 1, 2, 10), (0.5, 1.5, 4.5, 12.5))],
)
def test_new_layers_are_marked_behind_those_that_they_follow(
    removed: tuple[int, ...], after: Sequence[int], places: Sequence[float]
) -> None:
    plan = plan_for(sample_similarity(30), removed, "named")
    image = opened(plots.growth(growth(30 - len(removed), after), plan))
    panel = image.crop((0, 0, 1400, image.height - 130))  # without the legend
    marked = [layer_at(x, 30, 0.2) for x in columns_of(panel, GREEN, 8)]
    assert marked == pytest.approx(list(places), abs=0.15)


def test_the_shallow_half_is_shaded_as_the_original_numbers_it() -> None:
    def right_end(removed: tuple[int, ...]) -> float:
        plan = plan_for(sample_similarity(30), removed, "named")
        image = opened(plots.growth(growth(30 - len(removed), [0]), plan)).crop((0, 140, 1400, 600))
        shaded = [x for x in range(image.width) if has_colour(image.crop((x, 0, x + 1, 460)), SHADE)]
        return layer_at(shaded[-1], 30, 0.2)

    assert right_end(()) == pytest.approx(14.5, abs=0.1)
    assert right_end((8, 9, 10, 11)) == pytest.approx(16.5, abs=0.1)


def test_layer_map_shows_new_layers_only_where_there_are_any() -> None:
    plan = plan_for(sample_similarity(12), (), "named")
    bridge = replace(sample_bridge(plan), folded=())
    plain_map, grown_map = (
        opened(plots.layer_map(plan, bridge, new)) for new in (None, growth(12, [1, 3, 8]))
    )
    assert not has_colour(plain_map, GREEN)
    cells = columns_of(grown_map.crop((0, 0, 1400, 100)), GREEN, 40)
    # Each is parted by the sign in its middle; fifteen cells share 1358 pixels.
    assert {round((x - 21) / (1358 / 15) - 0.5) for x in cells} == {2, 5, 11}


def test_depths_without_a_speed_have_no_panel_for_it() -> None:
    counts = (12, 16, 20, 24, 30)
    fast, slow = (opened(plots.depths(depth_curve(counts, fast=fast))) for fast in (True, False))
    assert fast.height - slow.height == pytest.approx(140 * (1.6 + 0.42), abs=2)


def test_of_many_depths_as_many_are_numbered_as_have_room() -> None:
    image = opened(plots.depths(depth_curve(range(2, 81)))).crop((150, 760, 1390, 920))  # memory
    lines = columns_of(image, GRID, 60)
    assert min(right - left for left, right in pairwise(lines)) > 40
    assert len(lines) > 20


def test_the_best_step_of_a_healing_is_marked_where_it_is() -> None:
    for best, place in ((0, 195), (10, 748), (20, 1303)):
        image = opened(plots.healing_curve(healing([3.7, 3.6, 3.5], best)))
        panel = image.crop((0, 0, 1400, image.height - 120))  # without the legend
        assert columns_of(panel, ORANGE, 8) == pytest.approx([place], abs=8)
    without = opened(plots.healing_curve(healing([3.7, 3.6, 3.5])))
    assert not has_colour(without, ORANGE)


def test_the_loss_before_healing_is_a_line_across_the_picture() -> None:
    def heights(before: float) -> list[int]:
        image = opened(plots.healing_curve(healing([3.7, 3.6, 3.5], 20, before)))
        panel = image.crop((0, 0, 1400, image.height - 120)).transpose(Image.Transpose.TRANSPOSE)
        return columns_of(panel, MUTED, 400)

    [high], [low] = heights(3.72), heights(3.52)
    assert high + 100 < low  # pixels count from the top


def check_picture(picture: bytes) -> None:
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(picture) < 200_000
    image = opened(picture)
    assert image.mode == "RGB"
    assert image.width == 1400
    assert 150 < image.height < 1300
    assert image.info == {}  # no date, no version: nothing that differs between two machines


@pytest.mark.parametrize(
    "draw",
    [
        lambda similarity, plan: plots.similarity_heatmap(similarity, plan),
        lambda similarity, plan: plots.best_distance_per_block_size(similarity, plan),
        lambda similarity, plan: plots.layer_scores(similarity, plan),
        lambda similarity, plan: plots.drop_effects(similarity, plan),
        lambda similarity, plan: plots.layer_map(plan, sample_bridge(plan)),
        lambda similarity, plan: plots.tournament(tournament(12)),
        lambda similarity, plan: plots.healing_curve(sample_healing()),
        lambda similarity, plan: plots.growth(growth(22, [1, 3]), plan),
        lambda similarity, plan: plots.depths(depth_curve([12, 24, 30])),
    ],
    ids=[
        *("heatmap", "block sizes", "layer scores", "drop effects", "layer map", "tournament", "healing"),
        *("growth", "depths"),
    ],
)
def test_same_record_gives_the_same_bytes(draw: Draw) -> None:
    first, second = (measured(30) for _ in range(2))
    assert draw(first, without(first, "15-22")) == draw(second, without(second, "15-22"))


def test_heatmap_of_what_removes_nothing_outlines_nothing() -> None:
    similarity = measured(30)
    plain_map, cut_map = (
        opened(plots.similarity_heatmap(similarity, without(similarity, layers)))
        for layers in (None, "15-22")
    )
    assert not has_colour(plain_map, "#ffffff")
    assert has_colour(cut_map, "#ffffff")


@pytest.mark.parametrize(
    ("num_layers", "scattered", "sizes"),
    [
        (2, None, [1]),
        (6, None, [1, 2, 3]),
        (30, None, [4, 8, 10, 15]),
        (30, "0,5-6", [4, 8, 10, 15]),
        (126, "1-9,60-70", [16, 32, 42, 63]),
    ],
)
def test_where_no_block_was_removed_the_best_of_a_few_sizes_are_named(
    num_layers: int, scattered: str | None, sizes: list[int]
) -> None:
    similarity = measured(num_layers)
    plan = without(similarity, scattered)
    panel = opened(plots.best_distance_per_block_size(similarity, plan)).crop((140, 80, 1390, 640))
    # The name stands at the head of an upright line; the picture's axes are 1232 pixels wide.
    named = [(x + 140 - 133) / 1232 * (num_layers - 1) + 0.5 for x in columns_of(panel, MUTED, 15)]
    assert named == pytest.approx(sizes, abs=0.3)


def test_where_a_block_was_removed_it_alone_is_named() -> None:
    similarity = measured(30)
    picture = opened(plots.best_distance_per_block_size(similarity, without(similarity, "15-22")))
    assert columns_of(picture, MUTED, 15) == []


def test_layer_map_grows_by_rows_and_not_by_width() -> None:
    plans = [without(measured(count), "1") for count in (6, 32, 33, 126)]
    heights = [opened(plots.layer_map(plan, sample_bridge(plan))).height for plan in plans]
    assert heights[0] == heights[1] < heights[2] < heights[3]


@pytest.mark.parametrize(("layers", "bridged"), [("5-6", True), ("0", False)])
def test_layer_map_shows_a_bridge_only_where_there_is_one(layers: str, bridged: bool) -> None:
    plan = without(measured(30), layers)
    assert has_colour(opened(plots.layer_map(plan, sample_bridge(plan))), ORANGE) is bridged


def test_layer_scores_have_a_panel_for_every_criterion_that_was_measured() -> None:
    names = ("bi", "relative-magnitude", "magnitude", "taylor")
    heights = [
        opened(
            plots.layer_scores(measured(30, {name: EVERY_SCORE[name] for name in names[:count]}), None)
        ).height
        for count in range(len(names) + 1)
    ]
    steps = {later - earlier for earlier, later in pairwise(heights)}
    assert len(steps) <= 2  # pixels are whole
    assert min(steps) > 180


def test_layer_scores_leave_the_losses_to_the_other_picture() -> None:
    others = {name: values for name, values in EVERY_SCORE.items() if name not in ("loss", "shapley")}
    assert plots.layer_scores(measured(30), None) == plots.layer_scores(measured(30, others), None)


@pytest.mark.parametrize(
    ("num_layers", "layers", "other"),
    [(2, "1", "0"), (30, "0,5-6,20-24,29", "9"), (126, "1-9,60-70,125", "90")],
)
@pytest.mark.parametrize(
    ("draw", "panels", "right"), [(plots.layer_scores, 5, 0.2), (plots.drop_effects, 2, 1.15)]
)
def test_removed_layers_are_marked_in_every_panel_and_no_others(
    draw: Draw, panels: int, right: float, num_layers: int, layers: str, other: str
) -> None:
    similarity = measured(num_layers)
    one, two = (opened(draw(similarity, without(similarity, cut))) for cut in (layers, other))
    box = (130, 60, 1400 - round(140 * right), one.height - 100)  # the legend left out
    changed = ImageChops.difference(one.crop(box), two.crop(box)).convert("L").point(bool, "1")
    marked = {*parse_layers(layers), *parse_layers(other)}
    gap = 0.5 + 12 * num_layers / 1100  # the width of a mark beside its column
    for x in range(changed.width):
        rows = changed.crop((x, 0, x + 1, changed.height)).tobytes()
        layer = layer_at(x + 130, num_layers, right)
        if min(abs(layer - each) for each in marked) > gap:
            assert not any(rows)
    for layer in marked:
        # Rows without a change, where the next panel has its title, part two panels.
        here = [x for x in range(changed.width) if abs(layer_at(x + 130, num_layers, right) - layer) < 0.4]
        column = changed.crop((here[0], 0, here[-1] + 1, changed.height))
        rows = "".join(
            "x" if column.crop((0, y, column.width, y + 1)).getbbox() else "." for y in range(column.height)
        )
        heights = [len(panel.strip(".")) for panel in rows.split("." * 30) if "x" in panel]
        assert len(heights) == panels
        assert min(heights) > 120  # the hatch, not the mark alone


@pytest.mark.parametrize("shapley", [False, True])
@pytest.mark.parametrize("layers", [None, "15-22"])
def test_cornerstones_are_coloured_and_no_other_layer(shapley: bool, layers: str | None) -> None:
    names = ("loss", "shapley") if shapley else ("loss",)
    similarity = measured(30, {name: EVERY_SCORE[name] for name in names})
    image = opened(plots.drop_effects(similarity, without(similarity, layers)))
    panels = image.crop((0, 60, 1300, image.height - 150))
    coloured = [layer_at(x, 30, 1.15) for x in columns_of(panels, VERMILLION, 8)]
    assert coloured == pytest.approx([0, 1, 11, 28, 29], abs=0.2)
    assert has_colour(panels, BLUE)


@pytest.mark.parametrize(
    ("draw", "panels", "right"), [(plots.layer_scores, 2, 0.2), (plots.drop_effects, 1, 1.15)]
)
def test_the_mark_of_a_removed_layer_is_hollow(draw: Draw, panels: int, right: float) -> None:
    scores = {name: [0.1 + 0.01 * layer for layer in range(30)] for name in ("bi", "loss")}
    similarity = measured(30, scores)
    image = opened(draw(similarity, without(similarity, "0,5-6,29")))
    blue = dict.fromkeys(range(30), 0)
    for x in range(140, 1390):
        layer = layer_at(x, 30, right)
        if abs(layer - round(layer)) < 0.1 and round(layer) in blue:
            column = image.crop((x, 60, x + 1, image.height - 150))
            blue[round(layer)] += sum(
                count for count, colour in column.getcolors(1 << 20) if colour == rgb(BLUE)
            )
    filled = [layer for layer, count in blue.items() if count > 60 * panels]
    assert filled == [layer for layer in range(30) if layer not in (0, 5, 6, 29)]


def test_without_a_cornerstone_none_is_coloured() -> None:
    similarity = measured(30, {"loss": [0.6 - 0.02 * layer for layer in range(30)]})  # some below 0
    image = opened(plots.drop_effects(similarity, None))
    assert not has_colour(image.crop((0, 60, 1400, image.height - 150)), VERMILLION)


def test_drop_effects_are_not_drawn_from_nothing() -> None:
    with pytest.raises(ValueError, match="loss was not measured"):
        plots.drop_effects(measured(30, {"shapley": EVERY_SCORE["shapley"]}), None)


@pytest.mark.parametrize(
    ("values", "label"),
    [
        (BLOCK_INFLUENCE, "log scale"),
        (RELATIVE_MAGNITUDE, "linear scale"),
        (RISE_WITHOUT_THE_LAYER, "log scale"),
        ([rise - 0.1 for rise in RISE_WITHOUT_THE_LAYER], "log scale, linear within ±0.1"),
        ([8.0, *(-0.3 + 0.02 * layer for layer in range(29))], "log scale, linear within ±1"),
        ([8.0, -5.0, *[0.01] * 20], "linear scale"),  # a log scale would have no decade left
        ([0.0, 0.0, 0.0, 5.0], "log scale, linear within ±0.01"),
        ([1e-9, 0.2, 0.3, 7.0, 0.2], "log scale, linear within ±0.1"),
        ([1.21e6, 1.3e6, 1.25e6], "linear scale, not from 0, in 1e6"),
        ([2e-5, 1e-6], "linear scale, in 1e\N{MINUS SIGN}5"),
        ([0.0, 0.0], "linear scale"),
        ([7.0, 7.0], "linear scale"),
        ([0.5], "linear scale"),
    ],
)
def test_scale_shows_all_values_and_says_what_it_is(values: Sequence[float], label: str) -> None:
    scale = choose_scale(values)
    assert scale.label == label
    assert scale.bottom < min(values) <= max(values) < scale.top
    if "not from 0" not in label and scale.kind != "log":
        assert scale.bottom < 0 < scale.top


def test_scale_has_room_for_the_line_whose_values_are_all_below_it() -> None:
    scale = choose_scale([0.01, 0.02, 0.05], [math.log(2)])
    assert scale.bottom < math.log(2) < scale.top


def test_tournament_shows_the_best_and_no_more_than_fit() -> None:
    heights = [opened(plots.tournament(tournament(count))).height for count in (1, 2, 12, 13, 40)]
    assert heights[0] < heights[1] < heights[2] == heights[3] == heights[4]


def test_names_in_a_tournament_leave_room_for_the_axes() -> None:
    image = opened(plots.tournament(tournament(12, 126, proposers=13)))
    dots = columns_of(image.crop((0, 130, 1400, image.height - 180)), BLUE, 8)
    assert dots[0] > 600  # right of the names
    assert dots[-1] - dots[0] > 400


def test_names_beyond_the_room_are_counted() -> None:
    assert first_layers((0, 1, 11, 28, 29), 24) == "0-1, 11, 28-29"
    assert first_layers((0, 1, 11, 28, 29), 13) == "0-1 and 3 more"
    assert first_names(["angular", "cosine", "bi"], 18) == "angular and 2 more"
    assert first_names(["relative-magnitude"], 5) == "relative-magnitude"  # one at least


def test_drawing_leaves_pyplot_alone() -> None:
    program = "import sys, hf_prune.stages.card.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
