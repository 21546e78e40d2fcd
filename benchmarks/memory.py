"""Runs `latbench run` and shows memory and open descriptors of each of its processes over time.

    python benchmarks/memory.py -- --tick-rate 5000 --duration 10m --broker localhost:9092

The table is out of the result file, which samples each process once a second: resident memory in
MiB without the shared rings, and descriptors behind the bar. The last line has the most
memory that the supervisor ever had (rings included), which is while it writes the result file.

    python benchmarks/memory.py --file run.parquet

shows the table of a file that is there.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from latbench.recording import PROCESSES
from latbench.store import read_result, read_samples


def show(path: Path, every_s: float) -> None:
    """Print the table of a result file."""
    start_ns, usage = read_result(path).start_ns, read_samples(path)["usage"]
    names = [name for number, name in enumerate(PROCESSES) if (usage["process"] == number).any()]
    print("after".rjust(7) + "".join(f"{name:>17}" for name in names))
    at_s = (usage["at_ns"] - start_ns) / 1e9
    moments = [10.0, *np.arange(every_s, at_s.max(), every_s)]
    for moment_s in moments:
        cells = []
        for name in names:
            (mine,) = np.nonzero(usage["process"] == PROCESSES.index(name))
            sample = mine[np.abs(at_s[mine] - moment_s).argmin()]
            mib = usage["rss_bytes"][sample] / 2**20
            cells.append(f"{mib:10.1f} | {usage['descriptors'][sample]:3d} ")
        print(f"{moment_s:5.0f} s" + "".join(cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=float, default=60, help="seconds between rows")
    parser.add_argument("--file", type=Path, help="a result that is there")
    parser.add_argument("arguments", nargs="*", help="of latbench run, behind --")
    options = parser.parse_args()
    if options.file:
        show(options.file, options.every)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.parquet"
        command = [sys.executable, "-m", "latbench", "run", "--no-live", "--json"]
        run = subprocess.run(
            [*command, "--output", path, *options.arguments], stdout=subprocess.PIPE, check=False
        )
        if not path.exists():
            sys.exit(run.returncode)
        show(path, options.every)
        counts = json.loads(run.stdout)["counts"]
    peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"exit code {run.returncode}, {counts['sent']:,} ticks sent, {counts['lost']:,} lost")
    print(f"at most {peak_mib:.1f} MiB in one process")


if __name__ == "__main__":
    main()
