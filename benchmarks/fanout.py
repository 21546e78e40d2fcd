"""Fan-out to many subscribers, both WebSocket libraries in turn: medians and spread.

    python benchmarks/fanout.py --rounds 3

Each round has all cases once. A case is a whole `latbench run` on the embedded broker.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

CASES = [
    (subscribers, rate, engine)
    for subscribers, rate in ((100, 1000), (1000, 100))
    for engine in ("picows", "websockets")
]


def measure(
    subscribers: int, rate: int, engine: str, seconds: int, more: list[str], directory: str
) -> dict[str, float]:
    """Figures of one run, latencies in ms."""
    path = Path(directory) / "run.parquet"
    command = [
        *(sys.executable, "-m", "latbench", "run", "--json", "--no-live", "--overwrite"),
        *("--subscribers", str(subscribers), "--tick-rate", str(rate), "--ws-engine", engine),
        *("--duration", str(seconds), "--output", str(path), *more),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 4}, done.stderr
    result = json.loads(done.stdout)
    hops = {hop["hop"]: hop["percentiles_ns"] for hop in result["hops"]}
    processes = {each["process"]: each for each in result["processes"]}
    fanout = result["fanout"]
    shares = {
        f"{name}_cpu": 100 * processes[name]["cpu_ns"] / processes[name]["span_ns"]
        for name in ("relay", "subscriber")
    }
    return {
        **{name: (hops["fanout"][name] or 0) / 1e6 for name in ("p50", "p99", "p99.9")},
        "e2e_p50": (hops["end_to_end"]["p50"] or 0) / 1e6,
        "e2e_p90": (hops["end_to_end"]["p90"] or 0) / 1e6,
        **shares,
        "missed": fanout["missed"],
        "busy": 100 * result["machine"]["busy"],
    }


def main() -> None:
    """Run all cases in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("more", nargs="*", help="options of latbench run, after --")
    arguments = parser.parse_args()
    found: dict[tuple[int, int, str], list[dict[str, float]]] = {case: [] for case in CASES}
    with tempfile.TemporaryDirectory() as directory:
        for number in range(arguments.rounds):
            for case in CASES if number % 2 == 0 else reversed(CASES):
                figures = measure(*case, arguments.seconds, arguments.more, directory)
                found[case].append(figures)
                print(case, {name: round(value, 2) for name, value in figures.items()}, flush=True)
    for case, runs in found.items():
        print(f"\n{case[0]} subscribers, {case[1]} ticks/s, {case[2]}")
        for name in runs[0]:
            values = sorted(run[name] for run in runs)
            median = statistics.median(values)
            print(f"  {name:<16}{median:10.2f}  ({values[0]:.2f} to {values[-1]:.2f})")


if __name__ == "__main__":
    main()
