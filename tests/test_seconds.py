"""A run second by second, against its rows counted plainly, and one run against one run."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from latbench import comparing, seconds
from latbench.block_bootstrap import RESAMPLES
from latbench.clock import NS_PER_S
from latbench.comparing import compare
from latbench.comparison import Verdict
from latbench.conclude import conclude
from latbench.errors import LatbenchError
from latbench.gates import DEFAULT_GATES
from latbench.histogram import Histogram, bucket_indices
from latbench.recording import ACKS, CONSUMER
from latbench.result import RunStatus
from latbench.seconds import SecondHistograms
from latbench.store import HISTOGRAMS_KEY, read_result
from latbench.stored import Stored
from latbench.thresholds import Threshold
from latbench.tick import HOPS
from latbench.within_runs import SecondsSides
from tests.results import make_config
from tests.rows import fill_spool, make_preface, make_rows, make_stamps, without


def write_run(folder: Path, name: str = "a", *, seed: int = 1, measured_s: int = 12) -> Path:
    """At 1,000 ticks/s, 1 s of warm-up; two ticks were lost, one was not acknowledged."""
    ticks = 1000 * (measured_s + 1)
    config = make_config(warmup_ns=NS_PER_S, tick_rate_hz=1000, duration_ns=measured_s * NS_PER_S)
    rows = make_rows(make_stamps(ticks, seed=seed))
    rows = without(without(rows, CONSUMER, {1500, 1501}), ACKS, {1500, 1501, 1502})
    config = msgspec.structs.replace(config, allow=("ticks-lost",))
    path = folder / f"{name}.parquet"
    spool = fill_spool(folder / f"{name}-spool", rows, preface=make_preface(config=config))
    conclude(spool, RunStatus.COMPLETE, output=path)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_run(tmp_path)


def opened(path: Path) -> SecondHistograms:
    return SecondHistograms(path, read_result(path))


def counts_of(run: SecondHistograms, hop: str) -> tuple[np.ndarray, np.ndarray]:
    found = run.hops[hop]
    return found.counts, found.counters


def test_every_second_has_its_ticks_and_all_are_the_runs(path: Path) -> None:
    run = opened(path)
    assert (run.intervals, run.interval_s) == (12, 1)
    table = pq.read_table(path).to_pandas()
    table = table[~table["warmup"]]
    second = ((table["due_ns"] - table["due_ns"].iloc[0]) // NS_PER_S).clip(upper=11)
    for hop in HOPS:
        counts, counters = counts_of(run, hop.name)
        latencies = (table[hop.end_column] - table[hop.start_column]).dropna()
        assert counts.sum() == len(latencies)
        for number in (0, 5, 11):
            values = latencies[second == number].to_numpy(dtype=np.int64)
            expected = np.bincount(
                np.searchsorted(counters, bucket_indices(values)), minlength=counters.size
            )
            assert (counts[number] == expected).all()
            assert run.hops[hop.name].sums_ns[number] == values.sum()


def test_a_long_run_has_longer_intervals_and_no_more_of_them(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seconds, "MAX_INTERVALS", 5)
    run = opened(path)
    assert (run.intervals, run.interval_s) == (4, 3)
    whole = Histogram()
    counts, counters = counts_of(run, "end_to_end")
    whole.counts[counters] = counts.sum(axis=0)
    whole.count, whole.max_ns = int(counts.sum()), 1 << 62
    expected = read_result(path).hop("end_to_end").percentiles_ns["p90"]
    assert whole.percentiles([90.0]) == [expected]
    assert counts[:, :].sum(axis=1).tolist() == [2998, 3000, 3000, 3000]


def test_what_is_drawn_lies_about_what_the_run_says(path: Path) -> None:
    run = opened(path)
    drawn = run.resampled([("kafka", "p50"), ("kafka", "mean"), ("relay", "p90")], 1)
    assert set(drawn) == {("kafka", "p50"), ("kafka", "mean"), ("relay", "p90")}
    for (hop, statistic), values in drawn.items():
        assert values.size == RESAMPLES
        value_ns = Threshold(hop=hop, statistic=statistic, operator="<", limit_ns=0).read(
            read_result(path).hops
        )
        assert value_ns is not None
        assert values.min() < value_ns < values.max()
        assert np.median(values) == pytest.approx(value_ns, rel=0.01)
    again = opened(path).resampled([("kafka", "p50")], 1)
    assert (again["kafka", "p50"] == drawn["kafka", "p50"]).all()


def test_fewer_than_ten_seconds_are_not_drawn_from(tmp_path: Path) -> None:
    run = opened(write_run(tmp_path, measured_s=9))
    assert run.intervals == 9
    assert run.resampled([("kafka", "p50")], 1) == {}


def test_a_file_that_contradicts_itself_is_told(path: Path) -> None:
    table = pq.read_table(path)
    kept = pq.read_metadata(path).metadata
    encoded = msgspec.json.decode(kept[HISTOGRAMS_KEY])
    encoded["kafka"] = encoded["websocket"]
    changed = {**kept, HISTOGRAMS_KEY: msgspec.json.encode(encoded)}
    pq.write_table(table.replace_schema_metadata(changed), path)
    with pytest.raises(LatbenchError, match="has rows that its histogram of kafka does not count"):
        opened(path)


# --- one run against one run --------------------------------------------------------------------


def stored(path: Path) -> Stored:
    return Stored(path=str(path), result=read_result(path))


def test_one_run_a_side_has_intervals_and_no_verdict(path: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path, "b", seed=2)
    found = compare((stored(path),), (stored(other),), DEFAULT_GATES)
    assert found.within_runs
    assert found.interval_counts == (12, 12)
    assert found.comparison.verdict is Verdict.INCONCLUSIVE
    assert found.comparison.blames == found.dominances == ()
    for gate in found.comparison.gates:
        change = gate.change
        assert change.ratio_low is not None
        assert change.ratio is not None
        assert change.ratio_high is not None
        assert change.ratio_low < change.ratio < change.ratio_high
    assert found == compare((stored(path),), (stored(other),), DEFAULT_GATES)


def test_even_a_gross_change_between_two_runs_is_no_verdict(path: Path, tmp_path: Path) -> None:
    result = read_result(path)
    slow = msgspec.structs.replace(
        result,
        run_id="slow",
        hops=tuple(
            msgspec.structs.replace(
                hop, percentiles_ns={k: v and v * 9 for k, v in hop.percentiles_ns.items()}
            )
            for hop in result.hops
        ),
    )
    other = Stored(path=str(path), result=slow)
    found = compare((stored(path),), (other,), DEFAULT_GATES).comparison
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.gates[0].change.ratio == pytest.approx(9.0)


def test_short_runs_have_their_figures_without_a_bound(tmp_path: Path) -> None:
    paths = [write_run(tmp_path, name, measured_s=11 if name == "a" else 3) for name in "ab"]
    base, new = (
        Stored(
            path=str(path),
            result=msgspec.structs.replace(read_result(path), config=make_config()),
        )
        for path in paths
    )
    found = compare((base,), (new,), DEFAULT_GATES)
    assert found.interval_counts == (11, 3)
    change = found.comparison.gates[0].change
    assert change.ratio is not None
    assert change.ratio_low is None
    assert found.comparison.gates[1].change.ratio is None  # p99 of 3,000 ticks


def test_the_two_runs_do_not_draw_the_same_seconds(path: Path) -> None:
    sides = SecondsSides((path, read_result(path)), (path, read_result(path)), DEFAULT_GATES)
    samples = sides.samples("end_to_end", "p50")
    assert samples is not None
    low, high = samples.ratio_interval(0.05)
    assert low < 0 < high
    assert samples.ratio() == samples.shift() == 0.0
    assert samples.ratio_p(0.0) > 0.5
    assert samples.ratio_p(1.0) == 0.0
    assert comparing.MIN_RUNS == 10
