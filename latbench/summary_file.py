"""Files of several runs: Parquet, a row for each, and the whole as JSON in the metadata.

The columns are for tools that draw and compare; whoever reads the metadata has everything.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from latbench.errors import LatbenchError, reason
from latbench.versioned import T, decode_versioned


def write_summary(
    path: Path, key: bytes, value: object, rows: Sequence[Mapping[str, Any]], fields: Sequence[Any]
) -> None:
    """Write a file, whole or not at all; raises `LatbenchError` where that can't be."""
    schema = pa.schema(fields, metadata={key: msgspec.json.encode(value)})
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


def has_summary(path: Path, key: bytes) -> bool:
    """Whether a file is one of these, by its key, and not a run's."""
    try:
        return key in (pq.read_metadata(path).metadata or {})
    except (OSError, pa.ArrowException, UnicodeDecodeError):
        return False


def read_summary(path: Path, key: bytes, kind: type[T], newest: int) -> T:
    """The value in a file that `has_summary`; raises `LatbenchError` where it can't be read.

    `newest`: the latest schema that is known here.
    """
    content = (pq.read_metadata(path).metadata or {})[key]
    return decode_versioned(path, content, kind, key.decode().removeprefix("latbench."), newest)
