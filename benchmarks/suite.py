"""All that measures latbench itself, in one go: pieces, whole pipeline, report, first tick.

    python benchmarks/suite.py --json new.json
    python benchmarks/suite.py --json new.json --against old.json --broker localhost:9092

One table: each figure's median, least and greatest; with `--against` what it is as a multiple of an
earlier file's. To compare two revisions run each in a checkout of its own, in turn and more than
once (`cd ../old && PYTHONPATH=. python benchmarks/suite.py …`): machines change within minutes, and
the last line, a loop of pure Python, tells by how much. Takes 3 minutes, and a minute more for each
of the pipeline's rates. The single benchmarks have more to tell and more to set.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
REPORT_ROWS = 3_000_000
EMBEDDED_RATES = {"latency": "1000,10000"}
KAFKA_RATES = {**EMBEDDED_RATES, "throughput": "50000,200000"}
"""By profile: what librdkafka's mock cluster holds, and what a Kafka on the same two CPUs does."""

Figure = dict[str, Any]
"""`unit`, `median`, `least`, `greatest`."""


def figure(unit: str, values: Iterable[float]) -> Figure:
    found = sorted(values)
    return {
        "unit": unit,
        "median": statistics.median(found),
        "least": found[0],
        "greatest": found[-1],
    }


def run(name: str, *words: str, behind: Sequence[str] = ()) -> Any:
    """What a benchmark writes as JSON; its own table goes to stderr."""
    print(f"{name} …", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figures.json"
        command = [sys.executable, HERE / f"{name}.py", *words, "--json", path]
        command += ["--", *behind] if behind else []
        done = subprocess.run(command, stdout=sys.stderr, check=False)
        if done.returncode:
            sys.exit(f"benchmarks/{name}.py ended with {done.returncode}")
        return json.loads(path.read_text())


def pipeline_figures(found: dict[str, list[dict[str, Any]]]) -> Iterator[tuple[str, Figure]]:
    for rate, runs in found.items():
        lead = f"run at {int(rate):,}/s:"
        for percentile in ("p50", "p99"):
            told = [each[f"{percentile}_ns"] for each in runs]
            if None not in told:
                yield f"{lead} end_to_end {percentile}", figure("ns", told)
        yield f"{lead} lost", figure("ticks", (each["lost"] for each in runs))
        for process in runs[0]["cpu_us"]:
            used_ns = (each["cpu_us"][process] * 1e3 for each in runs)
            yield f"{lead} CPU a tick, {process}", figure("ns", used_ns)


def report_figures(found: dict[str, Any]) -> Iterator[tuple[str, Figure]]:
    for command, runs in found["runs"].items():
        lead = f"{command}, {found['rows'] / 1e6:g} M rows:"
        yield f"{lead} wall", figure("ms", (each["wall_s"] * 1e3 for each in runs))
        yield f"{lead} memory", figure("MB", (each["peak_mb"] for each in runs))


def measure(broker: str) -> dict[str, Figure]:
    """Every figure by name."""
    figures: dict[str, Figure] = {}
    rates = EMBEDDED_RATES if broker == "embedded" else KAFKA_RATES
    options = ["--broker", broker, "--warmup", "3"]
    for profile, asked in rates.items():
        found = run("pipeline", "--rates", asked, behind=[*options, "--profile", profile])
        figures.update(pipeline_figures(found))
    figures.update(report_figures(run("report", str(REPORT_ROWS))))
    startup = run("startup", "--runs", "5")
    figures["first tick sent"] = {"unit": "ms", **startup["first_tick_sent_ms"]}
    figures["first tick sent"].pop("runs")
    for name, piece in run("pieces").items():
        figures[f"{name}, a tick"] = {"unit": "ns", **piece}
    return figures


def show(figures: dict[str, Figure], before: dict[str, Figure]) -> None:
    width = max(map(len, figures))
    print(f"{'':{width}}  {'median':>12} {'least':>12} {'greatest':>12}")
    for name, each in figures.items():
        cells = " ".join(f"{each[key]:12,.1f}" for key in ("median", "least", "greatest"))
        change = ""
        if name in before and before[name]["median"]:
            change = f"  ×{each['median'] / before[name]['median']:.2f}"
        print(f"{name:{width}}  {cells} {each['unit']:5}{change}".rstrip())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--broker", default="embedded", help="a warm Kafka's HOST:PORT")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--against", type=Path, help="an earlier file: show what changed")
    arguments = parser.parse_args()
    before = json.loads(arguments.against.read_text()) if arguments.against else {}
    figures = measure(arguments.broker)
    show(figures, before)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
