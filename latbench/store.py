"""The result file: one Parquet file that holds a run whole. The only importer of pyarrow.

A row for every tick sent, and in the file's metadata under `latbench` a `RunResult` as JSON, under
`latbench.hdr` the hops' HDR histograms and under `latbench.samples` what was sampled once a second.
`result.SCHEMA_VERSION` has the format's history;
`docs/result-file.md` describes it column by column.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from latbench.assembly import MISSING, TickTable
from latbench.errors import LatbenchError, reason
from latbench.histogram import Histogram
from latbench.result import SCHEMA_VERSION, RunResult
from latbench.versioned import decode_versioned

METADATA_KEY: Final = b"latbench"
HISTOGRAMS_KEY: Final = b"latbench.hdr"
SAMPLES_KEY: Final = b"latbench.samples"

ROW_GROUP_TICKS: Final = 1 << 18
"""A quarter of a million: 30 MB while it is written."""

SCHEMA: Final = pa.schema(
    [
        pa.field("seq", pa.int64(), nullable=False),
        pa.field("symbol", pa.dictionary(pa.int32(), pa.string())),
        pa.field("warmup", pa.bool_(), nullable=False),
        pa.field("due_ns", pa.int64()),
        pa.field("sent_ns", pa.int64()),
        pa.field("relay_in_ns", pa.int64()),
        pa.field("relay_out_ns", pa.int64()),
        pa.field("acked_ns", pa.int64()),
        pa.field("consumed_ns", pa.int64()),
        pa.field("partition", pa.int32()),
        pa.field("offset", pa.int64()),
        pa.field("stall", pa.bool_()),
    ]
)
_DELTA_ENCODED: Final = [field.name for field in SCHEMA if pa.types.is_integer(field.type)]


Mask = np.ndarray[Any, np.dtype[np.bool_]]

_Ticks = tuple[TickTable, Mask, Mask | None]

Samples = Mapping[str, npt.NDArray[np.int64]]
"""Columns of equal length by name, a row a sample."""


class ResultWriter:
    """Writes a result file: tables in order, then the result. Nothing is there until `close`.

    It is written as `path` and can only be read once closed; whoever needs the final name to
    appear whole writes elsewhere and renames.
    """

    def __init__(self, path: Path, symbols: tuple[str, ...]) -> None:
        self._path = path
        self._symbols = pa.array(symbols, type=pa.string())
        self._nameless = symbols.index("") if "" in symbols else MISSING
        self._pending: list[_Ticks] = []
        self._pending_ticks = 0
        # encoding and compressing is half of all work on a tick at a run's end, and Arrow does it
        # without Python's lock: beside the next row group's ticks being joined
        self._encoder = ThreadPoolExecutor(1, "latbench-encoder")
        self._encoding: Future[None] | None = None
        with _told(path):
            self._writer = pq.ParquetWriter(
                path,
                SCHEMA,
                compression="zstd",
                use_dictionary=["symbol"],
                column_encoding=dict.fromkeys(_DELTA_ENCODED, "DELTA_BINARY_PACKED"),
                write_statistics=True,
            )

    def write(self, table: TickTable, warmup: Mask, stalled: Mask | None) -> None:
        """Add ticks; `warmup`: which are not measured; `stalled`: which overlap one, if known."""
        self._pending.append((table, warmup, stalled))
        self._pending_ticks += len(table)
        if self._pending_ticks >= ROW_GROUP_TICKS:
            self._flush()

    def _flush(self) -> None:
        """Have the pending row group written once the one before is: two at most in memory."""
        self._wait()
        if self._pending:
            self._encoding = self._encoder.submit(self._encode, self._pending)
        self._pending, self._pending_ticks = [], 0

    def _encode(self, pending: list[_Ticks]) -> None:
        batches = [self._as_batch(*ticks) for ticks in pending]
        self._writer.write_table(pa.Table.from_batches(batches))

    def _as_batch(self, table: TickTable, warmup: Mask, stalled: Mask | None) -> Any:
        columns = table.columns
        arrays = []
        for field in SCHEMA:
            if field.name == "symbol":
                ids = columns["symbol_id"]
                mask = (ids == MISSING) | (ids == self._nameless)
                numbers = pa.array(ids.astype(np.int32), mask=mask if mask.any() else None)
                arrays.append(pa.DictionaryArray.from_arrays(numbers, self._symbols))
            elif field.name == "warmup":
                arrays.append(pa.array(warmup))
            elif field.name == "stall":
                if stalled is None:
                    arrays.append(pa.nulls(len(table), pa.bool_()))
                else:
                    arrays.append(pa.array(stalled, mask=_nulls(columns["consumed_ns"])))
            else:
                values = columns[field.name]
                arrays.append(pa.array(values, type=field.type, mask=_nulls(values)))
        return pa.record_batch(arrays, schema=SCHEMA)

    def _wait(self) -> None:
        """Until the row group that is being written is; raises what its writing raised."""
        encoding, self._encoding = self._encoding, None
        if encoding:
            with _told(self._path):
                encoding.result()

    def close(
        self,
        result: RunResult,
        histograms: Mapping[str, Histogram],
        samples: Mapping[str, Samples],
    ) -> None:
        """Add the result, its histograms and the samples by name, and end the file."""
        self._flush()
        self._wait()
        self._encoder.shutdown()
        encoded = {name: histogram.encode() for name, histogram in histograms.items()}
        with _told(self._path):
            self._writer.add_key_value_metadata(
                {
                    METADATA_KEY: msgspec.json.encode(result),
                    HISTOGRAMS_KEY: msgspec.json.encode(encoded),
                    SAMPLES_KEY: msgspec.json.encode(
                        {name: _as_stream(table) for name, table in samples.items()}
                    ),
                }
            )
            self._writer.close()

    def abandon(self) -> None:
        """Give up; what was written is no result file."""
        self._encoder.shutdown()
        with contextlib.suppress(OSError, pa.ArrowException):
            self._writer.close()


def _nulls(values: npt.NDArray[np.int64]) -> Mask | None:
    """Where a value is missing; None where none is, which spares Arrow a bitmap."""
    nulls: Mask = values == MISSING
    return nulls if nulls.any() else None


def _as_stream(table: Samples) -> bytes:
    """An Arrow stream, compressed; msgspec writes bytes as base64."""
    batch = pa.record_batch({name: pa.array(column) for name, column in table.items()})
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, batch.schema, options=options) as stream:
        stream.write_batch(batch)
    return bytes(sink.getvalue())


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn a failure to write into one line."""
    try:
        yield
    except OSError as error:
        raise LatbenchError(
            f"can't write {path}: {reason(error)}", "make room, or choose --output"
        ) from None


def read_result(path: Path) -> RunResult:
    """The result in a file; raises `LatbenchError` for anything that is no whole result file."""
    metadata = _metadata(path)
    content = metadata.get(METADATA_KEY)
    if content is None:
        raise LatbenchError(
            f"{path} is Parquet, but not a latbench result",
            "results are what `latbench run` writes",
        )
    return decode_versioned(path, content, RunResult, "result", SCHEMA_VERSION)


def is_foreign(path: Path) -> bool:
    """Whether a file is Parquet that can be read, and nothing in it is a run's result."""
    try:
        return METADATA_KEY not in _metadata(path)
    except LatbenchError:
        return False


def read_histograms(path: Path) -> dict[str, str]:
    """The hops' histograms by name: HdrHistogram V2, compressed, base64."""
    content = _metadata(path).get(HISTOGRAMS_KEY, b"{}")
    try:
        return msgspec.json.decode(content, type=dict[str, str])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LatbenchError(f"{path} has damaged metadata: {error}", "run it again") from None


def read_samples(path: Path) -> dict[str, dict[str, npt.NDArray[np.int64]]]:
    """What was sampled once a second and the worst hiccups, columns by table; none in schema 1."""
    content = _metadata(path).get(SAMPLES_KEY, b"{}")
    try:
        streams = msgspec.json.decode(content, type=dict[str, bytes])
        tables = {name: pa.ipc.open_stream(each).read_all() for name, each in streams.items()}
    except (msgspec.DecodeError, UnicodeDecodeError, pa.ArrowException) as error:
        raise LatbenchError(f"{path} has damaged metadata: {error}", "run it again") from None
    return {
        name: {column: table[column].to_numpy() for column in table.column_names}
        for name, table in tables.items()
    }


def _metadata(path: Path) -> dict[bytes, bytes]:
    if path.is_dir():
        raise LatbenchError(f"{path} is a directory", "name a result file in it")
    try:
        return pq.read_metadata(path).metadata or {}
    except FileNotFoundError:
        raise LatbenchError(f"{path} does not exist", "results lie in bench-results/") from None
    except pa.ArrowInvalid:
        raise _not_parquet(path) from None
    except OSError as error:
        raise LatbenchError(
            f"{path} can't be read: {reason(error)}", "is it a result file?"
        ) from None
    except UnicodeDecodeError:
        raise LatbenchError(f"{path} has a damaged schema", "is it a result file?") from None


def _not_parquet(path: Path) -> LatbenchError:
    """Tell a file that was cut off from one that never was Parquet."""
    with path.open("rb") as file:
        begins = file.read(4) == b"PAR1"
    if begins:
        return LatbenchError(
            f"{path} is cut off: a Parquet file without its end", "copy it again from its source"
        )
    return LatbenchError(f"{path} is not a Parquet file", "name a result of `latbench run`")


def column_names(path: Path) -> list[str]:
    """What columns a result file has: those of older schemas lack some."""
    return list(pq.read_schema(path).names)


def require_columns(path: Path, names: Sequence[str]) -> None:
    """Raise `LatbenchError` where a result file lacks one of the columns."""
    there = column_names(path)
    if lacking := [name for name in names if name not in there]:
        raise LatbenchError(
            f"{path} lacks the column {lacking[0]}", "name a file that `latbench run` wrote"
        )


def read_ticks(path: Path, columns: list[str] | None = None) -> Iterator[TickTable]:
    """The rows of a result file, a row group at a time, `MISSING` for nulls.

    All columns of integers, or those given, which may also be of booleans (0 and 1). The next row
    group is decoded while one is used (Arrow does that without Python's lock): so two at most are
    in memory.
    """
    names = columns or [field.name for field in SCHEMA if pa.types.is_integer(field.type)]
    with pq.ParquetFile(path) as file, ThreadPoolExecutor(1, "latbench-decoder") as decoder:
        coming: deque[Future[TickTable]] = deque()
        for number in range(file.num_row_groups):
            coming.append(decoder.submit(_read_group, path, file, number, names))
            if len(coming) > 1:
                yield coming.popleft().result()
        for last in coming:
            yield last.result()


def _read_group(path: Path, file: Any, number: int, names: list[str]) -> TickTable:
    try:
        table = file.read_row_group(number, columns=names)
    except (OSError, pa.ArrowException) as error:
        told = " ".join(str(error).split())
        raise LatbenchError(
            f"{path} has damaged rows: {told}", "copy it again from its source"
        ) from None
    return TickTable({name: _as_integers(table[name]) for name in names})


def _as_integers(column: Any) -> npt.NDArray[np.int64]:
    if column.null_count:
        column = column.cast(pa.int64()).fill_null(MISSING)
    values: npt.NDArray[np.int64] = column.to_numpy().astype(np.int64, copy=False)
    return values
