"""Rows of made-up runs: what the rings would have held, and a spool filled with them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from latbench.clock import NS_PER_MS, NS_PER_S, WallAnchor
from latbench.recording import COLUMNS, TICK_RINGS
from latbench.ring import Rows
from latbench.spool import ROW_FILES, Preface, SpoolReader, SpoolWriter, Tally
from tests.results import make_broker, make_config, make_environment

Columns = Mapping[str, npt.NDArray[np.int64]]

START_NS = 81_234_567_890_123
SYMBOLS = ("NIFTY", "", "TCS")
MEDIANS_US = {"sent": 80, "relay_in": 55, "relay_out": 7, "acked": 340, "consumed": 430}


def make_stamps(
    count: int, *, seed: int = 1, start_ns: int = START_NS, rate_hz: int = 1000
) -> dict[str, npt.NDArray[np.int64]]:
    """All columns of `count` ticks of which none was lost; gaps are log-normal."""
    rng = np.random.default_rng(seed)
    seq = np.arange(count, dtype=np.int64)
    gap = {
        stamp: np.rint(rng.lognormal(np.log(median * 1000), 0.5, count)).astype(np.int64)
        for stamp, median in MEDIANS_US.items()
    }
    due = start_ns + seq * NS_PER_S // rate_hz
    sent = due + gap["sent"]
    relay_in = sent + gap["relay_in"]
    relay_out = relay_in + gap["relay_out"]
    return {
        "seq": seq,
        "symbol_id": seq % len(SYMBOLS),
        "due_ns": due,
        "sent_ns": sent,
        "relay_in_ns": relay_in,
        "relay_out_ns": relay_out,
        "acked_ns": relay_out + gap["acked"],
        "consumed_ns": relay_out + gap["consumed"],
        "partition": seq % 4,
        "offset": seq // 4,
    }


def make_rows(columns: Columns) -> dict[str, Rows]:
    """What each ring would hold of these ticks; nothing was sampled besides."""
    ticks = {
        ring: np.column_stack([columns[name] for name in COLUMNS[ring]]) for ring in TICK_RINGS
    }
    return {**{name: empty_rows(name) for name in ROW_FILES}, **ticks}


def empty_rows(name: str) -> Rows:
    """None of a ring or of what the supervisor samples."""
    return np.empty((0, len(ROW_FILES[name])), dtype=np.int64)


def some_rows(name: str, count: int) -> Rows:
    """Of any ring or sampled table, every number a different one."""
    columns = len(ROW_FILES[name])
    return np.arange(count * columns, dtype=np.int64).reshape(count, columns)


def make_wake_ups(
    count: int, *, start_ns: int = START_NS, late_ns: Mapping[int, int] | None = None
) -> Rows:
    """A hiccup meter's rows from `start_ns` on, each 60 µs late but those in `late_ns`."""
    deadlines = start_ns + np.arange(count, dtype=np.int64) * NS_PER_MS
    late = np.full(count, 60_000, dtype=np.int64)
    for number, value in (late_ns or {}).items():
        late[number] = value
    return np.column_stack([deadlines, late])


def without(rows: Mapping[str, Rows], ring: str, seqs: Collection[int]) -> dict[str, Rows]:
    """The same without some ticks of one ring."""
    kept = rows[ring][~np.isin(rows[ring][:, 0], list(seqs))]
    return {**rows, ring: kept}


def make_preface(**changes: Any) -> Preface:
    """Of a run without warm-up on a real broker."""
    preface = Preface(
        run_id="5f1c09ab",
        config=make_config(warmup_ns=0, tick_rate_hz=1000),
        environment=make_environment(cpus=8),
        broker=make_broker(),
        symbols=SYMBOLS,
        start_ns=START_NS,
        anchor=WallAnchor(monotonic_ns=START_NS - 7, unix_ns=1_764_005_400 * NS_PER_S - 7),
    )
    return msgspec.structs.replace(preface, **changes)


def fill_spool(
    path: Path,
    rows: Mapping[str, Rows],
    *,
    preface: Preface | None = None,
    tally: Tally | None = None,
) -> SpoolReader:
    """Write a spool as the supervisor does, and open it."""
    writer = SpoolWriter(path)
    writer.write_preface(preface or make_preface())
    for ring, ring_rows in rows.items():
        writer.append(ring, ring_rows)
    if tally is not None:
        writer.write_tally(tally)
    end_writing(writer)
    return SpoolReader(path)


def end_writing(writer: SpoolWriter) -> None:
    """What the end of the supervisor's process does to its spool."""
    writer.close()
    writer._lock.close()
