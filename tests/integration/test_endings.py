"""Every way that a run can end before its time: nothing is left running, nothing is lost."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from latbench.clock import NS_PER_MS, NS_PER_S, monotonic_ns
from latbench.rowfile import packed_path
from tests.cli import (
    LATBENCH,
    Background,
    Finished,
    is_gone,
    report,
    start_latbench,
    wait_until,
)
from tests.runs import Row, check_whole, read_rows, recorded

LONG = ("--duration", "60", "--warmup", "0.2", "--drain-timeout", "2s")
STAGES = ("generator", "relay", "consumer", "broker")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The result file of the test's run."""
    return tmp_path / "run.parquet"


def partial(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def wait_for_ticks(background: Background, path: Path) -> dict[str, int]:
    """Until a few hundred measured ticks have gone all the way; the stages' processes."""
    background.wait_for_phase("measuring")
    wait_until(lambda: recorded(path, "consumer") > 500, what="500 ticks")
    stages = background.stages()
    assert sorted(stages) == sorted(STAGES)
    return stages


def check_ended_early(run: Finished, path: Path, code: int, status: str) -> list[Row]:
    """A report was printed, and the file gives the same one."""
    assert run.code == code, run.talk
    assert "Traceback" not in run.stderr
    assert not partial(path).exists()
    told = report(path, cwd=path.parent)
    assert told.code == 0
    assert told.stdout == run.stdout
    assert f"· {status}" in run.stdout
    return read_rows(path)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_a_run_in_order(number: signal.Signals, code: int, path: Path) -> None:
    with start_latbench("run", *LONG, "--output", path, cwd=path.parent) as background:
        wait_for_ticks(background, path)
        background.signal(number)
        run = background.finish(10)
    rows = check_ended_early(run, path, code, "interrupted")
    assert len(rows) >= 500
    check_whole(path)  # all that were sent have arrived: the pipeline was drained


def test_a_signal_before_the_first_tick_leaves_nothing(path: Path) -> None:
    with start_latbench("run", *LONG, "--output", path, cwd=path.parent) as background:
        background.wait_for_phase("starting")
        background.signal(signal.SIGINT)
        run = background.finish(10)
    assert run.code == 130, run.talk
    assert run.stdout == ""
    told = run.stderr.splitlines()[-1]
    assert told == "interrupted before the first tick: nothing was measured"
    assert not list(path.parent.iterdir())


def test_a_signal_while_the_program_is_loaded_ends_it_quietly(path: Path) -> None:
    with start_latbench("run", *LONG, "--output", path, cwd=path.parent) as background:
        maps = Path(f"/proc/{background.pid}/maps")
        wait_until(lambda: "msgspec" in maps.read_text(), what="its libraries")
        background.signal(signal.SIGINT)
        run = background.finish(10)
    assert (run.code, run.stdout) == (130, "")
    assert "Traceback" not in run.stderr
    assert not list(path.parent.iterdir())


def test_a_second_signal_ends_the_wait_for_ticks_on_their_way(path: Path) -> None:
    options = (*LONG[:-1], "60s", "--output", path)
    with start_latbench("run", *options, cwd=path.parent) as background:
        stages = wait_for_ticks(background, path)
        os.kill(stages["consumer"], signal.SIGSTOP)
        sent = recorded(path, "generator")
        wait_until(lambda: recorded(path, "generator") > sent + 100, what="100 ticks")
        background.signal(signal.SIGINT)
        background.wait_for_phase("draining")
        background.signal(signal.SIGINT)
        began_ns = monotonic_ns()
        wait_until(lambda: is_gone(stages["generator"]), 1.5, "the generator's end")
        assert monotonic_ns() - began_ns < 1.5 * NS_PER_S
        os.kill(stages["consumer"], signal.SIGCONT)
        run = background.finish(15)
    check_ended_early(run, path, 130, "interrupted")


def spooled(path: Path, *more: str) -> dict[str, Any]:
    """The report, as JSON, of what a run left behind."""
    told = report(partial(path), "--json", *more, cwd=path.parent)
    assert told.code == 0, told.talk
    result = json.loads(told.stdout)
    assert isinstance(result, dict)
    return result


def test_a_killed_run_leaves_no_process_and_all_it_measured(path: Path) -> None:
    options = (*LONG, "--tick-rate", "2000", "--output", path)
    with start_latbench("run", *options, cwd=path.parent) as background:
        stages = wait_for_ticks(background, path)
        killed_ns = monotonic_ns()
        background.signal(signal.SIGKILL)
        assert background.process.wait(5) == -signal.SIGKILL
        for stage, pid in stages.items():
            wait_until(lambda pid=pid: is_gone(pid), 1.0, f"the end of the {stage}")
        assert monotonic_ns() - killed_ns < 2 * NS_PER_S
        background.finish()
    assert not path.exists()

    result = spooled(path)
    assert result["status"] == "recovered"
    due_by_then = (killed_ns - NS_PER_S - result["start_ns"]) * 2000 // NS_PER_S
    assert result["counts"]["consumed"] >= due_by_then

    told = report(path, cwd=path.parent)
    assert told.code == 1
    assert f"hint: latbench report {partial(path)}" in told.stderr

    saved = spooled(path, "--save")
    assert saved["counts"] == result["counts"]
    assert saved["hops"] == result["hops"]
    assert not partial(path).exists()
    rows = read_rows(path)
    assert [row["seq"] for row in rows] == list(range(len(rows)))
    assert None not in {row["due_ns"] for row in rows}
    whole = [row for row in rows if row["due_ns"] < killed_ns - NS_PER_S]
    assert len(whole) >= due_by_then
    assert all(None not in row.values() for row in whole)
    assert report(path, cwd=path.parent).code == 0


def wait_in_open_warm_up(background: Background, path: Path) -> None:
    """Until ticks have gone all the way that nobody knows to be measured or not."""
    background.wait_for_phase("warm-up")
    wait_until(lambda: recorded(path, "consumer") > 1500, what="1,500 ticks")


OPEN = ("--warmup", "auto", "--tick-rate", "1000", "--drain-timeout", "2s")


def test_what_a_fast_run_has_packed_is_there_after_a_kill(path: Path) -> None:
    load = ("--tick-rate", "100000", "--profile", "throughput")
    packed = packed_path(partial(path), "consumer")
    with start_latbench("run", *LONG, *load, "--output", path, cwd=path.parent) as background:
        background.wait_for_phase("measuring")
        wait_until(lambda: packed.exists() and packed.stat().st_size > 50_000, what="packed rows")
        background.signal(signal.SIGKILL)
        assert background.process.wait(5) == -signal.SIGKILL
        background.finish()
    result = spooled(path, "--save")
    assert result["status"] == "recovered"
    rows = read_rows(path)
    assert [row["seq"] for row in rows] == list(range(len(rows)))
    arrived = [row for row in rows if row["consumed_ns"] is not None]
    assert len(arrived) == result["counts"]["consumed"] > 4_000
    assert all(row["due_ns"] <= row["sent_ns"] <= row["consumed_ns"] for row in arrived)


def check_nothing_measured(result: dict[str, Any]) -> None:
    assert result["counts"]["sent"] > 1500
    assert result["counts"]["measured"] == 0
    codes = {finding["code"] for finding in result["findings"]}
    assert "nothing-measured" in codes
    # it had no end that could be judged
    assert not codes & {"warmup-settled", "warmup-unsettled"}


def test_a_run_killed_in_a_warm_up_without_end_has_measured_nothing(path: Path) -> None:
    with start_latbench("run", *OPEN, "--output", path, cwd=path.parent) as background:
        wait_in_open_warm_up(background, path)
        background.signal(signal.SIGKILL)
        assert background.process.wait(5) == -signal.SIGKILL
        background.finish()
    check_nothing_measured(spooled(path))


def test_a_signal_in_a_warm_up_without_end_ends_it(path: Path) -> None:
    with start_latbench("run", *OPEN, "--output", path, cwd=path.parent) as background:
        wait_in_open_warm_up(background, path)
        background.signal(signal.SIGINT)
        run = background.finish(10)
    rows = check_ended_early(run, path, 130, "interrupted")
    assert {row["warmup"] for row in rows} == {True}
    check_nothing_measured(report(path, "--json", cwd=path.parent).result)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_is_killed_ends_the_run_and_is_named(stage: str, path: Path) -> None:
    with start_latbench("run", *LONG, "--output", path, cwd=path.parent) as background:
        stages = wait_for_ticks(background, path)
        killed_ns = monotonic_ns()
        os.kill(stages[stage], signal.SIGKILL)
        run = background.finish(15)
    rows = check_ended_early(run, path, 1, "failed")
    assert f"error: the {stage} died (killed by SIGKILL)" in run.stderr
    assert "hint: the ticks up to then are in the result file, marked as failed" in run.stderr
    assert f"the {stage} died (killed by SIGKILL)" in run.stdout
    whole = [row for row in rows if row["due_ns"] < killed_ns - 250 * NS_PER_MS]
    assert len(whole) > 200
    assert all(None not in row.values() for row in whole)


def test_a_stage_that_stands_still_for_a_moment_loses_nothing(path: Path) -> None:
    options = ("--duration", "2", *LONG[2:], "--output", path)
    with start_latbench("run", *options, cwd=path.parent) as background:
        stages = wait_for_ticks(background, path)
        for stage in ("consumer", "relay"):
            os.kill(stages[stage], signal.SIGSTOP)
            sent = recorded(path, "generator")
            wait_until(lambda sent=sent: recorded(path, "generator") > sent + 200)
            os.kill(stages[stage], signal.SIGCONT)
        run = background.finish()
    rows = check_whole(path, run)
    assert len(rows) == 2200
    assert max(row["consumed_ns"] - row["due_ns"] for row in rows) > 150 * NS_PER_MS
    assert max(row["relay_in_ns"] - row["sent_ns"] for row in rows) > 150 * NS_PER_MS


def test_a_full_disk_ends_the_run_and_what_was_measured_is_kept(path: Path) -> None:
    with start_latbench("run", *LONG, "--output", path, cwd=path.parent) as background:
        wait_for_ticks(background, path)
        limit_bytes = recorded(path, "consumer") * 64 + 60_000
        resource.prlimit(background.pid, resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
        run = background.finish(15)
    assert run.code == 1, run.talk
    assert "Traceback" not in run.stderr
    (told,) = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
    assert told == f"error: can't write to {partial(path)}: file too large"
    assert sum(line.startswith("hint: ") for line in run.stderr.splitlines()) == 1
    assert not path.exists()
    result = spooled(path)
    assert result["counts"]["consumed"] >= limit_bytes // 64 - 1000
    assert result["counts"]["measured"] > 500


def test_a_result_that_finds_its_name_taken_is_kept(path: Path) -> None:
    options = ("--duration", "1", *LONG[2:], "--output", path)
    with start_latbench("run", *options, cwd=path.parent) as background:
        background.wait_for_phase("measuring")
        path.mkdir()
        run = background.finish()
    assert run.code == 1, run.talk
    assert f"error: can't write {path}: is a directory" in run.stderr
    assert f"hint: what was measured is kept: latbench report {partial(path)}" in run.stderr
    path.rmdir()
    assert spooled(path, "--save")["counts"]["consumed"] == 1200
    check_whole(path)


@pytest.mark.parametrize("reader_of", ["stdout", "stderr", "both"])
def test_a_run_outlives_whoever_reads_its_output(reader_of: str, path: Path) -> None:
    """As in `latbench run | head -1` and with a terminal that is closed."""
    options = ("--duration", "1", "--warmup", "0", "--output", path)
    heard, said = os.pipe()
    gone = {"stdout": (said, None), "stderr": (None, said), "both": (said, said)}
    with (path.parent / "kept").open("wb") as kept:
        stdout, stderr = (kept if end is None else end for end in gone[reader_of])
        process = subprocess.Popen(
            [*LATBENCH, "run", *options], cwd=path.parent, stdout=stdout, stderr=stderr
        )
    os.close(said)
    with os.fdopen(heard, "rb") as reader:
        if reader_of != "stdout":
            assert reader.readline().startswith(b"latbench")
    assert process.wait(20) == (0 if reader_of == "stderr" else 1)
    assert len(check_whole(path)) == 1000
    assert b"Traceback" not in (path.parent / "kept").read_bytes()


def test_runs_begun_in_the_same_second_each_find_a_name(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        begun = [
            stack.enter_context(start_latbench("run", *LONG[2:], "--duration", "1", cwd=tmp_path))
            for _ in range(4)
        ]
        runs = [background.finish(60) for background in begun]
    assert [run.code for run in runs] == [0] * 4, [run.talk for run in runs]
    files = sorted((tmp_path / "bench-results").iterdir())
    assert len(files) == 4
    told = {
        line.split()[-1] for run in runs for line in run.stdout.splitlines() if "file  " in line
    }
    assert told == {f"bench-results/{file.name}" for file in files}
