"""How good the gate is on this machine: whole sessions of `latbench ab`, with known truth.

    python benchmarks/gate_sessions.py --record sessions.jsonl --aa 20 --delayed 10

A/A sessions must not find a regression. In the others one hop of B is delayed (`delayed.py`), so
that end_to_end's p50 rises by about 10 or 25 %. One line of JSON a session goes to the record, with
the figures of every run; a session that is in it already is not made again. `--summary` prints the
table of a record.

By default 4,000 ticks/s, 3 s a run, 10 pairs, extended to 20: two minutes a session, or four.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
HOPS = ("websocket", "kafka")
"""Where a delay can be put in (`delayed.py`)."""
EFFECTS = (0.10, 0.25)
TRIALS_US = (200.0, 500.0)


@dataclass(frozen=True)
class Kind:
    """What is true of a session."""

    name: str
    hop: str = ""
    """What has to be named."""
    effect: float = 0.0


def latbench(*words: str) -> list[str]:
    return [sys.executable, "-m", "latbench", *words]


def delayed(hop: str, delay_us: float) -> str:
    return f"{sys.executable} {HERE / 'delayed.py'} {hop} {delay_us:.1f}"


def p50_ns(hop: str, delay_us: float, options: Sequence[str], runs: int = 5) -> float:
    """end_to_end's p50 with a delay: the median of a few runs."""
    found = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            command = [*delayed(hop, delay_us).split(), "run", *options, "--no-live", "--json"]
            done = subprocess.run(
                [*command, "--output", f"{folder}/r.parquet"],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True,
            )  # fmt: skip
        hops = {hop["hop"]: hop for hop in json.loads(done.stdout)["hops"]}
        found.append(hops["end_to_end"]["percentiles_ns"]["p50"])
    return statistics.median(found)


@functools.cache  # once for all sessions: it takes a minute and a half
def line(hop: str, options: tuple[str, ...]) -> tuple[float, float]:
    """end_to_end's p50 without a delay, and by how much a delay raises it, as a multiple of it."""
    base_ns = p50_ns(hop, 0, options)
    slopes = [(p50_ns(hop, us, options) - base_ns) / (us * 1000) for us in TRIALS_US]
    return base_ns, max(statistics.mean(slopes), 0.5)


def find_delay_us(hop: str, effect: float, options: tuple[str, ...]) -> dict[str, float]:
    """The delay that raises p50 by `effect`: a line through what none, and two, do.

    A consumer that looks later finds more at once, so a delay there counts less than whole.
    """
    base_ns, slope = line(hop, options)
    return {
        "delay_us": effect * base_ns / 1000 / slope,
        "base_us": base_ns / 1000,
        "times": slope,
    }


def hold(kind: Kind, seed: int, options: tuple[str, ...], more: Sequence[str]) -> dict[str, Any]:
    """One session, and everything that it came to."""
    truth: dict[str, float] = {}
    sides = ["--a", "--linger 0", "--b", "--linger 0"]
    if kind.hop:
        truth = find_delay_us(kind.hop, kind.effect, options)
        sides = [
            *("--a-cmd", delayed(kind.hop, 0)),
            *("--b-cmd", delayed(kind.hop, truth["delay_us"])),
        ]
    begun, load = time.time(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            latbench(
                "ab", *options, *sides, *more, "--order-seed", str(seed), "--json",
                "--output", f"{folder}/ab.parquet",
            ),
            stdout=subprocess.PIPE, check=False,
        )  # fmt: skip
    result = json.loads(done.stdout)
    comparison = result["comparison"]
    runs = [
        {
            "phase": run["phase"], "pair": run["pair"], "side": run["side"],
            "busy": (run["result"]["machine"] or {}).get("busy"),
            "steal": (run["result"]["machine"] or {}).get("steal"),
            **{
                f"{hop['hop']}.{name}": hop["percentiles_ns"][name]
                for hop in run["result"]["hops"]
                for name in ("p50", "p99")
            },
        }
        for run in result["runs"]
    ]  # fmt: skip
    return {
        "kind": kind.name,
        "seed": seed,
        "effect": kind.effect,
        **truth,
        "hop": kind.hop,
        "exit": done.returncode,
        "verdict": comparison["verdict"],
        "pairs": comparison["base_runs"],
        "gates": comparison["gates"],
        "blames": comparison["blames"],
        "unfit": comparison["unfit"],
        "options": list(options),
        "begun_unix": round(begun),
        "elapsed_s": round(time.time() - begun, 1),
        "load_before": load,
        "cpu": result["runs"][0]["result"]["environment"]["cpu_model"],
        "broker": result["runs"][0]["result"]["broker"]["kind"],
        "runs": runs,
    }


def kinds(aa: int, delayed_sessions: int) -> Iterator[tuple[Kind, int]]:
    """All sessions, the kinds in turn, so that an early end leaves some of each."""
    lists = [
        [(Kind("A/A"), seed) for seed in range(1, aa + 1)],
        *(
            [
                (Kind(f"+{effect:.0%}", HOPS[seed % len(HOPS)], effect), seed)
                for seed in range(1, delayed_sessions + 1)
            ]
            for effect in EFFECTS
        ),
    ]
    longest = max(map(len, lists))
    for number in range(longest):
        for each in lists:
            # as many of each per round as there are in all
            begin, end = number * len(each) // longest, (number + 1) * len(each) // longest
            yield from each[begin:end]


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def summarise(records: Sequence[dict[str, Any]]) -> None:
    print(f"{'kind':<6} {'n':>3} {'regression':>10} {'pass':>5} {'incon.':>6} {'incomp.':>7} "
          f"{'hop named':>9} {'wrong':>5} {'pairs':>5} {'time':>6}")  # fmt: skip
    for kind in dict.fromkeys(record["kind"] for record in records):
        mine = [record for record in records if record["kind"] == kind]
        told = Counter(record["verdict"] for record in mine)
        found = [record for record in mine if record["verdict"] == "regression"]
        named = [{blame["hop"] for blame in record["blames"]} for record in found]
        right = sum(record["hop"] in hops for record, hops in zip(found, named, strict=True))
        wrong = sum(bool(hops - {record["hop"]}) for record, hops in zip(found, named, strict=True))
        pairs = statistics.mean(record["pairs"] for record in mine)
        seconds = statistics.mean(record["elapsed_s"] for record in mine)
        print(f"{kind:<6} {len(mine):>3} {told['regression']:>10} {told['pass']:>5} "
              f"{told['inconclusive']:>6} {told['incomparable']:>7} "
              f"{right:>5} of {len(found)} {wrong:>4} {pairs:>6.1f} {seconds:>4.0f} s")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", type=Path, required=True, help="a line of JSON a session")
    parser.add_argument("--aa", type=int, default=20, help="A/A sessions")
    parser.add_argument("--delayed", type=int, default=10, help="sessions of each delay")
    parser.add_argument("--summary", action="store_true", help="only print the record's table")
    parser.add_argument("--rate", default="4000")
    parser.add_argument("--seconds", default="3")
    parser.add_argument("--until", type=float, help="begin no session after so many minutes")
    parser.add_argument("rest", nargs="*", help="more options of `latbench ab`, behind --")
    arguments = parser.parse_args()
    begun = time.monotonic()
    if not arguments.summary:
        options = ("--tick-rate", arguments.rate, "--duration", arguments.seconds, "--warmup", "1")
        there = {(record["kind"], record["seed"]) for record in read(arguments.record)}
        for kind, seed in kinds(arguments.aa, arguments.delayed):
            if (kind.name, seed) in there:
                continue
            if arguments.until and time.monotonic() - begun > arguments.until * 60:
                break
            print(f"{kind.name} {kind.hop} {seed} …", file=sys.stderr)
            record = hold(kind, seed, options, arguments.rest)
            with arguments.record.open("a") as file:
                file.write(json.dumps(record) + "\n")
            told = [blame["hop"] for blame in record["blames"]]
            print(f"  {record['verdict']} after {record['pairs']} pairs {told}", file=sys.stderr)
    summarise(read(arguments.record))


if __name__ == "__main__":
    main()
