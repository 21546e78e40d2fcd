"""The rows as CSV and Arrow, read by what people read them with."""

from __future__ import annotations

import io
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from latbench.errors import LatbenchError
from latbench.export import tables
from latbench.store import SCHEMA, read_result
from latbench.tick import HOPS
from tests.stored import LOST, write_run

TICKS = 5000


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Several row groups, several batches in each of some, ticks that lack stamps and symbols."""
    path = write_run(tmp_path_factory.mktemp("tables") / "run.parquet", ticks=TICKS, gone=LOST)
    metadata = pq.read_metadata(path).metadata
    table = pq.read_table(path).replace_schema_metadata(metadata)
    pq.write_table(table, path, row_group_size=1900)
    return path


@pytest.fixture(scope="module")
def csv(path: Path) -> Path:
    target = path.with_suffix(".csv")
    with target.open("wb") as sink:
        tables.write_csv(path, sink)
    return target


@pytest.fixture(scope="module")
def arrow(path: Path) -> Path:
    target = path.with_suffix(".arrow")
    with target.open("wb") as sink:
        tables.write_arrow(path, sink)
    return target


def plain(path: Path) -> pa.Table:
    """The rows of a result file, its symbols as texts."""
    table = pq.read_table(path)
    return table.set_column(1, "symbol", table["symbol"].cast(pa.string()))


def test_the_csv_has_every_row_and_column(path: Path, csv: Path) -> None:
    types = {field.name: field.type for field in plain(path).schema}
    read = pyarrow.csv.read_csv(
        csv,
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=types, strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    )
    assert read.num_rows == TICKS
    assert read.column_names[: len(SCHEMA)] == SCHEMA.names
    for name in SCHEMA.names:
        assert read[name].to_pylist() == plain(path)[name].to_pylist(), name


def test_the_csv_has_each_hops_latency_and_none_where_a_stamp_lacks(csv: Path) -> None:
    frame = pd.read_csv(csv, dtype_backend="pyarrow")
    for hop in HOPS:
        latency = frame[hop.end_column] - frame[hop.start_column]
        assert frame[f"{hop.name}_ns"].equals(latency.astype("int64[pyarrow]"))
    assert frame["end_to_end_ns"].isna().sum() == 3
    assert frame["ack_ns"].isna().sum() == 2


def test_the_first_lines_of_the_csv_are_as_the_page_says(csv: Path) -> None:
    header, first, second, *_ = csv.read_text().splitlines()
    assert header.split(",") == [*SCHEMA.names, *(f"{hop.name}_ns" for hop in HOPS)]
    assert first.startswith('0,"NIFTY",true,81234567890123,')
    assert second.startswith("1,,true,"), "the second tick has no symbol"


def test_a_lost_tick_has_empty_fields(csv: Path) -> None:
    fields = csv.read_text().splitlines()[1 + 4001].split(",")
    row = dict(zip(tables.csv_columns(SCHEMA.names), fields, strict=True))
    assert row["seq"] == "4001"
    assert row["relay_out_ns"]
    assert row["consumed_ns"] == row["acked_ns"] == row["kafka_ns"] == row["end_to_end_ns"] == ""


def test_duckdb_reads_the_csv_without_being_told_types(path: Path, csv: Path) -> None:
    (found,) = duckdb.sql(
        f"SELECT count(*), count(consumed_ns), quantile_disc(end_to_end_ns, 0.5) "
        f"FILTER (NOT warmup) FROM '{csv}'"
    ).fetchall()
    p50_ns = read_result(path).hop("end_to_end").percentiles_ns["p50"]
    assert found[:2] == (TICKS, TICKS - 3)
    assert p50_ns is not None
    assert found[2] <= p50_ns <= found[2] * 1.001


def test_arrow_keeps_rows_types_and_metadata(path: Path, arrow: Path) -> None:
    table = pa.ipc.open_file(arrow).read_all()
    assert table.equals(plain(path))
    kept = pq.read_metadata(path).metadata
    assert table.schema.metadata == {
        key: value for key, value in kept.items() if key.startswith(b"latbench")
    }
    assert {b"latbench", b"latbench.hdr"} <= set(table.schema.metadata)


def test_pandas_polars_and_duckdb_read_the_arrow_file(path: Path, arrow: Path) -> None:
    expected = plain(path)["consumed_ns"].to_pylist()
    frame = pd.read_feather(arrow, dtype_backend="pyarrow")
    assert (
        frame["consumed_ns"].astype(object).where(frame["consumed_ns"].notna(), None).tolist()
        == expected
    )
    assert pl.read_ipc(arrow)["consumed_ns"].to_list() == expected
    ticks = pa.ipc.open_file(arrow).read_all()
    assert ticks.num_rows == TICKS
    assert duckdb.sql("SELECT count(*) FROM ticks").fetchall() == [(TICKS,)]


def test_damaged_rows_are_told_in_one_line(path: Path, tmp_path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[500:2500] = bytes(2000)
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(content)
    for write in (tables.write_csv, tables.write_arrow):
        with pytest.raises(LatbenchError, match="has damaged rows") as raised:
            write(damaged, io.BytesIO())
        assert "\n" not in raised.value.message
