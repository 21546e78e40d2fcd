"""`latbench ab`, whole, on the embedded broker: short runs at a low rate."""

from __future__ import annotations

import signal
from pathlib import Path

from latbench.ab_file import read_ab
from latbench.ab_result import AbStatus, Phase, Side
from latbench.store import read_result
from tests.cli import run_latbench, start_latbench, wait_until

LOAD = ("--tick-rate", "2000", "--duration", "0.5", "--warmup", "0.2", "--output", "s.parquet")
# the machine may be busy with anything: a gate that only a broken run could fail
GATE = ("--gate", "end_to_end.p50=1000%", "--pairs", "6", "--most-pairs", "6")


def test_a_session_passes_and_all_its_runs_share_a_broker(tmp_path: Path) -> None:
    options = ("--a", "--linger 1", "--keep-runs", "--json")
    run = run_latbench("ab", *options, *GATE, *LOAD, cwd=tmp_path, timeout_s=180)
    assert run.code == 0, run.talk
    told = run.result
    assert told["status"] == "complete"
    comparison = told["comparison"]
    assert comparison["verdict"] == "pass"
    assert (comparison["base_runs"], comparison["new_runs"]) == (6, 6)
    assert [each["verdict"] for each in comparison["gates"]] == ["pass"]
    assert comparison["mismatches"] == comparison["unfit"] == []
    assert comparison["differences"] == [{"name": "linger", "base": "1 ms", "new": "0 ms"}]
    assert "After 6 pairs: decided, no gate is broken." in run.stderr
    # each is a whole run of its own, of its side's options, and all talked to one broker
    session = read_ab(tmp_path / "s.parquet")
    assert len(session.runs) == 14
    kept = sorted((tmp_path / "s.runs").iterdir())
    assert [str(path.relative_to(tmp_path)) for path in kept] == [
        each.file for each in session.runs
    ]
    for path, each in zip(kept, session.runs, strict=True):
        assert read_result(path) == each.result
        assert each.result.config.linger_ms == (1.0 if each.side is Side.A else 0.0)
        assert each.result.counts.lost == 0
        assert each.result.counts.measured == 1000
    assert len({each.result.broker.bootstrap for each in session.runs}) == 1
    assert {each.result.broker.kind for each in session.runs} == {"embedded"}
    assert sum(each.phase is Phase.DISCARDED for each in session.runs) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.parquet", "s.runs"]


def test_a_signal_ends_it_in_order_with_the_pairs_there_are(tmp_path: Path) -> None:
    with start_latbench("ab", "--b", "--linger 1", *GATE, *LOAD, cwd=tmp_path) as background:
        background.wait_for_phase("1 ", timeout_s=40)  # the first pair has been measured
        wait_until(lambda: any(tmp_path.glob("s.runs-*/*")))  # a run of the next is on its way
        background.signal(signal.SIGINT)
        run = background.finish(20)
    assert run.code == 130, run.talk
    assert "Traceback" not in run.stderr
    session = read_ab(tmp_path / "s.parquet")
    assert session.status is AbStatus.INTERRUPTED
    assert session.comparison is not None
    assert session.comparison.base_runs == session.comparison.new_runs >= 1
    assert [path.name for path in tmp_path.iterdir()] == ["s.parquet"]
