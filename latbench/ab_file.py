"""The file of an A/B session: a row a run, the whole `AbResult` in its metadata."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from latbench.ab_result import AB_SCHEMA_VERSION, AbResult, AbRun
from latbench.hop_columns import hop_fields, hop_values
from latbench.summary_file import has_summary, read_summary, write_summary

AB_KEY: Final = b"latbench.ab"

AB_COLUMNS: Final = (
    ("number", pa.int32()),
    ("phase", pa.string()),
    ("pair", pa.int32()),
    ("side", pa.string()),
    ("run_id", pa.string()),
    ("started_unix_ns", pa.int64()),
    ("status", pa.string()),
    ("measured_ns", pa.int64()),
    ("achieved_rate_hz", pa.float64()),
    ("sent", pa.int64()),
    ("lost", pa.int64()),
    ("machine_busy", pa.float64()),
    ("machine_steal", pa.float64()),
)
"""Beside these, `HOP_STATISTIC_ns` (floats) for every hop and statistic."""


def write_ab(path: Path, result: AbResult) -> None:
    """Write a session's file, whole or not at all; raises `LatbenchError` where that can't be."""
    rows = [dict(_row(run)) for run in result.runs]
    write_summary(path, AB_KEY, result, rows, [*AB_COLUMNS, *hop_fields()])


def _row(run: AbRun) -> Iterator[tuple[str, Any]]:
    result = run.result
    yield from {
        "number": run.number,
        "phase": str(run.phase),
        "pair": run.pair,
        "side": str(run.side),
        "run_id": result.run_id,
        "started_unix_ns": result.started_unix_ns,
        "status": str(result.status),
        "measured_ns": result.measured_ns,
        "achieved_rate_hz": result.achieved_rate_hz,
        "sent": result.counts.sent,
        "lost": result.counts.lost,
        "machine_busy": result.machine.busy if result.machine else None,
        "machine_steal": result.machine.steal if result.machine else None,
    }.items()
    yield from hop_values(result.hops)


def is_ab(path: Path) -> bool:
    """Whether a file is a session's, and not a run's."""
    return has_summary(path, AB_KEY)


def read_ab(path: Path) -> AbResult:
    """The result in a file that `is_ab`; raises `LatbenchError` where it can't be read."""
    return read_summary(path, AB_KEY, AbResult, AB_SCHEMA_VERSION)
