from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from latbench import store
from latbench.analysis import HopFigures
from latbench.assembly import MISSING, TABLE_COLUMNS, TickTable
from latbench.errors import LatbenchError
from latbench.histogram import PERCENTILES
from latbench.result import SCHEMA_VERSION, RunResult
from latbench.spool import ROW_FILES
from latbench.store import ResultWriter, read_histograms, read_result, read_samples, read_ticks
from latbench.tick import HOPS
from tests.results import SCHEMA_1, make_result
from tests.rows import SYMBOLS, make_stamps, some_rows

WARMUP_TICKS = 100
STALL_EVERY = 13
SAMPLES = {
    # one of them with no sample at all
    name: dict(zip(columns, some_rows(name, 5 * number).T, strict=True))
    for number, (name, columns) in enumerate(ROW_FILES.items())
}
INTEGERS = [name for name in TABLE_COLUMNS if name != "symbol_id"]


def make_columns(count: int = 3000) -> dict[str, Any]:
    """Ticks of which some lack what a lost one lacks, and one its symbol."""
    columns = make_stamps(count)
    lost = columns["seq"] % 97 == 5
    for name in ("acked_ns", "consumed_ns", "partition", "offset"):
        columns[name] = np.where(lost, MISSING, columns[name])
    columns["symbol_id"] = np.where(columns["seq"] == 7, MISSING, columns["symbol_id"])
    columns["due_ns"] = np.where(columns["seq"] == 9, MISSING, columns["due_ns"])
    return columns


def write_result(
    path: Path, columns: dict[str, Any], result: RunResult | None = None, blocks: int = 3
) -> HopFigures:
    writer, figures = ResultWriter(path, SYMBOLS), HopFigures()
    for places in np.array_split(np.arange(len(columns["seq"])), blocks):
        table = TickTable({name: columns[name][places] for name in TABLE_COLUMNS})
        figures.record(table.columns)
        seq = table.columns["seq"]
        writer.write(table, seq < WARMUP_TICKS, seq % STALL_EVERY == 0)
    writer.close(result or make_result(), figures.histograms, SAMPLES)
    return figures


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_result(tmp_path / "run.parquet", make_columns())
    return tmp_path / "run.parquet"


def test_a_result_and_its_ticks_come_back_as_they_were_written(path: Path) -> None:
    assert read_result(path) == make_result()
    (table,) = read_ticks(path)
    assert list(table.columns) == INTEGERS
    for name in INTEGERS:
        assert table.columns[name].dtype == np.int64
        assert (table.columns[name] == make_columns()[name]).all()


numbers = st.integers(0, 2**63 - 1) | st.just(MISSING)


@given(st.lists(st.tuples(*[numbers] * 7, st.integers(-1, 2**31 - 1), numbers), max_size=20))
def test_any_stamps_come_back_and_missing_ones_stay_missing(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, ...]]
) -> None:
    path = tmp_path_factory.mktemp("result") / "run.parquet"
    table = np.array(rows, dtype=np.int64).reshape(-1, 9)
    columns = {"seq": np.arange(len(rows)), "symbol_id": table[:, 0] % len(SYMBOLS)}
    columns |= {name: table[:, number] for number, name in enumerate(TABLE_COLUMNS[2:], start=1)}
    write_result(path, columns, blocks=2)
    parts = list(read_ticks(path))
    for name in INTEGERS:
        found = [value for part in parts for value in part.columns[name].tolist()]
        assert found == columns[name].tolist()


def test_what_is_missing_is_null_and_nothing_else(path: Path) -> None:
    table, columns = pq.read_table(path), make_columns()
    for name in INTEGERS:
        assert table[name].null_count == int((columns[name] == MISSING).sum())
    assert table["warmup"].to_pylist() == [seq < WARMUP_TICKS for seq in range(3000)]
    symbols = [None if number == 1 else SYMBOLS[number] for number in columns["symbol_id"]]
    symbols[7] = None
    # nobody knows of a tick that was never consumed whether a stall held it up
    assert table["stall"].to_pylist() == [
        None if consumed_ns == MISSING else seq % STALL_EVERY == 0
        for seq, consumed_ns in enumerate(columns["consumed_ns"].tolist())
    ]
    assert table["symbol"].to_pylist() == symbols


def test_selected_columns_are_read_alone_and_row_groups_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "ROW_GROUP_TICKS", 1000)
    write_result(tmp_path / "run.parquet", make_columns(), blocks=8)  # of 375
    tables = list(read_ticks(tmp_path / "run.parquet", ["seq", "offset"]))
    assert [len(table) for table in tables] == [1125, 1125, 750]
    assert {tuple(table.columns) for table in tables} == {("seq", "offset")}
    seqs = [seq for table in tables for seq in table.columns["seq"].tolist()]
    assert seqs == list(range(3000))


def test_a_run_without_ticks_is_a_result_file_too(tmp_path: Path) -> None:
    write_result(tmp_path / "run.parquet", make_stamps(0), blocks=1)
    assert read_result(tmp_path / "run.parquet") == make_result()
    assert sum(len(table) for table in read_ticks(tmp_path / "run.parquet")) == 0


def test_duckdb_pandas_and_polars_read_the_file_as_it_is(path: Path) -> None:
    columns = make_columns()
    frame, polar = pd.read_parquet(path), pl.read_parquet(path)
    with duckdb.connect() as connection:
        duck = connection.read_parquet(str(path))
        assert duck.columns == list(frame.columns) == polar.columns == store.SCHEMA.names
        assert len(frame) == len(polar) == 3000
        assert duck.count("*").fetchall() == [(3000,)]
        for name in INTEGERS:
            known = columns[name][columns[name] != MISSING].tolist()
            expected = (sum(known), 3000 - len(known))
            (sums,) = duck.aggregate(f'sum("{name}"), count(*) - count("{name}")').fetchall()
            assert sums == expected
            assert (sum(polar[name].drop_nulls().to_list()), polar[name].null_count()) == expected
            of_pandas = frame[name].dropna()
            assert len(frame) - len(of_pandas) == expected[1]
            if not expected[1]:  # pandas turns integers with nulls into floats
                assert int(of_pandas.sum()) == expected[0]
            else:
                assert float(of_pandas.sum()) == pytest.approx(expected[0], rel=1e-12)
        symbols = [row[0] for row in duck.order("seq").project("symbol").fetchall()]
        warmup = [row[0] for row in duck.order("seq").project("warmup").fetchall()]
        (stalled,) = duck.filter("stall").count("*").fetchall()
    assert symbols == polar["symbol"].cast(pl.String).to_list()
    assert symbols == [None if pd.isna(text) else text for text in frame["symbol"].astype(object)]
    assert set(symbols) == {"NIFTY", "TCS", None}
    assert warmup == polar["warmup"].to_list() == frame["warmup"].tolist()
    assert stalled[0] == polar["stall"].sum() == frame["stall"].sum() > 0


def test_integers_are_delta_encoded_and_all_is_compressed_with_zstd(path: Path) -> None:
    group = pq.read_metadata(path).row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    assert {column.compression for column in columns} == {"ZSTD"}
    encodings = {column.path_in_schema: set(column.encodings) for column in columns}
    for name in INTEGERS:
        assert "DELTA_BINARY_PACKED" in encodings[name]
        assert not any("DICTIONARY" in encoding for encoding in encodings[name])
    assert "RLE_DICTIONARY" in encodings["symbol"]
    assert all(column.statistics.has_min_max for column in columns)


def test_a_tick_takes_a_fraction_of_its_eighty_bytes(tmp_path: Path) -> None:
    sizes = []
    for count in (1000, 51_000):
        write_result(tmp_path / f"{count}.parquet", make_stamps(count))
        sizes.append((tmp_path / f"{count}.parquet").stat().st_size)
    assert sizes[1] - sizes[0] < 50_000 * 20


def test_the_histograms_in_the_file_are_hdr_histograms_of_its_hops(tmp_path: Path) -> None:
    path = tmp_path / "run.parquet"
    figures = write_result(path, make_stamps(30_000))  # its ranks are whole numbers
    encoded = read_histograms(path)
    assert set(encoded) == {hop.name for hop in HOPS}
    for name, histogram in figures.histograms.items():
        decoded = HdrHistogram.decode(encoded[name].encode())
        assert decoded.get_total_count() == histogram.count
        told = dict(zip(PERCENTILES, histogram.percentiles(), strict=True))
        known = {percent: value for percent, value in told.items() if value is not None}
        assert 99.0 in known
        assert decoded.get_percentile_to_value_dict(list(known)) == known


def test_samples_come_back_as_they_were_written(path: Path) -> None:
    samples = read_samples(path)
    assert {name: list(table) for name, table in samples.items()} == {
        name: list(table) for name, table in SAMPLES.items()
    }
    for name, table in samples.items():
        for column, values in table.items():
            assert values.dtype == np.int64
            assert values.tolist() == SAMPLES[name][column].tolist()


def test_a_file_of_the_first_schema_is_read_with_what_it_lacks_left_out(tmp_path: Path) -> None:
    result = make_result(**SCHEMA_1)
    stored = msgspec.json.decode(msgspec.json.encode(result))
    # as the first version wrote it: without the members that came later
    for member in SCHEMA_1.keys() - {"schema"}:
        del stored[member]
    path = write_metadata(tmp_path / "old.parquet", msgspec.json.encode(stored))
    assert read_result(path) == result
    assert read_samples(path) == {}


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b'{"usage":7}', b'{"usage":"@@"}', b'{"usage":"AAAA"}', b"\xff"]
)
def test_damaged_samples_are_told_so(tmp_path: Path, content: bytes) -> None:
    table = pa.table({"seq": [1]}).replace_schema_metadata({b"latbench.samples": content})
    pq.write_table(table, tmp_path / "run.parquet")
    with pytest.raises(LatbenchError, match=r"has damaged metadata: .+") as caught:
        read_samples(tmp_path / "run.parquet")
    assert "\n" not in caught.value.message


# --- files that are no whole result -----------------------------------------------------------


def told(path: Path) -> str:
    """The one line that a file is refused with."""
    with pytest.raises(LatbenchError) as caught:
        read_result(path)
    assert caught.value.hint
    assert "\n" not in caught.value.message
    assert caught.value.message.startswith(f"{path} ")
    return caught.value.message.removeprefix(f"{path} ")


def test_a_file_cut_off_anywhere_is_told_to_be_cut_off(path: Path) -> None:
    content = path.read_bytes()
    places = {4, 5, 100, len(content) // 2, *range(len(content) - 40, len(content))}
    for left in sorted(places):
        path.write_bytes(content[:left])
        assert told(path) == "is cut off: a Parquet file without its end"


@pytest.mark.parametrize("content", [b"", b"PA", b"a,b\n1,2\n", b"\0" * 5000])
def test_what_is_not_parquet_is_told_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "some.csv").write_bytes(content)
    assert told(tmp_path / "some.csv") == "is not a Parquet file"


def test_a_directory_and_a_missing_file_are_told_so(tmp_path: Path) -> None:
    assert told(tmp_path).endswith("is a directory")
    assert told(tmp_path / "none.parquet") == "does not exist"


def test_a_file_that_can_not_be_read_is_told_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert told(tmp_path / "loop").startswith("can't be read: ")


def test_somebody_elses_parquet_is_told_so(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    assert told(tmp_path / "other.parquet") == "is Parquet, but not a latbench result"
    assert read_histograms(tmp_path / "other.parquet") == {}


def write_metadata(path: Path, content: bytes) -> Path:
    table = pa.table({"seq": [1]}).replace_schema_metadata({b"latbench": content})
    pq.write_table(table, path)
    return path


def as_stored(**changes: Any) -> dict[str, Any]:
    stored: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(make_result()))
    return {**stored, **changes}


def test_a_newer_schema_is_told_with_both_numbers(tmp_path: Path) -> None:
    newer = msgspec.json.encode({"schema": SCHEMA_VERSION + 1, "all": "else is different"})
    message = told(write_metadata(tmp_path / "new.parquet", newer))
    assert message == (
        f"has result schema {SCHEMA_VERSION + 1}; this latbench reads up to {SCHEMA_VERSION}"
    )


def test_fields_of_a_later_version_of_the_same_schema_are_passed_over(tmp_path: Path) -> None:
    content = msgspec.json.encode(as_stored(novelty={"deep": [1]}))
    assert read_result(write_metadata(tmp_path / "run.parquet", content)) == make_result()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"schema":"one"}',
        b'{"schema":1}',
        msgspec.json.encode(as_stored(status="unheard of")),
        msgspec.json.encode(as_stored(counts=7)),
        msgspec.json.encode(as_stored(run_id="@@")).replace(b"@@", b"\xff\xfe"),
    ],
)
def test_damaged_metadata_is_told_so(tmp_path: Path, content: bytes) -> None:
    message = told(write_metadata(tmp_path / "run.parquet", content))
    assert message.startswith("has damaged metadata: ")


def test_a_flipped_byte_anywhere_in_the_footer_never_escapes_as_another_error(path: Path) -> None:
    content, rng = path.read_bytes(), random.Random(5)
    footer = int.from_bytes(content[-8:-4], "little") + 8
    refused = []
    for _ in range(400):
        place = len(content) - rng.randrange(1, footer + 1)
        path.write_bytes(
            content[:place] + bytes([content[place] ^ rng.randrange(1, 256)]) + content[place + 1 :]
        )
        try:
            read_result(path)
        except LatbenchError as error:
            refused.append(error.message)
    assert len(refused) > 50
    assert not [message for message in refused if "\n" in message]


# --- writing that fails -----------------------------------------------------------------------


def test_a_place_that_can_not_be_written_to_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(LatbenchError, match=r"can't write .*no such file or directory") as caught:
        ResultWriter(tmp_path / "none" / "run.parquet", SYMBOLS)
    assert "\n" not in caught.value.message


def test_a_full_disk_is_told_in_one_line_and_the_writer_can_be_abandoned(tmp_path: Path) -> None:
    (tmp_path / "run.parquet").symlink_to("/dev/full")
    with pytest.raises(LatbenchError, match=r"can't write .*no space left") as caught:
        write_result(tmp_path / "run.parquet", make_columns())
    assert "\n" not in caught.value.message


def test_an_abandoned_file_is_no_result(tmp_path: Path) -> None:
    writer = ResultWriter(tmp_path / "run.parquet", SYMBOLS)
    columns = make_columns()
    writer.write(TickTable(columns), columns["seq"] < 0, columns["seq"] < 0)
    writer.abandon()
    writer.abandon()
    assert told(tmp_path / "run.parquet") == "is Parquet, but not a latbench result"
