"""Times what comes after a run: joining its rows into the result file, and reporting that file.

    python benchmarks/report.py 30000000 --rounds 3 --json report.json

It fills the spool of a made-up run of so many ticks (`fill_spool.py`), lets `latbench report SPOOL
--save` make the result file of it, and then has, in turns A B C D D C B A …, each in a process of
its own:

- `latbench report FILE`: the report, of the figures that the file holds;
- `latbench report FILE --verify`: the same, and every figure counted anew from the rows;
- DuckDB's `quantile_disc` (exact) and `approx_quantile` (t-digest): the same percentiles of the
  same seven hops over the measured ticks, from the stamps in the same file.

Told are wall time, CPU time and peak resident memory (wait4(2)) of each process, its start
included. Both are held to two threads. DuckDB's exact percentiles must agree with latbench's to
within a histogram's counter, or the benchmark fails.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from latbench.tick import HOPS

HERE = Path(__file__).parent
PERCENTS = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99)
EXACT, APPROXIMATE = "quantile_disc", "approx_quantile"
TIMED = ("latbench report", "latbench report --verify", f"DuckDB {EXACT}", f"DuckDB {APPROXIMATE}")


def query(function: str, path: Path) -> str:
    """DuckDB's question for the percentiles of all hops over the measured ticks."""
    wanted = [round(percent / 100, 6) for percent in PERCENTS]
    hops = (
        f"{function}({hop.end_column} - {hop.start_column}, {wanted}) AS {hop.name}" for hop in HOPS
    )
    return f"SELECT {', '.join(hops)} FROM '{path}' WHERE NOT warmup"


def timed(*words: object) -> tuple[dict[str, float], str]:
    """Run this Python with these words: seconds and peak MB of it, and its output."""
    # a child's peak counts from its parent's memory on: this process imports nothing large
    begin = time.perf_counter()
    child = subprocess.Popen([sys.executable, *map(str, words)], stdout=subprocess.PIPE)
    assert child.stdout
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    wall_s = time.perf_counter() - begin
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{' '.join(map(str, words))} ended with {child.returncode}")
    figures = {
        "wall_s": wall_s,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss * 1024 / 1e6,
    }
    return figures, output.decode()


def commands(path: Path) -> dict[str, list[object]]:
    """What is timed, by name."""
    report: list[object] = ["-m", "latbench", "report", path]
    words = [report, [*report, "--verify"]]
    words += [[HERE / "ask_duckdb.py", query(each, path)] for each in (EXACT, APPROXIMATE)]
    return dict(zip(TIMED, words, strict=True))


def check(path: Path, by_duckdb: str) -> None:
    """Fail unless both tell the same percentiles, to within a histogram's counter (0.1 %)."""
    _, summary = timed("-m", "latbench", "report", path, "--json")
    exact = json.loads(by_duckdb)
    for hop in json.loads(summary)["hops"]:
        told = [hop["percentiles_ns"][f"p{percent:g}"] for percent in PERCENTS]
        for ours, theirs in zip(told, exact[hop["hop"]], strict=True):
            if ours is not None and not theirs <= ours <= theirs * 1.001 + 1:
                sys.exit(f"{hop['hop']}: {ours} by latbench, {theirs} by DuckDB")


def show(runs: dict[str, list[dict[str, float]]], rows: int) -> None:
    """A line for each command: the median over its runs, the least and the greatest."""
    print(f"{rows:,} rows; median (least to greatest)")
    for name, measured in runs.items():
        cells = []
        for figure, digits in (("wall_s", 2), ("cpu_s", 2), ("peak_mb", 0)):
            values = sorted(run[figure] for run in measured)
            middle = statistics.median(values)
            spread = f"({values[0]:.{digits}f} to {values[-1]:.{digits}f})"
            cells.append(f"{figure} {middle:.{digits}f} {spread}")
        print(f"  {name:<26} {'   '.join(cells)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=int, help="ticks of the made-up run")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is timed")
    parser.add_argument("--saves", type=int, default=1, help="how often the file is made")
    parser.add_argument(
        "--folder", type=Path, help="where to work; kept, and what is there is used"
    )
    parser.add_argument("--json", type=Path, help="also write all figures there")
    options = parser.parse_args()
    if options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
        measure(options.folder, options)
    else:
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), options)


def measure(folder: Path, options: argparse.Namespace) -> None:
    """Fill, save, report in turns, and print."""
    spool, path = folder / f"{options.rows}.parquet.partial", folder / f"{options.rows}.parquet"
    runs: dict[str, list[dict[str, float]]] = {}
    if not path.exists():
        for _ in range(options.saves):
            path.unlink(missing_ok=True)
            timed(HERE / "fill_spool.py", options.rows, spool)
            saved, _ = timed("-m", "latbench", "report", spool, "--save")
            runs.setdefault("latbench report --save", []).append(saved)
            print(f"saved: {saved}", file=sys.stderr)
    for turn in range(options.rounds):
        words = commands(path)
        for name in list(TIMED)[:: 1 if turn % 2 == 0 else -1]:
            figures, output = timed(*words[name])
            runs.setdefault(name, []).append(figures)
            print(f"{turn + 1} {name}: {figures}", file=sys.stderr)
            if not turn and name == TIMED[2]:
                check(path, output)
    show(runs, options.rows)
    if options.json:
        options.json.write_text(json.dumps({"rows": options.rows, "runs": runs}, indent=1))


if __name__ == "__main__":
    main()
