"""The file of a sweep, read again and by others."""

from __future__ import annotations

from pathlib import Path

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from latbench.errors import LatbenchError
from latbench.sweep_file import SWEEP_COLUMNS, SWEEP_KEY, is_sweep, read_sweep, write_sweep
from latbench.sweep_result import SweepResult
from tests.sweeps import make_plan, make_sweep


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    result = make_sweep(make_plan("end_to_end.p99 < 5ms", "kafka.mean < 1ms"))
    path = tmp_path / "new" / "sweep.parquet"
    write_sweep(path, result)
    assert is_sweep(path)
    assert read_sweep(path) == result
    assert [each.name for each in path.parent.iterdir()] == ["sweep.parquet"]


def test_other_tools_read_a_row_a_point(tmp_path: Path) -> None:
    result = make_sweep()
    path = tmp_path / "sweep.parquet"
    write_sweep(path, result)
    rows = duckdb.sql(
        f"select rate_hz, holds, end_to_end_p99_ns, cpu_relay, reasons, predicted_ns from '{path}'"
    ).fetchall()
    assert len(rows) == len(result.points)
    for (rate, holds, p99, cpu, reasons, predicted), point in zip(rows, result.points, strict=True):
        assert (rate, holds) == (point.rate_hz, point.holds)
        assert p99 == point.values_ns[0]
        assert cpu == pytest.approx(point.cpu_shares["relay"])
        assert reasons == [reason.code for reason in point.reasons]
        assert result.fit is not None
        assert predicted == result.fit.curve.latency_ns(rate)
    assert {name for name, _ in SWEEP_COLUMNS} <= set(pq.read_schema(path).names)


def test_a_sweep_that_was_interrupted_is_kept_as_well(tmp_path: Path) -> None:
    whole = make_sweep()
    result = msgspec.structs.replace(
        whole, points=whole.points[:2], knee=None, fit=None, saturation=None
    )
    write_sweep(tmp_path / "s.parquet", result)
    assert read_sweep(tmp_path / "s.parquet") == result


def test_other_files_are_no_sweeps(tmp_path: Path) -> None:
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"a": [1]}), other)
    (tmp_path / "text").write_text("no Parquet")
    assert not is_sweep(other)
    assert not is_sweep(tmp_path / "text")
    assert not is_sweep(tmp_path / "missing")
    assert not is_sweep(tmp_path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"{", "damaged metadata"), (b'{"schema": 99}', "sweep schema 99; this latbench reads up to")],
)
def test_a_file_that_can_not_be_read_is_told(
    content: bytes, complaint: str, tmp_path: Path
) -> None:
    path = tmp_path / "s.parquet"
    table = pa.table({"a": [1]}).replace_schema_metadata({SWEEP_KEY: content})
    pq.write_table(table, path)
    with pytest.raises(LatbenchError, match=complaint):
        read_sweep(path)


def test_a_place_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LatbenchError, match="can't write"):
        write_sweep(tmp_path / "file" / "s.parquet", make_sweep())


def test_json_of_the_metadata_has_everything() -> None:
    result = make_sweep()
    assert msgspec.json.decode(msgspec.json.encode(result), type=SweepResult) == result
