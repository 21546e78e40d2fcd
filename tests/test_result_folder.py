"""What a folder of results holds: runs, and all the rest that is passed over and told."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from latbench.ab_file import write_ab
from latbench.errors import LatbenchError
from latbench.result_folder import Kind, read_folders
from latbench.store import METADATA_KEY, SCHEMA
from latbench.sweep_file import write_sweep
from tests.ab import make_session
from tests.histories import make_history, write_history, write_result_without_rows
from tests.results import make_result
from tests.sweeps import make_sweep


def kinds(*paths: Path) -> dict[str, Kind]:
    return {Path(each.file).name: each.kind for each in read_folders(paths)[1]}


def test_runs_of_folders_subfolders_and_files_are_read_once_each(tmp_path: Path) -> None:
    results = make_history(12)
    write_history(tmp_path / "a", results[:4])
    write_history(tmp_path / "a" / "deep" / "er", results[4:8])
    write_history(tmp_path / "b", results[8:])
    one = next((tmp_path / "b").iterdir())
    stored, skipped = read_folders([tmp_path / "a", one, tmp_path / "b", tmp_path])
    assert skipped == []
    assert sorted(each.result.run_id for each in stored) == [each.run_id for each in results]
    assert stored[0].path == str(tmp_path / "a" / f"{results[0].started_unix_ns // 10**9}.parquet")


def test_all_that_is_no_run_is_told_for_what_it_is(tmp_path: Path) -> None:
    write_history(tmp_path, make_history(2))
    write_sweep(tmp_path / "sweep.parquet", make_sweep())
    write_ab(tmp_path / "session.parquet", make_session())
    pq.write_table(pa.table({"price": [1.5]}), tmp_path / "foreign.parquet")
    (tmp_path / "text.parquet").write_text("no Parquet")
    (tmp_path / "empty.parquet").write_bytes(b"")
    whole = next(tmp_path.glob("17*.parquet")).read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[:-20])
    later = msgspec.json.encode({**msgspec.to_builtins(make_result()), "schema": 99})
    for name, content in (("later", later), ("damaged", b'{"schema":1,')):
        schema = SCHEMA.with_metadata({METADATA_KEY: content})
        pq.write_table(schema.empty_table(), tmp_path / f"{name}.parquet")
    (tmp_path / "notes.txt").write_text("no result is called that")
    (tmp_path / "run.parquet.partial").mkdir()
    (tmp_path / "run.parquet.partial" / "rows.parquet").write_bytes(b"")
    (tmp_path / "gone.parquet").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe.parquet")
    (tmp_path / "folder.parquet").mkdir()
    assert kinds(tmp_path) == {
        "sweep.parquet": Kind.SWEEP,
        "session.parquet": Kind.SESSION,
        "foreign.parquet": Kind.FOREIGN,
        "run.parquet.partial": Kind.UNFINISHED,
        **dict.fromkeys(
            [
                f"{name}.parquet"
                for name in ("text", "empty", "cut", "later", "damaged", "gone", "pipe")
            ],
            Kind.UNREADABLE,
        ),
    }
    stored, skipped = read_folders([tmp_path])
    assert len(stored) == 2
    assert all(each.why for each in skipped)


def test_a_copy_of_a_run_does_not_count_twice(tmp_path: Path) -> None:
    (result,) = make_history(1)
    write_result_without_rows(tmp_path / "a.parquet", result)
    write_result_without_rows(tmp_path / "b.parquet", result)
    stored, (copy,) = read_folders([tmp_path])
    assert [Path(each.path).name for each in stored] == ["a.parquet"]
    assert (Path(copy.file).name, copy.kind) == ("b.parquet", Kind.COPY)
    assert copy.why.endswith("a.parquet")


def test_a_link_is_no_second_file_and_leads_to_no_other_folder(tmp_path: Path) -> None:
    write_history(tmp_path / "a", make_history(3))
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "link.parquet").symlink_to(next((tmp_path / "a").glob("*.parquet")))
    stored, skipped = read_folders([tmp_path / "a"])
    assert (len(stored), skipped) == (3, [])


def test_what_is_unfinished_may_be_named_itself(tmp_path: Path) -> None:
    partial = tmp_path / "run.parquet.partial"
    partial.mkdir()
    assert kinds(partial) == {"run.parquet.partial": Kind.UNFINISHED}


def test_a_path_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LatbenchError, match="nowhere does not exist"):
        read_folders([tmp_path, tmp_path / "nowhere"])
