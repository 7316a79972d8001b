"""The card's pictures: whole PNG files of the promised size, the same bytes for the same record."""

import io
import subprocess
import sys
from collections.abc import Callable

import pytest
from PIL import Image

from hf_prune import plots
from hf_prune.recipe import Recipe
from tests.sample_run import sample_bridge, sample_plan, sample_similarity

# Shallow, usual, and as deep as Llama-3.1-405B; one block, and blocks at both ends and in between.
CASES = [
    (2, None),
    (6, None),
    (30, None),
    (30, "0,5-6,8,10,20-24,29"),
    (126, None),
    (126, "1-9,60-70,100-125"),
]
Draw = Callable[[int, str | None], bytes]


def _heatmap(num_layers: int, layers: str | None) -> bytes:
    plan = sample_plan(num_layers, Recipe(model="m", layers=layers))
    return plots.similarity_heatmap(sample_similarity(num_layers), plan)


def _block_sizes(num_layers: int, layers: str | None) -> bytes:
    plan = sample_plan(num_layers, Recipe(model="m", layers=layers))
    return plots.best_distance_per_block_size(plan)


def _layer_map(num_layers: int, layers: str | None) -> bytes:
    plan = sample_plan(num_layers, Recipe(model="m", layers=layers))
    return plots.layer_map(plan, sample_bridge(plan))


@pytest.mark.parametrize("draw", [_heatmap, _block_sizes, _layer_map])
@pytest.mark.parametrize(("num_layers", "layers"), CASES)
def test_picture_is_a_small_opaque_png_of_the_width_the_hub_halves(
    draw: Draw, num_layers: int, layers: str | None
) -> None:
    picture = draw(num_layers, layers)
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(picture) < 150_000
    image = Image.open(io.BytesIO(picture))
    assert image.mode == "RGB"
    assert image.width == 1400
    assert 150 < image.height < 1300
    assert image.info == {}  # no date, no version: nothing that differs between two machines


@pytest.mark.parametrize("draw", [_heatmap, _block_sizes, _layer_map])
def test_same_record_gives_the_same_bytes(draw: Draw) -> None:
    assert draw(30, None) == draw(30, None)


def test_layer_map_grows_by_rows_and_not_by_width() -> None:
    heights = [Image.open(io.BytesIO(_layer_map(count, None))).height for count in (6, 32, 33, 126)]
    assert heights[0] == heights[1] < heights[2] < heights[3]


@pytest.mark.parametrize(("layers", "bridged"), [("5-6", True), ("0", False)])
def test_layer_map_shows_a_bridge_only_where_there_is_one(layers: str, bridged: bool) -> None:
    shown = Image.open(io.BytesIO(_layer_map(30, layers)))
    colours = {colour for _, colour in shown.getcolors(1 << 20) or []}
    assert (tuple(bytes.fromhex(plots.ORANGE[1:])) in colours) is bridged


def test_drawing_leaves_pyplot_alone() -> None:
    program = "import sys, hf_prune.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
