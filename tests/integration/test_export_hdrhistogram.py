"""HdrHistogram's own Java tools read what latbench writes, and find the same figures."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from latbench.result import HopSummary, RunResult
from latbench.store import read_result
from latbench.tick import HOPS
from tests.cli import run_latbench
from tests.hdrhistogram import process_log

RUN = ("--duration", "4", "--warmup", "1", "--tick-rate", "4000", "--no-live")
TAGS = [*(hop.name for hop in HOPS), "hiccup"]


class Point(NamedTuple):
    """A line of a percentile distribution: value as it is written, share, count."""

    value: str
    share: float
    count: int


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two real runs on the embedded broker and their logs."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("a", "b"):
        run = run_latbench("run", *RUN, "--output", f"{name}.parquet", cwd=folder)
        assert run.code in {0, 4}, run.talk
        log = ("--format", "hlog", "--output", f"{name}.hlog")
        exported = run_latbench("export", f"{name}.parquet", *log, cwd=folder)
        assert exported.code == 0, exported.talk
    return folder


def summaries(result: RunResult) -> Mapping[str, HopSummary]:
    assert result.hiccups is not None
    return {**{each.hop: each for each in result.hops}, "hiccup": result.hiccups}


def distribution(text: str) -> list[Point]:
    lines = [line.split() for line in text.splitlines() if re.match(r"\s+[\d.]+ [01]\.", line)]
    return [Point(line[0], float(line[1]), int(line[2])) for line in lines]


def total_percentiles(text: str) -> Iterator[tuple[int, dict[str, float]]]:
    """Count and percentiles in ms of all intervals up to each, as the processor tells them."""
    for told in re.findall(r"T:(\d+) \((.*?)\)", text):
        names = ("p50", "p90", "p99", "p99.9", "p99.99", "max")
        yield int(told[0]), dict(zip(names, map(float, told[1].split()), strict=True))


@functools.cache
def processed(log: Path, tag: str) -> tuple[str, str]:
    """What the processor writes of a tag: its lines of intervals, and the distribution."""
    target = log.with_name(f"java-{log.stem}-{tag}")
    process_log(log, "-tag", tag, "-o", str(target))
    return target.read_text(), target.with_name(f"{target.name}.hgrm").read_text()


def test_java_finds_every_tag(folder: Path) -> None:
    told = process_log(folder / "a.hlog", "-listtags")
    assert sorted(told.split("\n")[1:]) == sorted([*TAGS, ""])


@pytest.mark.parametrize("tag", TAGS)
def test_java_finds_the_files_own_percentiles(tag: str, folder: Path) -> None:
    summary = summaries(read_result(folder / "a.parquet"))[tag]
    *_, (count, percentiles) = total_percentiles(processed(folder / "a.hlog", tag)[0])
    assert count == summary.count > 10_000
    known = {name: value for name, value in summary.percentiles_ns.items() if value is not None}
    assert {"p50", "p90", "p99"} <= known.keys()
    for name in known.keys() & percentiles.keys():
        assert f"{percentiles[name]:.3f}" == f"{known[name] / 1e6:.3f}", name
    # Java knows the maximum by its counter only, which is up to 0.1 % wide
    assert (
        summary.max_ns / 1e6 - 0.001 <= percentiles["max"] <= summary.max_ns / 1e6 * 1.001 + 0.001
    )


def test_java_finds_an_interval_a_second(folder: Path) -> None:
    intervals, _ = processed(folder / "a.hlog", "end_to_end")
    ends = re.findall(r"^([\d.]+): I:(\d+) ", intervals, flags=re.MULTILINE)
    assert [end for end, _ in ends] == ["1.000", "2.000", "3.000", "4.000"]
    result = read_result(folder / "a.parquet")
    assert sum(int(count) for _, count in ends) == result.hop("end_to_end").count


@pytest.mark.parametrize("hop", ["end_to_end", "kafka", "schedule"])
def test_our_distribution_is_javas(hop: str, folder: Path) -> None:
    _, theirs = processed(folder / "a.hlog", hop)
    ours = run_latbench("export", "a.parquet", "--format", "hgrm", "--hop", hop, cwd=folder).stdout
    lines = [line for line in theirs.splitlines() if not re.match(r"#\[(Overall|StartTime)", line)]
    assert ours.splitlines()[:2] == lines[:2]
    assert ours.splitlines()[-1] == lines[-1]
    our_points, their_points = distribution(ours), distribution(theirs)
    assert len(their_points) > 40
    assert [point.count for point in our_points] == [point.count for point in their_points]
    greatest = f"{read_result(folder / 'a.parquet').hop(hop).max_ns / 1e6:.3f}"
    for our, their in zip(our_points, their_points, strict=True):
        assert abs(our.share - their.share) < 2e-12  # Java rounds a half up, in the last digit
        # ours never passes the exact maximum, Java's ends where its counter does
        assert our.value in {their.value, greatest}
        assert float(our.value) <= float(their.value)
    for ours_told, theirs_told in zip(ours.splitlines()[-3:-1], lines[-3:-1], strict=True):
        assert re.sub(r"[\d.]+", "#", ours_told) == re.sub(r"[\d.]+", "#", theirs_told)
        for our_figure, their_figure in zip(
            re.findall(r"[\d.]+", ours_told), re.findall(r"[\d.]+", theirs_told), strict=True
        ):
            assert float(our_figure) == pytest.approx(float(their_figure), rel=2e-3, abs=2e-3)


def test_java_finds_all_ticks_in_a_merged_log(folder: Path) -> None:
    merged = run_latbench(
        "merge", "a.parquet", "b.parquet", "--all", "--json", "--output", "m.hlog", cwd=folder
    )
    assert merged.code == 0, merged.talk
    for tag in ("end_to_end", "hiccup"):
        hops = [*merged.result["hops"], merged.result["hiccups"]]
        summary = next(each for each in hops if each["hop"] == tag)
        ((count, percentiles),) = total_percentiles(processed(folder / "m.hlog", tag)[0])
        assert count == summary["count"] > 20_000
        for name in ("p50", "p90", "p99"):
            assert f"{percentiles[name]:.3f}" == f"{summary['percentiles_ns'][name] / 1e6:.3f}"
