"""`latbench compare` and `run --baseline` with results of real runs on the embedded broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli import SHORT, Caller, run_latbench

RUN = ("run", *SHORT, "--tick-rate", "500", "--no-live", "--json")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two of each side; the base without linger, the new ones with 5 ms of it."""
    folder = tmp_path_factory.mktemp("runs")
    for side, linger in (("base", 0), ("new", 5)):
        for number in (1, 2):
            output = folder / side / f"{number}.parquet"
            run = run_latbench(*RUN, "--linger", linger, "--output", output, cwd=folder)
            assert run.code == 0, run.talk
    return folder


def test_two_runs_a_side_have_figures_and_no_verdict(runs: Path, call_latbench: Caller) -> None:
    run = call_latbench("compare", "base", "new", "--gate", "p50=5%", "--strict", cwd=runs)
    assert run.code == 4, run.talk
    text = " ".join(run.stdout.split())
    assert (
        "Inconclusive: a verdict takes 10 runs on each side: 8 more of A and 8 more of B." in text
    )
    assert "linger 0 ms → 5 ms" in text
    told = call_latbench("compare", "base", "new", "--gate", "p50=5%", "--json", cwd=runs).result
    (gate,) = told["gates"]
    assert gate["verdict"] == told["verdict"] == "inconclusive"
    assert gate["change"]["ratio"] > 1.2
    assert told["mismatches"] == told["unfit"] == []


def test_one_run_a_side_is_drawn_from_its_own_rows(runs: Path, call_latbench: Caller) -> None:
    told = call_latbench(
        "compare", "base/1.parquet", "new/1.parquet", "--gate", "p50=5%", "--json", cwd=runs
    ).result
    assert told["within_runs"]
    assert told["verdict"] == "inconclusive"
    assert "1 whole seconds" not in " ".join(told["limits"])
    assert any("an interval takes 10" in each for each in told["limits"])


def test_a_run_is_held_against_a_baseline_and_a_limit_in_one_step(runs: Path) -> None:
    options = ("--baseline", "base", "--max-regression", "p50=5%", "--fail-on", "p50 > 1ns")
    output = runs / "base" / "third.parquet"
    run = run_latbench(*RUN, *options, "--output", output, cwd=runs)
    output.unlink()
    assert run.code == 3, run.talk
    assert run.result["comparison"]["base_runs"] == 2
    assert run.result["comparison"]["verdict"] == "inconclusive"
    assert run.result["fail_on"][0]["verdict"] == "broken"
    lines = run.stderr.splitlines()
    assert any(
        line.startswith("error: end_to_end.p50 is ") and line.endswith(", the limit is <= 1.00 ns")
        for line in lines
    )
    assert lines[-1] == "warning: inconclusive: nothing is decided; --strict makes it exit 4"
