"""`latbench history` on made-up folders: what it prints, what it says on stderr, how it ends."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from latbench.sweep_file import write_sweep
from tests.cli import Caller
from tests.histories import make_history, revision, write_history
from tests.results import make_config, make_result
from tests.sweeps import make_sweep


@pytest.fixture(scope="module")
def weeks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weeks")
    write_history(folder / "results", make_history())
    return folder


def test_it_prints_where_it_changed_and_nothing_on_stderr(
    weeks: Path, call_latbench: Caller
) -> None:
    run = call_latbench("history", "results", cwd=weeks)
    assert (run.code, run.stderr) == (0, "")
    assert run.stdout.startswith("latbench history · results\n")
    assert f"worse since {revision(23)} (2025-11-13), 49 runs" in run.stdout
    assert "librdkafka 2.12.2 → 2.13.0" in run.stdout
    assert "4 of 120 runs: 1 failed, 1 invalid (ticks-lost), 1 interrupted, 1 with" in run.stdout


def test_json_has_everything_of_every_scenario(weeks: Path, call_latbench: Caller) -> None:
    write_history(weeks / "two", make_history(30))
    other = make_result(config=make_config(tick_rate_hz=1000))
    write_history(weeks / "two" / "slow", make_history(5, base=other, seed=2))
    run = call_latbench("history", "two", "--json", cwd=weeks)
    told = run.result
    assert (run.code, run.stderr) == (0, "")
    assert [len(scenario["runs"]) for scenario in told["scenarios"]] == [30, 5]
    assert told["listed"][1]["key"]["tick_rate_hz"] == 1000
    subjects = {(each["hop"], each["percentile"]) for each in told["scenarios"][0]["trends"]}
    assert {("end_to_end", "p99.99"), ("relay", "p75"), ("ack", "p50")} <= subjects
    assert told["skipped"] == []
    chosen = call_latbench(
        "history", "two", "--json", "--scenario", told["listed"][1]["scenario_id"], cwd=weeks
    )
    assert [len(scenario["runs"]) for scenario in chosen.result["scenarios"]] == [5]


def test_options_choose_what_is_drawn(weeks: Path, call_latbench: Caller) -> None:
    run = call_latbench(
        "history", "results", "--hop", "kafka", "--hop", "hiccup", "--percentile", "p90", "--runs",
        cwd=weeks,
    )  # fmt: skip
    assert run.code == 0, run.talk
    assert "\nkafka.p90\n" in run.stdout
    assert "\nhiccup.p90\n" in run.stdout
    assert "\nend_to_end.p50\n" not in run.stdout
    assert run.stdout.count(".parquet\n") == 120
    assert "the relay died (killed by SIGKILL)" in run.stdout


def test_what_is_no_run_is_counted_on_stderr(tmp_path: Path, call_latbench: Caller) -> None:
    write_history(tmp_path, make_history(3))
    write_sweep(tmp_path / "sweep.parquet", make_sweep())
    pq.write_table(pa.table({"price": [1.5]}), tmp_path / "foreign.parquet")
    for number in range(7):
        (tmp_path / f"bad{number}.parquet").write_text("x")
    run = call_latbench("history", ".", cwd=tmp_path)
    assert run.code == 0
    assert "3 runs are too few to tell: it takes 12, 6 on each side" in run.stdout
    assert run.stderr.splitlines() == [
        "skipped: 1 sweep, 1 foreign Parquet file, 7 unreadable",
        *(f"  bad{number}.parquet is not a Parquet file" for number in range(5)),
        "  … and 2 more",
    ]


def test_hosts_that_are_made_anew_can_be_left_out(tmp_path: Path, call_latbench: Caller) -> None:
    for number, result in enumerate(make_history(24, bad={}, steps=((12, "kafka", 1.5),))):
        environment = msgspec.structs.replace(result.environment, hostname=f"runner-{number}")
        moved = msgspec.structs.replace(result, environment=environment)
        write_history(tmp_path / str(number), [moved])
    run = call_latbench("history", ".", cwd=tmp_path)
    assert "24 runs in 24 scenarios" in run.stdout
    assert "23 scenarios would join others if hosts did not count: --any-host" in run.stdout
    assert "… and 12 smaller ones" in run.stdout
    together = call_latbench("history", ".", "--any-host", cwd=tmp_path)
    assert "24 runs in 1 scenario" in together.stdout
    assert "worse since" in together.stdout


def test_nothing_but_bad_runs_is_told_as_such(tmp_path: Path, call_latbench: Caller) -> None:
    failed = {number: {"config": make_config(delays_injected=True)} for number in range(3)}
    write_history(tmp_path, make_history(3, bad=failed))
    run = call_latbench("history", ".", "--runs", cwd=tmp_path)
    assert run.code == 0, run.talk
    assert "end_to_end.p50  known of no run that is used" in run.stdout
    assert "3 of 3 runs: 3 with injected delays" in run.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        ((), 2, "missing argument 'DIR|FILE…'"),
        (("nowhere",), 1, "nowhere does not exist"),
        (("empty",), 1, "no run's result in empty"),
        (("results", "--hop", "kafak"), 2, "--hop 'kafak' is not there"),
        (("results", "--percentile", "p51"), 2, "--percentile 'p51' is not there"),
        (("results", "--scenario", "zz"), 2, "--scenario 'zz' is not there"),
    ],
)
def test_what_can_not_be_is_told_in_a_line_with_a_hint(
    arguments: tuple[str, ...], code: int, complaint: str, weeks: Path, call_latbench: Caller
) -> None:
    (weeks / "empty").mkdir(exist_ok=True)
    run = call_latbench("history", *arguments, cwd=weeks)
    assert run.code == code, run.talk
    assert f"error: {complaint}" in run.stderr
    assert "hint: " in run.stderr
    assert run.stdout == ""


def test_a_thousand_files_take_seconds(tmp_path: Path, call_latbench: Caller) -> None:
    write_history(tmp_path, make_history(1000))
    begun = time.monotonic()
    run = call_latbench("history", ".", cwd=tmp_path)
    assert run.code == 0
    assert time.monotonic() - begun < 20  # 2 s, on two CPUs that others use as well
