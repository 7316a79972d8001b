"""The fields of a recipe, and what each says of its option."""

from dataclasses import fields

from hf_prune.recipe.recipe import KINDS, OPTIONS, Recipe, option_name
from hf_prune.recipe.words import SWITCHES
from tests.support.recipes import OTHER_VALUES


def test_every_field_that_is_yes_no_or_left_open_has_both_its_words():
    assert set(SWITCHES) == {field.name for field in fields(Recipe) if field.type == bool | None}


def test_another_value_of_every_field_is_tried():
    assert set(OTHER_VALUES) == {field.name for field in fields(Recipe)} - {"model"}


def test_an_option_is_named_as_its_field_unless_the_field_says_otherwise():
    names = [option_name(field) for field in ("heal_tokens", "sequence_length", "tasks")]
    assert names == ["--heal-tokens", "--seq-len", "--eval"]


def test_a_field_that_has_a_least_value_or_a_quantity_is_a_whole_number():
    numbers = {name for name, option in OPTIONS.items() if option.quantity or option.least is not None}
    assert {KINDS[name] for name in numbers} == {int}
