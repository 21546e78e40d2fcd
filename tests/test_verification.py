from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latbench import verification
from latbench.clock import NS_PER_MS, NS_PER_S
from latbench.conclude import conclude
from latbench.errors import ExitCode, LatbenchError
from latbench.recording import ACKS, CONSUMER, GENERATOR, HICCUPS, RELAY
from latbench.result import RunStatus
from latbench.store import HISTOGRAMS_KEY, METADATA_KEY, read_result
from latbench.verification import MismatchError, verify
from tests.cli import Caller
from tests.results import make_config
from tests.rows import fill_spool, make_preface, make_rows, make_stamps, make_wake_ups, without

TICKS = 15_000
PREFACE = make_preface(config=make_config(warmup_ns=2 * NS_PER_S, tick_rate_hz=1000))


def write_run(folder: Path, gone: dict[str, set[int]], *, meters: bool = True) -> Path:
    """The result file of 15 s at 1,000 ticks/s, two of them warm-up; `gone`: rows by ring."""
    rows = make_rows(make_stamps(TICKS))
    for ring, seqs in gone.items():
        rows = without(rows, ring, seqs)
    if meters:
        late_ns = {at + missed: (9 - missed) * NS_PER_MS for at in (500, 7000) for missed in (0, 5)}
        rows[HICCUPS["relay"]] = make_wake_ups(TICKS, late_ns=late_ns)
    conclude(
        fill_spool(folder / "spool", rows, preface=PREFACE),
        RunStatus.COMPLETE,
        output=folder / "run.parquet",
    )
    return folder / "run.parquet"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_run(tmp_path, {CONSUMER: {9, 4000, 4001, 9999}, ACKS: {9, 4001}})


def rewrite(
    path: Path,
    change: Callable[[pa.Table], pa.Table] = lambda table: table,
    metadata: Callable[[dict[str, Any]], None] = lambda result: None,
    histograms: Callable[[dict[str, str]], None] = lambda histograms: None,
) -> None:
    """Change a result file as somebody might who wants other figures, or by mistake."""
    kept = pq.read_metadata(path).metadata
    result = msgspec.json.decode(kept[METADATA_KEY])
    encoded = msgspec.json.decode(kept[HISTOGRAMS_KEY])
    metadata(result)
    histograms(encoded)
    table = change(pq.read_table(path)).replace_schema_metadata(
        {METADATA_KEY: msgspec.json.encode(result), HISTOGRAMS_KEY: msgspec.json.encode(encoded)}
    )
    pq.write_table(table, path, row_group_size=4096)


def changed(table: pa.Table, name: str, values: Any) -> pa.Table:
    return table.set_column(table.column_names.index(name), table.schema.field(name), values)


def differences(path: Path) -> list[str]:
    with pytest.raises(MismatchError, match="rows that give other figures than it tells: ") as told:
        verify(path, read_result(path))
    assert told.value.exit_code is ExitCode.INVALID
    return told.value.message.rpartition(": ")[2].split(", ")


def test_the_rows_of_a_run_give_the_figures_that_its_file_tells(path: Path) -> None:
    result = read_result(path)
    assert result.stalls is not None
    assert result.stalls.ticks > 0
    assert result.tail is not None
    assert result.lost_range_count == 3
    assert verify(path, result) == TICKS


gone = st.sets(st.integers(0, TICKS - 1), max_size=30) | st.just(set(range(0, TICKS, 2)))


@given(st.fixed_dictionaries(dict.fromkeys((GENERATOR, RELAY, ACKS, CONSUMER), gone)))
@settings(max_examples=15)
def test_so_do_those_of_a_run_that_lacks_rows_anywhere(
    tmp_path_factory: pytest.TempPathFactory, missing: dict[str, set[int]]
) -> None:
    path = write_run(tmp_path_factory.mktemp("verify"), missing, meters=False)
    rewrite(path)  # in other row groups
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(verification, "_BLOCK_TICKS", 1000)
        assert verify(path, read_result(path)) == read_result(path).counts.sent


def test_one_stamp_that_was_changed_is_found_in_every_hop_that_it_bounds(path: Path) -> None:
    def later(table: pa.Table) -> pa.Table:
        acked = table["acked_ns"].to_numpy(zero_copy_only=False).astype(np.float64)
        values = [None if np.isnan(ns) else int(ns) for ns in acked]
        return changed(table, "acked_ns", pa.array([*values[:-1], int(acked[-2]) + 7 * NS_PER_S]))

    rewrite(path, later)
    assert differences(path) == ["hops.ack", "histograms.ack"]


def test_ticks_that_were_taken_out_are_missed(path: Path) -> None:
    rewrite(path, lambda table: table.filter(pc.less(table["seq"], TICKS - 10)))
    assert {"counts", "measured_ns", "hops.relay", "histograms.service"} < set(differences(path))


def test_marks_that_were_taken_out_are_missed(path: Path) -> None:
    rewrite(path, lambda table: changed(table, "stall", pa.array([False] * TICKS, type=pa.bool_())))
    assert differences(path) == ["stalls"]


def test_losses_that_were_filled_in_are_missed(path: Path) -> None:
    rewrite(
        path,
        lambda table: changed(
            table, "consumed_ns", pc.coalesce(table["consumed_ns"], table["relay_out_ns"])
        ),
    )
    assert {"counts", "lost_ranges", "lost_range_count", "hops.kafka"} < set(differences(path))


@pytest.mark.parametrize(
    ("member", "value", "name"),
    [
        ("achieved_rate_hz", 1000.0, "achieved_rate_hz"),
        ("measured_ns", 1, "measured_ns"),
        ("tail", None, "tail"),
        ("lost_ranges", [], "lost_ranges"),
        ("lost_range_count", 0, "lost_range_count"),
    ],
)
def test_a_figure_that_was_changed_is_named(
    path: Path, member: str, value: object, name: str
) -> None:
    def change(result: dict[str, Any]) -> None:
        result[member] = value

    rewrite(path, metadata=change)
    found = differences(path)
    # rates of hops are over the measured span
    assert found == [name] if member != "measured_ns" else name in found


def test_a_histogram_that_was_changed_or_left_out_is_named(path: Path) -> None:
    def change(histograms: dict[str, str]) -> None:
        histograms["kafka"] = histograms["relay"]
        del histograms["ack"]

    rewrite(path, histograms=change)
    assert differences(path) == ["histograms.kafka", "histograms.ack"]


@pytest.mark.parametrize(("factor", "same"), [(1 + 1e-9, True), (1 + 1e-3, False)])
def test_a_deviation_that_was_made_of_floats_may_be_rounded_otherwise(
    path: Path, factor: float, same: bool
) -> None:
    def change(result: dict[str, Any]) -> None:
        result["hops"][4]["stdev_ns"] *= factor
        result["stalls"]["without"]["stdev_ns"] *= factor

    rewrite(path, metadata=change)
    if same:
        assert verify(path, read_result(path)) == TICKS
    else:
        assert differences(path) == ["hops.end_to_end", "stalls"]


def test_a_file_of_the_first_schema_has_no_marks_to_look_at(tmp_path: Path) -> None:
    path = write_run(tmp_path, {}, meters=False)
    rewrite(path, lambda table: table.drop_columns(["stall"]))
    assert verify(path, read_result(path)) == TICKS


def test_a_file_without_a_column_is_told_so(path: Path) -> None:
    rewrite(path, lambda table: table.drop_columns(["acked_ns"]))
    with pytest.raises(LatbenchError, match=r"run\.parquet lacks the column acked_ns"):
        verify(path, read_result(path))


def test_rows_that_are_damaged_are_told_so(path: Path) -> None:
    content = bytearray(path.read_bytes())
    column = pq.read_metadata(path).row_group(0).column(3)
    begin = column.data_page_offset
    content[begin : begin + column.total_compressed_size] = bytes(column.total_compressed_size)
    path.write_bytes(content)
    with pytest.raises(LatbenchError, match=r"run\.parquet has damaged rows: .+") as caught:
        verify(path, read_result(path))
    assert "\n" not in caught.value.message


# --- as a command -----------------------------------------------------------------------------


def test_the_report_comes_first_and_then_what_its_rows_say(
    call_latbench: Caller, path: Path
) -> None:
    run = call_latbench("report", path, "--verify", cwd=path.parent)
    assert run.code == 0
    assert "end_to_end" in run.stdout
    assert run.stderr == "verified: 15,000 rows give the same figures\n"
    run = call_latbench("report", path, "--verify", "--json", cwd=path.parent)
    assert msgspec.json.decode(run.stdout)["counts"]["sent"] == TICKS


def test_a_file_that_tells_other_figures_than_its_rows_is_invalid(
    call_latbench: Caller, path: Path
) -> None:
    rewrite(path, histograms=lambda histograms: histograms.clear())
    run = call_latbench("report", path.name, "--verify", cwd=path.parent)
    assert run.code == ExitCode.INVALID
    assert "end_to_end" in run.stdout
    error, hint = run.stderr.splitlines()
    assert error.startswith("error: run.parquet has rows that give other figures than it tells: ")
    assert hint.startswith("hint: ")


def test_what_has_no_figures_yet_can_not_be_verified(call_latbench: Caller, tmp_path: Path) -> None:
    fill_spool(tmp_path / "run.parquet.partial", make_rows(make_stamps(5)))
    run = call_latbench("report", "run.parquet.partial", "--verify", cwd=tmp_path)
    assert run.code == ExitCode.FAILURE
    assert "hint: leave --verify out" in run.stderr
