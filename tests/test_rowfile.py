"""A ring's rows on disk, as they are and packed, read in any slices and cut off anywhere."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latbench.packing import pack
from latbench.recording import COLUMNS, CONSUMER, RELAY
from latbench.ring import Rows
from latbench.rowfile import RowFile, packed_path, raw_path
from latbench.spool import PACKED_FROM, SpoolReader, SpoolWriter
from tests.rows import end_writing, make_preface, some_rows

WIDTH = len(COLUMNS[RELAY])


def write(directory: Path, frames: list[Rows], raw: Rows) -> RowFile:
    packed_path(directory, RELAY).write_bytes(b"".join(map(pack, frames)))
    raw_path(directory, RELAY).write_bytes(raw.tobytes())
    return RowFile(directory, RELAY, WIDTH)


@given(
    st.lists(st.integers(1, 9), max_size=6),
    st.integers(0, 9),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=9),
)
@settings(max_examples=60)
def test_a_slice_has_the_same_rows_wherever_it_begins_and_ends(
    lengths: list[int], raw: int, slices: list[tuple[int, int]]
) -> None:
    rows = some_rows(RELAY, sum(lengths) + raw)
    bounds = [0, *itertools.accumulate(lengths)]
    frames = [rows[begin:end] for begin, end in itertools.pairwise(bounds)]
    with TemporaryDirectory() as name:
        file = write(Path(name), frames, rows[bounds[-1] :])
        assert len(file) == len(rows)
        for begin, end in slices:
            assert np.array_equal(file[begin:end], rows[begin:end])
        assert np.array_equal(file[:], rows)


def test_frames_cut_off_at_any_byte_give_whole_ones(tmp_path: Path) -> None:
    rows = some_rows(RELAY, 30)
    frames = [rows[:12], rows[12:20], rows[20:26]]
    sizes = [len(pack(frame)) for frame in frames]
    for left in range(sum(sizes), -1, -1):
        write(tmp_path, frames, rows[26:])
        os.truncate(packed_path(tmp_path, RELAY), left)
        whole = sum(end <= left for end in itertools.accumulate(sizes))
        kept = rows[: (0, 12, 20, 26)[whole]]
        assert np.array_equal(RowFile(tmp_path, RELAY, WIDTH)[:], np.vstack((kept, rows[26:])))


def test_what_is_no_frame_ends_the_rows(tmp_path: Path) -> None:
    rows = some_rows(RELAY, 5)
    write(tmp_path, [rows], rows[:0])
    with packed_path(tmp_path, RELAY).open("ab") as file:
        file.write(bytes(64))
    assert np.array_equal(RowFile(tmp_path, RELAY, WIDTH)[:], rows)


def test_a_run_whose_rate_changes_keeps_every_row(tmp_path: Path) -> None:
    lengths = [3, PACKED_FROM - 1, PACKED_FROM, 5, PACKED_FROM + 4_321, 0, 7]
    rows = some_rows(CONSUMER, sum(lengths))
    writer = SpoolWriter(tmp_path / "spool")
    writer.write_preface(make_preface())
    parts = np.split(rows, list(itertools.accumulate(lengths))[:-1])
    for part in parts:
        writer.append(CONSUMER, part)
    found = SpoolReader(writer.path).rows()[CONSUMER][:]  # at once, as they come
    end_writing(writer)
    packed = [part for part in parts if len(part) >= PACKED_FROM]
    others = [part for part in parts if len(part) < PACKED_FROM]
    assert np.array_equal(found, np.vstack(packed + others))
    assert packed_path(writer.path, CONSUMER).stat().st_size < 0.8 * sum(p.nbytes for p in packed)
    assert not packed_path(writer.path, RELAY).exists()


def test_frames_that_come_after_a_disk_was_full_are_read_as_they_were(tmp_path: Path) -> None:
    rows = some_rows(RELAY, 2 * PACKED_FROM)
    writer = SpoolWriter(tmp_path / "spool")
    writer.write_preface(make_preface())
    writer.append(RELAY, rows[:PACKED_FROM])
    file = writer._packed[RELAY]

    class _Filling:
        """Takes a part of the frame, and then no more."""

        def __init__(self) -> None:
            self.room = 10

        def write(self, data: bytes) -> int:
            if not self.room:
                raise OSError(28, "No space left on device")
            taken = file.write(data[: self.room])
            self.room -= taken
            return taken

        def __getattr__(self, name: str) -> object:
            return getattr(file, name)

    writer._packed[RELAY] = _Filling()  # type: ignore[assignment]
    with pytest.raises(Exception, match="no space left on device"):
        writer.append(RELAY, rows[PACKED_FROM:])
    writer._packed[RELAY] = file
    writer.append(RELAY, rows[PACKED_FROM:])
    found = SpoolReader(writer.path).rows()[RELAY][:]
    end_writing(writer)
    assert np.array_equal(found, rows)
