"""The file of an A/B session, read again and by others."""

from __future__ import annotations

from pathlib import Path

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from latbench.ab_file import AB_COLUMNS, AB_KEY, is_ab, read_ab, write_ab
from latbench.ab_result import AB_SCHEMA_VERSION, AbStatus
from latbench.errors import LatbenchError
from latbench.hop_columns import hop_fields, hop_values
from latbench.summary_file import has_summary, read_summary, write_summary
from latbench.sweep_file import is_sweep, write_sweep
from latbench.thresholds import STATISTICS
from latbench.tick import HOPS
from tests.ab import make_plan, make_session, write_run
from tests.results import make_hop, make_hops, make_result
from tests.sweeps import make_sweep


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    result = make_session(make_plan("p50=5%", "kafka.p99=10%"), times=1.25)
    path = tmp_path / "new" / "ab.parquet"
    write_ab(path, result)
    assert is_ab(path)
    assert read_ab(path) == result
    assert [each.name for each in path.parent.iterdir()] == ["ab.parquet"]


def test_a_session_without_a_comparison_or_with_a_failure_is_kept_as_well(tmp_path: Path) -> None:
    whole = make_session()
    result = msgspec.structs.replace(
        whole, runs=whole.runs[:1], comparison=None, status=AbStatus.FAILED, failure="it broke"
    )
    write_ab(tmp_path / "ab.parquet", result)
    assert read_ab(tmp_path / "ab.parquet") == result


def test_too_few_pairs_for_bounds_come_back_without_them(tmp_path: Path) -> None:
    result = make_session(make_plan(pairs=3, most_pairs=3))
    write_ab(tmp_path / "ab.parquet", result)
    assert read_ab(tmp_path / "ab.parquet") == result


def test_other_tools_read_a_row_a_run(tmp_path: Path) -> None:
    result = make_session()
    path = tmp_path / "ab.parquet"
    write_ab(path, result)
    rows = duckdb.sql(
        "select number, phase, pair, side, run_id, end_to_end_p99_ns, relay_mean_ns, kafka_max_ns, "
        f"lost, machine_steal from '{path}'"
    ).fetchall()
    assert len(rows) == len(result.runs) == 22
    for row, run in zip(rows, result.runs, strict=True):
        hop = run.result.hop
        assert row[:5] == (run.number, run.phase, run.pair, run.side, run.result.run_id)
        assert row[5] == hop("end_to_end").percentiles_ns["p99"]
        assert row[6] == hop("relay").mean_ns
        assert row[7] == hop("kafka").max_ns
        assert row[8:] == (0, pytest.approx(0.0042))
    medians = duckdb.sql(
        f"select side, median(end_to_end_p50_ns) from '{path}' where phase = 'measured' group by 1"
    ).fetchall()
    assert result.comparison is not None
    change = result.comparison.gates[0].change
    assert dict(medians) == {"a": change.base_ns, "b": change.new_ns}


def test_every_column_is_of_the_list_or_a_hops(tmp_path: Path) -> None:
    path = tmp_path / "ab.parquet"
    write_ab(path, make_session())
    schema = pq.read_schema(path)
    hops = [f"{hop.name}_{statistic}_ns" for hop in HOPS for statistic in STATISTICS]
    assert schema.names == [*(name for name, _ in AB_COLUMNS), *hops]
    for name, kind in (*AB_COLUMNS, *hop_fields()):
        assert schema.field(name).type == kind


def test_a_run_without_figures_of_its_machine_has_none_there(tmp_path: Path) -> None:
    whole = make_session()
    bare = msgspec.structs.replace(
        whole.runs[0], result=make_result(machine=None, hops=make_hops(count=500))
    )
    path = tmp_path / "ab.parquet"
    write_ab(path, msgspec.structs.replace(whole, runs=(bare,)))
    (row,) = pq.read_table(path).to_pylist()
    assert (row["machine_busy"], row["machine_steal"]) == (None, None)
    assert row["end_to_end_p50_ns"] is not None
    assert row["end_to_end_p99_ns"] is None  # too few ticks tell it


def test_a_hop_without_ticks_has_no_values() -> None:
    hops = (make_hop("ack", count=0), make_hop("kafka"))
    values = dict(hop_values(hops))
    assert not [name for name in values if name.startswith("ack")]
    assert values.keys() == {f"kafka_{statistic}_ns" for statistic in STATISTICS}


def test_other_files_are_no_sessions(tmp_path: Path) -> None:
    write_run(tmp_path / "run.parquet", make_result())
    write_sweep(tmp_path / "sweep.parquet", make_sweep())
    write_ab(tmp_path / "ab.parquet", make_session())
    (tmp_path / "text").write_text("no Parquet")
    found = {path.name: is_ab(path) for path in tmp_path.iterdir()}
    assert [name for name, is_one in found.items() if is_one] == ["ab.parquet"]
    assert not is_ab(tmp_path / "missing")
    assert not is_ab(tmp_path)
    assert is_sweep(tmp_path / "sweep.parquet")
    assert not is_sweep(tmp_path / "ab.parquet")


@pytest.mark.parametrize(
    ("content", "complaint", "hint"),
    [
        (b"{", "damaged metadata", "run it again"),
        (b'{"schema": 1}', "damaged metadata", "run it again"),
        (b"\xff", "damaged metadata", "run it again"),
        (
            b'{"schema": 99}',
            f"has ab schema 99; this latbench reads up to {AB_SCHEMA_VERSION}",
            "pip install --upgrade latbench",
        ),
    ],
)
def test_a_file_that_can_not_be_read_is_told(
    content: bytes, complaint: str, hint: str, tmp_path: Path
) -> None:
    path = tmp_path / "ab.parquet"
    pq.write_table(pa.table({"a": [1]}).replace_schema_metadata({AB_KEY: content}), path)
    with pytest.raises(LatbenchError, match=complaint) as told:
        read_ab(path)
    assert told.value.hint == hint


def test_a_place_that_can_not_be_written_is_told_and_nothing_left(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LatbenchError, match="can't write") as told:
        write_ab(tmp_path / "file" / "ab.parquet", make_session())
    assert told.value.hint == "make room, or choose --output"
    taken = tmp_path / "taken"
    (taken / "ab.parquet").mkdir(parents=True)
    with pytest.raises(LatbenchError, match="can't write"):
        write_ab(taken / "ab.parquet", make_session())
    assert [path.name for path in taken.iterdir()] == ["ab.parquet"]


class Noted(msgspec.Struct, frozen=True):
    schema: int
    text: str


def test_a_summary_is_any_value_with_a_schema(tmp_path: Path) -> None:
    path, key = tmp_path / "s.parquet", b"latbench.note"
    fields = [("a", pa.int64()), ("b", pa.string())]
    write_summary(path, key, Noted(2, "hello"), [{"a": 1}, {"b": "x"}], fields)
    assert has_summary(path, key)
    assert not has_summary(path, AB_KEY)
    assert read_summary(path, key, Noted, newest=2) == Noted(2, "hello")
    assert pq.read_table(path).to_pylist() == [{"a": 1, "b": None}, {"a": None, "b": "x"}]
    with pytest.raises(LatbenchError, match="has note schema 2; this latbench reads up to 1"):
        read_summary(path, key, Noted, newest=1)
