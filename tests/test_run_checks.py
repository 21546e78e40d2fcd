"""`latbench run --fail-on`, `--baseline`: what is refused before the run, what comes of one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from latbench import run_checks
from latbench.cli import conduct
from latbench.comparison import Comparison
from latbench.result import Finding, RunResult, RunStatus
from latbench.run_checks import prepare
from latbench.supervisor import Outcome
from tests.cli import Caller, Finished
from tests.comparisons import make_run, make_side, write_side
from tests.results import make_config, make_counts, make_hop, make_hops

LOAD = ("--tick-rate", "5000", "--duration", "300", "--broker", "localhost:9092", "--no-live")
LOST = Finding(code="ticks-lost", values={"lost": 3, "sent": 100})


class Measuring:
    """Stands for the run itself: gives a result, and counts how often it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.outcome = Outcome(result=make_run(1, "n"))
        self.runs = 0
        monkeypatch.setattr(conduct, "supervise", self)

    def __call__(self, *arguments: Any, **options: Any) -> Outcome:
        self.runs += 1
        return self.outcome

    def gives(self, result: RunResult, **changes: Any) -> None:
        self.outcome = Outcome(result=msgspec.structs.replace(result, **changes))


@pytest.fixture
def measuring(monkeypatch: pytest.MonkeyPatch) -> Measuring:
    return Measuring(monkeypatch)


def run(call: Caller, folder: Path, *options: str) -> Finished:
    return call("run", *LOAD, "--output", folder / "new.parquet", *options, cwd=folder)


# --- limits -------------------------------------------------------------------------------------


def test_a_limit_that_holds_is_told_and_ends_with_0(
    measuring: Measuring, call_latbench: Caller, tmp_path: Path
) -> None:
    done = run(call_latbench, tmp_path, "--fail-on", "end_to_end.p99 > 15ms")
    assert done.code == 0, done.talk
    assert done.stderr.splitlines()[-1].startswith("held: end_to_end.p99 is 1.")
    assert done.stderr.splitlines()[-1].endswith(", the limit is <= 15.0 ms")


def test_each_limit_that_is_broken_is_named_with_value_and_limit(
    measuring: Measuring, call_latbench: Caller, tmp_path: Path
) -> None:
    measuring.gives(make_run(1), hops=make_hops(scale=2.0))
    limits = ("--fail-on", "p99 > 2ms", "--fail-on", "kafka.p50 >= 800us", "--fail-on", "mean > 1s")
    done = run(call_latbench, tmp_path, *limits)
    assert done.code == 3
    assert done.stderr.splitlines() == [
        "error: end_to_end.p99 is 2.62 ms, the limit is <= 2.00 ms",
        "error: kafka.p50 is 860 µs, the limit is < 800 µs",
        "held: end_to_end.mean is 1.24 ms, the limit is <= 1.00 s",
    ]


def test_a_value_that_looks_like_its_limit_is_told_to_the_nanosecond(
    measuring: Measuring, call_latbench: Caller, tmp_path: Path
) -> None:
    hop = make_hop("end_to_end")
    p50 = {**hop.percentiles_ns, "p50": 2_000_001}
    measuring.gives(make_run(1), hops=(msgspec.structs.replace(hop, percentiles_ns=p50),))
    done = run(call_latbench, tmp_path, "--fail-on", "p50 > 2ms", "--json")
    assert done.code == 3
    assert done.stderr == "error: end_to_end.p50 is 2,000,001 ns, the limit is <= 2.00 ms\n"
    (told,) = done.result["fail_on"]
    assert (told["value_ns"], told["verdict"]) == (2_000_001, "broken")


def test_a_percentile_that_the_run_turned_out_not_to_know_is_4(
    measuring: Measuring, call_latbench: Caller, tmp_path: Path
) -> None:
    measuring.gives(
        make_run(1), hops=make_hops(count=9000), counts=make_counts(sent=9500, measured=9000)
    )
    done = run(call_latbench, tmp_path, "--fail-on", "p99 > 2ms")
    assert done.code == 4
    told = (
        "error: fewer than 100 ticks lie above end_to_end.p99: too few to tell whether it is "
        "<= 2.00 ms"
    )
    assert done.stderr.splitlines()[-1] == told


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"findings": (LOST,)}, 4),
        ({"status": RunStatus.FAILED, "failure": "the relay died"}, 1),
    ],
)
def test_a_run_that_does_not_count_is_held_against_nothing(
    changes: dict[str, Any], code: int, measuring: Measuring, call_latbench: Caller, tmp_path: Path
) -> None:
    write_side(tmp_path / "base", make_side("a", 3))
    measuring.gives(make_run(1, "n"), **changes)
    done = run(call_latbench, tmp_path, "--fail-on", "p50 > 1us", "--baseline", "base")
    assert done.code == code
    assert done.stderr.splitlines()[-1] == (
        "not checked: the run is not whole, or not a valid measurement"
    )
    assert "Against the baseline" not in done.stdout


# --- the baseline -------------------------------------------------------------------------------


def test_a_run_is_compared_with_the_baseline_below_its_report(
    measuring: Measuring, call_latbench: Caller, tmp_path: Path
) -> None:
    write_side(tmp_path / "base", make_side("a", 40))
    measuring.gives(make_run(1, "n", 1.3, "kafka"))
    options = ("--baseline", "base", "--max-regression", "p50=10%")
    done = run(call_latbench, tmp_path, *options)
    assert done.code == 3, done.talk
    report, _, comparison = done.stdout.partition("Against the baseline")
    assert "Latency by hop" in report
    assert "Regression: end_to_end.p50 is slower by 2" in comparison
    assert "B  " in comparison
    told = run(call_latbench, tmp_path, *options, "--json").result
    assert msgspec.convert(told["comparison"], Comparison).base_runs == 40
    assert told["run_id"] == "n0000001"
    measuring.gives(make_run(2, "n"))
    assert run(call_latbench, tmp_path, *options).code == 0


@pytest.mark.parametrize(("options", "code"), [((), 0), (("--strict",), 4)])
def test_too_few_runs_of_the_base_decide_nothing(
    options: tuple[str, ...],
    code: int,
    measuring: Measuring,
    call_latbench: Caller,
    tmp_path: Path,
) -> None:
    write_side(tmp_path / "base", make_side("a", 12))
    done = run(call_latbench, tmp_path, "--baseline", "base", *options)
    assert done.code == code
    assert "one new run has a verdict against 79 base runs" in " ".join(done.stdout.split())


def test_a_broken_limit_weighs_more_than_no_verdict(
    measuring: Measuring, call_latbench: Caller, tmp_path: Path
) -> None:
    write_side(tmp_path / "base", make_side("a", 12))
    options = ("--baseline", "base", "--strict", "--fail-on", "p50 > 1us")
    assert run(call_latbench, tmp_path, *options).code == 3


def test_results_of_other_loads_and_other_files_are_left_out_and_told(
    measuring: Measuring, call_latbench: Caller, tmp_path: Path
) -> None:
    write_side(tmp_path / "base", make_side("a", 40))
    write_side(tmp_path / "x", make_side("o", 2, config=make_config(tick_rate_hz=1000)))
    for path in (tmp_path / "x").iterdir():
        shutil.move(path, tmp_path / "base" / f"other-{path.name}")
    (tmp_path / "base" / "text.parquet").write_text("no Parquet")
    done = run(call_latbench, tmp_path, "--baseline", "base", "--max-regression", "p50=10%")
    assert done.code == 0, done.talk
    assert done.stderr.splitlines() == [
        "skipped base/text.parquet: is not a Parquet file",
        "base: 2 of 42 are of another load",
    ]
    assert "base/ · 40 runs" in done.stdout


def test_of_too_many_results_the_latest_are_the_base(
    measuring: Measuring, call_latbench: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_checks, "MAX_VALUES", 2)
    stored = make_side("a", 4)
    later = [
        msgspec.structs.replace(
            each, result=msgspec.structs.replace(each.result, started_unix_ns=9 - number)
        )
        for number, each in enumerate(stored)
    ]
    write_side(tmp_path / "base", tuple(later))
    done = run(call_latbench, tmp_path, "--baseline", "base", "--json")
    assert done.stderr.splitlines()[0] == "base: the latest 2 of 4 are compared with"
    files = [Path(name).name for name in done.result["comparison"]["files"]["base"]]
    assert sorted(files) == ["01.parquet", "02.parquet"]


def test_a_result_that_the_run_replaces_is_no_base_for_it(
    measuring: Measuring, call_latbench: Caller, tmp_path: Path
) -> None:
    write_side(tmp_path / "base", make_side("a", 40))
    output = ("--output", tmp_path / "base" / "07.parquet", "--overwrite")
    options = ("--baseline", "base", "--max-regression", "p50=10%", *output)
    done = call_latbench("run", *LOAD, *options, cwd=tmp_path)
    assert "base/ · 39 runs" in done.stdout


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("--fail-on p99", "--fail-on 'p99' is not HOP.STATISTIC > TIME"),
        ("--fail-on p99<5ms", "--fail-on 'p99<5ms' says nothing that fails"),
        ("--fail-on p99>5", "--fail-on 'p99>5' ends in no time with its unit"),
        (
            "--duration 1 --fail-on p99>5ms",
            "--fail-on end_to_end.p99 takes 10,000 measured ticks to be known, and 1 s at 5,000/s "
            "give 5,000",
        ),
        (
            "--baseline base --duration 1 --max-regression kafka.p99=9%",
            "--max-regression kafka.p99 takes 10,000 measured ticks to be known",
        ),
        ("--baseline base --max-regression p99", "--max-regression 'p99' is not HOP.STATISTIC="),
        ("--max-regression p99=5%", "--max-regression is for a comparison, and there is none"),
        ("--strict", "--strict is for a comparison, and there is none"),
        ("--baseline none", "--baseline none does not exist"),
        ("--baseline base/01.parquet", "--baseline base/01.parquet is no directory"),
        ("--baseline empty", "empty holds no results of runs"),
        (
            "--baseline base --duration 60",
            "none of 3 results in base is of this run's load: duration is 5 min there, 60 s here",
        ),
        (
            "--baseline base --broker embedded --seed 2",
            "none of 3 results in base is of this run's load: broker is kafka there, embedded "
            "here, seed is 1 there, 2 here",
        ),
        ("--baseline bad", "no result in bad of this run's load is complete and valid"),
    ],
)
def test_what_this_run_can_not_be_held_against_is_told_before_it(
    options: str, complaint: str, measuring: Measuring, call_latbench: Caller, tmp_path: Path
) -> None:
    write_side(tmp_path / "base", make_side("a", 3))
    write_side(tmp_path / "bad", make_side("a", 3, findings=(LOST,)))
    (tmp_path / "empty").mkdir()
    done = run(call_latbench, tmp_path, *options.split())
    assert done.code == 2, done.talk
    first, second = done.stderr.splitlines()
    assert first.startswith(f"error: {complaint}")
    assert second.startswith("hint: ")
    assert done.stdout == ""
    assert measuring.runs == 0


def test_how_many_ticks_a_replay_has_is_not_asked_before(tmp_path: Path) -> None:
    config = make_config(source="ticks.csv", duration_ns=None)
    found = prepare(
        config, fail_on=["p99.99 > 1s"], baseline=None, max_regression=[], strict=False, tell=print
    )
    assert [limit.subject for limit in found.limits] == ["end_to_end.p99.99"]


def test_a_run_without_checks_says_nothing_of_them(
    measuring: Measuring, call_latbench: Caller, tmp_path: Path
) -> None:
    done = run(call_latbench, tmp_path, "--json")
    assert done.code == 0
    assert {"fail_on", "comparison"} & set(done.result) == set()
    assert done.stderr == ""


def test_a_file_of_options_may_hold_all_of_it(
    measuring: Measuring, call_latbench: Caller, tmp_path: Path
) -> None:
    write_side(tmp_path / "base", make_side("a", 40))
    (tmp_path / "gate.toml").write_text(
        'baseline = "base"\nstrict = true\nfail-on = ["p99 > 15ms", "kafka.p50 > 1us"]\n'
        '[max-regression]\nkafka.p50 = "8%"\n'
    )
    done = run(call_latbench, tmp_path, "--config", "gate.toml", "--json")
    assert done.code == 3, done.talk
    assert [each["verdict"] for each in done.result["fail_on"]] == ["held", "broken"]
    (gate,) = done.result["comparison"]["gates"]
    assert (gate["gate"]["hop"], gate["gate"]["margin"]) == ("kafka", 0.08)
    assert done.result["comparison"]["verdict"] == "pass"


# --- on GitHub ----------------------------------------------------------------------------------


def test_checks_are_annotations_on_github(
    measuring: Measuring,
    call_latbench: Caller,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    write_side(tmp_path / "base", make_side("a", 10))
    options = ("--baseline", str(tmp_path / "base"), "--fail-on", "p50 > 1us", "--overwrite")
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    plain = run(call_latbench, tmp_path, *options)
    assert "::" not in plain.stdout
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    told = run(call_latbench, tmp_path, *options)
    assert told.code == plain.code == 3
    lines = [line for line in told.stdout.splitlines() if line.startswith("::")]
    assert lines[0].startswith("::error title=latbench end_to_end.p50::end_to_end.p50 is ")
    assert lines[-1].startswith("::warning title=latbench run --baseline::Inconclusive: ")
    assert "::" not in run(call_latbench, tmp_path, *options, "--json").stdout


def test_a_run_without_checks_annotates_nothing(
    measuring: Measuring,
    call_latbench: Caller,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert "::" not in run(call_latbench, tmp_path).stdout
