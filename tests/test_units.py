from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench import units
from latbench.clock import NS_PER_S
from latbench.errors import ExitCode, UsageError
from latbench.units import MAX_DURATION_NS, parse_duration_ns


@pytest.mark.parametrize(
    ("text", "value_ns"),
    [
        ("60", 60 * NS_PER_S),
        ("60s", 60 * NS_PER_S),
        (" 60 s ", 60 * NS_PER_S),
        ("1.5m", 90 * NS_PER_S),
        (".5", NS_PER_S // 2),
        ("2.", 2 * NS_PER_S),
        ("24h", 86_400 * NS_PER_S),
        ("30d", 30 * 86_400 * NS_PER_S),
        ("250ms", 250_000_000),
        ("3us", 3_000),
        ("3µs", 3_000),
        ("7ns", 7),
        ("0.1s", 100_000_000),  # no float on the way
        ("1.000000001", NS_PER_S + 1),
    ],
)
def test_a_duration_is_a_number_and_a_unit_and_a_bare_number_is_seconds(
    text: str, value_ns: int
) -> None:
    assert parse_duration_ns(text) == value_ns


@pytest.mark.parametrize(
    "text",
    ["", " ", "s", "-1", "+1", "1e3", "1,5", "5 min", "1h30m", "inf", "nan", "1S", "1..2", "."],
)
def test_what_is_no_duration_is_a_usage_error_that_quotes_it(text: str) -> None:
    with pytest.raises(UsageError, match="is not a time") as caught:
        parse_duration_ns(text, "warm-up")
    assert caught.value.message.startswith(f"warm-up {text!r}")
    assert caught.value.hint
    assert caught.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize("text", ["0", "0s", "0.0ms", ".0"])
def test_zero_is_a_duration_only_where_it_is_allowed(text: str) -> None:
    assert parse_duration_ns(text, zero_allowed=True) == 0
    with pytest.raises(UsageError, match="is not above 0"):
        parse_duration_ns(text)


@pytest.mark.parametrize("zero_allowed", [True, False])
def test_less_than_a_nanosecond_is_never_taken_for_zero(zero_allowed: bool) -> None:
    with pytest.raises(UsageError, match="is not above 0"):
        parse_duration_ns("0.9ns", zero_allowed=zero_allowed)


def test_thirty_days_are_the_longest_duration() -> None:
    assert parse_duration_ns("720h") == MAX_DURATION_NS
    for text in ("30.001d", "721h", "9" * 60):
        with pytest.raises(UsageError, match="longer than 30 days"):
            parse_duration_ns(text)


@given(
    st.integers(min_value=1, max_value=MAX_DURATION_NS),
    st.sampled_from([("ns", 0), ("us", 3), ("µs", 3), ("ms", 6), ("s", 9), ("", 9)]),
)
def test_any_nanosecond_can_be_written_in_any_decimal_unit(
    value_ns: int, unit: tuple[str, int]
) -> None:
    name, digits = unit
    assert parse_duration_ns(f"{Decimal(value_ns).scaleb(-digits):f}{name}") == value_ns


@pytest.mark.parametrize(
    ("value_ns", "text"),
    [
        (0, "0 s"),
        (1_000_000, "0.001 s"),
        (1_500_000_000, "1.5 s"),
        (60 * NS_PER_S, "60 s"),
        (100 * NS_PER_S, "100 s"),
        (119 * NS_PER_S, "119 s"),
        (120 * NS_PER_S, "2 min"),
        (121 * NS_PER_S, "2 min 1 s"),
        (120 * NS_PER_S + 500_000_000, "120.5 s"),
        (300 * NS_PER_S, "5 min"),
        (3600 * NS_PER_S, "1 h"),
        (5400 * NS_PER_S, "1 h 30 min"),
        (86_400 * NS_PER_S, "24 h"),
        (3661 * NS_PER_S, "1 h 1 min 1 s"),
    ],
)
def test_a_duration_is_told_as_people_say_it(value_ns: int, text: str) -> None:
    assert units.format_duration(value_ns) == text


@given(st.integers(min_value=0, max_value=MAX_DURATION_NS // 1_000_000))
def test_a_told_duration_means_the_same_milliseconds(value_ms: int) -> None:
    told = units.format_duration(value_ms * 1_000_000)
    seconds = {"h": 3600, "min": 60, "s": 1}
    parts = re.findall(r"([\d.]+) (h|min|s)\b", told)
    assert sum(Decimal(number) * seconds[unit] for number, unit in parts) * 1000 == value_ms


@pytest.mark.parametrize(
    ("value_ns", "text"),
    [
        (0, "0 ns"),
        (7, "7.00 ns"),
        (12.34, "12.3 ns"),
        (812, "812 ns"),
        (999.4, "999 ns"),
        (999.6, "1.00 µs"),
        (1_000, "1.00 µs"),
        (9_994, "9.99 µs"),
        (9_996, "10.0 µs"),
        (55_100, "55.1 µs"),
        (99_960, "100 µs"),
        (999_499, "999 µs"),
        (999_501, "1.00 ms"),
        (1_300_000, "1.30 ms"),
        (999_600_000, "1.00 s"),
        (3_210_000_000, "3.21 s"),
        (86_400_000_000_000, "86400 s"),
        (-55_100, "-55.1 µs"),
    ],
)
def test_a_latency_has_three_digits_and_the_unit_that_fits(value_ns: float, text: str) -> None:
    assert units.format_latency(value_ns) == text


@given(st.integers(min_value=1, max_value=999 * NS_PER_S), st.sampled_from([1, -1]))
def test_a_told_latency_is_within_half_of_its_third_digit(value_ns: int, sign: int) -> None:
    number, unit = units.format_latency(sign * value_ns).split(" ")
    scale = {"ns": 1, "µs": 1e3, "ms": 1e6, "s": 1e9}[unit]
    assert float(number) * scale == pytest.approx(sign * value_ns, rel=0.00501)
    assert len(re.sub(r"\D", "", number)) == 3
    assert 1 <= abs(float(number)) < 1000


@pytest.mark.parametrize(
    ("rate_hz", "text"),
    [
        (0, "0/s"),
        (0.5, "0.5/s"),
        (10, "10/s"),
        (33.333, "33.33/s"),
        (99.999, "100/s"),
        (100.4, "100/s"),
        (1000, "1,000/s"),
        (123_456.7, "123,457/s"),
    ],
)
def test_a_rate_is_whole_from_a_hundred_on(rate_hz: float, text: str) -> None:
    assert units.format_rate(rate_hz) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (999, "999"), (60_000, "60,000")])
def test_a_count_has_commas_between_thousands(value: int, text: str) -> None:
    assert units.format_count(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (34.999, "0:34"), (725, "12:05"), (3600, "1:00:00"), (86_399, "23:59:59")],
)
def test_a_clock_counts_whole_seconds(seconds: float, text: str) -> None:
    assert units.format_clock(round(seconds * NS_PER_S)) == text


@pytest.mark.parametrize(
    ("value_bytes", "text"),
    [
        (512 * 2**20, "512 MiB"),
        (2**30, "1.0 GiB"),
        (8_342_102_016, "7.8 GiB"),
        (128 * 2**30, "128 GiB"),
    ],
)
def test_memory_is_told_as_machines_are_sold(value_bytes: int, text: str) -> None:
    assert units.format_memory(value_bytes) == text
