"""`latbench sweep`, whole, on the embedded broker: few points, low rates."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from latbench.store import read_result
from latbench.sweep_file import read_sweep
from latbench.sweep_result import SweepStatus
from tests.cli import run_latbench, start_latbench

QUICK = ("--duration", "0.5", "--warmup", "0.3", "--cool-down", "0.1", "--output", "s.parquet")


def test_a_limit_that_is_easy_to_hold_is_held_at_the_highest_rate(tmp_path: Path) -> None:
    rates = ("--from", "500", "--to", "1000")
    slo = ("--slo", "end_to_end.p50 < 2s")
    run = run_latbench("sweep", *slo, *rates, *QUICK, "--keep-runs", "--json", cwd=tmp_path)
    assert run.code == 0, run.talk
    told = run.result
    assert told["status"] == "found"
    assert (told["knee"]["rate_hz"], told["knee"]["fails_hz"]) == (1000, None)
    assert [point["rate_hz"] for point in told["points"]] == [500, 1000, 1000, 1000, 1000]
    assert [point["purpose"] for point in told["points"]] == ["step", "step", *["confirm"] * 3]
    # every point is a whole run of its own
    kept = sorted((tmp_path / "s.runs").iterdir())
    assert [str(path.relative_to(tmp_path)) for path in kept] == [
        point["file"] for point in told["points"]
    ]
    for path, point in zip(kept, told["points"], strict=True):
        result = read_result(path)
        assert result.config.tick_rate_hz == point["rate_hz"]
        assert result.hop("end_to_end").percentiles_ns["p50"] == point["values_ns"][0]
        assert point["backlog_growth_ns"] is None  # too short to tell
        assert point["cpu_shares"].keys() >= {"generator", "relay", "consumer"}
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["s.parquet", "s.runs", "s.svg"]


def test_a_limit_that_nothing_holds_ends_it_with_3(tmp_path: Path) -> None:
    slo = ("--slo", "end_to_end.p50 < 1us")
    run = run_latbench("sweep", *slo, "--from", "500", *QUICK, cwd=tmp_path)
    assert run.code == 3, run.talk
    assert "Not even 500 ticks/s, the lowest rate asked for, hold" in run.stdout
    result = read_sweep(tmp_path / "s.parquet")
    assert result.status is SweepStatus.NONE_HOLDS
    assert len(result.points) == 2  # one failure may be the machine's
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.parquet", "s.svg"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_and_leaves_what_was_measured(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    options = ("--slo", "end_to_end.p50 < 2s", "--from", "500", "--to", "500", *QUICK)
    longer = ("--cool-down", "60s")
    with start_latbench("sweep", *options, *longer, cwd=tmp_path) as background:
        background.wait_for_phase("  1  step")  # it is measured, and a minute's rest begins
        background.signal(number)
        run = background.finish(10)
    assert run.code == code, run.talk
    assert "INTERRUPTED before an answer was found." in run.stdout
    assert "So far 500 ticks/s held" in run.stdout
    assert len(read_sweep(tmp_path / "s.parquet").points) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.parquet", "s.svg"]


def test_a_broker_that_does_not_answer_is_told_in_an_error_and_a_hint(tmp_path: Path) -> None:
    options = ("--slo", "end_to_end.p50 < 2s", "--broker", "127.0.0.1:1", *QUICK)
    run = run_latbench("sweep", *options, cwd=tmp_path)
    assert run.code == 1
    error, hint = run.stderr.splitlines()[-2:]
    assert error.startswith("error: no broker answers at 127.0.0.1:1")
    assert hint.startswith("hint: ")
    assert list(tmp_path.iterdir()) == []
