"""A published card beside what its record is made into."""

from dataclasses import fields, make_dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hf_prune.commands.finished import address_on
from hf_prune.commands.verify.card import CARD, card_claims, compare_cards, different_lines
from hf_prune.stages.card.card import render_card
from hf_prune.stages.run import Run
from tests.support.sample_run import sample_run


def test_a_card_as_it_was_made_holds_under_its_own_name() -> None:
    run = sample_run()
    for repo_id in (None, "acme/small"):
        card = render_card(run, repo_id)
        assert address_on(card) == repo_id
        assert compare_cards(card, render_card(run, address_on(card))).holds


def test_an_altered_figure_is_shown_beside_the_records() -> None:
    card = render_card(sample_run())
    claim = compare_cards(card.replace("43.2", "31.2"), card)
    assert claim.holds is False
    assert "31.2" in str(claim.claimed)
    assert "43.2" in str(claim.measured)
    assert "more lines" in str(claim.detail)  # the figure is on the card more than once


def test_a_figure_that_was_added_or_left_out_does_not_hold() -> None:
    card = render_card(sample_run())
    assert compare_cards(f"{card}\nMMLU: 71.3\n", card).holds is False
    row = next(line for line in card.splitlines() if line.startswith("| Peak memory"))
    left_out = compare_cards(card.replace(f"{row}\n", ""), card)
    assert (left_out.holds, left_out.measured) == (False, row)


def test_words_that_were_added_are_counted_and_hold() -> None:
    card = render_card(sample_run())
    claim = compare_cards(f"{card}\nThanks to everybody.\n", card)
    assert claim.holds
    assert "2 lines without figures" in str(claim.claimed)


def test_lines_are_paired_where_they_differ() -> None:
    assert different_lines("a\nb\nc", "a\nB\nc\nd") == [("b", "B"), ("", "d")]


def test_a_template_that_came_with_the_model_is_not_run(tmp_path: Path) -> None:
    made = make_dataclass("Presented", [("presentation", Any)], bases=(Run,), frozen=True, kw_only=True)
    own = SimpleNamespace(template="{{ 1 / 0 }}", template_name="own.md.j2", notes=None)
    content = {field.name: getattr(sample_run(), field.name) for field in fields(Run)}
    run = made(**{**content, "presentation": own})
    (tmp_path / "README.md").write_text("anything")
    claim = next(iter(card_claims(run, tmp_path, run.environment.hf_prune)))
    assert (claim.name, claim.holds) == (CARD, None)
