"""Runs over weeks, made up for tests: one result again and again, with other latencies and times.

`make_history()` is 120 runs, four hours apart: the generator is improved at run 30, and at run 70
kafka slows by 18 %, with a new librdkafka. `write_history` writes them as files without rows, a
millisecond each. `python -m tests.histories DIR` makes such a folder to look at; `--like FILE`
makes it of a real result.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow.parquet as pq

from latbench.clock import NS_PER_S
from latbench.result import Finding, HopSummary, RunResult, RunStatus
from latbench.store import METADATA_KEY, SCHEMA, read_result
from latbench.stored import Stored
from latbench.tick import PARTS
from tests.results import make_config, make_counts, make_environment, make_result

START_UNIX_NS: Final = 1_762_000_000 * NS_PER_S
APART_NS: Final = 4 * 3600 * NS_PER_S
Step = tuple[int, str, float]
"""From which run on a hop takes how many times as long."""
STEPS: Final[tuple[Step, ...]] = ((30, "schedule", 0.35), (70, "kafka", 1.18))
BAD: Final[Mapping[int, Mapping[str, Any]]] = {
    12: {"status": RunStatus.FAILED, "failure": "the relay died (killed by SIGKILL)"},
    44: {
        "findings": (Finding(code="ticks-lost", values={"lost": 204, "sent": 1_510_000}),),
        "counts": make_counts(lost=204),
    },
    45: {"status": RunStatus.INTERRUPTED},
    93: {"config": make_config(delays_injected=True)},
}
"""Runs that must not be used, and what is wrong with each."""


def revision(number: int) -> str:
    """A made-up commit, 12 hexadecimal digits."""
    return hashlib.sha1(b"%d" % number).hexdigest()[:12]


def make_history(
    count: int = 120,
    *,
    steps: Sequence[Step] = STEPS,
    noise: float = 0.03,
    seed: int = 1,
    base: RunResult | None = None,
    bad: Mapping[int, Mapping[str, Any]] = BAD,
    new_library_at: int | None = 70,
    every: int = 3,
) -> list[RunResult]:
    """Results in order of time; a new revision each `every` runs; noise is log-normal."""
    rng = np.random.default_rng(seed)
    base = base or make_result()
    results = []
    for number in range(count):
        factors = {part.name: float(np.exp(rng.normal(0, noise))) for part in PARTS}
        for first, hop, factor in steps:
            if number >= first:
                factors[hop] *= factor
        environment = msgspec.structs.replace(
            base.environment, git_revision=revision(number // every)
        )
        if new_library_at is not None and number >= new_library_at:
            environment = msgspec.structs.replace(
                environment, libraries={**environment.libraries, "librdkafka": "2.13.0"}
            )
        result = msgspec.structs.replace(
            base,
            run_id=f"{seed:02x}{number:06x}",
            started_unix_ns=START_UNIX_NS + number * APART_NS,
            environment=environment,
            hops=scaled_hops(base.hops, factors),
        )
        results.append(msgspec.structs.replace(result, **bad.get(number, {})))
    return results


def scaled_hops(hops: Iterable[HopSummary], factors: Mapping[str, float]) -> tuple[HopSummary, ...]:
    """Hops of which the four parts take so many times as long, and the others accordingly."""
    by_name = {hop.hop: hop for hop in hops}
    of = {"ack": ("kafka",), "service": ("websocket", "relay", "kafka")}
    scaled = []
    for name, hop in by_name.items():
        parts = (name,) if name in factors else of.get(name, tuple(factors))
        percentiles = {}
        for percentile, value in hop.percentiles_ns.items():
            shares = {part: by_name[part].percentiles_ns[percentile] or 0 for part in parts}
            whole = sum(shares.values()) or 1
            factor = sum(share * factors[part] for part, share in shares.items()) / whole
            percentiles[percentile] = None if value is None else round(value * factor)
        scaled.append(msgspec.structs.replace(hop, percentiles_ns=percentiles))
    return tuple(scaled)


def as_stored(results: Iterable[RunResult]) -> list[Stored]:
    """As they would have been read from `results/`."""
    return [
        Stored(f"results/{result.started_unix_ns // NS_PER_S}.parquet", result)
        for result in results
    ]


def write_result_without_rows(path: Path, result: RunResult) -> None:
    """A result file of which the metadata is whole."""
    schema = SCHEMA.with_metadata({METADATA_KEY: msgspec.json.encode(result)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(schema.empty_table(), path)


def write_history(folder: Path, results: Iterable[RunResult]) -> None:
    """A file each, named by its time."""
    for stored in as_stored(results):
        write_result_without_rows(folder / Path(stored.path).name, stored.result)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=120)
    parser.add_argument("--noise", type=float, default=0.03)
    parser.add_argument("--like", type=Path, help="a result file to make them of")
    given = parser.parse_args()
    base = read_result(given.like) if given.like else None
    write_history(given.folder, make_history(given.count, noise=given.noise, base=base))
    # and a few of another scenario
    other = make_result(config=make_config(tick_rate_hz=20_000), environment=make_environment())
    write_history(given.folder / "fast", make_history(9, base=other, seed=2, bad={}))


if __name__ == "__main__":
    main()
