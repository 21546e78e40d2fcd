"""`BulkReader` between a transport and a library that keeps account of its bytes."""

from __future__ import annotations

import dataclasses
import itertools
import random
import struct
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latbench.stages.bulk_frames import BULK_FROM, BulkReader
from latbench.tickmatrix import Chars
from tests.websocket_client import BINARY, CLOSE, CONTINUATION, PING, TEXT, frame

LARGE: Final = 1 << 17
"""A frame above this is not gathered before the library gets it."""
MOST_ROWS: Final = 256


@dataclasses.dataclass(frozen=True)
class Sent:
    """A frame of a client, and what it is to a server."""

    data: bytes
    text: bytes = b""
    opcode: int = TEXT
    fin: bool = True
    masked: bool = True

    def __repr__(self) -> str:  # hypothesis prints what failed: half a megabyte says nothing
        return f"Sent({len(self.text)} bytes, {self.opcode=}, {self.fin=}, {self.masked=})"


def sent(opcode: int, payload: bytes, *, fin: bool = True, masked: bool = True) -> Sent:
    return Sent(frame(opcode, payload, fin=fin, masked=masked), payload, opcode, fin, masked)


def rows(count: int, chars: int, seed: int = 0) -> list[Sent]:
    """Text frames of one length, each with a text of its own."""
    rng = random.Random(seed)
    return [sent(TEXT, rng.randbytes(chars)) for _ in range(count)]


def wordy(text: bytes) -> Sent:
    """A frame that says a short length in two bytes."""
    head, mask = struct.pack("!BBH", 0x81, 0xFE, len(text)), b"\x01\x02\x03\x04"
    return Sent(head + mask + bytes(each ^ mask[i % 4] for i, each in enumerate(text)), text)


class Server:
    """The library and its listener: knows what was sent, and fails on whatever comes else."""

    def __init__(self, frames: Sequence[Sent], room: int) -> None:
        self._frames = frames
        self._stream = b"".join(each.data for each in frames)
        self._bounds = [0, *itertools.accumulate(len(each.data) for each in frames)]
        self._buffer = bytearray(room)
        self._at = 0
        self._next = 0
        self.taken: list[int] = []
        """How many rows came together, each time."""
        self.together: list[int] = []
        """How many whole frames the library got at once, each time."""
        self.passed = 0
        """How many frames the library got."""
        self.within_message = False
        self.ended = False
        self.calls: list[str] = []

    # --- the library

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        return memoryview(self._buffer)

    def buffer_updated(self, nbytes: int) -> None:
        assert 0 < nbytes <= len(self._buffer)
        assert not self.ended
        assert self._buffer[:nbytes] == self._stream[self._at : self._at + nbytes]
        self._at += nbytes
        before = self.passed
        while self._next < len(self._frames) and self._bounds[self._next + 1] <= self._at:
            self._take(self._frames[self._next])
            self._next += 1
            self.passed += 1
        self.together.append(self.passed - before)

    def _take(self, one: Sent) -> None:
        begins = one.opcode in {TEXT, BINARY}
        refused = not one.masked or one.opcode == CLOSE
        refused |= begins and self.within_message
        refused |= one.opcode == CONTINUATION and not self.within_message
        if refused:
            self.ended = True
        elif begins or one.opcode == CONTINUATION:
            self.within_message = not one.fin

    def eof_received(self) -> bool | None:
        self.calls.append("eof_received")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append(f"connection_lost {exc}")

    def pause_writing(self) -> None:
        self.calls.append("pause_writing")

    def resume_writing(self) -> None:
        self.calls.append("resume_writing")

    # --- the listener

    def take_rows(self, relay_in_ns: int, texts: Chars) -> None:
        assert relay_in_ns > 0
        assert not self.within_message
        assert not self.ended
        assert self._at == self._bounds[self._next], "the library has a part of a row"
        assert texts.dtype == np.uint8
        count = len(texts)
        same = self._frames[self._next : self._next + count]
        assert [text.tobytes() for text in texts] == [each.text for each in same]
        assert {(each.opcode, each.fin, each.masked) for each in same} == {(TEXT, True, True)}
        self._next += count
        self._at = self._bounds[self._next]
        self.taken.append(count)

    # --- the test

    @property
    def is_between_frames(self) -> bool:
        """Whether no frame is here in part, large ones aside."""
        begin = self._bounds[self._next]
        return self._at == begin or len(self._frames[self._next].data) > LARGE

    @property
    def has_all(self) -> bool:
        return self._at == len(self._stream)

    def feed(self, sizes: Iterator[int]) -> BulkReader:
        """All of the stream, in reads of these sizes."""
        reader = BulkReader(self, self)
        rest = memoryview(self._stream)
        while rest:
            buffer = reader.get_buffer(-1)
            count = min(len(buffer), next(sizes), len(rest))
            assert count, "no room for what comes"
            buffer[:count] = rest[:count]
            reader.buffer_updated(count)
            assert self.ended or self.is_between_frames
            rest = rest[count:]
        return reader


def fed(
    frames: Sequence[Sent], sizes: Sequence[int] = (1 << 30,), room: int = 1 << 16
) -> tuple[Server, BulkReader]:
    server = Server(frames, room)
    return server, server.feed(itertools.cycle(sizes))


seeds = st.integers(0, 2**32)
alike = st.builds(rows, st.integers(BULK_FROM - 2, 80), st.integers(126, 500), seeds)
heavy = st.builds(rows, st.integers(20, 60), st.integers(4_000, 9_000), seeds)
few_or_short = st.builds(rows, st.integers(1, 40), st.integers(0, 140), seeds)
in_two_bytes = st.builds(
    lambda count, chars: [wordy(bytes([i]) * chars) for i in range(count)],
    st.integers(20, 40),
    st.integers(0, 125),
)
mixed = st.lists(st.integers(120, 300), max_size=60).map(
    lambda sizes: [sent(TEXT, b"m" * size) for size in sizes]
)
large = st.sampled_from([65_535, 65_536, LARGE - 14, LARGE - 13, 300_000]).map(
    lambda size: [sent(TEXT, b"large" * (size // 5) + b"!" * (size % 5))]
)
binary = st.just([sent(BINARY, b"b" * 130)] * 30)
control = st.builds(lambda size: [sent(PING, b"p" * size)], st.integers(0, 125))
fragments = st.builds(
    lambda size, between: [
        sent(TEXT, b"f" * size, fin=False),
        *between,
        sent(CONTINUATION, b"", fin=False),
        sent(CONTINUATION, b"f" * 200),
    ],
    st.integers(0, 300),
    st.just([]) | control,
)
harmless = st.one_of(
    alike, alike, heavy, few_or_short, in_two_bytes, mixed, large, binary, control, fragments
)
refused = st.sampled_from(
    [
        [sent(TEXT, b"u" * 200, masked=False)],
        [sent(TEXT, b"u" * 200, masked=False)] * 30,
        [sent(CLOSE, b"\x03\xe8")],
        [sent(TEXT, b"", fin=False)],  # and then something that is no continuation
        [sent(CONTINUATION, b"c" * 200)],
    ]
)
cuts = st.lists(
    st.integers(1, 20) | st.integers(100, 400) | st.integers(3_000, 1 << 18), min_size=1, max_size=8
)
rooms = st.sampled_from([300, 4_096, 1 << 17])


def joined(groups: list[list[Sent]]) -> list[Sent]:
    return [each for group in groups for each in group]


@given(st.lists(harmless, max_size=5).map(joined), cuts, rooms)
@settings(max_examples=100)
def test_the_library_gets_all_but_the_rows_whatever_the_reads(
    frames: list[Sent], sizes: list[int], room: int
) -> None:
    server, _ = fed(frames, sizes, room)
    assert server.has_all
    assert server.passed + sum(server.taken) == len(frames)
    assert all(BULK_FROM <= count <= MOST_ROWS for count in server.taken)


@given(
    st.lists(harmless, max_size=2).map(joined),
    refused,
    st.lists(harmless, max_size=2).map(joined),
    cuts,
)
@settings(max_examples=100)
def test_nothing_comes_behind_what_ended_the_connection(
    before: list[Sent], refused: list[Sent], behind: list[Sent], sizes: list[int]
) -> None:
    server, reader = fed([*before, *refused, *behind, *rows(2, 200)], sizes)
    assert server.ended
    assert server.passed + sum(server.taken) >= len(before) + 1
    assert len(reader.get_buffer(-1)) > LARGE  # what comes behind takes no room either


@pytest.mark.parametrize(
    ("count", "taken", "passed"),
    [
        (BULK_FROM - 1, [], BULK_FROM - 1),
        (BULK_FROM, [BULK_FROM], 0),
        (MOST_ROWS + BULK_FROM, [MOST_ROWS, BULK_FROM], 0),
        (2 * MOST_ROWS + 5, [MOST_ROWS, MOST_ROWS], 5),
    ],
)
def test_many_frames_alike_are_rows(count: int, taken: list[int], passed: int) -> None:
    server, _ = fed(rows(count, 250))
    assert server.taken == taken
    assert server.passed == passed


@pytest.mark.parametrize(
    "other",
    [
        sent(TEXT, b"x" * 199),
        sent(TEXT, b"x" * 201),
        sent(TEXT, b"x"),
        sent(BINARY, b"x" * 200),
        sent(PING, b"x"),
    ],
)
def test_one_that_is_not_alike_parts_the_rows(other: Sent) -> None:
    server, _ = fed([*rows(50, 200), other, *rows(60, 200)])
    assert server.taken == [50, 60]
    assert server.passed == 1


@pytest.mark.parametrize(
    ("frames", "together"),
    [
        (rows(20, 200), [20]),
        (rows(100, 100), [100]),
        ([sent(TEXT, b"m" * (200 + i)) for i in range(100)], [100]),
        ([*rows(3, 200), sent(PING, b"p"), *rows(4, 200)], [3, 1, 4]),
        ([*rows(2, 200), sent(TEXT, b"", fin=False), sent(CONTINUATION, b"c")], [2, 1, 1]),
    ],
)
def test_messages_that_make_no_rows_go_to_the_library_together(
    frames: list[Sent], together: list[int]
) -> None:
    server, _ = fed(frames)
    assert server.taken == []
    assert server.together == together


def test_rows_within_a_message_are_for_the_library_to_refuse() -> None:
    server, _ = fed([sent(TEXT, b"begun", fin=False), *rows(100, 200)])
    assert server.taken == []
    assert server.passed == 2
    assert server.ended


@pytest.mark.parametrize("reads", [1_000, 1 << 17, 1 << 18])
def test_a_frame_that_is_larger_than_the_buffer_passes(reads: int) -> None:
    frames = [*rows(30, 200), sent(TEXT, bytes(3 << 20)), *rows(40, 200, seed=1)]
    server, _ = fed(frames, (reads,))
    assert server.has_all
    assert server.passed + sum(server.taken) == len(frames)


def test_what_else_happens_to_a_connection_is_told_to_the_library() -> None:
    server, reader = fed(rows(30, 200))
    reader.pause_writing()
    reader.resume_writing()
    assert reader.eof_received() is True
    reader.connection_lost(None)
    reader.connection_lost(OSError("gone"))
    assert server.calls == [
        "pause_writing",
        "resume_writing",
        "eof_received",
        "connection_lost None",
        "connection_lost gone",
    ]
