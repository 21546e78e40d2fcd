"""What `report --plot` draws, against `tests/golden/`; see `test_render_report`."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latbench.analysis import HopFigures
from latbench.clock import NS_PER_MS, NS_PER_S
from latbench.histogram import Histogram
from latbench.render.axes import Scale, apart, column_labels, row_of
from latbench.render.canvas import Canvas
from latbench.render.distribution import _percent_text
from latbench.render.ink import Ink, width_of
from latbench.render.over_time import FILLS, legend_lines
from latbench.render.plot import Plot, most_intervals
from latbench.result import RunResult
from latbench.series import (
    Distribution,
    HopTimeline,
    Series,
    Timeline,
    bins_of,
    choose_interval_ns,
    curves_of,
)
from latbench.tick import HOPS
from tests.rendering import assert_golden, plain, printed, widest
from tests.results import make_broker, make_config, make_result
from tests.rows import MEDIANS_US, START_NS, make_stamps

RATE_HZ = 2000
STALL = slice(24_000, 25_000)
"""Ticks of half a second, 12 s into the run."""


def make_ticks(count: int = 40_000) -> tuple[dict[str, Any], npt.NDArray[np.bool_]]:
    """20 s with a stall of the consumer of half a second; and which ticks overlap that."""
    columns = make_stamps(count, rate_hz=RATE_HZ)
    stalled = np.zeros(count, dtype=np.bool_)
    stalled[STALL] = True
    left_ns = (STALL.stop - np.arange(count)) * (NS_PER_S // RATE_HZ)
    columns["consumed_ns"] = columns["consumed_ns"] + np.where(stalled, left_ns, 0)
    return columns, stalled


def make_series(
    columns: dict[str, Any], stalled: npt.NDArray[np.bool_] | None = None, most: int = 60
) -> tuple[RunResult, Series]:
    """What `read_series` would give of these ticks, worked out plainly."""
    due = columns["due_ns"] - START_NS
    span_ns = int(due[-1]) + 1
    interval_ns = choose_interval_ns(span_ns, most)
    numbers = due // interval_ns
    size = -(-span_ns // interval_ns)
    figures = HopFigures()
    figures.record(columns)
    hops = {}
    for hop in HOPS:
        start, end = columns[hop.start_column], columns[hop.end_column]
        known = (start >= 0) & (end >= 0)
        parts = [(end - start)[known & (numbers == number)] for number in range(size)]
        if known.any():
            rows = [
                [math.nan] * 4
                if not part.size
                else [*np.percentile(part, [50, 99], method="higher"), part.max(), part.mean()]
                for part in parts
            ]
            hops[hop.name] = HopTimeline(*np.array(rows, dtype=np.float64).T)
    histograms = {name: each for name, each in figures.histograms.items() if each.count}
    hiccups = Histogram()
    late_us = np.random.default_rng(3).lognormal(math.log(60), 0.6, 80_000)
    hiccups.record(np.rint(late_us * 1000).astype(np.int64))
    histograms["hiccup"] = hiccups
    distributions = {
        name: Distribution(each.counts.copy(), each.max_ns) for name, each in histograms.items()
    }
    timeline = Timeline(
        interval_ns=interval_ns,
        begins_ns=np.arange(size) * interval_ns,
        count=np.bincount(numbers, minlength=size),
        consumed=np.bincount(numbers[columns["consumed_ns"] >= 0], minlength=size),
        hops=hops,
        stalled=np.zeros(0, dtype=np.int64)
        if stalled is None
        else np.bincount(numbers[stalled], minlength=size),
        hiccup_max_ns=hiccups_over_time(size),
    )
    result = make_result(
        hops=figures.summaries(span_ns),
        config=make_config(broker="embedded"),
        broker=make_broker(embedded=True),
    )
    return result, Series(
        timeline, curves_of(distributions), bins_of([distributions])[0], distributions
    )


def hiccups_over_time(size: int) -> dict[str, npt.NDArray[np.float64]]:
    """A process that wakes late now and then, and one that tells nothing at first."""
    rng = np.random.default_rng(5)
    generator, relay = np.exp(rng.normal(math.log(200_000), 0.5, (2, size)))
    relay[: size // 3] = np.nan
    return {"generator": generator, "relay": relay}


def make_plot(width: int, **changes: Any) -> Plot:
    columns, stalled = make_ticks()
    for name, values in changes.items():
        columns[name] = values
    return Plot(*make_series(columns, stalled, most_intervals(width)))


@pytest.mark.parametrize("width", [50, 80, 120, 200])
def test_a_plot_looks_as_before(width: int) -> None:
    text = printed(make_plot(width), width)
    assert widest(text) <= width
    assert_golden(f"plot-{width}", text)


def test_a_plot_looks_as_before_in_ascii() -> None:
    text = printed(make_plot(80), 80, {"LANG": "C"})
    text.encode("ascii")
    assert widest(text) <= 80
    assert_golden("plot-ascii-80", text)


def section(text: str, title: str) -> list[str]:
    """The lines of one picture."""
    lines = text.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith(title))
    rest = lines[begin + 1 :]
    return rest[: rest.index("")] if "" in rest else rest


@settings(max_examples=60, deadline=None)
@given(
    st.integers(50, 200),
    st.booleans(),
    st.integers(1, 700),
    st.sampled_from([1, 1000, 10**6]),
    st.floats(0, 1),
    st.integers(0, 2**32),
)
def test_any_run_can_be_drawn_and_no_line_is_wider_than_the_terminal(
    width: int, ascii_only: bool, count: int, scale: int, lost: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    columns = make_stamps(count, seed=seed)
    before = columns["due_ns"]
    for name in MEDIANS_US:
        previous = columns["relay_out_ns"] if name in ("acked", "consumed") else before
        columns[f"{name}_ns"] = before = previous + rng.integers(0, scale, count)
    columns["consumed_ns"] = np.where(rng.random(count) < lost, -1, columns["consumed_ns"])
    plot = Plot(*make_series(columns, columns["seq"] % 3 == 0, most_intervals(width)))
    lines = plot.draw(width, Ink(ascii_only))
    assert max(map(width_of, lines)) <= width
    if ascii_only:
        plain(lines).encode("ascii")


def test_a_run_without_a_tick_end_to_end_says_so() -> None:
    columns, _ = make_ticks(3000)
    columns["consumed_ns"][:] = -1
    result, series = make_series(columns)
    text = printed(Plot(result, series), 80)
    assert text == "No tick was measured from end to end: there is nothing to draw.\n"


def test_a_stall_and_losses_are_marked_where_they_were() -> None:
    columns, stalled = make_ticks()
    columns["consumed_ns"][:4000] = -1
    plot = Plot(*make_series(columns, stalled, most_intervals(82)))
    over_time = section(printed(plot, 82), "Latency over time")
    rows = {line.split()[0]: line for line in over_time if line.split()[0] in ("stalled", "lost")}
    cells = {name: row[13:73] for name, row in rows.items()}
    # 60 cells are 20 s: the first 2 s were lost, and the half second from 12 s on was stalled
    assert cells["lost"] == "█" * 6 + " " * 54
    assert cells["stalled"].strip(" ") != ""
    assert {number for number, char in enumerate(cells["stalled"]) if char != " "} <= {36, 37, 38}
    assert rows["stalled"].endswith(" 2.5 %")
    assert rows["lost"].endswith(" 10.0 %")


def test_nothing_is_said_of_stalls_and_losses_where_there_are_none() -> None:
    columns, stalled = make_ticks(4000)
    for given_stalled in (None, stalled & False):
        text = printed(Plot(*make_series(columns, given_stalled)), 80)
        assert "stalled" not in text
        assert "lost" not in text


def test_shares_add_up_in_every_column() -> None:
    text = printed(make_plot(80), 80)
    rows = [line[13:71] for line in section(text, "Where the time goes") if line[12:13] == "│"]
    fills = {fill for fill, _ in FILLS.values()}
    assert len(rows) == 10
    assert {char for row in rows for char in row} <= fills
    order = [FILLS[name][0] for name in ("schedule", "websocket", "relay", "kafka")]
    for column in zip(*reversed(rows), strict=True):
        places = [order.index(char) for char in column]
        assert places == sorted(places)


def test_few_ticks_have_a_histogram_but_no_curve() -> None:
    columns, _ = make_ticks(100)
    text = printed(Plot(*make_series(columns)), 80)
    assert section(text, "Percentiles") == ["A curve takes more than 100 ticks."]
    assert len(section(text, "Histogram")) > 10
    columns, _ = make_ticks(101)
    text = printed(Plot(*make_series(columns)), 80)
    assert (
        section(text, "Percentiles")[0]
        == "up to 0.9 %, beyond which there are fewer than 100 ticks"
    )


def test_a_file_without_meters_has_no_hiccups_below_the_histogram() -> None:
    result, series = make_series(make_ticks(4000)[0])
    for part in (series.bins, series.curves, series.distributions):
        del part["hiccup"]
    series.timeline.hiccup_max_ns.clear()
    assert "hiccups" not in printed(Plot(result, series), 80)


def test_hops_that_have_no_tick_are_not_drawn() -> None:
    columns, _ = make_ticks(4000)
    columns["acked_ns"][:] = -1
    text = printed(Plot(*make_series(columns)), 80)
    assert "\n        ack │" not in text
    assert "\n    service │" in text


def test_everything_is_told_apart_without_colour() -> None:
    text = printed(make_plot(120), 120)
    for label in ("max", "p99", "p50", "● end_to_end", "× kafka", "◇ relay", "□ websocket"):
        assert any(line.rstrip().endswith(label) for line in text.splitlines()), label
    marks = "".join(line[12:107] for line in section(text, "Percentiles"))
    assert all(mark in marks for mark in "●×◇□△")


# --- what charts are made of ------------------------------------------------------------------


@given(st.lists(st.integers(0, 13), max_size=14), st.integers(14, 20))
def test_labels_stand_in_rows_of_their_own_in_the_order_given(rows: list[int], height: int) -> None:
    wanted = sorted(rows)
    placed = apart(wanted, height)
    assert placed == sorted(set(placed))
    assert all(0 <= row < height for row in placed)
    if len(set(wanted)) == len(wanted):
        assert placed == wanted


@given(st.lists(st.tuples(st.floats(0, 1), st.text("0123456789 %", min_size=1, max_size=9))))
def test_labels_below_an_axis_never_meet(places: list[tuple[float, str]]) -> None:
    labels = [(share, label.strip() or "0") for share, label in sorted(places)]
    text = column_labels(labels, 60)
    assert len(text) <= 60
    assert set(text.split()) <= {word for _, label in labels for word in label.split()}


def test_a_line_in_braille_is_joined_and_a_point_is_not() -> None:
    canvas = Canvas(2, 1, Ink())
    canvas.line([(0, 0), (1, 1)], "", "*")
    assert "".join(char for char, _ in canvas.cells()[0]) == "⡠⠊"
    canvas = Canvas(2, 1, Ink())
    canvas.dots([(0, 0), (1, 1)], "", "*")
    assert "".join(char for char, _ in canvas.cells()[0]) == "⡀⠈"


def test_a_steep_line_has_no_gap() -> None:
    canvas = Canvas(3, 4, Ink(ascii_only=True))
    canvas.line([(0, 0), (0.5, 1), (1, 0)], "", "*")
    rows = ["".join(char for char, _ in row) for row in canvas.cells()]
    assert rows == [" * ", " * ", "* *", "* *"]


@given(st.floats(1, 1e9), st.floats(1.01, 1e6), st.floats(0, 1))
def test_a_scale_goes_there_and_back(low: float, ratio: float, share: float) -> None:
    scale = Scale(low, low * ratio)
    assert scale.share(scale.value(share)) == pytest.approx(share, abs=1e-6)
    assert 0 <= row_of(share, 14) <= 13


@pytest.mark.parametrize(
    ("percent", "told"),
    [
        (0, "0 %"), (50, "50 %"), (90, "90 %"), (99.9, "99.9 %"), (99.9995, "99.9995 %"),
        (99.58333, "99.58 %"), (99.99999966, "99.99999966 %"), (0.99, "0.9 %"),
    ],
)  # fmt: skip
def test_the_last_percentile_is_never_rounded_up(percent: float, told: str) -> None:
    assert _percent_text(percent) == told


def test_a_legend_takes_as_many_lines_as_it_needs() -> None:
    items = [[(f"## part {number} 25%", "")] for number in range(4)]
    for width in (40, 60, 100):
        lines = legend_lines([list(item) for item in items], width)
        assert max(map(width_of, lines)) <= width
        assert plain(lines).count("part") == 4


def test_series_are_frozen() -> None:
    _, series = make_series(make_ticks(500)[0])
    with pytest.raises(dataclasses.FrozenInstanceError):
        series.timeline.interval_ns = NS_PER_MS  # type: ignore[misc]


def test_without_rows_the_distributions_are_drawn_alone() -> None:
    result, series = make_series(*make_ticks(), most_intervals(80))
    without = dataclasses.replace(series, timeline=None)
    whole, text = printed(Plot(result, series), 80), printed(Plot(result, without), 80)
    assert "over time" in whole.lower()
    assert "over time" not in text.lower()
    assert whole.endswith(text)
