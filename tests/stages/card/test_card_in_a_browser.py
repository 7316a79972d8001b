"""The card as people see it: rendered from its Markdown, laid out and painted by a real browser."""

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from hf_prune.records import DECODER
from hf_prune.stages.card.card import render_card
from hf_prune.stages.card.encoder_card import render_encoder_card
from hf_prune.stages.card.pictures import render_pictures
from hf_prune.stages.run import Run
from tests.support.browser import CHROMIUM, COLUMN, look_at, write_page
from tests.support.sample_cards import bare_run, healed_run
from tests.support.sample_run import sample_encoder_run, sample_grown_run, sample_sorted_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: apt-get install chromium"),
]
RAW = re.compile(
    r"\|\s*:?---|\{\{|\{%|\bNone\b(?! of these)|\bnan\b|\bUndefined\b|\]\(|\*\*|^#{1,6} ", re.MULTILINE
)
LEGIBLE = 4.5  # the contrast that WCAG asks of text


@pytest.mark.parametrize(
    "make", [healed_run, bare_run, sample_grown_run, sample_sorted_run, sample_encoder_run]
)
def test_a_browser_shows_the_whole_card(make: Callable[[], Run], tmp_path: Path) -> None:
    run = make()
    render = render_card if run.dense.kind == DECODER else render_encoder_card
    pictures = render_pictures(run)
    seen = look_at(write_page(render(run, "owner/name"), pictures, tmp_path))
    assert {image["source"] for image in seen["images"]} == set(pictures)
    for image in seen["images"]:
        assert image["natural"] >= 1000, image
        assert 0.9 * COLUMN < image["shown"] <= COLUMN, image
        assert len(image["alt"]) > 30, image
    assert seen["column"] == COLUMN
    assert seen["overflow"] <= 0  # what is wider scrolls in its own box, never the page
    glance = seen["tables"][0]
    assert glance["needed"] <= glance["shown"], glance
    assert RAW.findall(seen["text"]) == []
    assert "base_model" not in seen["text"]
    levels = [level for level, _ in seen["headings"]]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below - above <= 1 for above, below in pairwise(levels)), seen["headings"]
    assert len({title for _, title in seen["headings"]}) == len(levels)
    assert all(link.startswith("https://") for link in seen["links"])
    assert seen["light"] >= LEGIBLE
    assert seen["dark"] >= LEGIBLE


def test_the_browser_finds_what_is_broken(tmp_path: Path) -> None:
    card = (
        "---\nlicense: mit\n---\n# A\n\n![a](plots/missing.png)\n\n| a |\n|--\n\nNone {{ run }}\n\n#### D\n"
    )
    seen = look_at(write_page(card, {}, tmp_path))
    assert [image["natural"] for image in seen["images"]] == [0]
    assert {"None", "{{"} <= set(RAW.findall(seen["text"]))
    assert [level for level, _ in seen["headings"]] == [1, 4]
