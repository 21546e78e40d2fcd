"""`latbench sweep` without a run: its options, what it writes and prints, its exit codes."""

from __future__ import annotations

import signal
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from latbench.cli import sweep as command
from latbench.config import RunConfig
from latbench.signals import Interrupted
from latbench.sweep import SweepOutcome
from latbench.sweep_file import read_sweep
from latbench.sweep_result import SweepPlan, SweepResult, SweepStatus
from tests.cli import Caller
from tests.sweeps import make_sweep

SLO = ("--slo", "end_to_end.p99 < 5ms")


class Finder:
    """Stands for the measuring: gives an outcome, and keeps what it was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.outcome = SweepOutcome(result=make_sweep())
        self.raises: Exception | None = None
        self.plan: SweepPlan | None = None
        self.config: RunConfig | None = None
        self.directory = Path()
        self.keep = False
        monkeypatch.setattr(command, "find", self)

    def __call__(
        self, plan: SweepPlan, config: RunConfig, directory: Path, watcher: Any, *, keep: bool
    ) -> SweepOutcome:
        self.plan, self.config, self.directory, self.keep = plan, config, directory, keep
        if self.raises is not None:
            raise self.raises
        return self.outcome

    def ends(self, status: SweepStatus, **changes: Any) -> None:
        """Let it end like this."""
        result = msgspec.structs.replace(self.outcome.result, status=status, **changes)
        self.outcome = SweepOutcome(result=result)


@pytest.fixture
def finder(monkeypatch: pytest.MonkeyPatch) -> Finder:
    return Finder(monkeypatch)


def test_options_become_a_plan_and_a_pipeline(
    finder: Finder, call_latbench: Caller, tmp_path: Path
) -> None:
    options = (
        "--slo", "kafka.p50 <= 2ms", "--from", "2,000", "--to", "50000", "--resolution", "10",
        "--duration", "5", "--warmup", "1s", "--cool-down", "0", "--linger", "1",
        "--broker", "localhost:9092", "--topic", "t", "--symbols", "A,B", "--no-hiccups",
        "--arrivals", "poisson", "--acks", "1", "--producer", "batch.size=1000", "--keep-runs",
    )  # fmt: skip
    run = call_latbench("sweep", *SLO, *options, cwd=tmp_path)
    assert run.code == 0, run.talk
    plan, config = finder.plan, finder.config
    assert plan is not None
    assert config is not None
    assert [str(slo) for slo in plan.slos] == ["end_to_end.p99 < 5.00 ms", "kafka.p50 <= 2.00 ms"]
    assert (plan.from_hz, plan.to_hz, plan.resolution) == (2000, 50_000, 0.1)
    assert (plan.duration_ns, plan.warmup_ns, plan.cool_down_ns) == (5 * 10**9, 10**9, 0)
    assert (config.linger_ms, config.broker, config.topic) == (1.0, "localhost:9092", "t")
    assert (config.symbols, config.hiccups, config.acks) == (("A", "B"), False, "1")
    assert config.producer == {"batch.size": "1000"}
    assert finder.keep


def test_a_profile_and_what_is_given_besides_are_those_of_every_point(
    finder: Finder, call_latbench: Caller, tmp_path: Path
) -> None:
    options = ("--profile", "throughput", "--linger", "2", "--no-compiled")
    assert call_latbench("sweep", *SLO, *options, cwd=tmp_path).code == 0
    config = finder.config
    assert config is not None
    assert (config.compression, config.coalesce_ns, config.hiccups) == ("lz4", 2_000_000, False)
    assert (config.linger_ms, config.compiled, config.realtime) == (2.0, False, False)
    file = tmp_path / "latbench.toml"
    file.write_text('profile = "latency"\nspin = true\n')
    again = call_latbench("sweep", *SLO, "--config", file, "--output", "b.parquet", cwd=tmp_path)
    assert again.code == 0, again.talk
    config = finder.config
    assert (config.coalesce_ns, config.realtime, config.spin) == (500_000, True, True)
    assert (config.linger_ms, config.compression) == (0.0, "none")


def test_by_default_warm_ups_end_by_themselves_and_no_runs_are_kept(
    finder: Finder, call_latbench: Caller, tmp_path: Path
) -> None:
    call_latbench("sweep", *SLO, cwd=tmp_path)
    assert finder.plan is not None
    assert finder.plan.warmup_ns is None
    assert finder.plan.resolution == 0.05
    assert not finder.keep


def test_a_file_of_options_is_read(finder: Finder, call_latbench: Caller, tmp_path: Path) -> None:
    text = 'slo = ["end_to_end.p50 < 1ms", "kafka.p99 < 4ms"]\nfrom = 500\nlinger = 1\n'
    assert tomllib.loads(text)
    (tmp_path / "sweep.toml").write_text(text)
    run = call_latbench("sweep", "--config", "sweep.toml", cwd=tmp_path)
    assert run.code == 0, run.talk
    assert finder.plan is not None
    assert [slo.subject for slo in finder.plan.slos] == ["end_to_end.p50", "kafka.p99"]
    assert finder.plan.from_hz == 500


def test_points_and_picture_are_written_beside_each_other(
    finder: Finder, call_latbench: Caller, tmp_path: Path
) -> None:
    run = call_latbench("sweep", *SLO, "--output", "s.parquet", cwd=tmp_path)
    assert run.code == 0, run.talk
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.parquet", "s.svg"]
    assert read_sweep(tmp_path / "s.parquet") == finder.outcome.result
    assert (tmp_path / "s.svg").read_text().startswith("<svg ")
    assert finder.directory == Path("s.runs")
    told = " ".join(run.stdout.split())
    assert "21,600 ticks/s hold end_to_end.p99 < 5.00 ms." in told
    assert "s.parquet" in told
    assert "s.svg" in told
    again = call_latbench("report", "s.parquet", cwd=tmp_path)
    assert again.code == 0
    assert again.stdout.splitlines()[:4] == run.stdout.splitlines()[:4]


def test_the_default_files_go_to_bench_results(
    finder: Finder, call_latbench: Caller, tmp_path: Path
) -> None:
    call_latbench("sweep", *SLO, cwd=tmp_path)
    names = sorted(path.suffix for path in (tmp_path / "bench-results").iterdir())
    assert names == [".parquet", ".svg"]


def test_json_has_everything_and_is_all_there_is(
    finder: Finder, call_latbench: Caller, tmp_path: Path
) -> None:
    run = call_latbench("sweep", *SLO, "--json", "--output", "s.parquet", cwd=tmp_path)
    told = run.result
    result = finder.outcome.result
    assert msgspec.convert(told, SweepResult) == result
    assert told["answer"][0] == "21,600 ticks/s hold end_to_end.p99 < 5.00 ms."
    assert told["files"] == ["s.parquet", "s.svg"]
    assert told["saturation"]["text"] == "the relay, at 32,000/s"
    assert told["saturation"]["evidence"][0]["text"] == "the relay uses 97 % of a CPU"
    assert result.fit is not None
    assert told["fit"]["median_error"] == pytest.approx(result.fit.median_error)
    assert {"rate_hz", "latency_ns"} == set(told["predictions"][0])
    failing = next(point for point in told["points"] if not point["holds"])
    assert failing["reasons"][0]["text"].startswith("end_to_end.p99 is ")
    again = call_latbench("report", "s.parquet", "--json", cwd=tmp_path)
    assert again.result["points"] == told["points"]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (SweepStatus.FOUND, 0),
        (SweepStatus.FAILED, 1),
        (SweepStatus.NONE_HOLDS, 3),
        (SweepStatus.INCONCLUSIVE, 4),
    ],
)
def test_exit_codes(
    status: SweepStatus, code: int, finder: Finder, call_latbench: Caller, tmp_path: Path
) -> None:
    failure = "the relay died" if status is SweepStatus.FAILED else ""
    finder.ends(status, failure=failure)
    run = call_latbench("sweep", *SLO, "--output", "s.parquet", cwd=tmp_path)
    assert run.code == code, run.talk
    assert (tmp_path / "s.parquet").exists()
    assert ("error: the relay died" in run.stderr) is (status is SweepStatus.FAILED)


def test_what_an_interrupted_sweep_has_measured_is_written(
    finder: Finder, call_latbench: Caller, tmp_path: Path
) -> None:
    finder.ends(SweepStatus.INTERRUPTED, knee=None)
    finder.outcome = msgspec.structs.replace(finder.outcome, signal=signal.SIGTERM)
    run = call_latbench("sweep", *SLO, "--output", "s.parquet", cwd=tmp_path)
    assert run.code == 143
    assert "INTERRUPTED before an answer was found." in run.stdout
    assert read_sweep(tmp_path / "s.parquet").status is SweepStatus.INTERRUPTED


def test_an_interruption_before_the_first_point_leaves_nothing(
    finder: Finder, call_latbench: Caller, tmp_path: Path
) -> None:
    finder.raises = Interrupted(signal.SIGINT)
    run = call_latbench("sweep", *SLO, cwd=tmp_path)
    assert (run.code, run.stdout) == (130, "")
    assert run.stderr.splitlines()[-1] == "interrupted before the first point was measured"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ((), "missing option '--slo'"),
        (("--slo", "p99"), "--slo 'p99' is not HOP.STATISTIC < TIME"),
        ((*SLO, "--from", "0"), "--from: tick rate '0' is not between 1 and 1,000,000"),
        ((*SLO, "--to", "x"), "--to: tick rate 'x' is not a number"),
        ((*SLO, "--from", "2000", "--to", "1000"), "--from 2,000 is above --to 1,000"),
        ((*SLO, "--resolution", "x"), "--resolution 'x' is not between 0.5% and 50%"),
        ((*SLO, "--resolution", "90%"), "--resolution '90%' is not between 0.5% and 50%"),
        ((*SLO, "--warmup", "x"), "warm-up 'x' is not a time"),
        ((*SLO, "--cool-down", "x"), "cool-down 'x' is not a time"),
        ((*SLO, "--output", "a.svg"), "a.svg is where the picture would go"),
        ((*SLO, "--producer", "no.such=1"), "no.such"),
        (("--slo", "ack.p99.99 < 1ms"), "takes 1,000,000 ticks to be known"),
    ],
)
def test_what_can_not_be_is_refused_before_anything_starts(
    options: tuple[str, ...], complaint: str, finder: Finder, call_latbench: Caller, tmp_path: Path
) -> None:
    run = call_latbench("sweep", *options, cwd=tmp_path)
    assert run.code == 2, run.talk
    assert complaint in run.stderr
    assert "hint: " in run.stderr
    assert finder.plan is None
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_has_its_chart_already(
    finder: Finder, call_latbench: Caller, tmp_path: Path
) -> None:
    call_latbench("sweep", *SLO, "--output", "s.parquet", cwd=tmp_path)
    told = call_latbench("report", "s.parquet", cwd=tmp_path)
    run = call_latbench("report", "s.parquet", "--plot", cwd=tmp_path)
    assert (run.code, run.stdout) == (0, told.stdout)
    assert run.stderr == "s.parquet is of a sweep: the picture above is all there is to draw\n"


def test_a_sweep_has_no_rows_to_verify_and_nothing_to_save(
    finder: Finder, call_latbench: Caller, tmp_path: Path
) -> None:
    call_latbench("sweep", *SLO, "--output", "s.parquet", cwd=tmp_path)
    for option, complaint in (("--verify", "has no rows"), ("--save", "result file already")):
        run = call_latbench("report", "s.parquet", option, cwd=tmp_path)
        assert run.code == 1
        assert complaint in run.stderr
