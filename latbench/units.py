"""Text to units and back: the only place where a duration or a rate is not a plain integer."""

from __future__ import annotations

import re
from decimal import Decimal

from latbench.clock import NS_PER_S
from latbench.errors import UsageError

_DURATION = re.compile(r"(?P<number>\d+(?:\.\d*)?|\.\d+)\s*(?P<unit>ns|us|µs|ms|s|m|h|d)?")
_UNIT_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": NS_PER_S,
    "m": 60 * NS_PER_S,
    "h": 3600 * NS_PER_S,
    "d": 86_400 * NS_PER_S,
}
MAX_DURATION_NS = 30 * _UNIT_NS["d"]


def parse_duration_ns(text: str, what: str = "duration", *, zero_allowed: bool = False) -> int:
    """Nanoseconds for `60`, `60s`, `1.5m`, `24h`, `250ms`; a bare number is seconds.

    Raises `UsageError` for anything else, for zero unless allowed, and beyond 30 days.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{what} {text!r} is not a time", "write 60, 60s, 5m or 24h")
    value_ns = int(Decimal(match["number"]) * _UNIT_NS[match["unit"] or "s"])
    if value_ns == 0 and not (zero_allowed and not Decimal(match["number"])):
        raise UsageError(f"{what} {text!r} is not above 0", "write 60, 60s, 5m or 24h")
    if value_ns > MAX_DURATION_NS:
        raise UsageError(f"{what} {text!r} is longer than 30 days", "the longest is 30d")
    return value_ns


def format_duration(value_ns: int) -> str:
    """A span as people say it: `60 s`, `5 min`, `1 h 30 min`; seconds keep at most 3 decimals."""
    seconds = value_ns / NS_PER_S
    if seconds < 120 or value_ns % NS_PER_S:
        return f"{seconds:.3f}".rstrip("0").rstrip(".") + " s"
    minutes, rest_s = divmod(value_ns // NS_PER_S, 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (rest_s, "s")]
    return " ".join(f"{number} {unit}" for number, unit in parts if number)


def format_latency(value_ns: float) -> str:
    """A latency with three significant digits and its unit: `812 ns`, `55.1 µs`, `1.30 ms`."""
    magnitude = abs(value_ns)
    for limit, divisor, unit in ((1e3, 1, "ns"), (1e6, 1e3, "µs"), (1e9, 1e6, "ms")):
        # 999.95 µs would round to "1000 µs": it belongs to the next unit
        if magnitude < limit - limit / 2000:
            return f"{_three_digits(value_ns / divisor)} {unit}"
    return f"{_three_digits(value_ns / 1e9)} s"


def _three_digits(value: float) -> str:
    magnitude = abs(value)
    if magnitude >= 99.95 or value == int(value) == 0:
        return f"{value:.0f}"
    return f"{value:.1f}" if magnitude >= 9.995 else f"{value:.2f}"


def format_multiple(value: float) -> str:
    """A factor with three significant digits: `1.25`, `12.5`, `1,250`."""
    return f"{value:,.0f}" if value >= 99.95 else _three_digits(value)


def format_count(value: int) -> str:
    """A count with thousands separated by commas: `60,000`."""
    return f"{value:,}"


def format_rate(rate_hz: float) -> str:
    """Ticks a second: whole above 100, else with up to two decimals."""
    if rate_hz >= 100:
        return f"{rate_hz:,.0f}/s"
    return f"{rate_hz:.2f}".rstrip("0").rstrip(".") + "/s"


def format_clock(value_ns: int) -> str:
    """Whole seconds as a clock shows them: `0:34`, `12:05`, `24:00:00`."""
    minutes, seconds = divmod(value_ns // NS_PER_S, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def format_memory(value_bytes: int) -> str:
    """Memory as machines are sold with it: `7.8 GiB`, `512 MiB`."""
    gib = value_bytes / 2**30
    if gib < 1:
        return f"{value_bytes / 2**20:.0f} MiB"
    return f"{gib:.1f} GiB" if gib < 100 else f"{gib:.0f} GiB"
