from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from latbench import store
from latbench.analysis import HopFigures
from latbench.assembly import MISSING, TABLE_COLUMNS, TickTable
from latbench.clock import NS_PER_MS, NS_PER_S
from latbench.errors import LatbenchError
from latbench.histogram import (
    COUNTERS,
    MIN_SAMPLES_BEYOND,
    Histogram,
    bucket_indices,
    highest_equivalent,
    highest_equivalents,
    lowest_equivalents,
)
from latbench.recording import WORST_HICCUPS
from latbench.series import (
    BINS_PER_DECADE,
    TICKS_PER_INTERVAL,
    Distribution,
    Series,
    add_distributions,
    bins_of,
    choose_interval_ns,
    curves_of,
    read_series,
    series_without_rows,
)
from latbench.store import ResultWriter, read_histograms, read_result
from latbench.tick import HOPS
from tests.cli import Caller
from tests.results import make_hiccups, make_result
from tests.rows import START_NS, SYMBOLS, fill_spool, make_rows, make_stamps

Ints = npt.NDArray[np.int64]

WARMUP_NS = NS_PER_S
PRECISION = 1e-3
"""What a histogram's counter may differ from the value it holds."""

latencies = st.lists(st.integers(0, 60 * NS_PER_S), min_size=1, max_size=400)


def write(
    path: Path, columns: dict[str, Any], *, stalled: Ints | None = None, **changes: Any
) -> Path:
    """A result file of these ticks, its warm-up 1 s; `stalled`: `seq` that overlap a stall."""
    writer, figures = ResultWriter(path, SYMBOLS), HopFigures()
    table = TickTable({name: columns[name] for name in TABLE_COLUMNS})
    warmup = columns["due_ns"] < START_NS + WARMUP_NS
    figures.record({name: column[~warmup] for name, column in table.columns.items()})
    for places in np.array_split(np.arange(len(table)), max(len(table) // 700, 1)):
        part = TickTable({name: column[places] for name, column in table.columns.items()})
        overlapping = None if stalled is None else np.isin(part.columns["seq"], stalled)
        writer.write(part, warmup[places], overlapping)
    summaries = figures.summaries(NS_PER_S)
    histograms = figures.histograms
    if changes.get("hiccups") is None:
        changes["hiccups"] = None
    else:
        histograms["hiccup"] = changes.pop("hiccups")
        meter = histograms["hiccup"]
        changes["hiccups"] = make_hiccups(count=meter.count, max_ns=meter.max_ns)
    if stalled is None:
        changes["stalls"] = None
    samples = changes.pop("samples", {})
    result = make_result(start_ns=START_NS, warmup_ns=WARMUP_NS, hops=summaries, **changes)
    writer.close(result, histograms, samples)
    return path


def drop_column(path: Path, name: str) -> None:
    """Take a column out of a result file."""
    kept = pq.read_metadata(path).metadata
    pq.write_table(pq.read_table(path).drop_columns([name]).replace_schema_metadata(kept), path)


def histogram_of(values: Any) -> Histogram:
    histogram = Histogram()
    histogram.record(np.array(values, dtype=np.int64))
    return histogram


def distribution_of(values: Any) -> Distribution:
    histogram = histogram_of(values)
    return Distribution(histogram.counts.copy(), histogram.max_ns)


def columns_with(latency_ns: list[int], gap_ns: int = 7 * NS_PER_MS) -> dict[str, Any]:
    """Measured ticks that took so long, one each 7 ms, after 1 s of warm-up."""
    columns = make_stamps(len(latency_ns) + 10, rate_hz=10)
    columns["due_ns"][10:] = START_NS + WARMUP_NS + np.arange(len(latency_ns)) * gap_ns
    columns["consumed_ns"] = columns["due_ns"] + np.array([5] * 10 + latency_ns)
    return columns


def by_interval(series: Series, values: Ints, due_ns: Ints) -> list[Ints]:
    """Values parted by the interval that their tick was due in."""
    numbers = (due_ns - START_NS - WARMUP_NS) // series.timeline.interval_ns
    return [values[numbers == number] for number in range(series.timeline.count.size)]


def percentile(values: Ints, percent: float) -> int:
    return int(np.sort(values)[math.ceil(round(percent * values.size / 100, 6)) - 1])


# --- over time --------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(latencies, st.integers(1, 300), st.sampled_from([1, 40_000, 7_000_000, 10**9]))
@example([3] * 400, 240, 10**8)
def test_every_interval_has_the_figures_of_its_ticks(
    tmp_path_factory: pytest.TempPathFactory, latency_ns: list[int], most: int, gap_ns: int
) -> None:
    columns = columns_with(latency_ns, gap_ns)
    path = write(tmp_path_factory.mktemp("series") / "run.parquet", columns)
    series = read_series(path, most)
    timeline, values = series.timeline, np.array(latency_ns)
    assert timeline.count.size <= most
    assert timeline.begins_ns.tolist() == [
        number * timeline.interval_ns for number in range(timeline.count.size)
    ]
    parts = by_interval(series, values, columns["due_ns"][10:])
    assert timeline.count.tolist() == timeline.consumed.tolist() == [part.size for part in parts]
    assert timeline.count.sum() == values.size
    hop = timeline.hops["end_to_end"]
    for number, part in enumerate(parts):
        if not part.size:
            assert np.isnan(hop.p50_ns[number])
            assert np.isnan(hop.max_ns[number])
            continue
        assert hop.max_ns[number] == part.max()
        assert hop.mean_ns[number] == pytest.approx(part.mean())
        assert hop.p50_ns[number] == pytest.approx(percentile(part, 50), rel=PRECISION)
        assert hop.p99_ns[number] == pytest.approx(percentile(part, 99), rel=PRECISION)


def test_hops_stand_in_their_order_and_add_up(tmp_path: Path) -> None:
    columns = make_stamps(4000)
    series = read_series(write(tmp_path / "run.parquet", columns))
    hops = series.timeline.hops
    assert list(hops) == [hop.name for hop in HOPS]
    parts = sum(hops[name].mean_ns for name in ("schedule", "websocket", "relay", "kafka"))
    assert np.allclose(parts, hops["end_to_end"].mean_ns)
    assert list(series.curves) == list(series.bins) == list(series.distributions) == list(hops)


def test_a_hop_that_no_tick_has_is_left_out(tmp_path: Path) -> None:
    columns = make_stamps(4000)
    columns["acked_ns"][:] = MISSING
    series = read_series(write(tmp_path / "run.parquet", columns))
    for there in (series.timeline.hops, series.curves, series.bins):
        assert "ack" not in there
        assert "end_to_end" in there


def test_lost_and_stalled_ticks_are_counted_where_they_were_due(tmp_path: Path) -> None:
    columns = make_stamps(4000)
    columns["consumed_ns"][2000:2100] = MISSING
    stalled = np.arange(2950, 3010)
    timeline = read_series(write(tmp_path / "run.parquet", columns, stalled=stalled)).timeline
    ticks = timeline.interval_ns // NS_PER_MS
    lost = timeline.count - timeline.consumed
    assert timeline.count.tolist() == [ticks] * (3000 // ticks)
    assert lost.sum() == 100
    assert np.flatnonzero(lost).tolist() == list(range(1000 // ticks, 1100 // ticks))
    assert timeline.stalled.sum() == 60
    assert timeline.stalled[1950 // ticks] > 0


def test_without_meters_or_the_column_nothing_is_told_of_stalls(tmp_path: Path) -> None:
    path = write(tmp_path / "run.parquet", make_stamps(3000))
    assert read_series(path).timeline.stalled.size == 0
    write(path, make_stamps(3000), stalled=np.arange(2000))
    drop_column(path, "stall")
    assert read_series(path).timeline.stalled.size == 0


def test_the_warm_up_is_in_no_interval(tmp_path: Path) -> None:
    columns = columns_with([5_000] * 2000)
    columns["consumed_ns"][:10] += NS_PER_S
    series = read_series(write(tmp_path / "run.parquet", columns))
    assert series.timeline.count.sum() == 2000
    assert np.nanmax(series.timeline.hops["end_to_end"].max_ns) == 5_000
    assert series.bins["end_to_end"].counts.sum() == 2000


def test_a_run_of_nothing_but_warm_up_has_no_interval(tmp_path: Path) -> None:
    series = read_series(write(tmp_path / "run.parquet", make_stamps(500)))
    assert series.timeline.count.size == 0
    assert series.timeline.hops == series.curves == series.bins == {}


def test_rows_in_disorder_are_all_counted(tmp_path: Path) -> None:
    columns = columns_with([5_000] * 2000)
    columns["due_ns"][10:] = columns["due_ns"][10:][::-1].copy()
    columns["consumed_ns"] = columns["due_ns"] + 5_000
    timeline = read_series(write(tmp_path / "run.parquet", columns)).timeline
    assert timeline.count.sum() == 2000
    assert np.nanmax(timeline.hops["end_to_end"].max_ns) == 5_000


def test_intervals_go_on_over_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = make_stamps(6000)
    whole = read_series(write(tmp_path / "whole.parquet", columns))
    monkeypatch.setattr(store, "ROW_GROUP_TICKS", 701)
    path = write(tmp_path / "parts.parquet", columns)
    assert pq.read_metadata(path).num_row_groups > 3
    parts = read_series(path)
    for name, hop in whole.timeline.hops.items():
        assert parts.timeline.hops[name].p99_ns.tolist() == hop.p99_ns.tolist()
        assert np.allclose(parts.timeline.hops[name].mean_ns, hop.mean_ns)


def test_the_worst_hiccups_stand_in_the_interval_that_they_were_due_in(tmp_path: Path) -> None:
    moments = [(0.5, 1, 7.0), (1.05, 1, 2.0), (1.051, 1, 9.0), (2.5, 2, 3.0), (4.5, 2, 8.0)]
    at_s, process, late_ms = np.array(moments).T
    worst = {
        "at_ns": START_NS + (at_s * NS_PER_S).astype(np.int64),
        "process": process.astype(np.int64),
        "late_ns": (late_ms * NS_PER_MS).astype(np.int64),
    }
    columns = make_stamps(4000)
    path = write(tmp_path / "run.parquet", columns, samples={WORST_HICCUPS: worst})
    timeline = read_series(path).timeline
    assert timeline.interval_ns == 20 * NS_PER_MS
    assert list(timeline.hiccup_max_ns) == ["generator", "relay"]
    # that of the warm-up and that after the last tick are in none
    for process_name, place, late in (("generator", 2, 9), ("relay", 75, 3)):
        values = timeline.hiccup_max_ns[process_name]
        assert values.size == timeline.count.size
        assert np.flatnonzero(~np.isnan(values)).tolist() == [place]
        assert values[place] == late * NS_PER_MS


def test_a_file_that_keeps_no_hiccups_has_none_over_time(tmp_path: Path) -> None:
    path = write(tmp_path / "run.parquet", make_stamps(3000))
    assert read_series(path).timeline.hiccup_max_ns == {}


def test_a_slow_run_has_longer_intervals_with_ticks_enough(tmp_path: Path) -> None:
    timeline = read_series(write(tmp_path / "run.parquet", columns_with([5] * 100))).timeline
    assert timeline.count[:-1].min() >= TICKS_PER_INTERVAL


@given(st.integers(0, 10**17), st.integers(1, 1000))
def test_intervals_cover_the_span_and_are_not_too_many(span_ns: int, most: int) -> None:
    interval_ns = choose_interval_ns(span_ns, most)
    assert interval_ns * most >= span_ns


def test_a_file_without_a_stamp_is_refused_in_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "run.parquet", make_stamps(3000))
    drop_column(path, "acked_ns")
    with pytest.raises(LatbenchError, match="lacks the column acked_ns"):
        read_series(path)


# --- as a command -----------------------------------------------------------------------------


def test_the_pictures_stand_below_the_report(call_latbench: Caller, tmp_path: Path) -> None:
    write(tmp_path / "run.parquet", make_stamps(4000))
    told = call_latbench("report", "run.parquet", cwd=tmp_path)
    run = call_latbench("report", "run.parquet", "--plot", cwd=tmp_path)
    assert (run.code, run.stderr) == (0, "")
    assert run.stdout.startswith(f"{told.stdout}\nLatency over time\n")
    for title in ("Where the time goes over time", "Percentiles", "Histogram"):
        assert f"\n{title}\n" in run.stdout


def test_json_has_no_pictures(call_latbench: Caller, tmp_path: Path) -> None:
    run = call_latbench("report", "run.parquet", "--plot", "--json", cwd=tmp_path)
    assert (run.code, run.stdout) == (2, "")
    assert run.stderr == (
        "error: --plot and --json exclude each other\nhint: --json has no pictures\n"
    )


def test_what_a_killed_run_left_is_drawn_once_it_is_saved(
    call_latbench: Caller, tmp_path: Path
) -> None:
    fill_spool(tmp_path / "run.parquet.partial", make_rows(make_stamps(500)))
    run = call_latbench("report", "run.parquet.partial", "--plot", cwd=tmp_path)
    assert (run.code, run.stdout) == (1, "")
    error, hint = run.stderr.splitlines()
    assert error == (
        "error: run.parquet.partial is no result file yet: there are no rows in order to draw"
    )
    assert hint.endswith("latbench report run.parquet.partial --save --plot")
    run = call_latbench("report", "run.parquet.partial", "--save", "--plot", cwd=tmp_path)
    assert run.code == 0
    assert "\nLatency over time\n" in run.stdout


def test_damaged_rows_are_told_before_anything_is_printed(
    call_latbench: Caller, tmp_path: Path
) -> None:
    path = write(tmp_path / "run.parquet", make_stamps(3000))
    drop_column(path, "relay_in_ns")
    run = call_latbench("report", "run.parquet", "--plot", cwd=tmp_path)
    assert (run.code, run.stdout) == (1, "")
    assert run.stderr.startswith("error: run.parquet lacks the column relay_in_ns\nhint: ")


# --- distributions ----------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**11), min_size=1, max_size=1500))
def test_a_curve_has_the_percentiles_of_the_histogram_up_to_the_last_honest_one(
    values: list[int],
) -> None:
    curve = curves_of({"kafka": distribution_of(values)})["kafka"]
    if len(values) <= MIN_SAMPLES_BEYOND:
        assert curve.percent.size == curve.value_ns.size == 0
        return
    assert curve.value_ns.tolist() == histogram_of(values).percentiles(curve.percent.tolist())
    assert (np.diff(curve.percent) > 0).all()
    assert (np.diff(curve.value_ns) >= 0).all()
    assert curve.percent[-1] == pytest.approx(100 * (1 - MIN_SAMPLES_BEYOND / len(values)))
    ordered = np.sort(values)
    for percent, value_ns in zip(curve.percent, curve.value_ns, strict=True):
        rank = math.ceil(round(percent * len(values) / 100, 6))
        assert value_ns == pytest.approx(ordered[rank - 1], rel=PRECISION, abs=0)


def test_a_curve_meets_the_percentiles_of_the_report() -> None:
    rng = np.random.default_rng(7)
    values = np.rint(rng.lognormal(13, 1, 2_000_000)).astype(np.int64)
    curve = curves_of({"kafka": distribution_of(values)})["kafka"]
    for percent in (50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99):
        assert np.isclose(curve.percent, percent, atol=1e-9).any()
    assert curve.percent.size < 300


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 10**12), max_size=300), min_size=1, max_size=4))
def test_distributions_of_several_files_add_exactly(parts: list[list[int]]) -> None:
    groups = [{"kafka": distribution_of(values)} for values in parts if values]
    if not groups:
        return
    added = add_distributions([*groups, {"ack": distribution_of([5])}])
    together = distribution_of([value for values in parts for value in values])
    assert list(added) == ["kafka", "ack"]
    assert added["kafka"].max_ns == together.max_ns
    assert added["kafka"].counts.tolist() == together.counts.tolist()
    assert groups[0]["kafka"].counts.sum() == len(next(filter(None, parts)))


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 10**12), min_size=1, max_size=300), max_size=4))
def test_bins_have_every_sample_and_the_same_edges(parts: list[list[int]]) -> None:
    groups = [{"kafka": distribution_of(values)} for values in parts]
    bins = bins_of(groups)
    assert len(bins) == len(groups)
    for values, of_group in zip(parts, bins, strict=True):
        found = of_group["kafka"]
        assert found.edges_ns.tolist() == bins[0]["kafka"].edges_ns.tolist()
        assert found.counts.size == found.edges_ns.size - 1
        assert found.counts.sum() == len(values)
        # no sample further from its place than its counter is wide
        for begin, end in ((1 - PRECISION, 1 + PRECISION), (1 + PRECISION, 1 - PRECISION)):
            below = [np.count_nonzero(np.maximum(values, 1) < edge * begin) for edge in
                     found.edges_ns[1:-1]]  # fmt: skip
            told = np.cumsum(found.counts)[:-1]
            assert (told >= below).all() if begin < end else (told <= below).all()
    for of_group in bins[:1]:
        assert np.allclose(np.diff(np.log10(of_group["kafka"].edges_ns)), 1 / BINS_PER_DECADE)


def test_hiccups_have_a_curve_and_bins_too(tmp_path: Path) -> None:
    hiccups = histogram_of([60_000] * 5000 + [3_000_000] * 7)
    series = read_series(write(tmp_path / "run.parquet", make_stamps(3000), hiccups=hiccups))
    assert series.bins["hiccup"].counts.sum() == 5007
    assert series.bins["hiccup"].edges_ns is series.bins["kafka"].edges_ns
    assert series.curves["hiccup"].value_ns.max() == pytest.approx(60_000, rel=PRECISION)


def test_the_ends_of_counters_are_those_of_the_plain_way() -> None:
    counters = np.arange(COUNTERS)
    highest = highest_equivalents(counters)
    assert highest.tolist() == [highest_equivalent(number) for number in range(COUNTERS)]
    lowest = lowest_equivalents(counters)
    in_range = highest < 24 * 3600 * NS_PER_S
    assert (bucket_indices(lowest[in_range]) == counters[in_range]).all()
    assert (lowest[1:] == highest[:-1] + 1).all()


def test_a_runs_figures_and_histograms_give_the_same_without_its_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "run.parquet", make_stamps(4000))
    whole = read_series(path)
    series = series_without_rows(read_result(path), read_histograms(path))
    assert series.timeline is None
    assert list(series.distributions) == list(whole.distributions)
    for key, curve in whole.curves.items():
        np.testing.assert_array_equal(series.curves[key].value_ns, curve.value_ns)
        np.testing.assert_array_equal(series.bins[key].counts, whole.bins[key].counts)
