"""All rows of a file as CSV or Arrow, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from latbench.errors import LatbenchError
from latbench.tick import HOPS

BATCH_TICKS: Final = 1 << 16
"""64 K rows of 19 columns: 10 MB, whatever the file's size."""


def csv_columns(names: list[str]) -> list[str]:
    """The columns of the CSV: those of the file, then a hop's latency each (`kafka_ns`)."""
    return [*names, *(f"{hop.name}_ns" for hop in HOPS)]


def write_csv(path: Path, sink: IO[bytes]) -> None:
    """A header and a line for every row: the file's columns, then each hop's latency in ns.

    A null is an empty field (also a hop's that lacks one of its stamps), texts are quoted, booleans
    are `true` and `false`. Raises `LatbenchError` for damaged rows.
    """
    with pq.ParquetFile(path) as file:
        schema = _plain(file.schema_arrow)
        wide = pa.schema([*schema, *((f"{hop.name}_ns", pa.int64()) for hop in HOPS)])
        sink.write((",".join(csv_columns(schema.names)) + "\n").encode())
        options = pyarrow.csv.WriteOptions(include_header=False)
        with pyarrow.csv.CSVWriter(sink, wide, write_options=options) as writer:
            for batch in _batches(path, file):
                columns = [*_cast(batch, schema), *(_latency(batch, hop) for hop in HOPS)]
                writer.write_batch(pa.record_batch(columns, schema=wide))


def write_plain_csv(path: Path, sink: IO[bytes]) -> None:
    """A header and a line for every row, the file's columns as they are: of a session's file.

    Raises `LatbenchError` for damaged rows.
    """
    with pq.ParquetFile(path) as file:
        schema = _plain(file.schema_arrow)
        sink.write((",".join(schema.names) + "\n").encode())
        options = pyarrow.csv.WriteOptions(include_header=False)
        with pyarrow.csv.CSVWriter(sink, schema, write_options=options) as writer:
            for batch in _batches(path, file):
                writer.write_batch(pa.record_batch(_cast(batch, schema), schema=schema))


def write_arrow(path: Path, sink: IO[bytes]) -> None:
    """The rows as an Arrow IPC file (Feather V2, zstd), with the result file's metadata.

    Raises `LatbenchError` for damaged rows.
    """
    with pq.ParquetFile(path) as file:
        kept = {
            key: value
            for key, value in (file.metadata.metadata or {}).items()
            if key.startswith(b"latbench")
        }
        schema = _plain(file.schema_arrow).with_metadata(kept)
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_file(sink, schema, options=options) as writer:
            for batch in _batches(path, file):
                writer.write_batch(pa.record_batch(_cast(batch, schema), schema=schema))


def _plain(schema: Any) -> Any:
    """Without dictionaries: each row group has its own, which an IPC file can't hold."""
    return pa.schema(
        pa.field(field.name, field.type.value_type, nullable=field.nullable)
        if pa.types.is_dictionary(field.type)
        else field
        for field in schema
    )


def _cast(batch: Any, schema: Any) -> list[Any]:
    return [batch.column(field.name).cast(field.type) for field in schema]


def _latency(batch: Any, hop: Any) -> Any:
    return pc.subtract(batch.column(hop.end_column), batch.column(hop.start_column))


def _batches(path: Path, file: Any) -> Iterator[Any]:
    """Row group by row group: `iter_batches` over all of them keeps 12 bytes a tick to the end."""
    for number in range(file.num_row_groups):
        try:
            group = file.read_row_group(number)
        except (OSError, pa.ArrowException) as error:
            told = " ".join(str(error).split())
            raise LatbenchError(
                f"{path} has damaged rows: {told}", "copy it again from its source"
            ) from None
        yield from group.to_batches(max_chunksize=BATCH_TICKS)
