"""The floor's report, against `tests/golden/`; `LATBENCH_UPDATE_GOLDEN=1` writes that anew."""

from __future__ import annotations

import io

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latbench.floor import PROBES
from latbench.floor_session import FloorResult
from latbench.render.console import open_console
from latbench.render.floor import FloorProgress, FloorReport
from latbench.render.ink import Ink
from tests.rendering import Terminal, assert_golden, plain, printed, widest
from tests.results import make_broker, make_config, make_environment, make_floor


def floor_result(*, embedded: bool = False, count: int = 10_000, **p50_ns: int) -> FloorResult:
    """What a quiet machine came to."""
    return FloorResult(
        latbench="0.1.0",
        environment=make_environment(),
        broker=make_broker(embedded=embedded),
        config=make_config(),
        floor=make_floor(count=count, **p50_ns),
    )


def embedded_result() -> FloorResult:
    """Of the embedded broker, which is slower than the pace, with acks 0."""
    result = floor_result(embedded=True, count=2_000)
    slow = make_floor(count=1_461, consume=1_320_000)
    probes = (*result.floor.probes[:3], slow.probes[4])
    floor = msgspec.structs.replace(result.floor, probes=probes)
    return msgspec.structs.replace(result, floor=floor)


RESULTS = {"kafka": floor_result(), "embedded": embedded_result()}


@pytest.mark.parametrize("width", [80, 140])
@pytest.mark.parametrize("name", RESULTS)
def test_the_floor_looks_as_before(name: str, width: int) -> None:
    text = printed(FloorReport(RESULTS[name]), width)
    assert widest(text) <= width
    assert_golden(f"floor-{name}-{width}", text)


def test_the_floor_looks_as_before_in_ascii() -> None:
    text = printed(FloorReport(RESULTS["embedded"]), 80, {"LANG": "C"})
    text.encode("ascii")
    assert_golden("floor-ascii-80", text)


@settings(max_examples=100)
@given(
    st.integers(60, 200),
    st.integers(0, 10**7),
    st.lists(st.integers(1, 10**13), min_size=5, max_size=5),
    st.booleans(),
    st.booleans(),
)
def test_no_line_is_wider_than_the_terminal(
    width: int, count: int, p50s_ns: list[int], embedded: bool, ascii_only: bool
) -> None:
    names = [probe.name for probe in PROBES]
    result = floor_result(embedded=embedded, count=count, **dict(zip(names, p50s_ns, strict=True)))
    text = plain(FloorReport(result).draw(width, Ink(ascii_only)))
    assert widest(text) <= width
    assert "bare floor" in text
    if ascii_only:
        text.encode("ascii")


def test_every_probe_has_a_row_that_says_what_it_is_the_limit_of() -> None:
    rows = printed(FloorReport(RESULTS["kafka"]), 80).splitlines()
    for probe in PROBES:
        (row,) = [row for row in rows if row.startswith(probe.label)]
        assert row.endswith(probe.limits)


def test_a_floor_without_a_known_sum_is_not_made_up() -> None:
    text = printed(FloorReport(floor_result(count=100)), 80)
    (row,) = [row for row in text.splitlines() if row.startswith("bare floor   ")]
    assert "n/a" in row


def test_on_a_terminal_the_progress_is_one_line_that_goes() -> None:
    terminal = Terminal()
    progress = FloorProgress(open_console(terminal, {"TERM": "xterm"}), 10_000)
    progress.stop()
    assert terminal.getvalue() == ""
    progress.update("WebSocket")
    progress.stop()
    assert terminal.getvalue() == "\rfloor  WebSocket: 10,000 samples\x1b[K\r\x1b[K"


def test_without_a_terminal_the_progress_is_a_line_for_each() -> None:
    stream = io.StringIO()
    progress = FloorProgress(open_console(stream, {}), 1_000)
    for label in ("TCP", "Kafka"):
        progress.update(label)
    progress.stop()
    assert stream.getvalue() == "floor  TCP: 1,000 samples\nfloor  Kafka: 1,000 samples\n"
