"""The file of a sweep: a row a point, the whole `SweepResult` in its metadata."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from latbench.hop_columns import hop_fields, hop_values
from latbench.recording import PROCESSES
from latbench.summary_file import has_summary, read_summary, write_summary
from latbench.sweep_result import SWEEP_SCHEMA_VERSION, SweepPoint, SweepResult

SWEEP_KEY: Final = b"latbench.sweep"

SWEEP_COLUMNS: Final = (
    ("number", pa.int32()),
    ("purpose", pa.string()),
    ("rate_hz", pa.int64()),
    ("achieved_rate_hz", pa.float64()),
    ("holds", pa.bool_()),
    ("reasons", pa.list_(pa.string())),
    ("overloaded", pa.bool_()),
    ("measured_ns", pa.int64()),
    ("sent", pa.int64()),
    ("lost", pa.int64()),
    ("backlog_growth_ns", pa.int64()),
    ("relay_backpressure_ns", pa.int64()),
    ("generator_backpressure_ns", pa.int64()),
    ("machine_busy", pa.float64()),
    ("predicted_ns", pa.float64()),
)
"""Beside these, `cpu_PROCESS` and `HOP_STATISTIC_ns` (floats) for every process, hop, statistic."""


def write_sweep(path: Path, result: SweepResult) -> None:
    """Write a sweep's file, whole or not at all; raises `LatbenchError` where that can't be."""
    rows = [dict(_row(point, result)) for point in result.points]
    cpus = ((f"cpu_{process}", pa.float64()) for process in PROCESSES)
    write_summary(path, SWEEP_KEY, result, rows, [*SWEEP_COLUMNS, *cpus, *hop_fields()])


def _row(point: SweepPoint, result: SweepResult) -> Iterator[tuple[str, Any]]:
    for name, _ in SWEEP_COLUMNS:
        match name:
            case "purpose":
                yield name, str(point.purpose)
            case "reasons":
                yield name, [reason.code for reason in point.reasons]
            case "machine_busy":
                yield name, None if point.machine is None else point.machine.busy
            case "predicted_ns":
                fit = result.fit
                yield name, None if fit is None else fit.curve.latency_ns(point.rate_hz)
            case _:
                yield name, getattr(point, name)
    for process in PROCESSES:
        yield f"cpu_{process}", point.cpu_shares.get(process)
    yield from hop_values(point.hops)


def is_sweep(path: Path) -> bool:
    """Whether a file is a sweep's, and not a run's."""
    return has_summary(path, SWEEP_KEY)


def read_sweep(path: Path) -> SweepResult:
    """The result in a file that `is_sweep`; raises `LatbenchError` where it can't be read."""
    return read_summary(path, SWEEP_KEY, SweepResult, SWEEP_SCHEMA_VERSION)
