from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st

from latbench import __version__, conclude
from latbench.analysis import HopFigures
from latbench.clock import NS_PER_MS, NS_PER_S
from latbench.conclude import conclude as make_result
from latbench.config import MAX_SPEED
from latbench.errors import LatbenchError
from latbench.findings import Code
from latbench.histogram import Histogram
from latbench.recording import (
    ACKS,
    CONSUMER,
    CONSUMER_STATISTICS,
    GENERATOR,
    HICCUPS,
    MACHINE,
    PRODUCER_STATISTICS,
    RELAY,
    TICK_RINGS,
    USAGE,
    WORST_HICCUPS,
)
from latbench.result import Counts, RunResult, RunStatus
from latbench.spool import SpoolReader, Tally
from latbench.stalls import STALL_NS
from latbench.store import read_histograms, read_result, read_samples, read_ticks
from tests.results import make_broker, make_config
from tests.rows import (
    START_NS,
    SYMBOLS,
    fill_spool,
    make_preface,
    make_rows,
    make_stamps,
    make_wake_ups,
    without,
)

WARMUP_NS = 2 * NS_PER_S
WARM = make_preface(config=make_config(warmup_ns=WARMUP_NS, tick_rate_hz=1000))

missing = st.sets(st.integers(0, 399), max_size=50)


def codes(result: RunResult) -> list[str]:
    return [finding.code for finding in result.findings]


@pytest.fixture
def spool(tmp_path: Path) -> SpoolReader:
    """Five seconds at 1,000 ticks/s, two of them warm-up; tick 4,000 was lost."""
    rows = without(make_rows(make_stamps(5000)), CONSUMER, [4000])
    return fill_spool(tmp_path / "run.parquet.partial", rows, preface=WARM)


@given(missing, missing, missing, missing)
@settings(max_examples=40)
def test_every_tick_is_counted_once_wherever_it_went(
    tmp_path_factory: pytest.TempPathFactory,
    unsent: set[int],
    unrelayed: set[int],
    unacked: set[int],
    unconsumed: set[int],
) -> None:
    rows = make_rows(make_stamps(400))
    gone = {GENERATOR: unsent, RELAY: unrelayed, ACKS: unacked, CONSUMER: unconsumed}
    for ring, seqs in gone.items():
        rows = without(rows, ring, seqs)
    path = tmp_path_factory.mktemp("conclude")
    preface = make_preface(config=make_config(warmup_ns=NS_PER_S // 10))
    spool = fill_spool(path / "spool", rows, preface=preface)
    counts = make_result(spool, RunStatus.COMPLETE, output=path / "run.parquet").counts
    assert counts.sent == 400 - len(set.intersection(*gone.values()))
    assert counts.consumed == 400 - len(unconsumed)
    assert counts.acked == 400 - len(unacked)
    assert counts.sent == counts.consumed + counts.lost == counts.warmup + counts.measured
    table = pq.read_table(path / "run.parquet")
    assert len(table) == counts.sent
    assert table["consumed_ns"].null_count == counts.lost
    assert sum(table["warmup"].to_pylist()) == counts.warmup


def test_the_warm_up_is_in_the_file_and_in_no_figure(spool: SpoolReader, tmp_path: Path) -> None:
    result = make_result(spool, RunStatus.COMPLETE, output=tmp_path / "run.parquet")
    assert (result.counts.sent, result.counts.warmup, result.counts.measured) == (5000, 2000, 3000)
    assert result.measured_ns == 3 * NS_PER_S
    columns = make_stamps(5000)
    columns["consumed_ns"][4000] = -1
    expected = HopFigures()
    expected.record({name: column[2000:] for name, column in columns.items()})
    assert result.hops == expected.summaries(3 * NS_PER_S)
    assert [hop.count for hop in result.hops] == [3000, 3000, 3000, 2999, 2999, 3000, 2999]
    histograms = {**expected.histograms, "hiccup": Histogram()}
    assert read_histograms(tmp_path / "run.parquet") == {
        name: histogram.encode() for name, histogram in histograms.items()
    }
    warmup = pq.read_table(tmp_path / "run.parquet")["warmup"].to_pylist()
    assert warmup == [True] * 2000 + [False] * 3000


def test_a_result_says_what_was_run_when_and_where(spool: SpoolReader) -> None:
    result = make_result(spool, RunStatus.FAILED, "the relay died")
    assert (result.status, result.failure) == (RunStatus.FAILED, "the relay died")
    assert (result.latbench, result.run_id) == (__version__, "5f1c09ab")
    assert (result.config, result.environment, result.broker) == (
        WARM.config,
        WARM.environment,
        WARM.broker,
    )
    assert result.start_ns == WARM.start_ns
    assert result.started_unix_ns == 1_764_005_400 * NS_PER_S
    assert result.target_rate_hz == 1000
    assert result.achieved_rate_hz == pytest.approx(1000, rel=1e-3)
    assert result.tail is None  # 3,000 ticks have no p99


def test_the_file_holds_the_result_and_all_ticks(spool: SpoolReader, tmp_path: Path) -> None:
    result = make_result(spool, RunStatus.COMPLETE, output=tmp_path / "run.parquet")
    assert read_result(tmp_path / "run.parquet") == result
    columns = make_stamps(5000)
    columns["consumed_ns"][4000] = -1
    (table,) = read_ticks(tmp_path / "run.parquet")
    for name, column in table.columns.items():
        assert (column == columns[name]).all()
    symbols = pq.read_table(tmp_path / "run.parquet", columns=["symbol"])["symbol"].to_pylist()
    assert symbols == [SYMBOLS[number] or None for number in columns["symbol_id"]]
    assert not (spool.path / "result.parquet").exists()


def test_without_an_output_nothing_is_written(spool: SpoolReader, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    result = make_result(spool, RunStatus.RECOVERED)
    assert result.status is RunStatus.RECOVERED
    assert sorted(tmp_path.rglob("*")) == before


def test_a_tail_is_told_once_there_are_ticks_enough(tmp_path: Path) -> None:
    spool = fill_spool(tmp_path / "spool", make_rows(make_stamps(10_000)))
    result = make_result(spool, RunStatus.COMPLETE)
    assert result.tail is not None
    assert result.tail.above_ns == result.hop("end_to_end").percentiles_ns["p99"]
    assert 100 <= result.tail.count <= 120


def test_a_killed_runs_ticks_on_their_way_are_not_called_lost(spool: SpoolReader) -> None:
    assert codes(make_result(spool, RunStatus.COMPLETE)) == [Code.TICKS_LOST, Code.FEW_SAMPLES]
    for status in (RunStatus.RECOVERED, RunStatus.RUNNING):
        assert codes(make_result(spool, status)) == [Code.CUT_OFF, Code.FEW_SAMPLES]


def test_counters_that_no_row_tells_come_from_the_tally(tmp_path: Path) -> None:
    names = [name for name in Tally.__struct_fields__ if name in Counts.__struct_fields__]
    names.remove("sent")  # which the rows tell as well
    numbers: dict[str, Any] = {name: 11 + number for number, name in enumerate(names)}
    tally = Tally(**numbers, consumer_errors=7, said=("the consumer reports: no leader",))
    spool = fill_spool(tmp_path / "spool", make_rows(make_stamps(5)), tally=tally)
    result = make_result(spool, RunStatus.COMPLETE)
    for name in names:
        assert getattr(result.counts, name) == getattr(tally, name)
    assert len(names) == 11
    assert result.said == tally.said
    found = {finding.code: finding.values for finding in result.findings}
    assert found[Code.RING_OVERRUN] == {"rows": tally.ring_overruns}
    assert found[Code.CONSUMER_ERRORS] == {"count": 7}


def test_at_full_speed_there_is_no_target_rate_and_none_is_missed(tmp_path: Path) -> None:
    config = make_config(source="feed.ws", speed=MAX_SPEED, warmup_ns=0)
    spool = fill_spool(
        tmp_path / "spool", make_rows(make_stamps(50)), preface=make_preface(config=config)
    )
    result = make_result(spool, RunStatus.COMPLETE)
    assert result.target_rate_hz == 0
    assert result.achieved_rate_hz > 0
    assert codes(result) == [Code.FEW_SAMPLES, Code.NO_SCHEDULE]


@pytest.mark.parametrize("count", [0, 100])
def test_a_run_that_ended_in_its_warm_up_measured_nothing(tmp_path: Path, count: int) -> None:
    preface = make_preface(config=WARM.config, broker=make_broker(embedded=True))
    spool = fill_spool(tmp_path / "spool", make_rows(make_stamps(count)), preface=preface)
    result = make_result(spool, RunStatus.INTERRUPTED, output=tmp_path / "run.parquet")
    assert codes(result) == [Code.NOTHING_MEASURED, Code.EMBEDDED_BROKER]
    assert (result.counts.sent, result.counts.measured, result.measured_ns) == (count, 0, 0)
    assert {hop.rate_hz for hop in result.hops} == {0}
    assert read_result(tmp_path / "run.parquet") == result


@pytest.mark.parametrize("ring", TICK_RINGS)
def test_a_spool_cut_off_in_any_ring_still_gives_a_result(tmp_path: Path, ring: str) -> None:
    spool = fill_spool(tmp_path / "spool", make_rows(make_stamps(1000)))
    file = spool.path / f"{ring}.rows"
    with file.open("r+b") as rows:
        rows.truncate(file.stat().st_size // 2 - 3)
    result = make_result(spool, RunStatus.RECOVERED, output=tmp_path / "run.parquet")
    assert result.counts.sent == 1000
    assert result.counts.lost == (501 if ring == CONSUMER else 0)
    seqs = np.concatenate([part.columns["seq"] for part in read_ticks(tmp_path / "run.parquet")])
    assert (seqs == np.arange(1000)).all()


# --- what was sampled -------------------------------------------------------------------------


@pytest.fixture
def sampled(tmp_path: Path) -> SpoolReader:
    """Twelve seconds at 1,000 ticks/s, two of them warm-up, with all that is sampled.

    The generator was held up for 50 ms in the warm-up and for 20 ms at 7 s.
    """
    rows = make_rows(make_stamps(12_000))
    seconds = np.arange(-1, 14, dtype=np.int64)
    at_ns = START_NS + seconds * NS_PER_S
    for process, ring in HICCUPS.items():
        late_ns = {}
        if process == "generator":
            late_ns = {1000 + missed: (50 - missed) * NS_PER_MS for missed in range(50)}
            late_ns |= {7000 + missed: (20 - missed) * NS_PER_MS for missed in range(20)}
        rows[ring] = make_wake_ups(13_000, late_ns=late_ns)
    # the generator (1) uses a fifth of a CPU; totals count from the process's beginning
    usage = np.zeros((len(seconds), 10), dtype=np.int64)
    usage[:, 0], usage[:, 1], usage[:, 2] = at_ns, 1, (100 + seconds) * NS_PER_S // 5
    rows[USAGE] = usage
    machine = np.column_stack([at_ns, seconds * 3, seconds * 5, seconds * 0, seconds * 2])
    rows[MACHINE] = machine + np.array([0, 1000, 1000, 1000, 1000], dtype=np.int64)
    producer = np.zeros((len(seconds), 16), dtype=np.int64)
    # sums and counts of the second that ends at the moment: 10 µs on average, 99 in the warm-up
    producer[:, 0], producer[:, 2], producer[:, 1] = at_ns, 7, np.where(seconds <= 2, 7 * 99, 70)
    rows[PRODUCER_STATISTICS] = producer
    rows[CONSUMER_STATISTICS] = np.column_stack([at_ns, seconds * 0, seconds * 0, seconds * 0])
    preface = make_preface(config=WARM.config, own_cost_ns={"relay": 4711})
    return fill_spool(tmp_path / "sampled.partial", rows, preface=preface)


def test_samples_become_figures_of_the_measured_span(sampled: SpoolReader) -> None:
    result = make_result(sampled, RunStatus.COMPLETE)
    assert [each.process for each in result.processes] == list(HICCUPS)
    generator = result.processes[1]
    # from the end of the warm-up to the first sample after the last tick
    assert generator.span_ns == 10 * NS_PER_S
    assert generator.cpu_share == pytest.approx(0.2)
    assert result.machine is not None
    assert (result.machine.busy, result.machine.steal) == (0.3, 0.2)
    assert result.client is not None
    assert result.client.queue_mean_ns == 10_000
    assert result.client.fetch_mean_ns is None
    assert result.own_cost_ns == {"relay": 4711}
    assert result.hiccups is not None
    # a thousand a second of each of five, from the warm-up's end to the last tick's arrival
    assert result.hiccups.count == pytest.approx(60_000, abs=20)
    assert result.hiccups.max_ns == 20 * NS_PER_MS
    meters = [each.hiccups for each in result.processes]
    assert sum(meter.count for meter in meters if meter) == result.hiccups.count
    assert [meter.max_ns for meter in meters if meter] == [60_000, 20_000_000, *[60_000] * 4]


def test_the_file_keeps_samples_hiccups_and_which_ticks_a_stall_held_up(
    sampled: SpoolReader, tmp_path: Path
) -> None:
    result = make_result(sampled, RunStatus.COMPLETE, output=tmp_path / "run.parquet")
    samples = read_samples(tmp_path / "run.parquet")
    hiccups = samples.pop(WORST_HICCUPS)
    assert set(samples) == {USAGE, MACHINE, PRODUCER_STATISTICS, CONSUMER_STATISTICS}
    assert {len(table["at_ns"]) for table in samples.values()} == {15}  # the warm-up's as well
    # of each 100 ms of 13 s the worst, of five processes
    assert np.bincount(hiccups["process"]).tolist() == [pytest.approx(130, abs=1)] * 6
    late = hiccups["late_ns"] > 60_000
    assert set(hiccups["process"][late]) == {1}
    assert hiccups["late_ns"][late].tolist()[0] == 50 * NS_PER_MS
    assert hiccups["at_ns"][late].tolist()[0] == START_NS + NS_PER_S
    encoded = HdrHistogram.decode(read_histograms(tmp_path / "run.parquet")["hiccup"].encode())
    assert result.hiccups is not None
    assert encoded.get_total_count() == result.hiccups.count

    # a tick is in the generator's hands from due to sent; the last of a stall's deadlines that
    # is late by 1 ms or more ends with the stall
    stalls = [(START_NS + NS_PER_S, 50), (START_NS + 7 * NS_PER_S, 20)]
    table = pq.read_table(tmp_path / "run.parquet").to_pylist()
    for row in table:
        expected = any(
            row["due_ns"] < begin_ns + ms * NS_PER_MS and row["sent_ns"] > begin_ns
            for begin_ns, ms in stalls
        )
        assert row["stall"] is expected
    stalled = sum(row["stall"] for row in table if not row["warmup"])
    assert stalled in {20, 21}  # the one before may be sent within
    assert result.stalls is not None
    assert (result.stalls.count, result.stalls.threshold_ns) == (1, STALL_NS)
    assert result.stalls.ticks == stalled
    assert result.stalls.without.count == 10_000 - stalled


def test_a_long_run_keeps_no_more_hiccups_than_a_short_one(
    sampled: SpoolReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conclude, "MOST_HICCUPS", 6)
    make_result(sampled, RunStatus.COMPLETE, output=tmp_path / "run.parquet")
    hiccups = read_samples(tmp_path / "run.parquet")[WORST_HICCUPS]
    assert max(np.bincount(hiccups["process"])) <= 8
    assert sorted(set(hiccups["late_ns"].tolist())) == [60_000, 20 * NS_PER_MS, 50 * NS_PER_MS]


def test_a_run_without_samples_says_nothing_of_machine_and_clients(spool: SpoolReader) -> None:
    result = make_result(spool, RunStatus.COMPLETE)
    assert (result.hiccups, result.stalls, result.machine, result.client) == (None,) * 4
    assert (result.processes, result.own_cost_ns) == ((), {})


@pytest.mark.parametrize(
    "name", [*HICCUPS.values(), USAGE, MACHINE, PRODUCER_STATISTICS, CONSUMER_STATISTICS]
)
@pytest.mark.parametrize("left", [0, 1, 77])
def test_samples_cut_off_anywhere_still_give_a_result(
    sampled: SpoolReader, tmp_path: Path, name: str, left: int
) -> None:
    with (sampled.path / f"{name}.rows").open("r+b") as rows:
        rows.truncate(left)
    result = make_result(sampled, RunStatus.RECOVERED, output=tmp_path / "run.parquet")
    assert result.counts.sent == 12_000
    assert read_result(tmp_path / "run.parquet") == result


# --- a warm-up that ends by itself ------------------------------------------------------------

AUTO = make_preface(
    config=make_config(warmup_ns=120 * NS_PER_S, warmup_auto=True, tick_rate_hz=1000)
)


def test_a_warm_up_is_as_long_as_the_tally_says(tmp_path: Path) -> None:
    for warmup_ns, settled, code in (
        (2 * NS_PER_S, True, Code.WARMUP_SETTLED),
        (3 * NS_PER_S, False, Code.WARMUP_UNSETTLED),
    ):
        spool = fill_spool(
            tmp_path / f"{code}.partial",
            make_rows(make_stamps(5000)),
            preface=AUTO,
            tally=Tally(warmup_ns=warmup_ns, warmup_settled=settled),
        )
        result = make_result(spool, RunStatus.COMPLETE)
        assert result.warmup_ns == warmup_ns
        assert result.counts.measured == 5000 - warmup_ns * 1000 // NS_PER_S
        (found,) = [each for each in result.findings if each.code.startswith("warmup")]
        assert (found.code, found.values) == (code, {"waited": warmup_ns})


def test_a_warm_up_that_nobody_has_seen_the_end_of_is_as_long_as_it_may_be(tmp_path: Path) -> None:
    spool = fill_spool(tmp_path / "spool", make_rows(make_stamps(5000)), preface=AUTO)
    result = make_result(spool, RunStatus.RECOVERED)
    assert (result.counts.warmup, result.counts.measured) == (5000, 0)
    assert codes(result) == [Code.NOTHING_MEASURED]


def test_lost_ticks_are_told_by_name(tmp_path: Path) -> None:
    rows = without(make_rows(make_stamps(5000)), CONSUMER, [*range(10, 20), 4000, 4999])
    spool = fill_spool(tmp_path / "spool", rows, preface=WARM)
    result = make_result(spool, RunStatus.COMPLETE)
    assert result.lost_ranges == ((10, 19), (4000, 4000), (4999, 4999))
    assert result.lost_range_count == 3


# --- failing to write -------------------------------------------------------------------------


def check_that_all_is_as_before(spool: SpoolReader, before: dict[str, bytes]) -> None:
    """Neither a half file is there nor is the spool touched: it can be tried again."""
    assert {path.name: path.read_bytes() for path in spool.path.iterdir()} == before
    again = spool.path.parent / "again.parquet"
    make_result(SpoolReader(spool.path), RunStatus.RECOVERED, output=again)
    assert read_result(again).counts.sent == 5000


def content_of(spool: SpoolReader) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in spool.path.iterdir()}


@contextlib.contextmanager
def room_for(size_bytes: int) -> Iterator[None]:
    """No file may grow beyond this, as on a disk that fills up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    "share",
    [
        0.0,  # not even a beginning
        0.001,  # within the first column
        0.5,
        0.999,  # within the metadata
    ],
)
def test_a_disk_that_fills_up_leaves_no_half_file_and_the_spool_intact(
    spool: SpoolReader, tmp_path: Path, share: float
) -> None:
    before = content_of(spool)
    make_result(spool, RunStatus.COMPLETE, output=tmp_path / "run.parquet")
    size = (tmp_path / "run.parquet").stat().st_size
    (tmp_path / "run.parquet").unlink()
    with room_for(int(size * share)), pytest.raises(LatbenchError, match="too large") as caught:
        make_result(spool, RunStatus.COMPLETE, output=tmp_path / "run.parquet")
    assert caught.value.message.startswith(f"can't write {spool.path}/result.parquet: ")
    assert not (tmp_path / "run.parquet").exists()
    check_that_all_is_as_before(spool, before)


def test_a_place_that_takes_no_file_leaves_the_spool_intact(
    spool: SpoolReader, tmp_path: Path
) -> None:
    before = content_of(spool)
    (tmp_path / "taken").mkdir()
    for output in (tmp_path / "none" / "run.parquet", tmp_path / "taken"):
        with pytest.raises(LatbenchError, match=f"can't write {output}: ") as caught:
            make_result(spool, RunStatus.COMPLETE, output=output)
        assert caught.value.hint
    check_that_all_is_as_before(spool, before)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_whatever_ends_the_writing_an_older_file_keeps_its_name(
    spool: SpoolReader,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
) -> None:
    before = content_of(spool)
    (tmp_path / "run.parquet").write_text("older")

    def stop(evidence: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(conclude, "judge", stop)
        with pytest.raises(error):
            make_result(spool, RunStatus.COMPLETE, output=tmp_path / "run.parquet")
        with pytest.raises(error):
            make_result(spool, RunStatus.COMPLETE)
    assert (tmp_path / "run.parquet").read_text() == "older"
    check_that_all_is_as_before(spool, before)
