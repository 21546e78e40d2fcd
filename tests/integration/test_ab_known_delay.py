"""The gate finds a delay that is known, and names its hop."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from latbench.comparison import Verdict
from latbench.errors import ExitCode
from tests.cli import run_latbench

DELAYED = Path(__file__).parent.parent.parent / "benchmarks" / "delayed.py"
LOAD = ("--tick-rate", "1000", "--duration", "1", "--warmup", "0.3")
GATE = ("--gate", "p50=10%", "--pairs", "8", "--most-pairs", "8")
HOP = "websocket"
DELAY_US = 3000
"""Three times the p50 here: whatever else a machine does, this shows in every pair."""


def test_a_known_delay_is_a_regression_and_its_hop_is_named(tmp_path: Path) -> None:
    commands = [shlex.join([sys.executable, str(DELAYED), HOP, str(us)]) for us in (0, DELAY_US)]
    sides = ("--a-cmd", commands[0], "--b-cmd", commands[1])
    run = run_latbench("ab", *sides, *GATE, *LOAD, "--json", cwd=tmp_path, timeout_s=180)
    assert run.code == ExitCode.REGRESSION, run.talk
    comparison = run.result["comparison"]
    assert comparison["verdict"] == Verdict.REGRESSION
    assert [blame["hop"] for blame in comparison["blames"]] == [HOP]
    (blame,) = comparison["blames"]
    assert blame["shift_ns"] > DELAY_US * 1000 / 2
