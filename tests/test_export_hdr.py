"""HdrHistogram's interval log and percentile distribution."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from hypothesis import given
from hypothesis import strategies as st

from latbench.clock import NS_PER_S
from latbench.export.hgrm import draw_hgrm, points
from latbench.export.hlog import HICCUP, MAX_INTERVALS, draw_interval, interval_ns, write_hlog
from latbench.histogram import HIGHEST_NS, Histogram
from latbench.merging import histograms_of
from latbench.recording import CONSUMER, GENERATOR
from latbench.store import read_result
from latbench.tick import HOPS
from tests.rendering import assert_golden
from tests.stored import LOST, write_run

Interval = tuple[str, float, float, Histogram]


def read_log(log: str) -> list[tuple[str, float, float, HdrHistogram]]:
    """Tag, start and length in seconds, and histogram of each line."""
    read = []
    for line in log.splitlines():
        if line.startswith("Tag="):
            tag, start, length, _, payload = line.removeprefix("Tag=").split(",")
            read.append((tag, float(start), float(length), HdrHistogram.decode(payload)))
    return read


def log_of(path: Path) -> str:
    sink, result = io.BytesIO(), read_result(path)
    write_hlog(path, result, histograms_of(path, result).get(HICCUP), sink)
    return sink.getvalue().decode()


@pytest.mark.parametrize(
    "gone",
    [{}, LOST, {GENERATOR: {2500, 2501, 3999}}, {CONSUMER: set(range(3000, 4000))}],
    ids=["none", "lost", "without a due moment", "a second without ticks"],
)
def test_the_intervals_of_a_tag_add_up_to_the_hop(
    gone: dict[str, set[int]], tmp_path: Path
) -> None:
    path = write_run(tmp_path / "run.parquet", ticks=6000, gone=gone)
    added = {name: np.zeros(0) for name in [*(hop.name for hop in HOPS), HICCUP]}
    for tag, _, _, histogram in read_log(log_of(path)):
        counts = np.frombuffer(histogram.counts, dtype=np.uint64)
        added[tag] = counts + added[tag] if added[tag].size else counts.copy()
    for name, histogram in histograms_of(path, read_result(path)).items():
        assert (added[name] == histogram.counts).all(), name


def test_intervals_are_seconds_by_when_ticks_were_due_and_come_in_order(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run.parquet", ticks=5500)
    lines = [line for line in read_log(log_of(path)) if line[0] == "end_to_end"]
    assert [line[1:3] for line in lines] == [(0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (3.0, 0.5)]
    assert [line[3].get_total_count() for line in lines] == [1000, 1000, 1000, 500]
    starts = [line[1] for line in read_log(log_of(path))]
    assert starts == sorted(starts)


def test_the_log_begins_when_the_warm_up_ends(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run.parquet", ticks=5000)
    begin_s = read_result(path).started_unix_ns / NS_PER_S + 2
    head = log_of(path).splitlines()[:6]
    assert f"#[StartTime: {begin_s:.3f} (seconds since epoch), 2025-11-24T17:30:02Z]" in head
    assert f"#[BaseTime: {begin_s:.3f} (seconds since epoch)]" in head
    assert "#[Histogram log format version 1.3]" in head
    assert any("values are nanoseconds" in line for line in head)


def test_hdrhs_own_reader_reads_it(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run.parquet", ticks=4000)
    log = tmp_path / "run.hlog"
    log.write_text(log_of(path))
    reader = HistogramLogReader(str(log), HdrHistogram(1, HIGHEST_NS, 3))
    tags, count = set(), 0
    while interval := reader.get_next_interval_histogram():
        tags.add(interval.get_tag())
        count += interval.get_total_count() * (interval.get_tag() == "kafka")
    reader.close()
    assert tags == {*(hop.name for hop in HOPS), HICCUP}
    assert count == 2000


@given(st.integers(1, 30 * 86_400 * NS_PER_S))
def test_a_log_has_at_most_600_intervals_of_whole_seconds(measured_ns: int) -> None:
    width_ns = interval_ns(measured_ns)
    assert width_ns % NS_PER_S == 0
    assert -(-measured_ns // width_ns) <= MAX_INTERVALS


@pytest.mark.parametrize(
    ("measured_s", "width_s"),
    [(0, 1), (600, 1), (601, 2), (3600, 10), (86_400, 300), (2_592_000, 7200)],
)
def test_an_interval_is_a_second_or_a_round_number(measured_s: int, width_s: int) -> None:
    assert interval_ns(measured_s * NS_PER_S) == width_s * NS_PER_S


def test_the_greatest_value_of_an_interval_is_told_in_milliseconds() -> None:
    histogram = Histogram()
    histogram.record(np.array([1_000, 2_345_678], dtype=np.int64))
    assert draw_interval("kafka", NS_PER_S, NS_PER_S // 2, histogram).startswith(
        "Tag=kafka,1.000,0.500,2.346,HIST"
    )


latencies = st.lists(st.integers(0, 10**10), min_size=1, max_size=300)


@given(latencies)
def test_points_rise_to_the_maximum_and_hold_what_they_say(values: list[int]) -> None:
    histogram = Histogram()
    histogram.record(np.array(values, dtype=np.int64))
    found = list(points(histogram))
    assert [percent for percent, _, _ in found] == sorted({percent for percent, _, _ in found})
    assert found[-1] == (100.0, max(values), len(values))
    for percent, value_ns, count in found:
        below = sum(value <= value_ns for value in values)
        assert below == count
        assert below >= percent * len(values) / 100 - 1e-6


def test_a_distribution_looks_as_the_plotter_takes_it() -> None:
    histogram = Histogram()
    rng = np.random.default_rng(7)
    histogram.record(np.rint(rng.lognormal(13, 0.4, 5000)).astype(np.int64))
    assert_golden("hgrm", draw_hgrm(histogram))
