"""From the command to the first tick: how long, and where the time goes.

    python benchmarks/startup.py --runs 9 --json startup.json -- --broker localhost:9092

Starts `latbench run --tick-rate 1000 --warmup 0 --duration 2` so many times (after one run that is
not counted: it fills the page cache), as a shell would, and takes the moment that the first tick
was sent from the result file: both are CLOCK_MONOTONIC. What stands behind `--` is added to the
command. Then so many runs more with `startup_probe/sitecustomize.py` in every process, which notes
when it gets where; those are for the shares only, and not in the first figure. Last, how long
`latbench --version` and `--help` take, and what each process needs to import what it needs, alone.
`--python` takes another environment's interpreter (another revision of latbench).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet

COMMAND = ("run", "--tick-rate", "1000", "--warmup", "0", "--duration", "2", "--no-live")
PROBE = Path(__file__).parent / "startup_probe"
STAGES = ("broker", "relay", "consumer", "generator")
MODULES = {
    "supervisor": "latbench.cli.run, latbench.supervisor",
    "broker": "latbench.stages.entry, latbench.stages.mock_broker",
    "relay": "latbench.stages.entry, latbench.stages.relay, latbench.stages.websocket_picows",
    "consumer": "latbench.stages.entry, latbench.stages.consumer",
    "generator": "latbench.stages.entry, latbench.stages.generator, "
    "latbench.stages.websocket_picows",
}
MILESTONES = {
    "python runs": "python cli",
    "command line imported": "latbench.cli imported",
    "run begins (options checked)": "run begins",
    **{f"{stage} started": f"started {stage} ends" for stage in STAGES},
    **{f"{stage} imported": f"_import_stage {stage} ends" for stage in STAGES},
    "broker up": "Ready broker begins",
    "topic ready": "prepare_topic ends",
    **{f"{stage} ready": f"Ready {stage} begins" for stage in STAGES[1:]},
    "all ready, start told": "SpoolWriter.write_preface begins",
    "first tick due": "due",
    "first tick sent": "sent",
}
"""What a line of the table is called, and its mark."""


def run_once(python: Path, extra: list[str], marks: Path | None = None) -> dict[str, float]:
    """One run; milliseconds after its command at which each mark was first made."""
    environment = dict(os.environ)
    if marks:
        environment |= {"LATBENCH_MARKS": str(marks), "PYTHONPATH": str(PROBE)}
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "run.parquet"
        command = [python.with_name("latbench"), *COMMAND, "--output", output, *extra]
        begun_ns = time.monotonic_ns()
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode not in {0, 4}:
            sys.exit(f"latbench ended with {done.returncode}: {done.stderr}")
        first = pyarrow.parquet.read_table(output, columns=["due_ns", "sent_ns"])[:1].to_pylist()[0]
    at_ns = {"due": first["due_ns"], "sent": first["sent_ns"]}
    if marks:
        for line in marks.read_text().splitlines():
            moment, _, what = line.split(" ", 2)
            at_ns.setdefault(what, int(moment))
        marks.unlink()
    return {what: (moment_ns - begun_ns) / 1e6 for what, moment_ns in at_ns.items()}


def time_command(command: list[str | Path]) -> tuple[float, float]:
    """How long a command takes, in milliseconds: elapsed, and of CPU time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun_s = time.perf_counter()
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # as the processes of a run have it
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env=environment)
    elapsed_s = time.perf_counter() - begun_s
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return elapsed_s * 1e3, cpu_s * 1e3


def spread(values: Iterable[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "median": round(statistics.median(ordered), 1),
        "least": round(ordered[0], 1),
        "greatest": round(ordered[-1], 1),
    }


def show(name: str, figure: dict[str, float]) -> None:
    median, least, greatest = figure["median"], figure["least"], figure["greatest"]
    print(f"  {name:<30} {median:7.0f} ms   {least:.0f} to {greatest:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--python", type=Path, default=Path(sys.executable))
    parser.add_argument("--json", type=Path, help="also write all figures there")
    parser.add_argument("extra", nargs="*", help="options for every run, behind --")
    options = parser.parse_args()
    python, runs = options.python, range(options.runs)
    run_once(python, options.extra)
    plain = [run_once(python, options.extra)["sent"] for _ in runs]
    with tempfile.TemporaryDirectory() as folder:
        probed = [run_once(python, options.extra, Path(folder) / "marks") for _ in runs]
    milestones = {
        name: spread(found)
        for name, mark in MILESTONES.items()
        if (found := [run[mark] for run in probed if mark in run])
    }
    milestones = dict(sorted(milestones.items(), key=lambda each: each[1]["median"]))
    commands = {"python -c pass": [python, "-c", "pass"]} | {
        f"latbench {words}": [python.with_name("latbench"), *words.split()]
        for words in ("--version", "--help", "run --help")
    }
    quick = {
        name: spread(time_command(command)[0] for _ in runs) for name, command in commands.items()
    }
    imports = {
        name: spread(time_command([python, "-c", f"import {modules}"])[1] for _ in runs)
        for name, modules in MODULES.items()
    }
    first = spread(plain)
    print("from the command to the first tick: median, least to greatest")
    show("first tick sent", first)
    print("where it goes: reached after (with the probe in every process)")
    for name, figure in milestones.items():
        show(name, figure)
    print("other commands, whole")
    for name, figure in quick.items():
        show(name, figure)
    print("a process's imports, alone: CPU time, Python itself included")
    for name, figure in imports.items():
        show(name, figure)
    if options.json:
        found = {
            "first_tick_sent_ms": {**first, "runs": [round(value, 1) for value in plain]},
            "milestones_ms": milestones,
            "commands_ms": quick,
            "import_cpu_ms": imports,
        }
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
