"""Several runs as one."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latbench.analysis import HopFigures
from latbench.errors import ExitCode, LatbenchError, UsageError
from latbench.merging import (
    Merged,
    NothingToMergeError,
    Part,
    draw_log,
    histograms_of,
    merge_runs,
)
from latbench.recording import ACKS
from latbench.render.merged import MergeReport
from latbench.result import Finding, RunResult, RunStatus
from latbench.store import HISTOGRAMS_KEY, read_histograms, read_result
from latbench.tick import HOPS
from tests.rendering import assert_golden, printed
from tests.results import make_config, make_environment, make_result
from tests.rows import make_stamps
from tests.stored import write_run
from tests.test_export_hdr import read_log

LOST = Finding(code="ticks-lost", values={"lost": 12, "sent": 1_510_000})
SECOND = 10**9


def part_of(stamps: dict[str, Any], number: int = 0, **changes: Any) -> tuple[Part, HopFigures]:
    """A run of these ticks, its histograms as they come out of a file."""
    figures = HopFigures()
    figures.record(stamps)
    result = make_result(
        hops=figures.summaries(4 * SECOND), measured_ns=4 * SECOND, hiccups=None,
        run_id=f"0000000{number}", started_unix_ns=(1_764_005_400 + 10 * number) * SECOND,
    )  # fmt: skip
    result = msgspec.structs.replace(result, **changes)
    return Part(f"{number}.parquet", result, lambda: figures.histograms), figures


def part_at(path: Path) -> Part:
    result = read_result(path)
    return Part(str(path), result, lambda: histograms_of(path, result))


def split(stamps: dict[str, Any], places: Sequence[int]) -> list[dict[str, Any]]:
    bounds = [0, *sorted(places), len(stamps["seq"])]
    return [
        {name: column[begin:end] for name, column in stamps.items()}
        for begin, end in itertools.pairwise(bounds)
    ]


@settings(max_examples=30)
@given(st.integers(0, 50), st.lists(st.integers(0, 3000), max_size=4))
def test_parts_merged_are_what_recording_all_in_one_gives(seed: int, places: list[int]) -> None:
    stamps = make_stamps(3000, seed=seed)
    parts = [part_of(each, number)[0] for number, each in enumerate(split(stamps, places))]
    _, whole = part_of(stamps)
    merged, histograms = merge_runs(parts, take_all=True)
    span_ns = 4 * SECOND * len(parts)
    assert merged.hops == whole.summaries(span_ns)
    assert merged.measured_ns == span_ns
    for name, histogram in whole.histograms.items():
        assert (histograms[name].counts == histogram.counts).all()


def test_files_merged_are_what_recording_all_in_one_gives(tmp_path: Path) -> None:
    whole, parts = HopFigures(), []
    for seed in (1, 2, 3):
        path = write_run(tmp_path / f"{seed}.parquet", ticks=8000, seed=seed)
        stamps = make_stamps(8000, seed=seed)
        whole.record({name: column[2000:] for name, column in stamps.items()})
        parts.append(part_at(path))
    merged, _ = merge_runs(parts, take_all=False)
    for ours, theirs in zip(merged.hops, whole.summaries(18 * SECOND), strict=True):
        assert ours.mean_ns == pytest.approx(theirs.mean_ns, rel=1e-15)
        assert math.isclose(ours.stdev_ns, theirs.stdev_ns, rel_tol=1e-9)
        exact = {"mean_ns": 0.0, "stdev_ns": 0.0}
        assert msgspec.structs.replace(ours, **exact) == msgspec.structs.replace(theirs, **exact)
    assert merged.hops[0].percentiles_ns["p99"] is not None
    assert merged.hiccups is not None
    assert merged.hiccups.count == sum(part.read()["hiccup"].count for part in parts)
    assert merged.differences == ()


def test_a_percentile_is_of_all_ticks_and_no_mean() -> None:
    fast, slow = make_stamps(9000), make_stamps(9000, seed=2)
    slow["consumed_ns"] = slow["consumed_ns"] + 10**9
    merged, _ = merge_runs([part_of(fast, 1)[0], part_of(slow, 2)[0]], take_all=False)
    kafka = next(hop for hop in merged.hops if hop.hop == "kafka")
    p50, p75 = kafka.percentiles_ns["p50"], kafka.percentiles_ns["p75"]
    assert p50 is not None
    assert p75 is not None
    assert p50 < 10**8
    assert p75 > 10**9


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"findings": (LOST,)}, "the run is no valid measurement: see its findings"),
        ({"status": RunStatus.FAILED, "failure": "no broker"}, "the run failed: no broker"),
    ],
)
def test_what_cannot_be_believed_is_left_out_unless_all_are_wanted(
    changes: dict[str, Any], reason: str
) -> None:
    parts = [
        part_of(make_stamps(1000), 1)[0],
        part_of(make_stamps(500, seed=2), 2, **changes)[0],
    ]
    merged, _ = merge_runs(parts, take_all=False)
    assert [run.left_out for run in merged.runs] == ["", reason]
    assert {hop.count for hop in merged.hops} == {1000}
    merged, _ = merge_runs(parts, take_all=True)
    assert [run.left_out for run in merged.runs] == ["", ""]
    assert {hop.count for hop in merged.hops} == {1500}


def test_what_was_allowed_is_not_left_out() -> None:
    allowed = (msgspec.structs.replace(LOST, allowed=True),)
    merged, _ = merge_runs([part_of(make_stamps(100), findings=allowed)[0]], take_all=False)
    assert merged.hops[0].count == 100


def test_nothing_is_merged_where_no_run_can_be_believed() -> None:
    parts = [part_of(make_stamps(10), number, findings=(LOST,))[0] for number in (1, 2)]
    with pytest.raises(NothingToMergeError, match="none of the 2 runs is a valid") as raised:
        merge_runs(parts, take_all=False)
    assert raised.value.exit_code is ExitCode.INVALID


def test_a_run_counts_once() -> None:
    part, _ = part_of(make_stamps(10), 3)
    again = dataclasses.replace(part, file="copy.parquet")
    with pytest.raises(UsageError, match=r"3\.parquet and copy\.parquet are the same run"):
        merge_runs([part, again], take_all=True)


def different() -> tuple[Part, Part, Part]:
    first, _ = part_of(make_stamps(4000), 1)
    second, _ = part_of(
        make_stamps(3000, seed=2), 2,
        config=make_config(tick_rate_hz=20_000, name="b", seed=9, duration_ns=7),
        environment=make_environment(hostname="bench-2", boot_id="another"),
    )  # fmt: skip
    third, _ = part_of(make_stamps(50, seed=3), 3, findings=(LOST,))
    return first, second, third


def test_what_differs_is_told_with_its_values_and_what_does_not_matter_is_not() -> None:
    merged, _ = merge_runs(different(), take_all=False)
    told = {each.what: each.values for each in merged.differences}
    assert told == {"tick-rate": ("5,000/s", "20,000/s"), "host": ("bench-1", "bench-2")}


def test_hiccups_are_merged_only_where_all_have_them(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run.parquet", ticks=3000)
    first = part_at(path)
    merged, _ = merge_runs([first, part_of(make_stamps(10))[0]], take_all=True)
    assert merged.hiccups is None


def test_the_log_has_the_merged_histograms_by_tag() -> None:
    merged, histograms = merge_runs(different(), take_all=False)
    log = read_log(draw_log(merged, histograms))
    assert [tag for tag, *_ in log] == [hop.name for hop in HOPS]
    assert {(start, length) for _, start, length, _ in log} == {(0.0, 14.0)}
    for tag, _, _, read in log:
        counts = np.frombuffer(read.counts, dtype=np.uint64)
        assert (counts == histograms[tag].counts).all()


@pytest.mark.parametrize("width", [80, 140])
def test_the_report_of_a_merge(width: int) -> None:
    merged, _ = merge_runs(different(), take_all=False)
    assert_golden(f"merge-{width}", printed(MergeReport(merged), width))


def rewritten(path: Path, histograms: dict[str, str]) -> RunResult:
    kept = pq.read_metadata(path).metadata
    metadata = {**kept, HISTOGRAMS_KEY: msgspec.json.encode(histograms)}
    metadata.pop(b"ARROW:schema", None)
    pq.write_table(pq.read_table(path).replace_schema_metadata(metadata), path)
    return read_result(path)


def test_a_histogram_that_lacks_is_damaged_or_tells_otherwise_is_refused(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run.parquet", ticks=3000, gone={ACKS: {2500}})
    kept = read_histograms(path)
    for changed, message in (
        ({name: each for name, each in kept.items() if name != "ack"}, "lacks the histogram"),
        (kept | {"relay": kept["relay"][:40]}, "has a damaged histogram of relay"),
        (
            kept | {"kafka": kept["ack"]},
            "has 999 latencies of kafka in its histogram, and tells of 1,000",
        ),
    ):
        result = rewritten(path, changed)
        with pytest.raises(LatbenchError, match=message):
            histograms_of(path, result)


def test_a_merge_is_plain_values() -> None:
    merged, _ = merge_runs(different(), take_all=False)
    assert msgspec.json.decode(msgspec.json.encode(merged), type=Merged) == merged
