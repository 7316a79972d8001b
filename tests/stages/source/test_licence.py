"""What a licence demands of a derivative: names, notices, what forbids it, what is not known."""

from dataclasses import replace
from pathlib import Path

import pytest

from hf_prune.errors import LicenceForbids
from hf_prune.records import Source
from hf_prune.stages.card.card import render_card, render_depth_card
from hf_prune.stages.card.encoder_card import render_encoder_card
from hf_prune.stages.publish.folder import write_notice
from hf_prune.stages.source.licence import TERMS, cautions, fitting_name, refuse_by_licence, terms_of
from tests.support.checkout import ROOT
from tests.support.sample_run import sample_encoder_run, sample_run, sample_sorted_run

LLAMAS = ("llama3", "llama3.1", "llama3.2", "llama3.3", "llama4")
# The sentences of the licences' sections 1.b.iii, and of section 3.1 of Gemma's terms.
NOTICES = {
    "llama2": "Llama 2 is licensed under the LLAMA 2 Community License, Copyright (c) Meta Platforms, Inc. "
    "All Rights Reserved.",
    "llama3": "Meta Llama 3 is licensed under the Meta Llama 3 Community License, Copyright © Meta "
    "Platforms, Inc. All Rights Reserved.",
    "llama3.1": "Llama 3.1 is licensed under the Llama 3.1 Community License, Copyright © Meta Platforms, "
    "Inc. All Rights Reserved.",
    "llama3.2": "Llama 3.2 is licensed under the Llama 3.2 Community License, Copyright © Meta Platforms, "
    "Inc. All Rights Reserved.",
    "llama3.3": "Llama 3.3 is licensed under the Llama 3.3 Community License, Copyright © Meta Platforms, "
    "Inc. All Rights Reserved.",
    "llama4": "Llama 4 is licensed under the Llama 4 Community License, Copyright © Meta Platforms, Inc. All "
    "Rights Reserved.",
    "gemma": "Gemma is provided under and subject to the Gemma Terms of Use found at "
    "ai.google.dev/gemma/terms",
}


def source_under(license_id: str | None, **more: object) -> Source:
    """The sample run's original under another licence."""
    return replace(sample_run().source, license=license_id, **more)


def licence_section_under(license_id: str | None, **more: object) -> str:
    """The last section of a card about licences."""
    text = render_card(replace(sample_run(), source=source_under(license_id, **more)))
    return text.split("## Licence\n")[1].split("\n## ")[0].split("\n---")[0]


# Names


@pytest.mark.parametrize(
    ("license_id", "name", "fitting"),
    [
        ("llama3.1", "SuperChat-8B-24L", "Llama-SuperChat-8B-24L"),
        ("llama3.1", "Llama-3.1-8B-24L", "Llama-3.1-8B-24L"),
        ("llama3.1", "Meta-Llama-3.1-8B-24L", "Llama-3.1-8B-24L"),
        ("llama3.2", "llama-tiny-4L", "llama-tiny-4L"),
        ("llama3", "Meta-Llama-3-8B-24L", "Llama-3-8B-24L"),
        ("llama3", "Llama3-ChatQA-8B-24L", "Llama3-ChatQA-8B-24L"),
        ("llama3", "Llama-SuperChat-24L", "Llama-3-Llama-SuperChat-24L"),
        ("llama3", "Llama-30B-24L", "Llama-3-Llama-30B-24L"),
        ("llama4", "Scout-24L", "Llama-Scout-24L"),
        ("llama2", "vicuna-7b-24L", "vicuna-7b-24L"),
        ("gemma", "chat-2b-18L", "chat-2b-18L"),
        (None, "chat-2b-18L", "chat-2b-18L"),
    ],
)
def test_the_name_begins_as_the_licence_has_it(license_id: str | None, name: str, fitting: str) -> None:
    assert fitting_name(terms_of(license_id), name) == fitting
    refuse_by_licence(terms_of(license_id), f"acme/{fitting}")


def test_a_name_that_breaks_the_licence_is_refused_with_one_that_would_do() -> None:
    with pytest.raises(LicenceForbids) as caught:
        refuse_by_licence(terms_of("llama3.2"), "acme/SuperChat")
    assert "the name must begin with 'Llama', so give --repo-id acme/Llama-SuperChat" in str(caught.value)


def test_a_name_that_is_made_right_is_told() -> None:
    [line] = cautions(terms_of("llama3"), "SuperChat-4L", publishing=False)
    assert "requires a name that begins with 'Llama 3': the result is Llama-3-SuperChat-4L" in line


def test_only_the_licences_that_demand_it_have_a_rule_for_names() -> None:
    ruled = {word: terms.begins_with for word, terms in TERMS.items() if terms.begins_with}
    assert ruled == {"llama3": "Llama 3", **dict.fromkeys(LLAMAS[1:], "Llama")}


# What forbids, and what is not known


@pytest.mark.parametrize("word", ["cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0"])
def test_a_licence_without_derivatives_forbids_publishing_and_says_so(word: str) -> None:
    terms = terms_of(word)
    with pytest.raises(LicenceForbids, match="lets nobody share a changed version"):
        refuse_by_licence(terms, "acme/small")
    assert "do not publish the result" in "".join(cautions(terms, "small", publishing=False))
    assert "**you may not publish this model.**" in licence_section_under(word)


@pytest.mark.parametrize(
    ("license_id", "license_name", "said"),
    [
        (
            "other",
            "qwen-research",
            "the licence of the original, qwen-research, is not one that hf-prune knows",
        ),
        ("other", None, "the licence of the original, other, is not one that hf-prune knows"),
        ("deepfloyd-if-license", None, "is not one that hf-prune knows"),
        ("unknown", None, "the original states no licence"),
        (None, None, "the original states no licence"),
    ],
)
def test_what_is_not_known_is_told_to_who_publishes_and_stops_nobody(
    license_id: str | None, license_name: str | None, said: str
) -> None:
    terms = terms_of(license_id, license_name)
    refuse_by_licence(terms, "acme/small")
    [line] = cautions(terms, "small", publishing=True)
    assert said in line
    assert list(cautions(terms, "small", publishing=False)) == []


@pytest.mark.parametrize(
    "word",
    ["apache-2.0", "mit", "bsd-3-clause", "gpl-3.0", "cc0-1.0", "cc-by-4.0", "mpl-2.0", *TERMS, "Apache-2.0"],
)
def test_what_is_known_is_not_cautioned_about(word: str) -> None:
    assert terms_of(word).known
    name = fitting_name(terms_of(word), "small")
    assert list(cautions(terms_of(word), name, publishing=True)) == []
    refuse_by_licence(terms_of(word), name)


def test_a_name_that_stands_for_a_word_of_the_hub_is_that_word() -> None:
    assert terms_of("other", "llama3.1") == TERMS["llama3.1"]
    assert terms_of("llama3.1", "my own words") == TERMS["llama3.1"]


# The card


@pytest.mark.parametrize("word", LLAMAS)
def test_the_card_shows_what_llama_is_built_with(word: str) -> None:
    section = licence_section_under(word, legal_files=("LICENSE", "USE_POLICY.md"))
    shown = "Built with Meta Llama 3" if word == "llama3" else "Built with Llama"
    assert f"\n**{shown}**\n" in section
    assert "Its terms for derived models are in section 1.b. If you publish" in section
    assert "[Acceptable Use Policy](https://" in section
    assert (
        "Beside the weights: [LICENSE](LICENSE), [USE_POLICY.md](USE_POLICY.md), [NOTICE](NOTICE)." in section
    )


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("openrail", "use-based restrictions bind you as a user"),
        ("bigscience-bloom-rail-1.0", "use-based restrictions bind you as a user"),
        ("gemma", "use restrictions (section 3.2) bind you as a user"),
        ("cc-by-4.0", "name the original's authors and say that it was changed"),
        ("cc-by-nc-4.0", "may not use this model, or anything made from it, commercially"),
        ("cc-by-sa-4.0", "must use the same licence"),
        ("gpl-3.0", "must use the same licence"),
    ],
)
def test_the_card_passes_on_what_binds_its_users(word: str, said: str) -> None:
    assert said in licence_section_under(word)


def test_the_card_misses_the_text_of_a_licence_that_has_to_be_there() -> None:
    lacking = "demands a copy of its text beside the weights, and the original has none"
    assert lacking in licence_section_under("llama2")
    assert lacking in licence_section_under("llama2", legal_files=("USE_POLICY.md",))
    assert lacking not in licence_section_under("llama2", legal_files=("LICENSE.txt",))
    assert lacking not in licence_section_under("apache-2.0")


def test_the_card_says_where_the_terms_of_the_gate_are() -> None:
    section = licence_section_under("llama2", gated=True)
    assert "Access to [the original](https://huggingface.co/HuggingFaceTB/SmolLM2-135M) is gated" in section


def test_the_cards_of_encoders_and_depths_have_it_too() -> None:
    encoder = replace(sample_encoder_run(), source=source_under("cc-by-nc-4.0"))
    assert "may not use this model, or anything made from it, commercially" in render_encoder_card(encoder)
    run = replace(sample_sorted_run(), source=source_under("llama3.1"))
    assert "**Built with Llama**" in render_depth_card(run, run.evaluated.depths[0].layers)


# The notice


@pytest.mark.parametrize("word", NOTICES)
def test_the_notice_that_a_licence_wants_is_put_beside_the_weights(word: str, tmp_path: Path) -> None:
    write_notice(source_under(word), tmp_path)
    text = (tmp_path / "NOTICE").read_text(encoding="utf-8")
    assert text.startswith(NOTICES[word] + "\n")
    assert "README.md says how" in text


def test_a_notice_of_the_original_is_kept_and_the_line_added_once(tmp_path: Path) -> None:
    original, place = tmp_path / "original", tmp_path / "place"
    place.mkdir()
    original.write_bytes(b"By \xe9clair, with thanks.\n")
    (place / "Notice.txt").hardlink_to(original)
    source = source_under("llama3.1", legal_files=("LICENSE", "Notice.txt"))
    write_notice(source, place)
    write_notice(source, place)
    written = (place / "Notice.txt").read_bytes()
    assert written.startswith(original.read_bytes())
    assert written.count(NOTICES["llama3.1"].encode()) == 1
    assert original.read_bytes() == b"By \xe9clair, with thanks.\n"
    assert [path.name for path in place.iterdir()] == ["Notice.txt"]


@pytest.mark.parametrize("word", ["apache-2.0", "openrail", "cc-by-4.0", None])
def test_where_none_is_wanted_none_is_written(word: str | None, tmp_path: Path) -> None:
    write_notice(source_under(word), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_notice_that_has_the_line_is_left_as_it_is(tmp_path: Path) -> None:
    text = NOTICES["llama4"].replace(" License,", "\nLicense,") + "\n"
    (tmp_path / "NOTICE").write_text(text, encoding="utf-8")
    write_notice(source_under("llama4", legal_files=("NOTICE",)), tmp_path)
    assert (tmp_path / "NOTICE").read_text(encoding="utf-8") == text


def test_every_licence_with_terms_of_its_own_is_documented() -> None:
    text = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    assert [word for word in TERMS if f"`{word}`" not in text] == []
