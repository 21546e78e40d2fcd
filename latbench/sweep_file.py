"""The file of a sweep: Parquet, a row a point, and the whole `SweepResult` as JSON in its metadata.

The columns are for tools that draw and compare; whoever reads the metadata has everything.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from latbench.errors import LatbenchError, reason
from latbench.recording import PROCESSES
from latbench.sweep_result import SWEEP_SCHEMA_VERSION, SweepPoint, SweepResult
from latbench.thresholds import STATISTICS
from latbench.tick import HOPS

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
    fields = [
        *SWEEP_COLUMNS,
        *((f"cpu_{process}", pa.float64()) for process in PROCESSES),
        *((f"{hop.name}_{statistic}_ns", pa.float64()) for hop in HOPS for statistic in STATISTICS),
    ]
    schema = pa.schema(fields, metadata={SWEEP_KEY: msgspec.json.encode(result)})
    temporary = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), temporary, compression="zstd")
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise LatbenchError(
            f"can't write {path}: {reason(error)}", "make room, or choose --output"
        ) from None


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
    for summary in point.hops:
        if summary.count:
            for statistic, value in summary.percentiles_ns.items():
                yield f"{summary.hop}_{statistic}_ns", value
            yield f"{summary.hop}_mean_ns", summary.mean_ns
            yield f"{summary.hop}_max_ns", float(summary.max_ns)


def is_sweep(path: Path) -> bool:
    """Whether a file is a sweep's, and not a run's."""
    try:
        return SWEEP_KEY in (pq.read_metadata(path).metadata or {})
    except (OSError, pa.ArrowException, UnicodeDecodeError):
        return False


def read_sweep(path: Path) -> SweepResult:
    """The result in a file that `is_sweep`; raises `LatbenchError` where it can't be read."""
    content = (pq.read_metadata(path).metadata or {})[SWEEP_KEY]
    try:
        schema = msgspec.json.decode(content, type=_Versioned).schema
        if schema > SWEEP_SCHEMA_VERSION:
            raise LatbenchError(
                f"{path} has sweep schema {schema}; this latbench reads up to "
                f"{SWEEP_SCHEMA_VERSION}",
                "pip install --upgrade latbench",
            )
        return msgspec.json.decode(content, type=SweepResult)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LatbenchError(f"{path} has damaged metadata: {error}", "run it again") from None


class _Versioned(msgspec.Struct):
    schema: int
