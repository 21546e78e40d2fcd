"""How many ticks a second the pipeline takes, and the CPU time of each process for one.

    python benchmarks/pipeline.py --rates 50000,120000,200000 --json pipeline.json -- \
        --broker localhost:9092 --profile throughput

Runs go round: each rate once, then each again. A rate is held when the medians of its runs
say so: no tick lost in any, the achieved rate within 1 %, the p99 of end_to_end below 50 ms. What
stands behind `--` goes to every run. Before each run a loop of pure Python is timed: its time tells
how fast the machine was just then (shared ones differ by two within minutes).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

LIMIT_NS = 50_000_000
WITHIN = 0.01


def machine_ms() -> float:
    """A loop that never changes."""
    begun_ns = time.perf_counter_ns()
    total = 0
    for i in range(3_000_000):
        total += i
    return (time.perf_counter_ns() - begun_ns) / 1e6


def run_once(rate_hz: int, options: list[str], output: Path) -> dict[str, Any]:
    speed_ms = machine_ms()
    command = [sys.executable, "-m", "latbench", "run", "--tick-rate", str(rate_hz), "--json"]
    command += ["--duration", "10", "--overwrite", "--output", str(output), *options]
    done = subprocess.run(command, capture_output=True, check=False)
    if not done.stdout:
        raise SystemExit(done.stderr.decode())
    result = json.loads(done.stdout)
    hops = {hop["hop"]: hop["percentiles_ns"] for hop in result["hops"]}
    cpu_us = {
        process["process"]: process["cpu_ns"] / process["span_ns"] * 1e6 / rate_hz
        for process in result["processes"]
        if process["process"] != "broker"
    }
    return {
        "machine_ms": speed_ms,
        "lost": result["counts"]["lost"],
        "achieved_hz": result["achieved_rate_hz"],
        "p50_ns": hops["end_to_end"]["p50"],
        "p99_ns": hops["end_to_end"]["p99"],
        "cpu_us": cpu_us,
    }


def summarise(rate_hz: int, runs: list[dict[str, Any]]) -> str:
    def median(name: str) -> float:
        return statistics.median(run[name] or 0 for run in runs)

    total_us = statistics.median(sum(run["cpu_us"].values()) for run in runs)
    lost = sum(run["lost"] for run in runs)
    p99_ns = [run["p99_ns"] or 0 for run in runs]
    is_held = (
        not lost
        and abs(median("achieved_hz") / rate_hz - 1) <= WITHIN
        and statistics.median(p99_ns) < LIMIT_NS
    )
    return (
        f"{rate_hz:9,} {median('achieved_hz'):11,.0f} {lost:7,} {median('p50_ns') / 1e6:8.2f} "
        f"{statistics.median(p99_ns) / 1e6:8.1f} {min(p99_ns) / 1e6:7.1f} {max(p99_ns) / 1e6:7.1f} "
        f"{total_us:8.2f} {median('machine_ms'):8.0f}  {'held' if is_held else 'not held'}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", default="50000,120000,160000,200000")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("options", nargs="*", help="behind --: options of latbench run")
    arguments = parser.parse_args()
    rates = [int(rate) for rate in arguments.rates.split(",")]
    runs: dict[int, list[dict[str, Any]]] = {rate: [] for rate in rates}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.runs):
            for rate in rates:
                runs[rate].append(run_once(rate, arguments.options, Path(folder) / "run.parquet"))
    print(
        f"{'ticks/s':>9} {'achieved':>11} {'lost':>7} {'p50 ms':>8} {'p99 ms':>8} {'least':>7} "
        f"{'most':>7} {'CPU µs':>8} {'loop ms':>8}"
    )
    for rate in rates:
        print(summarise(rate, runs[rate]))
    if arguments.json:
        arguments.json.write_text(json.dumps(runs, indent=1))


if __name__ == "__main__":
    main()
