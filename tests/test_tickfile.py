from __future__ import annotations

import datetime
from collections.abc import Callable
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench.errors import UsageError
from latbench.replay import RecordingFormat, scan
from latbench.tickfile import COLUMNS, parse_unix_ns
from tests.captures import rows

HEADER = ",".join(COLUMNS)
ROW = "1732470000.123456,NIFTY,22015.35,1200,22015.30,22015.40,300,450"
DOCUMENT = (
    b'{"timestamp":1732470000.123456,"symbol":"NIFTY","price":22015.35,"volume":1200,'
    b'"bid":22015.30,"ask":22015.40,"bid_size":300,"ask_size":450'
)


def write_csv(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


# --- CSV


def test_a_csv_row_becomes_the_document_that_the_message_would_have_been(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "ticks.csv", HEADER, ROW)
    assert rows(path) == [(1732470000_123456000, "NIFTY", DOCUMENT)]
    assert scan(path).format is RecordingFormat.CSV


def test_columns_may_stand_in_any_order_and_case_with_blanks_quotes_and_a_byte_order_mark(
    tmp_path: Path,
) -> None:
    path = write_csv(
        tmp_path / "ticks",
        '\ufeffask_size, Ask,"BID_SIZE",bid,volume,price,symbol,timestamp',
        '450 , 22015.40,"300",22015.30,1200,22015.35,NIFTY,2024-11-24T17:40:00.123456Z',
    )
    assert rows(path) == [(1732470000_123456000, "NIFTY", DOCUMENT)]


def test_a_csv_symbol_is_written_as_json_needs_it(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", HEADER, ROW.replace("NIFTY", '"A ""ü"" \\B,C"'))
    ((_, symbol, document),) = rows(path)
    assert symbol == 'A "ü" \\B,C'
    assert msgspec.json.decode(document + b"}")["symbol"] == symbol


def test_blank_csv_lines_are_counted(tmp_path: Path) -> None:
    summary = scan(write_csv(tmp_path / "t.csv", HEADER, ROW, "", "  ", ROW))
    assert (summary.messages, summary.skipped) == (2, 2)


@pytest.mark.parametrize("number", ["1e3", "-0", "-1.5E-7", "0.000000000000000000001", "9" * 40])
def test_numbers_are_kept_as_they_are_written(tmp_path: Path, number: str) -> None:
    path = write_csv(tmp_path / "t.csv", HEADER, ROW.replace("22015.35", number))
    assert f'"price":{number},'.encode() in rows(path)[0][2]


@pytest.mark.parametrize(
    "value",
    ["abc", "", "NaN", "inf", "1e999", ".5", "5.", "+5", "007", "0x10", "1_000", "٣", '"1,000"']
)  # fmt: skip
@pytest.mark.parametrize("column", ["price", "ask_size"])
def test_a_value_that_is_no_number_is_named_with_file_line_and_column(
    tmp_path: Path, column: str, value: str
) -> None:
    values = ROW.split(",")
    values[COLUMNS.index(column)] = value
    path = write_csv(tmp_path / "t.csv", HEADER, ROW, ",".join(values))
    with pytest.raises(UsageError) as raised:
        scan(path)
    assert raised.value.message.startswith(f"{path}, line 3: {column} {value.strip(chr(34))!r} is ")
    assert raised.value.hint


@pytest.mark.parametrize(
    "value",
    ["yesterday", "", "-5", "1.", ".5", "1e9", "1732470000123", "2024-11-24", "2024-13-01T00:00:00",
     "1969-12-31T23:59:59Z", "2300-01-01T00:00:00Z", "2024-11-24T17:40:60", "9" * 5000,
     "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "2024-11-24T17:40:00+99:00"],
    ids=lambda value: value[:30],
)  # fmt: skip
def test_a_timestamp_that_is_no_time_is_named(tmp_path: Path, value: str) -> None:
    path = write_csv(tmp_path / "t.csv", HEADER, ROW.replace("1732470000.123456", value))
    with pytest.raises(UsageError, match=r"line 2: timestamp '.* is no time from 1970 to 2262"):
        scan(path)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([HEADER.replace(",bid,", ","), ROW], "has no column 'bid'"),
        ([HEADER + ",venue", ROW + ",NSE"], "has an unknown column 'venue'"),
        ([HEADER + ",bid", ROW + ",1"], "has two columns 'bid'"),
        ([HEADER, ROW + ",1"], ", line 2: 9 values, not 8"),
        ([HEADER, ROW, "1,2"], ", line 3: 2 values, not 8"),
        ([HEADER, ROW.replace("NIFTY", " ")], ", line 2: symbol '' is blank"),
        ([HEADER, '"' + ROW], ", line 2: unexpected end of data"),
        (["1,2,3", ROW], "has no column 'timestamp'"),
        ([HEADER], "holds no message"),
    ],
)
def test_a_malformed_csv_says_what_is_wrong(tmp_path: Path, lines: list[str], message: str) -> None:
    path = write_csv(tmp_path / "t.csv", *lines)
    with pytest.raises(UsageError) as raised:
        scan(path)
    assert raised.value.message.startswith(str(path))
    assert raised.value.message.endswith(message)
    assert raised.value.hint


def test_a_csv_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(f"{HEADER}\n{ROW}\n".encode().replace(b"NIFTY", b"\xff"))
    with pytest.raises(UsageError, match="is not UTF-8 text"):
        scan(path)


# --- timestamps


@given(st.integers(0, 9_223_372_035), st.one_of(st.none(), st.text("0123456789", min_size=1)))
def test_unix_seconds_are_read_exactly_to_the_nanosecond(
    seconds: int, decimals: str | None
) -> None:
    text = str(seconds) if decimals is None else f"{seconds}.{decimals}"
    exact = (Decimal(text[:20]) * 10**9).to_integral_value(ROUND_FLOOR)
    assert parse_unix_ns(text) == int(exact)


@given(
    st.datetimes(datetime.datetime(1970, 1, 2), datetime.datetime(2261, 12, 31)).map(
        lambda moment: moment.replace(microsecond=0)
    ),
    st.text("0123456789", min_size=1, max_size=12),
    st.one_of(st.none(), st.just(0), st.integers(-14 * 60, 14 * 60)),
    st.sampled_from(["T", "t", " "]),
)
def test_iso_times_are_read_exactly_with_their_offset(
    moment: datetime.datetime, decimals: str, offset_min: int | None, between: str
) -> None:
    text = f"{moment.date()}{between}{moment.time()}.{decimals}"
    if offset_min is not None:
        hours, minutes = divmod(abs(offset_min), 60)
        text += f"{'-' if offset_min < 0 else '+'}{hours:02d}:{minutes:02d}"
    since = moment - datetime.datetime(1970, 1, 1) - datetime.timedelta(minutes=offset_min or 0)
    expected = (since.days * 86_400 + since.seconds) * 10**9 + int(decimals[:9].ljust(9, "0"))
    if expected >= 0:
        assert parse_unix_ns(text) == expected


@given(st.text())
def test_whatever_is_no_time_is_a_value_error(text: str) -> None:
    try:
        unix_ns = parse_unix_ns(text)
    except ValueError:
        return
    assert 0 <= unix_ns < 2**63


@pytest.mark.parametrize(
    ("text", "unix_ns"),
    [
        ("0", 0),
        ("1618677817.1", 1618677817_100000000),
        ("1618677817.0618958", 1618677817_061895800),
        ("1618677817.123456789987", 1618677817_123456789),
        ("9223372036.854775807", 2**63 - 1),
        ("2021-04-17T16:44:07.859760Z", 1618677847_859760000),
        ("2021-04-17 22:14:07,859760001+0530", 1618677847_859760001),
        ("2021-04-17 16:44:07", 1618677847_000000000),
        ("2021-04-17T16:44:07 +00:00", 1618677847_000000000),
    ],
)
def test_known_times(text: str, unix_ns: int) -> None:
    assert parse_unix_ns(text) == unix_ns


# --- Parquet


def write_parquet(path: Path, **replaced: pa.Array) -> Path:
    columns: dict[str, Any] = {
        "symbol": pa.array(["NIFTY", "TCS"]),
        "timestamp": pa.array(["1732470000.123456", "1732470001.5"]),
        "price": pa.array([22015.35, 3900.0]),
        "volume": pa.array([1200, 175], pa.int32()),
        "bid": pa.array([22015.30, 3899.95]),
        "ask": pa.array([22015.40, 3900.0]),
        "bid_size": pa.array([300, 350]),
        "ask_size": pa.array([450, 525]),
    }
    pq.write_table(pa.table(columns | replaced), path)
    return path


UNIX_NS = [1732470000_123456000, 1732470001_500000000]


@pytest.mark.parametrize(
    "timestamps",
    [
        pa.array([unix_ns // 1000 for unix_ns in UNIX_NS], pa.timestamp("us")),
        pa.array(UNIX_NS, pa.timestamp("ns", "Asia/Kolkata")),
        pa.array([1732470000.123456, 1732470001.5]),
        pa.array([Decimal("1732470000.123456000"), Decimal("1732470001.500000000")]),
        pa.array(["1732470000.123456", "2024-11-24T17:40:01.5Z"]),
    ],
    ids=["us", "ns-zoned", "float64", "decimal", "text"],
)
def test_parquet_timestamps_of_any_kind_are_read_exactly(
    tmp_path: Path, timestamps: pa.Array
) -> None:
    path = write_parquet(tmp_path / "t.parquet", timestamp=timestamps)
    assert [unix_ns for unix_ns, _, _ in rows(path)] == UNIX_NS


@pytest.mark.parametrize(
    "timestamps",
    [
        pa.array([1732470000, 1732470001]),
        pa.array([1732470000, 1732470001], pa.timestamp("s", "UTC")),
        pa.array([1732470000_000, 1732470001_000], pa.timestamp("ms")),
    ],
    ids=["int64", "s", "ms"],
)
def test_parquet_timestamps_in_whole_seconds_are_read(tmp_path: Path, timestamps: pa.Array) -> None:
    path = write_parquet(tmp_path / "t.parquet", timestamp=timestamps)
    assert [unix_ns for unix_ns, _, _ in rows(path)] == [1732470000_000000000, 1732470001_000000000]


def test_a_parquet_row_becomes_the_document_that_a_csv_row_would(tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path / "recorded",  # known by its first bytes
        price=pa.array([22015.35, 3900.0], pa.float32()),
        symbol=pa.array(["NIFTY", "TCS"]).dictionary_encode(),
        ask=pa.array([Decimal("22015.40"), Decimal("3900.00")]),
        bid=pa.array(["22015.30", "3899.95"]),
    )
    assert rows(path) == [
        (UNIX_NS[0], "NIFTY", DOCUMENT),
        (
            UNIX_NS[1],
            "TCS",
            b'{"timestamp":1732470001.500000,"symbol":"TCS","price":3900,"volume":175,'
            b'"bid":3899.95,"ask":3900.00,"bid_size":350,"ask_size":525',
        ),
    ]
    assert scan(path).format is RecordingFormat.PARQUET


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("price", pa.array([1.5, None]), "row 2: price None is not a number as JSON has it"),
        ("price", pa.array([1.5, float("nan")]), "row 2: price 'nan' is not a number"),
        ("bid_size", pa.array([True, False]), "row 1: bid_size 'true' is not a number"),
        ("symbol", pa.array(["A", None]), "row 2: symbol None is blank"),
        ("timestamp", pa.array([5, None], pa.timestamp("s")), "row 2: timestamp None is no time"),
        ("timestamp", pa.array([-1, 5], pa.timestamp("s")), "row 1: timestamp -1000000000 is no"),
        ("timestamp", pa.array([2**52, 5], pa.timestamp("s")), "row 1: timestamp 4503599"),
        ("timestamp", pa.array([-1.5, 5.0]), "row 1: timestamp '-1.5' is no time"),
        ("timestamp", pa.array([5, 6], pa.date32()), "row 1: timestamp '1970-01-06' is no time"),
        ("volume", pa.array([[1], [2]]), "can't be read as Parquet: Unsupported cast"),
        ("venue", pa.array(["NSE", "BSE"]), "has an unknown column 'venue'"),
    ],
)
def test_a_malformed_parquet_file_says_what_is_wrong(
    tmp_path: Path, column: str, values: pa.Array, message: str
) -> None:
    path = write_parquet(tmp_path / "t.parquet", **{column: values})
    with pytest.raises(UsageError) as raised:
        scan(path)
    assert message in raised.value.message
    assert raised.value.hint


@pytest.mark.parametrize("damage", [lambda data: data[:-200], lambda data: b"PAR1" + data[:100]])
def test_a_damaged_parquet_file_is_a_usage_error(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = write_parquet(tmp_path / "t.parquet")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UsageError, match="can't be read as Parquet"):
        scan(path)


def test_parquet_column_names_may_have_any_case(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "t.parquet")
    table = pq.read_table(path)
    pq.write_table(table.rename_columns([name.upper() for name in table.column_names]), path)
    assert [unix_ns for unix_ns, _, _ in rows(path)] == UNIX_NS
