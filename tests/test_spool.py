from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import msgspec
import numpy as np
import pytest

from latbench.errors import LatbenchError
from latbench.recording import RELAY
from latbench.spool import ROW_FILES, SpoolReader, SpoolWriter, Tally, spool_path
from tests.rows import end_writing, fill_spool, make_preface, make_rows, make_stamps, some_rows

TALLY = Tally(duplicates=1, ring_overruns=3, generator_backpressure_ns=4, said=("a", "ö"))


def test_a_spool_lies_beside_its_result() -> None:
    assert spool_path(Path("a/b.parquet")) == Path("a/b.parquet.partial")


def test_a_spool_gives_back_all_that_was_written(tmp_path: Path) -> None:
    rows = {name: some_rows(name, 500) for name in ROW_FILES}
    writer = SpoolWriter(tmp_path / "new" / "run.partial")  # makes its parents
    writer.write_preface(make_preface())
    for begin in range(0, 500, 70):
        for ring in ROW_FILES:
            writer.append(ring, rows[ring][begin : begin + 70])
            writer.append(ring, rows[ring][:0])
    writer.write_tally(Tally(duplicates=9))
    writer.write_tally(TALLY)

    # at once, before it is closed: rows lie on disk as they come
    reader = SpoolReader(writer.path)
    assert reader.preface == make_preface()
    assert reader.read_tally() == TALLY
    found = {ring: each[:] for ring, each in reader.rows().items()}
    assert set(found) == set(ROW_FILES)
    for ring in ROW_FILES:
        assert found[ring].dtype == np.int64
        assert (found[ring] == rows[ring]).all()
    end_writing(writer)
    assert {path.name for path in writer.path.iterdir()} == {
        "run.json", "tally.json", "lock", *(f"{ring}.rows" for ring in ROW_FILES)
    }  # fmt: skip


def test_rows_of_a_strided_view_are_written_in_order(tmp_path: Path) -> None:
    rows = make_rows(make_stamps(50))
    fortran = {ring: np.asfortranarray(ring_rows) for ring, ring_rows in rows.items()}
    reader = fill_spool(tmp_path / "spool", fortran)
    for ring, found in reader.rows().items():
        assert (found[:] == rows[ring]).all()


@pytest.mark.parametrize("ring", ROW_FILES)
def test_a_ring_cut_off_at_any_byte_gives_its_whole_rows(tmp_path: Path, ring: str) -> None:
    rows = {name: some_rows(name, 7) for name in ROW_FILES}
    path = fill_spool(tmp_path / "spool", rows).path
    size = rows[ring].nbytes
    for left in range(size, -1, -1):
        os.truncate(path / f"{ring}.rows", left)
        found = {name: each[:] for name, each in SpoolReader(path).rows().items()}
        whole = left // (len(ROW_FILES[ring]) * 8)
        assert found[ring].shape == (whole, len(ROW_FILES[ring]))
        assert (found[ring] == rows[ring][:whole]).all()
        assert all(len(found[other]) == 7 for other in ROW_FILES if other != ring)


def test_a_ring_that_was_never_written_has_no_rows(tmp_path: Path) -> None:
    path = fill_spool(tmp_path / "spool", make_rows(make_stamps(3))).path
    (path / f"{RELAY}.rows").unlink()
    assert SpoolReader(path).rows()[RELAY][:].shape == (0, len(ROW_FILES[RELAY]))


def test_counters_cut_off_at_any_byte_count_as_nothing(tmp_path: Path) -> None:
    reader = fill_spool(tmp_path / "spool", {}, tally=TALLY)
    path = reader.path / "tally.json"
    for left in range(path.stat().st_size - 1, -1, -1):
        os.truncate(path, left)
        assert reader.read_tally() == Tally()
    path.unlink()
    assert reader.read_tally() == Tally()


def test_a_preface_cut_off_at_any_byte_is_told_in_one_line(tmp_path: Path) -> None:
    path = fill_spool(tmp_path / "spool", {}).path / "run.json"
    for left in range(path.stat().st_size - 1, -1, -1):
        os.truncate(path, left)
        with pytest.raises(LatbenchError, match=r"run\.json can't be read: .+") as caught:
            SpoolReader(path.parent)
        assert "\n" not in caught.value.message
        assert caught.value.hint


def test_a_spool_without_preface_holds_no_run(tmp_path: Path) -> None:
    end_writing(SpoolWriter(tmp_path / "spool"))
    with pytest.raises(LatbenchError, match="holds no run: it ended before its first tick"):
        SpoolReader(tmp_path / "spool")


def test_a_preface_of_a_later_version_with_more_in_it_is_read(tmp_path: Path) -> None:
    path = fill_spool(tmp_path / "spool", {}).path
    known = msgspec.json.decode((path / "run.json").read_bytes())
    (path / "run.json").write_bytes(msgspec.json.encode({**known, "novelty": 1}))
    assert SpoolReader(path).preface == make_preface()


def test_a_name_in_use_is_not_taken_again(tmp_path: Path) -> None:
    reader = fill_spool(tmp_path / "spool", make_rows(make_stamps(5)), tally=TALLY)
    with pytest.raises(LatbenchError, match="that run goes on, or it was killed") as caught:
        SpoolWriter(tmp_path / "spool")
    assert "latbench report" in caught.value.hint
    assert len(reader.rows()[RELAY]) == 5


def test_a_place_that_can_not_be_written_to_is_told_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LatbenchError) as caught:
        SpoolWriter(tmp_path / "file" / "spool")
    assert caught.value.message == f"can't write to {tmp_path}/file/spool: not a directory"
    assert "--output" in caught.value.hint


def test_a_full_disk_is_told_when_rows_are_appended(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path / "spool")
    with Path("/dev/full").open("wb", buffering=0) as full:
        kept, writer._files[RELAY] = writer._files[RELAY], full
        with pytest.raises(LatbenchError, match="no space left on device"):
            writer.append(RELAY, make_rows(make_stamps(5))[RELAY])
    writer._files[RELAY] = kept
    end_writing(writer)


def test_counters_that_can_not_be_replaced_are_told(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path / "spool")
    (tmp_path / "spool" / "tally.json").mkdir()
    with pytest.raises(LatbenchError, match="is a directory"):
        writer.write_tally(TALLY)
    end_writing(writer)


class _Stingy:
    """A file that takes three bytes at a time, as on a disk that is filling up."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, data: bytes) -> int:
        self.content += data[:3]
        return len(data[:3])

    def tell(self) -> int:
        return len(self.content)

    def close(self) -> None:
        pass


def test_a_write_that_takes_only_a_part_is_gone_on_with(tmp_path: Path) -> None:
    writer, stingy = SpoolWriter(tmp_path / "spool"), _Stingy()
    rows = make_rows(make_stamps(5))[RELAY]
    writer._files[RELAY].close()
    writer._files[RELAY] = stingy  # type: ignore[assignment]
    writer.append(RELAY, rows)
    assert stingy.content == rows.tobytes()
    end_writing(writer)


def test_rows_that_come_after_a_disk_was_full_are_read_as_they_were(tmp_path: Path) -> None:
    """The supervisor empties the rings once more at the end; there may be room again by then."""
    writer, rows = SpoolWriter(tmp_path / "spool"), make_rows(make_stamps(9))[RELAY]
    writer.write_preface(make_preface())
    row_bytes = rows[:1].nbytes
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 * row_bytes + 5, before[1]))
    try:
        with pytest.raises(LatbenchError, match="file too large"):
            writer.append(RELAY, rows[:6])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    writer.append(RELAY, rows[6:])
    end_writing(writer)
    found = SpoolReader(writer.path).rows()[RELAY][:].tolist()
    assert found == [*rows[:3].tolist(), *rows[6:].tolist()]


def test_a_removed_spool_leaves_nothing_and_its_name_is_free(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path / "spool")
    writer.log_path("relay").write_text("bye\n")
    writer.remove()
    writer.remove()
    assert not list(tmp_path.iterdir())
    SpoolWriter(tmp_path / "spool").remove()


def test_a_spool_is_live_as_long_as_the_process_that_writes_it(tmp_path: Path) -> None:
    code = """
        import sys
        from pathlib import Path
        from latbench.spool import SpoolWriter
        from tests.rows import make_preface

        writer = SpoolWriter(Path(sys.argv[1]))
        writer.write_preface(make_preface())
        print("written", flush=True)
        sys.stdin.read()  # until it is killed
    """
    path = tmp_path / "spool"
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"written\n"
        reader = SpoolReader(path)
        assert reader.is_live
        assert SpoolReader(path).is_live  # looking at it does not end it
        child.kill()
    assert not reader.is_live


def test_a_spool_is_still_live_once_its_rows_are_closed(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path / "spool")
    writer.write_preface(make_preface())
    writer.close()
    reader = SpoolReader(writer.path)
    assert reader.is_live
    writer.remove()
    assert not reader.is_live


def test_a_spool_that_was_copied_without_its_lock_is_not_live(tmp_path: Path) -> None:
    reader = fill_spool(tmp_path / "spool", {})
    assert not reader.is_live
    (reader.path / "lock").unlink()
    assert not reader.is_live
    reader.remove()
    assert not list(tmp_path.iterdir())
