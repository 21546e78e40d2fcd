"""Recorded ticks, read in file order and bounded memory: raw captures, CSV and Parquet.

A capture is what an exchange sent over a WebSocket, a line a message: `<unix seconds>: <object>`.
Its messages are carried byte for byte. Columns are read by `latbench.tickfile`.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from latbench.clock import NS_PER_S
from latbench.errors import UsageError, reason
from latbench.tick import read_symbol
from latbench.tickfile import MAX_UNIX_NS, Row, is_header, read_csv, read_parquet

BATCH_TICKS: Final = 1024
BATCH_BYTES: Final = 1 << 20
MAX_LINE_BYTES: Final = 16 << 20
"""A longer line is no message; without a limit a file without line ends would fill the memory."""

_FORMS: Final = (
    "latbench replays captures (<unix seconds>: <JSON object> a line), and CSV or Parquet with"
    " the columns of a tick"
)


class _Added(msgspec.Struct):
    """The members that latbench adds to a message."""

    latbench: Any = msgspec.UNSET
    latency_t1: Any = msgspec.UNSET
    latency_t2: Any = msgspec.UNSET


_decode_added: Final = msgspec.json.Decoder(_Added).decode
_NONE_ADDED: Final = _Added()


class RecordingFormat(enum.StrEnum):
    """How a file keeps its ticks."""

    CAPTURE = "capture"
    CSV = "csv"
    PARQUET = "parquet"


@dataclasses.dataclass(frozen=True, slots=True)
class RecordedBatch:
    """Some ticks of a file in its order, column by column; the three lists have one length."""

    unix_ns: list[int]
    """As recorded: may go backwards."""
    symbols: list[str]
    """"" where a message names none."""
    documents: list[bytes]
    """Without the closing brace, so that a member can be added."""
    skipped: int
    """Lines between these ticks that hold no message."""


@dataclasses.dataclass(frozen=True, slots=True)
class ReplaySummary:
    """What a file holds, known before anything of it is sent."""

    format: RecordingFormat
    messages: int
    skipped: int
    """Lines that hold no message: blank, a comment, no JSON object, or one that can't be sent."""
    span_ns: int
    """From the first message to the latest."""
    symbols: tuple[str, ...]
    """In order of first occurrence; "" among them where messages name none."""


def scan(path: Path) -> ReplaySummary:
    """Read a whole file once.

    `UsageError` where it is missing, unreadable, no regular file or empty, where its columns are
    wrong or a row is malformed, and where no message is in it.
    """
    form = recognise(path)
    messages = skipped = 0
    first_ns = latest_ns = -1
    symbols: dict[str, None] = {}
    for batch in read_recorded(path):
        skipped += batch.skipped
        if not batch.unix_ns:
            continue
        if not messages:
            first_ns = batch.unix_ns[0]
        messages += len(batch.unix_ns)
        latest_ns = max(latest_ns, *batch.unix_ns)
        symbols.update(dict.fromkeys(batch.symbols))
    if not messages:
        raise UsageError(f"{path} holds no message", _FORMS)
    return ReplaySummary(
        format=form,
        messages=messages,
        skipped=skipped,
        span_ns=latest_ns - first_ns,
        symbols=tuple(symbols),
    )


def recognise(path: Path) -> RecordingFormat:
    """A file's format by its first bytes; its suffix decides only where they say nothing.

    `UsageError` where it can't be read, is no regular file or empty.
    """
    try:
        if not path.exists():
            raise UsageError(f"{path} is not there", "give --source a file of recorded ticks")
        if path.is_dir():
            raise UsageError(f"{path} is a directory", "give --source a file of recorded ticks")
        if not path.is_file():
            # it is read twice, which a pipe can't be
            raise UsageError(f"{path} is not a regular file", "save what it gives to a file first")
        with path.open("rb") as file:
            first_line = file.readline(65_536)
    except OSError as error:
        raise UsageError(f"{path} can't be read: {reason(error)}", "check its rights") from None
    if not first_line:
        raise UsageError(f"{path} is empty", _FORMS)
    if first_line.startswith(b"PAR1"):
        return RecordingFormat.PARQUET
    if path.suffix.lower() in {".parquet", ".pq"}:
        raise UsageError(f"{path} is not a Parquet file", "it must begin with the bytes PAR1")
    if is_header(first_line) or path.suffix.lower() == ".csv":
        return RecordingFormat.CSV
    return RecordingFormat.CAPTURE


def read_recorded(path: Path) -> Iterator[RecordedBatch]:
    """The ticks of a file in batches of at most `BATCH_TICKS` or about `BATCH_BYTES`.

    A message of a capture costs 3 µs (of Coinbase, 160 bytes), a row of CSV 6 µs (8 with ISO
    times), a row of Parquet 5 µs. The errors are those of `scan`, raised when the reading gets
    there; a file without messages is none.
    """
    rows: Iterator[Row | None]
    match recognise(path):
        case RecordingFormat.CAPTURE:
            rows = _read_capture(path)
        case RecordingFormat.CSV:
            rows = read_csv(path)
        case RecordingFormat.PARQUET:
            rows = read_parquet(path)
    return _batches(rows)


def _batches(rows: Iterator[Row | None]) -> Iterator[RecordedBatch]:
    unix_ns: list[int] = []
    symbols: list[str] = []
    documents: list[bytes] = []
    skipped = size_bytes = 0
    for row in rows:
        if row is None:
            skipped += 1
            continue
        unix_ns.append(row[0])
        symbols.append(row[1])
        documents.append(row[2])
        size_bytes += len(row[2])
        if len(unix_ns) == BATCH_TICKS or size_bytes >= BATCH_BYTES:
            yield RecordedBatch(unix_ns, symbols, documents, skipped)
            unix_ns, symbols, documents = [], [], []
            skipped = size_bytes = 0
    if unix_ns or skipped:
        yield RecordedBatch(unix_ns, symbols, documents, skipped)


def _read_capture(path: Path) -> Iterator[Row | None]:
    """The messages of a capture; None for a line that holds none."""
    with path.open("rb") as file:
        for line in iter(functools.partial(file.readline, MAX_LINE_BYTES), b""):
            yield _read_line(line)


def _read_line(line: bytes) -> Row | None:
    """The message of a capture's line, unless it is none or one that can't be sent.

    Besides what is no JSON object these are: `{}`, after which no member can be added; one that
    already has a member that would be; one whose symbol the relay couldn't read; one that is no
    UTF-8 and so can't go into a text frame.
    """
    stamp, _, message = line.partition(b": ")
    seconds, point, decimals = stamp.partition(b".")
    if not (seconds.isdigit() and len(seconds) <= 10 and (decimals.isdigit() or not point)):
        return None
    message = message.strip()
    document = message[:-1]
    if not message.startswith(b"{") or not document[1:].strip():
        return None
    try:
        message.decode()
        symbol = read_symbol(message)
        if _decode_added(message) != _NONE_ADDED:
            return None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    unix_ns = int(seconds) * NS_PER_S + int(decimals[:9].ljust(9, b"0"))
    return (unix_ns, symbol, document) if unix_ns <= MAX_UNIX_NS else None
