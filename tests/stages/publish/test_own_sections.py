"""What a user wrote between the marks is found, carried along, and never lost."""

import pytest

from hf_prune.errors import BrokenSection
from hf_prune.stages.card.card import render_card, render_depth_card
from hf_prune.stages.card.encoder_card import render_encoder_card
from hf_prune.stages.publish.own_sections import merged, overridden, own_sections, with_own, without_own
from tests.support.sample_run import sample_encoder_run, sample_run, sample_sorted_run

BEGIN, END = "<!-- hf-prune: yours -->", "<!-- hf-prune: end of yours -->"
HINT = "<!-- Put your own text between the next two lines. It stays when hf-prune writes this card anew. -->"
CARD = f"""---
license: mit
---

# A model

Words, 12 of them.

## Figures

| a | b |
|---|--:|
| x | 1 |

## Code

```python
# Figures
print(1)
```

## Limits

None.

---

Made with hf-prune.

{HINT}
{BEGIN}
{END}
"""


def own(text: str, name: str = "") -> str:
    marked = f", {name}" if name else ""
    return f"<!-- hf-prune: yours{marked} -->\n{text}\n{END}\n"


def carried(old: str, new: str = CARD) -> str:
    return with_own(new, own_sections(old, "old"))


@pytest.mark.parametrize(
    "card",
    [
        render_card(sample_run()),
        render_encoder_card(sample_encoder_run()),
        render_depth_card(sample_sorted_run(), 12),
    ],
)
def test_every_card_ends_with_an_empty_pair(card: str) -> None:
    (section,) = own_sections(card, "new")
    assert section.is_last
    assert section.is_empty
    assert card.endswith(f"{HINT}\n{BEGIN}\n{END}\n")
    assert with_own(card, own_sections(card, "new")) == card


def test_the_last_pair_keeps_what_was_written_into_it() -> None:
    old = CARD.replace(END, f"## Contact\n\nCall us.\n\n{END}")
    assert carried(old) == old
    assert carried(old, CARD.replace("None.", "Some.")) == old.replace("None.", "Some.")


@pytest.mark.parametrize("line", ["# A model", "Words, 12 of them.", "## Figures", "| x | 1 |", "None."])
@pytest.mark.parametrize("name", ["", "mine"])
def test_a_pair_stays_behind_the_line_that_it_stood_behind(line: str, name: str) -> None:
    old = CARD.replace(f"{line}\n", f"{line}\n\n{own('Mine.', name)}", 1)
    assert carried(old) == old
    assert without_own(old) == without_own(CARD)


def test_where_that_line_has_changed_it_goes_to_the_end_of_its_section() -> None:
    old = CARD.replace("| x | 1 |\n", f"| x | 1 |\n\n{own('Mine.')}")
    new = CARD.replace("| x | 1 |\n", "| x | 2 |\n| y | 3 |\n\nMore.\n")
    assert f"More.\n\n{own('Mine.')}\n## Code" in carried(old, new)


def test_where_its_section_is_gone_it_goes_to_the_end_of_the_card() -> None:
    old = CARD.replace("| x | 1 |\n", f"| x | 1 |\n\n{own('Mine.')}")
    new = CARD.replace("## Figures", "## Numbers").replace("| x | 1 |", "| x | 2 |")
    assert f"Made with hf-prune.\n\n{own('Mine.')}\n{HINT}\n" in carried(old, new)


def test_a_table_is_not_torn_apart() -> None:
    old = CARD.replace("| x | 1 |\n", f"| x | 1 |\n{own('Mine.')}")
    new = CARD.replace("| x | 1 |\n", "| x | 1 |\n| y | 2 |\n")
    assert f"| x | 1 |\n| y | 2 |\n\n{own('Mine.')}\n## Code" in carried(old, new)


def test_a_comment_in_code_is_no_heading_and_no_place() -> None:
    old = CARD.replace("## Code\n\n", f"# Figures\n\n{own('Mine.')}\n")
    assert f"{own('Mine.')}\n{HINT}" in carried(old, CARD)


def test_several_pairs_keep_their_order_and_all_of_their_text() -> None:
    two = own("One.") + "\n" + own("Two.", "b")
    old = CARD.replace("None.\n", f"None.\n\n{two}").replace(
        f"{BEGIN}\n{END}\n", own("Last.") + own("Very last.")
    )
    card = carried(old)
    assert [card.count(text) for text in ("One.", "Two.", "Last.", "Very last.")] == [1, 1, 1, 1]
    assert card.index("One.") < card.index("Two.") < card.index("Last.") < card.index("Very last.")
    assert carried(card) == card


def test_no_pair_goes_into_another_that_quotes_the_card() -> None:
    quoting = f"{BEGIN}\n## Figures\n\n| x | 1 |\n\n{HINT}\n\nSo it was.\n{END}\n"
    old = CARD.replace("| x | 1 |\n", f"| x | 1 |\n\n{own('Mine.')}").replace(f"{BEGIN}\n{END}\n", quoting)
    new = CARD.replace("## Figures", "## Numbers").replace("| x | 1 |", "| x | 2 |")
    card = carried(old, new)
    assert card.endswith(quoting)
    assert f"Made with hf-prune.\n\n{own('Mine.')}\n{HINT}\n" in card
    assert carried(card, new) == card


def test_pairs_at_the_end_of_the_card_keep_their_order() -> None:
    old = CARD.replace(f"{BEGIN}\n{END}\n", own("Named.", "a") + "\n" + own("Last."))
    assert carried(old) == old


def test_an_empty_pair_of_the_users_own_keeps_its_place() -> None:
    old = CARD.replace("None.\n", f"None.\n\n{BEGIN}\n{END}\n")
    assert carried(old) == old


def test_lines_that_an_editor_ended_otherwise_are_read_the_same() -> None:
    old = CARD.replace("None.\n", f"None.\n\n{own('Mine.')}")
    assert carried(old.replace("\n", "\r\n")) == old


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (CARD.replace(END, "Precious."), r"line 31: a section begins that does not end"),
        (CARD.replace(BEGIN, "Precious."), r"line 32: a section ends that has not begun"),
        (CARD.replace(END, f"{BEGIN}\n{END}"), r"line 32: a section begins before"),
        (CARD.replace(BEGIN, f"{BEGIN} Precious."), r"line 31: a mark stands on a line of its own"),
        (CARD.replace(BEGIN, "<!-- hf-prune: Yours -->"), r"line 31: a mark stands on a line of its own"),
        (CARD.replace(BEGIN, "<!-- hf-prune: yours"), r"line 31: a mark stands on a line of its own"),
        (
            CARD.replace(BEGIN, "<!-- hf-prune: yours, a -->").replace(
                END, "<!-- hf-prune: end of yours, b -->"
            ),
            r"line 32: the section that ends here is 'a'",
        ),
    ],
)
def test_a_broken_mark_is_never_a_lost_text(broken: str, reason: str) -> None:
    with pytest.raises(BrokenSection, match=f"README.md, {reason}.*mend it and give the same command again"):
        own_sections(broken, "README.md")
    with pytest.raises(BrokenSection):
        without_own(broken)


def test_of_two_cards_the_first_wins_where_both_have_a_text() -> None:
    hub = own_sections(CARD.replace(END, f"Hub.\n{END}"), "hub")
    folder = own_sections(
        CARD.replace(END, f"Folder.\n{END}").replace("None.\n", f"None.\n\n{own('Only here.')}"), "folder"
    )
    card = with_own(CARD, merged(hub, folder))
    assert "Hub." in card
    assert "Folder." not in card
    assert f"None.\n\n{own('Only here.')}" in card
    assert [section.lines[1] for section in overridden(hub, folder)] == ["Folder."]
    empty = own_sections(CARD, "hub")
    assert "Folder." in with_own(CARD, merged(empty, folder))
    assert overridden(empty, folder) == overridden(hub, hub) == []
