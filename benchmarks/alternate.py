"""Runs `latbench run` in two variants, A B B A A B …, and prints the medians and spread of each.

    python benchmarks/alternate.py --a=--live --b=--no-live --pairs 8 -- --tick-rate 1000 \
        --duration 10 --broker localhost:9092

Every run has a terminal of its own (140 x 40), so that the live view really draws. What stands
behind `--` goes to both variants; a variant may begin with environment variables, as in a shell:
`--b=PYTHONPATH=../other-checkout` compares two versions. The unit is a run: its p50 and p99, and
the CPU time of all its processes for each second measured; the lines show the median, the least and
the greatest over the runs of a variant, then the median of the paired differences.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import pty
import re
import resource
import shlex
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
from pathlib import Path

FIGURES = {"p50": "end_to_end p50", "p99": "end_to_end p99", "cpu": "CPU time a second"}


def cpu_ns() -> float:
    """CPU time of all processes waited for so far, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) * 1e9


def run_once(words: list[str], output: Path) -> dict[str, float]:
    """One run in a terminal of its own; its figures in nanoseconds."""
    arguments = list(words)
    environment = dict(os.environ)
    while arguments and re.match(r"\w+=", arguments[0]):
        name, _, value = arguments.pop(0).partition("=")
        environment[name] = value
    command = [sys.executable, "-m", "latbench", "run", *arguments, "--json", "--output", output]
    before_ns = cpu_ns()
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 140, 0, 0))
    reader = threading.Thread(target=swallow, args=(ours,), daemon=True)
    reader.start()
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=theirs, check=False, env=environment
    )
    os.close(theirs)
    reader.join()
    os.close(ours)
    if done.returncode not in {0, 4}:
        sys.exit(f"{shlex.join(map(str, command))} ended with {done.returncode}")
    result = json.loads(done.stdout)
    if result["counts"]["lost"]:
        sys.exit(f"{result['counts']['lost']} ticks were lost: not a measurement")
    end_to_end = next(hop for hop in result["hops"] if hop["hop"] == "end_to_end")
    percentiles = end_to_end["percentiles_ns"]
    cpu = (cpu_ns() - before_ns) * 1e9 / result["measured_ns"]
    return {"p50": percentiles["p50"], "p99": percentiles["p99"], "cpu": cpu}


def swallow(descriptor: int) -> None:
    """Read what is drawn, as a terminal does, and forget it."""
    with contextlib.suppress(OSError):
        while os.read(descriptor, 1 << 16):
            pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--a", required=True, help="options of variant A, as one text")
    parser.add_argument("--b", required=True, help="options of variant B")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--json", type=Path, help="also write all figures there")
    parser.add_argument("common", nargs="*", help="options of both, behind --")
    options = parser.parse_args()
    variants = {"A": shlex.split(options.a), "B": shlex.split(options.b)}
    figures: dict[str, list[dict[str, float]]] = {"A": [], "B": []}
    with tempfile.TemporaryDirectory() as folder:
        run_once([*variants["A"], *options.common], Path(folder) / "discarded.parquet")
        for pair in range(options.pairs):
            for name in ("AB", "BA")[pair % 2]:
                output = Path(folder) / f"{pair}{name}.parquet"
                figures[name].append(run_once([*variants[name], *options.common], output))
                output.unlink()
                print(f"{pair + 1}{name} {show(figures[name][-1])}", file=sys.stderr)
    for figure, title in FIGURES.items():
        print(title)
        for name, arguments in variants.items():
            values = sorted(run[figure] / 1e3 for run in figures[name])
            print(
                f"  {name} {shlex.join(arguments):<24} median {statistics.median(values):8.0f} µs"
                f"   {values[0]:.0f} to {values[-1]:.0f}   ({len(values)} runs)"
            )
        differences = [
            (b[figure] - a[figure]) / 1e3 for a, b in zip(figures["A"], figures["B"], strict=True)
        ]
        print(f"  B - A, median of pairs {statistics.median(differences):+.0f} µs")
    if options.json:
        options.json.write_text(json.dumps({"variants": variants, "runs_ns": figures}, indent=1))


def show(run: dict[str, float]) -> str:
    return "  ".join(f"{name} {run[name] / 1e3:.0f} µs" for name in FIGURES)


if __name__ == "__main__":
    main()
