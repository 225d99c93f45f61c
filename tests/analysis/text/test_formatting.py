"""Numbers and durations as the pages and the command line print them."""

from __future__ import annotations

from lycoris.analysis.text.formatting import format_duration, format_interval, format_number


def test_numbers_have_a_true_minus_and_no_leading_zero() -> None:
    assert format_number(0.1234, 3, signed=True) == "+.123"
    assert format_number(-0.1234, 2) == "−.12"
    assert format_number(0.0, 3, signed=True) == "0"
    assert format_number(-0.0001, 2) == ".00"
    assert format_number(12.34, 1) == "12.3"
    assert format_number(3e-7, None) == "3.0e-07"
    assert format_number(None, 2) == "–"
    assert format_interval(-0.5, 1.0, 1) == "[−.5, 1.0]"
    assert format_interval(None, 1.0, 1) == ""


def test_durations_are_readable() -> None:
    assert format_duration(0.2) == "0 s"
    assert format_duration(75.2) == "1 min 15 s"
    assert format_duration(7200) == "2 h"
