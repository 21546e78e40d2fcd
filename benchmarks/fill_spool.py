"""Writes the spool of a made-up run, as a run leaves it: `report.py` has a result file made of it.

    python benchmarks/fill_spool.py 30000000 made-up.parquet.partial

200,000 ticks a second, the first second of them warm-up; 160 bytes a tick in four rings, 2 µs each.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from latbench.clock import NS_PER_MS, NS_PER_S, WallAnchor
from latbench.config import RunConfig
from latbench.environment import describe
from latbench.recording import COLUMNS, HICCUPS, TICK_RINGS
from latbench.result import BrokerFacts
from latbench.spool import Preface, SpoolWriter, Tally

RATE_HZ = 200_000
START_NS = 81_234_567_890_123
BLOCK_TICKS = 100_000
MEDIANS_US = {"sent": 45, "relay_in": 60, "relay_out": 3, "acked": 900, "consumed": 1100}
"""From the stamp before, the last two from `relay_out`: what a busy pipeline takes."""


def fill_spool(path: Path, count: int) -> None:
    """Gaps between stamps are log-normal; meters wake 1 ms late and more 1 in 4,000 times."""
    rng = np.random.default_rng(1)
    config = RunConfig(tick_rate_hz=RATE_HZ, warmup_ns=NS_PER_S, broker="localhost:9092")
    writer = SpoolWriter(path)
    writer.write_preface(
        Preface(
            run_id="5f1c09ab",
            config=config,
            environment=describe(),
            broker=BrokerFacts(
                kind="kafka", version="made up", bootstrap=config.broker, partitions=1
            ),
            symbols=config.symbols,
            start_ns=START_NS,
            anchor=WallAnchor(monotonic_ns=0, unix_ns=1_764_005_400 * NS_PER_S),
        )
    )
    for begin in range(0, count, BLOCK_TICKS):
        seq = np.arange(begin, min(begin + BLOCK_TICKS, count), dtype=np.int64)
        columns = {"seq": seq, "symbol_id": seq % len(config.symbols)}
        columns |= {"partition": np.zeros_like(seq), "offset": seq}
        columns["due_ns"] = START_NS + seq * NS_PER_S // RATE_HZ
        last = "due_ns"
        for stamp, median_us in MEDIANS_US.items():
            gap = rng.lognormal(np.log(median_us * 1000), 0.4, seq.size).astype(np.int64)
            name = f"{stamp}_ns"
            columns[name] = gap + columns["relay_out_ns" if stamp == "consumed" else last]
            last = name
        for ring in TICK_RINGS:
            writer.append(ring, np.column_stack([columns[name] for name in COLUMNS[ring]]))
    deadlines = START_NS + np.arange(count * 1000 // RATE_HZ, dtype=np.int64) * NS_PER_MS
    for ring in HICCUPS.values():
        late_ns = rng.lognormal(np.log(60_000), 0.8, deadlines.size).astype(np.int64)
        writer.append(ring, np.column_stack([deadlines, late_ns]))
    writer.write_tally(Tally(sent=count))
    writer.close()


if __name__ == "__main__":
    fill_spool(Path(sys.argv[2]), int(sys.argv[1]))
