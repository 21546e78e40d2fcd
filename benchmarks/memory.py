"""Runs `latbench run` and shows the memory of each of its processes over time, as a table.

    python benchmarks/memory.py -- --tick-rate 5000 --duration 10m --broker localhost:9092

Resident memory (VmRSS) in MiB, without the pages of shared rings (RssShmem), which are as large as
they will ever be from the start; and open descriptors of the supervisor. The last line has the most
that the supervisor ever had (VmHWM, rings included), which is while it writes the result file.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import time
from pathlib import Path

STAGES = ("supervisor", "generator", "relay", "consumer", "broker")


def status(pid: int) -> dict[str, int]:
    """The kibibyte figures of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    pairs = (line.split(":", 1) for line in lines)
    return {name: int(value.split()[0]) for name, value in pairs if value.strip().endswith(" kB")}


def stage_pids(supervisor: int) -> dict[str, int]:
    """The processes of a run by stage."""
    found = {"supervisor": supervisor}
    for child in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split():
        words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        if words[-2:-1] and words[-2].decode() in STAGES:
            found[words[-2].decode()] = int(child)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=float, default=60, help="seconds between rows")
    parser.add_argument("arguments", nargs="*", help="of latbench run, behind --")
    options = parser.parse_args()
    run = subprocess.Popen(
        [sys.executable, "-m", "latbench", "run", *options.arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    begun = time.monotonic()
    header = "".join(f"{stage:>12}" for stage in STAGES)
    print(f"{'time':>6}{header}{'descriptors':>13}", flush=True)
    peak_kib = 0
    next_s = min(10.0, options.every)
    while run.poll() is None:
        if time.monotonic() < begun + next_s:
            time.sleep(0.1)
            with contextlib.suppress(OSError):
                peak_kib = max(status(run.pid).get("VmHWM", 0), peak_kib)
            continue
        next_s += options.every
        try:
            row = [f"{time.monotonic() - begun:5.0f}s"]
            pids = stage_pids(run.pid)
            if "VmRSS" not in status(run.pid):
                break  # it has ended since
            for stage in STAGES:
                memory = status(pids[stage]) if stage in pids else {}
                mib = (memory.get("VmRSS", 0) - memory.get("RssShmem", 0)) / 1024
                row.append(f"{mib:12.1f}" if stage in pids else f"{'-':>12}")
            descriptors = len(list(Path(f"/proc/{run.pid}/fd").iterdir()))
        except (FileNotFoundError, ProcessLookupError):
            break
        print("".join(row) + f"{descriptors:>13}", flush=True)
    print(f"exit code {run.wait()}, at most {peak_kib / 1024:.1f} MiB")


if __name__ == "__main__":
    main()
