"""Layers, depths and quantities as people write them."""

import pytest

from hf_prune.errors import RecipeError
from hf_prune.recipe.parse import parse_depths, parse_layers, parse_protected, parse_quantity


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("0", (0,)),
        ("21-28,30", (21, 22, 23, 24, 25, 26, 27, 28, 30)),
        ("5,3,3,3-4", (3, 4, 5)),
        ("7-7", (7,)),
        ("03", (3,)),
    ],
)
def test_a_list_names_layers_from_0_with_both_ends_each_once_and_in_order(text, layers):
    assert parse_layers(text) == layers


def test_refuses_a_range_that_runs_backwards_and_writes_it_forwards():
    with pytest.raises(RecipeError, match="9-5 runs backwards; write 5-9 instead"):
        parse_layers("1,9-5")


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        (None, ()),
        ("first:4", (0, 1, 2, 3)),
        ("last:2", (28, 29)),
        ("first:4,last:2,11", (0, 1, 2, 3, 11, 28, 29)),
        ("7-9,8,first:1", (0, 7, 8, 9)),
        ("first:0,last:0", ()),
        ("first:99", tuple(range(30))),
        ("last:99", tuple(range(30))),
        ("29", (29,)),
    ],
)
def test_a_list_protects_layers_from_both_ends_and_by_number(text, layers):
    assert parse_protected(text, 30) == frozenset(layers)


def test_refuses_to_protect_a_layer_that_is_not_there_or_backwards():
    with pytest.raises(RecipeError, match="--protect 2,30: the model has 30 layers, 0 to 29"):
        parse_protected("2,30", 30)
    with pytest.raises(RecipeError, match="--protect 9-5: 9-5 runs backwards; write 5-9 instead"):
        parse_protected("first:1,9-5", 30)


def test_depths_are_in_order_and_end_with_the_whole_model():
    assert parse_depths("20,12,12", 30) == (12, 20, 30)
    with pytest.raises(RecipeError, match="--depths 31: the model has 30 layers; give depths from 1 to that"):
        parse_depths("31", 30)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("5B", 5_000_000_000),
        ("5b", 5_000_000_000),
        ("120M", 120_000_000),
        ("1.5e9", 1_500_000_000),
        ("1.2e3M", 1_200_000_000),
        ("8GB", 8_000_000_000),
        ("8G", 8_000_000_000),
        ("8GiB", 8 * 2**30),
        ("8Gi", 8 * 2**30),
        ("0.5 TiB", 2**39),
        ("1.5TB", 1_500_000_000_000),
        ("64 kB", 64_000),
        ("1KiB", 1024),
        ("16MiB", 16 * 2**20),
        (" 7 ", 7),
        ("7.", 7),
        ("123456789012345", 123_456_789_012_345),
    ],
)
def test_a_quantity_is_read_as_people_write_it(text, number):
    assert parse_quantity(text) == number
    assert isinstance(parse_quantity(text), int)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "B", "GB", "five", "-5B", "+5B", ".5B", "5 6", "5,5B", "1e", "e9", "nan", "inf", "0x10"),
        *("5BB", "5X", "5iB", "5GBs", "5B\nB", "1e999", "1e308B"),
    ],
)
def test_what_is_no_quantity_is_refused(text):
    with pytest.raises(ValueError, match=r"is not a quantity like 5B or 8GB"):
        parse_quantity(text)
