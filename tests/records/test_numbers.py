"""Numbers, sizes and times as people read them."""

import pytest

from hf_prune.records.numbers import byte_size, count, duration, figure, rough_duration, short_number


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (count(134_515_008), "134.5M"),
        (count(999), "999"),
        (count(999_960_000), "1B"),
        (count(8_030_261_248), "8.03B"),
        (byte_size(999), "999 B"),
        (byte_size(1000), "1 kB"),
        (byte_size(999_700), "1 MB"),
        (byte_size(269_030_016), "269 MB"),
        (byte_size(13_476_839_424), "13.5 GB"),
        (byte_size(1_620_000_000_000), "1.62 TB"),
        (figure(20.1234), "20.1"),
        (figure(2288.4), "2288"),
        (figure(0.0793), "0.0793"),
        (figure(0), "0"),
        (figure(3.2e9), "3.2e+09"),
        (duration(221.4), "3 min 41 s"),
        (duration(59.6), "1 min 0 s"),
        (duration(7260), "2 h 1 min"),
        (duration(12), "12 s"),
        (rough_duration(80.2), "80 s"),
        (rough_duration(221.4), "4 min"),
        (rough_duration(7560), "2.1 h"),
    ],
)
def test_numbers_are_shown_as_people_read_them(shown: str, expected: str) -> None:
    assert shown == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.1 + 0.2, "0.3"),
        (20.0, "20"),
        (-0.01, "\N{MINUS SIGN}0.01"),
        (0.0001, "0.0001"),
        (1e-9, "1e\N{MINUS SIGN}9"),
        (1.25e6, "1.25e6"),
    ],
)
def test_a_round_number_is_short_and_exact(value: float, text: str) -> None:
    assert short_number(value) == text
