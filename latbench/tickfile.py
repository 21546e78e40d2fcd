"""Recorded ticks in columns: latbench's own CSV, and Parquet of the same columns.

Both have the members of a tick message as columns, in any order. A row becomes the document that
the message would have been: numbers as they are written in the file, the timestamp in Unix seconds
with 6 decimals.
"""

from __future__ import annotations

import csv
import datetime
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from latbench.clock import NS_PER_S, NS_PER_US
from latbench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS: Final = ("timestamp", "symbol", "price", "volume", "bid", "ask", "bid_size", "ask_size")

Row = tuple[int, str, bytes]
"""A recorded tick: ns since 1970, its symbol, its document without the closing brace."""

MAX_UNIX_NS: Final = 2**63 - 1
"""In the year 2262."""

PARQUET_ROWS: Final = 1024
"""Per record batch; what bounds the memory is the file's row groups."""

_NUMBERS: Final = COLUMNS[2:]
_HINT: Final = f"its columns are {','.join(COLUMNS)}, in any order"
_NO_TIME: Final = "is no time from 1970 to 2262 in Unix seconds or ISO 8601"
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_ISO: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:[.,]([0-9]+))?"
    r"(?: ?([Zz]|[+-][0-9]{2}:?[0-9]{2}))?"
)
_JSON_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_PLAIN_NUMBER: Final = r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,17})?"
_PLAIN_NUMBERS: Final = re.compile(f"{_PLAIN_NUMBER}(?:,{_PLAIN_NUMBER}){{{len(_NUMBERS) - 1}}}")
"""All of a row's at once: six matches of their own take twice as long."""


def parse_unix_ns(text: str) -> int:
    """Nanoseconds since 1970 for Unix seconds or an ISO 8601 time (UTC where it has no offset).

    Exact to the ninth decimal; further ones are cut off. `ValueError` for anything else and for
    what lies outside 1970 to 2262.
    """
    whole, _, decimals = text.partition(".")
    if text.isascii() and whole.isdigit() and (decimals.isdigit() or text == whole):
        seconds = int(whole) if len(whole) < 16 else MAX_UNIX_NS
    else:
        match = _ISO.fullmatch(text)
        if match is None:
            raise ValueError(text)
        date, time, decimals, offset = match.groups(default="")
        moment = datetime.datetime.fromisoformat(f"{date}T{time}{offset.upper() or 'Z'}")
        since = moment - _EPOCH
        seconds = since.days * 86_400 + since.seconds
    unix_ns = seconds * NS_PER_S + int(decimals[:9].ljust(9, "0"))
    if not 0 <= unix_ns <= MAX_UNIX_NS:
        raise ValueError(text)
    return unix_ns


def is_header(first_line: bytes) -> bool:
    """Whether a file's first line names at least one of the columns, as a CSV's does."""
    cells = first_line.removeprefix(b"\xef\xbb\xbf").split(b",")
    return any(cell.strip(b' "\r\n').decode("latin-1").lower() in COLUMNS for cell in cells)


def read_csv(path: Path) -> Iterator[Row | None]:
    """The rows of a CSV file; None for a blank line. `UsageError` for anything malformed."""
    line = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, skipinitialspace=True, strict=True)
            places = _places(path, next(reader, []))
            to_row = _RowMaker(path, "line")
            for values in reader:
                line = reader.line_num
                if len(values) == len(COLUMNS):
                    timestamp, symbol, *numbers = [values[place] for place in places]
                    yield to_row(line, timestamp, symbol, numbers)
                elif "".join(values).strip():
                    raise UsageError(
                        f"{path}, line {line}: {len(values)} values, not {len(COLUMNS)}", _HINT
                    )
                else:
                    yield None
    except csv.Error as error:
        raise UsageError(f"{path}, line {line + 1}: {error}", "it must be plain CSV") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text", "write it as UTF-8") from None


def read_parquet(path: Path) -> Iterator[Row]:
    """The rows of a Parquet file, a record batch at a time. `UsageError` for anything malformed.

    Values become text by Arrow's cast (the shortest that reads back the same), so they pass
    through the same checks as a CSV's.
    """
    # 220 ms that a simulated market or a capture need not pay
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        with pq.ParquetFile(path) as file:
            header = file.schema_arrow.names
            names = [header[place] for place in _places(path, header)]
            to_row = _RowMaker(path, "row")
            first = 1
            for batch in file.iter_batches(PARQUET_ROWS, columns=names):
                columns = [_texts(batch.column(name), pa) for name in names]
                for i, (timestamp, symbol, *numbers) in enumerate(zip(*columns, strict=True)):
                    yield to_row(first + i, timestamp, symbol, numbers)
                first += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise UsageError(f"{path} can't be read as Parquet: {reason}", _HINT) from None


def _texts(column: Any, pa: Any) -> Sequence[str | int | None]:
    """An Arrow array as text; a timestamp of whatever unit and zone as ns since 1970."""
    if pa.types.is_timestamp(column.type):
        factor = {"s": NS_PER_S, "ms": 1_000_000, "us": 1_000, "ns": 1}[column.type.unit]
        return [
            None if units is None else units * factor
            for units in column.cast(pa.int64()).to_pylist()
        ]
    texts: list[str | int | None] = column.cast(pa.string()).to_pylist()
    return texts


def _places(path: Path, header: Sequence[str]) -> list[int]:
    """Where each of `COLUMNS` stands in a header that must have them all and no other."""
    names = [name.strip().lower() for name in header]
    for name in COLUMNS:
        if names.count(name) != 1:
            fact = f"no column {name!r}" if name not in names else f"two columns {name!r}"
            raise UsageError(f"{path} has {fact}", _HINT)
    for name in names:
        if name not in COLUMNS:
            raise UsageError(f"{path} has an unknown column {name!r}", _HINT)
    return [names.index(name) for name in COLUMNS]


class _RowMaker:
    """Checks a row's values and writes its document."""

    def __init__(self, path: Path, unit: str) -> None:
        self._path = path
        self._unit = unit
        self._symbols: dict[str, tuple[str, str]] = {}

    def __call__(
        self, line: int, timestamp: str | int | None, symbol: str | int | None, numbers: list[Any]
    ) -> Row:
        """The row; `UsageError` naming the place, the column and the value of what is malformed."""
        try:
            joined = ",".join(numbers)
        except TypeError:
            joined = ""  # a null among them
        if not _PLAIN_NUMBERS.fullmatch(joined):
            numbers = [
                self._number(line, name, value)
                for name, value in zip(_NUMBERS, numbers, strict=True)
            ]
        known = self._symbols.get(symbol) if isinstance(symbol, str) else None
        name, quoted = known or self._symbol(line, symbol)
        unix_ns = timestamp if isinstance(timestamp, int) else self._moment(line, timestamp)
        if not 0 <= unix_ns <= MAX_UNIX_NS:
            raise self._malformed(line, "timestamp", timestamp, _NO_TIME)
        seconds, rest_ns = divmod(unix_ns, NS_PER_S)
        price, volume, bid, ask, bid_size, ask_size = numbers
        document = (
            f'{{"timestamp":{seconds}.{rest_ns // NS_PER_US:06d},"symbol":{quoted},"price":{price}'
            f',"volume":{volume},"bid":{bid},"ask":{ask}'
            f',"bid_size":{bid_size},"ask_size":{ask_size}'
        )
        return unix_ns, name, document.encode()

    def _moment(self, line: int, value: str | None) -> int:
        try:
            return parse_unix_ns((value or "").strip())
        except ValueError:
            raise self._malformed(line, "timestamp", value, _NO_TIME) from None

    def _symbol(self, line: int, value: str | int | None) -> tuple[str, str]:
        name = str(value).strip() if value is not None else ""
        if not name:
            raise self._malformed(line, "symbol", value, "is blank")
        self._symbols[str(value)] = name, msgspec.json.encode(name).decode()
        return self._symbols[str(value)]

    def _number(self, line: int, column: str, value: str | None) -> str:
        text = (value or "").strip()
        if not _JSON_NUMBER.fullmatch(text):
            raise self._malformed(line, column, value, "is not a number as JSON has it")
        if not math.isfinite(float(text)):
            raise self._malformed(line, column, value, "is too large")
        return text

    def _malformed(self, line: int, column: str, value: object, fact: str) -> UsageError:
        return UsageError(
            f"{self._path}, {self._unit} {line}: {column} {value!r} {fact}",
            "mend the row or leave it out",
        )
