"""The history as it is drawn: against `tests/golden/`, in any width, and in what it says."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latbench.history import build_history
from latbench.history_result import Change, HopMove
from latbench.render import history_words as words
from latbench.render.history import HistoryReport
from latbench.render.ink import Ink
from latbench.result import RunResult
from latbench.trend_key import SeriesKey, series_key
from tests.histories import as_stored, make_history
from tests.rendering import assert_golden, plain, printed, widest
from tests.results import make_config, make_environment, make_result
from tests.test_docs import DOCS, fenced_blocks

GATED = [("end_to_end", "p50"), ("end_to_end", "p99")]


def several() -> list[RunResult]:
    slow = make_result(config=make_config(tick_rate_hz=1000, name="nightly", linger_ms=5.0))
    moved = make_result(environment=make_environment(hostname="bench-2"))
    return [
        *make_history(40, steps=((20, "relay", 9.0),), new_library_at=None),
        *make_history(9, base=slow, seed=2),
        *make_history(5, base=moved, seed=3),
    ]


def dirty() -> list[RunResult]:
    results = make_history(30, steps=((15, "kafka", 0.6),), every=15, noise=0.02, bad={})
    environments = [
        msgspec.structs.replace(
            result.environment,
            git_revision=f"{result.environment.git_revision}+" if number >= 15 else "",
            boot_id=str(number >= 15),
            memory_bytes=(16 if number >= 15 else 8) << 30,
        )
        for number, result in enumerate(results)
    ]
    return [
        msgspec.structs.replace(result, environment=environment)
        for result, environment in zip(results, environments, strict=True)
    ]


MADE: dict[str, list[RunResult]] = {
    "weeks": make_history(),
    "several": several(),
    "quiet": make_history(25, steps=(), bad={}),
    "few": make_history(3, steps=(), bad={}),
    "dirty": dirty(),
}


HISTORIES = {
    (name, everything): build_history(as_stored(results), everything=everything)
    for name, results in MADE.items()
    for everything in (False, True)
}


def report(name: str, *, with_runs: bool = False, everything: bool = False) -> HistoryReport:
    return HistoryReport(HISTORIES[name, everything], "results", GATED, with_runs=with_runs)


@pytest.mark.parametrize("width", [50, 80, 120])
def test_weeks_are_drawn_as_they_were(width: int) -> None:
    assert_golden(f"history-weeks-{width}", printed(report("weeks"), width))


def test_the_page_shows_what_is_printed() -> None:
    (block,) = [
        block for block in fenced_blocks(DOCS / "history.md") if block.language == "console"
    ]
    command, *shown = block.text.splitlines()
    assert command == "$ latbench history results"
    assert len(shown) > 40
    assert set(shown) <= set(printed(report("weeks"), 80).splitlines())


@pytest.mark.parametrize("name", ["several", "quiet", "few", "dirty"])
def test_other_histories_are_drawn_as_they_were(name: str) -> None:
    everything = report(name, with_runs=name == "dirty", everything=True)
    assert_golden(f"history-{name}-80", printed(everything, 80))


def test_ascii_is_enough() -> None:
    text = printed(report("weeks", with_runs=True), 80, {"LC_ALL": "C"})
    assert text.isascii()
    assert_golden("history-ascii-80", text)


@pytest.mark.parametrize("name", MADE)
@given(width=st.integers(50, 200), ascii_only=st.booleans(), with_runs=st.booleans())
@settings(max_examples=12)
def test_nothing_is_wider_than_the_terminal(
    name: str, width: int, ascii_only: bool, with_runs: bool
) -> None:
    drawn = plain(report(name, with_runs=with_runs and width >= 72).draw(width, Ink(ascii_only)))
    assert widest(drawn) <= width
    assert not ascii_only or drawn.isascii()


@given(st.integers(1, 40), st.integers(0, 50), st.floats(0.0, 1.0))
@settings(max_examples=30)
def test_any_history_can_be_drawn(count: int, seed: int, noise: float) -> None:
    history = build_history(as_stored(make_history(count, seed=seed, noise=noise)))
    drawn = plain(HistoryReport(history, "r", GATED, with_runs=True).draw(80, Ink()))
    assert widest(drawn) <= 80


def test_every_run_has_a_mark_in_the_chart() -> None:
    drawn = plain(report("few").draw(80, Ink()))
    chart = drawn[drawn.index("end_to_end.p50\n") : drawn.index("end_to_end.p99\n")]
    rows = [line.partition("│")[2] for line in chart.splitlines() if "│" in line]
    assert {column for row in rows for column, cell in enumerate(row) if cell == "•"} == {0, 3, 6}


# --- words ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "told"),
    [(0.0009, "0.0009"), (0.0001, "0.0001"), (3.2e-7, "3e-7"), (9.7e-12, "1e-11"), (0, "<1e-12")],
)
def test_a_probability_is_short(p: float, told: str) -> None:
    assert words.p_value(p) == told


@pytest.mark.parametrize(
    ("magnitude", "told"),
    [(0.1234, "+12.3 %"), (-0.5, "-50.0 %"), (9.99, "+999.0 %"), (41, "×42.0")],
)
def test_a_change_is_in_percent_until_it_is_tenfold(magnitude: float, told: str) -> None:
    assert words.percent(magnitude) == told


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("a", "b+", "a → b+"),
        ("a", "a", "a on both sides"),
        ("", "b", "unknown → b"),
        ("", "", "revision unknown"),
    ],
)
def test_a_revision_on_both_sides_is_no_cause(before: str, after: str, told: str) -> None:
    assert words.revisions(before, after) == told


def key_of(**changes: Any) -> SeriesKey:
    return series_key(make_result(**changes))


@pytest.mark.parametrize("field", [field.name for field in msgspec.structs.fields(SeriesKey)])
def test_what_tells_two_scenarios_apart_is_said(field: str) -> None:
    """Whichever field differs: nobody is to see two scenarios that look the same."""
    one = key_of()
    others: dict[str, Any] = {
        "symbols": ("X",), "broker_hosts": ("x",), "producer": (("a", "b"),),
        "consumer": (("a", "b"),), "pin": (3,), "broker": "embedded",
    }  # fmt: skip
    value = getattr(one, field)
    if field == "speed":
        one = msgspec.structs.replace(one, source="ticks.parquet")
        other = msgspec.structs.replace(one, speed=2.0)
    elif field in others:
        other = msgspec.structs.replace(one, **{field: others[field]})
    elif isinstance(value, bool):
        other = msgspec.structs.replace(one, **{field: not value})
    elif isinstance(value, str):
        other = msgspec.structs.replace(one, **{field: f"{value}x"})
    else:
        other = msgspec.structs.replace(one, **{field: value + 1})
    first, second = words.told_apart([one, other])
    assert first != second


def change(*moved: HopMove) -> Change:
    return Change(
        hop="end_to_end", percentile="p50", run=9, started_unix_ns=0, revision_before="a",
        revision_after="b", from_ns=1e6, to_ns=2e6, magnitude=1.0, p_value=1e-9, runs_before=8,
        runs_after=8, moved=moved,
    )  # fmt: skip


def move(hop: str, *, sure: bool) -> HopMove:
    return HopMove(hop=hop, from_ns=1e6, to_ns=1.5e6, is_change_point=sure)


@pytest.mark.parametrize(
    ("moved", "told"),
    [
        (
            (move("relay", sure=True), move("kafka", sure=False), move("hiccup", sure=False)),
            "p50: relay 1.00 ms → 1.50 ms (+50.0 %)",
        ),
        (
            (move("kafka", sure=False), move("hiccup", sure=True)),
            "p50: none has a change point of its own here; kafka differs most, 1.00 ms → 1.50 ms "
            "(+50.0 %); the machine's own timers changed as well (hiccup 1.00 ms → 1.50 ms "
            "(+50.0 %))",
        ),
        ((), "p50: not known of the parts"),
    ],
)
def test_the_hop_that_moved_is_said(moved: tuple[HopMove, ...], told: str) -> None:
    assert words.moved(change(*moved)) == told
