"""A user's template and notes: what they may do, and which faults are found before a run begins."""

from dataclasses import replace
from pathlib import Path

import pytest
from jinja2.exceptions import SecurityError

from hf_prune.errors import UnusableTemplate
from hf_prune.records import Presentation, from_data, to_json
from hf_prune.stages.card.card import render_card
from hf_prune.stages.card.encoder_card import render_encoder_card
from hf_prune.stages.card.own_words import check_template, read_presentation
from hf_prune.stages.card.templates import card_environment
from tests.support.sample_cards import noted_run
from tests.support.sample_run import sample_encoder_run, sample_run
from tests.support.tool import hf_prune

EXTENDS = '{% extends "model_card.md.j2" %}\n'
BLOCKS = [
    "metadata",
    "title",
    "lead",
    "at_a_glance",
    "usage",
    "exports",
    "removed",
    "bridge",
    "growth",
    "depths",
]
BLOCKS += ["healing", "evaluation", "speed", "speculation", "lost", "proof", "making", "limits", "licence"]
BLOCKS += ["notes", "citation", "footer"]


def written(folder: Path, text: str, name: str = "ours.md.j2") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("block", BLOCKS)
def test_any_block_of_the_card_can_be_overridden(tmp_path: Path, block: str) -> None:
    text = EXTENDS + "{% block " + block + " %}\nOVERRIDDEN {{ run.name }}\n{% endblock %}"
    presentation = read_presentation(written(tmp_path, text), None)
    shown = "OVERRIDDEN SmolLM2-135M-22L" in render_card(replace(sample_run(), presentation=presentation))
    assert shown is (block not in ("growth", "depths"))  # this run has neither


def test_the_same_template_serves_the_card_of_an_encoder() -> None:
    text = EXTENDS + "{% block limits %}{{ super() }}- Not for cats.\n{% endblock %}"
    run = replace(sample_encoder_run(), presentation=Presentation(template_name="ours", template=text))
    card = render_encoder_card(run)
    assert "- Not for cats." in card
    assert "An encoder has no loss without a task" in card


def test_notes_are_a_section_and_say_what_they_say() -> None:
    card = render_card(noted_run())
    assert "\n## Notes\n\nMade for the archive, where 12 GB are free.\n" in card
    assert "- Asked by SmolLM2-135M-22L." in card
    assert "Parts of its text come from `ours.md.j2`, a template by the model's author." in card
    titled = replace(sample_run(), presentation=Presentation(notes="## For whom\n\nUs."))
    assert "\n## For whom\n\nUs.\n" in render_card(titled)
    assert "## Notes" not in render_card(titled)


def test_notes_are_text_and_no_template() -> None:
    run = replace(sample_run(), presentation=Presentation(notes="We write {{ run.name }} and {% raw."))
    assert "We write {{ run.name }} and {% raw." in render_card(run)


def test_the_record_alone_renders_the_same_card() -> None:
    run = noted_run()
    import json

    again = from_data(type(run), json.loads(to_json(run)))
    assert render_card(again) == render_card(run)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (EXTENDS + "{% block lead %}\n{{ run.name }\n{% endblock %}", "ours.md.j2, line 3: unexpected '}'"),
        (EXTENDS + "{% block lead %}\n\n{% if run %}\n{% endblock %}", "ours.md.j2, line 5: "),
        (EXTENDS + "{% block leed %}{% endblock %}", "line 2: the card has no block 'leed'; it has metadata"),
        (
            EXTENDS + "{% block lead %}\n{{ perplexty }}{% endblock %}",
            "line 3: the card has no value 'perplexty'",
        ),
        (
            EXTENDS + "{% block lead %}\n{{ run.nam }}{% endblock %}",
            "line 3: run.nam: there is no field 'nam'",
        ),
        (
            EXTENDS + "{% block lead %}\n{{ run.source.licence }}{% endblock %}",
            "line 3: run.source.licence: there is no field 'licence'",
        ),
        (EXTENDS + "{% block lead %}\n{{ 1 | loud }}{% endblock %}", "line 3: No filter named 'loud'"),
        ("# My card\n", 'must begin with {% extends "model_card.md.j2" %}'),
        ('{% extends "other.md.j2" %}', "must begin with"),
    ],
)
def test_a_fault_is_found_with_its_line_before_anything_is_done(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UnusableTemplate) as refused:
        read_presentation(written(tmp_path, text), None)
    assert said in str(refused.value)
    assert refused.value.exit_code == 2


def test_what_a_template_sets_itself_and_what_loops_give_is_no_unknown_value() -> None:
    check_template(
        EXTENDS + "{% block lead %}{% set much = 3 %}{% for each in run.evaluated.perplexities %}"
        "{{ loop.index }} {{ each.perplexity | figure }} {{ much }} {{ run.growth.layers }} {{ origin }}"
        "{% endfor %}{% endblock %}",
        "ours.md.j2",
    )


def test_a_value_that_this_run_does_not_have_is_named_with_its_line() -> None:
    text = EXTENDS + "{% block lead %}\n\n{{ run.growth.layers }}{% endblock %}"
    run = replace(sample_run(), presentation=Presentation(template_name="ours.md.j2", template=text))
    with pytest.raises(UnusableTemplate, match=r"ours\.md\.j2, line 4: .*Finished work is kept"):
        render_card(run)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: folder / "none.md", "cannot be read: No such file"),
        (lambda folder: written(folder, " \n", "empty.md"), "is empty"),
        (
            lambda folder: (folder / "latin.md").write_bytes("é".encode("latin-1")) and folder / "latin.md",
            "UTF-8",
        ),
    ],
)
def test_notes_that_cannot_be_had_are_refused(tmp_path: Path, make, said: str) -> None:
    with pytest.raises(UnusableTemplate, match=said):
        read_presentation(None, make(tmp_path))


def test_nothing_of_the_user_s_is_nothing() -> None:
    assert read_presentation(None, None) is None


@pytest.mark.parametrize("attack", ["{{ ().__class__.__mro__ }}", "{{ run.__init__.__globals__ }}"])
def test_a_template_reaches_nothing_but_the_records(attack: str) -> None:
    with pytest.raises(SecurityError):
        card_environment().from_string(attack + "").render(run=sample_run())
    text = EXTENDS + "{% block lead %}" + attack + "{% endblock %}"
    run = replace(sample_run(), presentation=Presentation(template_name="ours", template=text))
    with pytest.raises(UnusableTemplate):
        render_card(run)


def test_a_fault_in_a_template_stops_a_run_before_the_model_is_looked_for(tmp_path: Path) -> None:
    template = written(tmp_path, EXTENDS + "{% block leed %}{% endblock %}")
    stopped = hf_prune("run", "no/such-model", "--template", str(template), "--output", str(tmp_path / "run"))
    assert stopped.code == 2
    assert "ours.md.j2, line 2: the card has no block 'leed'" in stopped.error()
    assert not (tmp_path / "run").exists()
