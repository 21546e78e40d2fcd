"""`BulkReader` between a transport and a library that keeps account of its bytes."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import random
import struct
from collections.abc import Iterator, Sequence
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latbench.batch.ticks import FRAMES_BYTES, RelayBatch
from latbench.stages.bulk_frames import _FEW_BYTES, _FEW_READS, BulkReader
from tests.stages import RUN_ID
from tests.websocket_client import BINARY, CLOSE, CONTINUATION, PING, TEXT, frame

LARGE: Final = FRAMES_BYTES // 2
"""A frame above this is not gathered before the library gets it."""
MOST_TEXTS: Final = 256
NOISE: Final = b"\x81\x85noise" * 600


@functools.cache
def batch() -> RelayBatch:
    return RelayBatch(RUN_ID, 0)


@dataclasses.dataclass(frozen=True)
class Sent:
    """A frame of a client, and what it is to a server."""

    data: bytes
    text: bytes = b""
    opcode: int = TEXT
    fin: bool = True
    masked: bool = True
    minimal: bool = True
    """Whether its length takes no more bytes than it has to."""
    number: int = -1
    """Its place among all."""

    def __repr__(self) -> str:  # hypothesis prints what failed: half a megabyte says nothing
        return f"Sent({len(self.text)} bytes, {self.opcode=}, {self.fin=}, {self.masked=})"

    @property
    def is_text(self) -> bool:
        """Whether it is taken without the library, between messages."""
        plain = self.opcode == TEXT and self.fin and self.masked and self.minimal
        return plain and len(self.text) < 1 << 16


def sent(opcode: int, payload: bytes, *, fin: bool = True, masked: bool = True) -> Sent:
    return Sent(frame(opcode, payload, fin=fin, masked=masked), payload, opcode, fin, masked)


def texts(count: int, chars: int, seed: int = 0) -> list[Sent]:
    """Text frames of one length, each with a text of its own."""
    rng = random.Random(seed)
    return [sent(TEXT, rng.randbytes(chars)) for _ in range(count)]


def wordy(text: bytes) -> Sent:
    """A frame that says a short length in two bytes."""
    head = struct.pack("!BBH", 0x81, 0xFE, len(text)) + bytes(4)
    return Sent(head + text, text, minimal=False)


class Server:
    """The library and its listener: knows what was sent, and fails on whatever comes else."""

    def __init__(self, frames: Sequence[Sent], room: int = 1 << 16) -> None:
        self.frames = [dataclasses.replace(each, number=i) for i, each in enumerate(frames)]
        self.stream = b"".join(each.data for each in frames)
        self._bounds = [0, *itertools.accumulate(len(each.data) for each in frames)]
        self._buffer = bytearray(room)
        self._at = 0
        self._next = 0
        self._fragments: list[bytes] = []
        self.messages: list[bytes] = []
        """All, in their order."""
        self.taken: list[int] = []
        """How many texts came together, each time."""
        self.passed: list[int] = []
        """The frames that the library got."""
        self._few: set[int] = set()
        """Those that came alone, or few of them."""
        self.within_message = False
        self.ended = False
        self.tail_bytes: int | None = None
        self.may_read_ahead = False
        """Whether the library gets more than frames of its own."""
        self.calls: list[str] = []

    # --- the library

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        return memoryview(self._buffer)

    def buffer_updated(self, nbytes: int) -> None:
        assert 0 < nbytes <= len(self._buffer)
        assert not self.ended
        assert self._buffer[:nbytes] == self.stream[self._at : self._at + nbytes]
        self._at += nbytes
        upto = self._bounds[self._next + 1]
        if not self.may_read_ahead:
            assert self._at <= upto or nbytes <= _FEW_BYTES, "more than a frame at once"
        while self._next < len(self.frames) and self._bounds[self._next + 1] <= self._at:
            one = self.frames[self._next]
            self._next += 1
            if not self.ended:  # what comes behind in the same read is not heeded
                self._take(one)
            self.tail_bytes = self._at - self._bounds[self._next]

    def _take(self, one: Sent) -> None:
        self.passed.append(one.number)
        begins = one.opcode in {TEXT, BINARY}
        refused = not one.masked or one.opcode == CLOSE
        refused |= begins and self.within_message
        refused |= one.opcode == CONTINUATION and not self.within_message
        if refused:
            self.ended = True
        elif begins or one.opcode == CONTINUATION:
            self._fragments.append(one.text)
            self.within_message = not one.fin
            if one.fin:
                self.messages.append(b"".join(self._fragments))
                self._fragments = []

    def eof_received(self) -> bool | None:
        self.calls.append("eof_received")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append(f"connection_lost {exc}")

    def pause_writing(self) -> None:
        self.calls.append("pause_writing")

    def resume_writing(self) -> None:
        self.calls.append("resume_writing")

    def read(self, data: bytes) -> None:
        """What a transport does with what it has read."""
        self.get_buffer(-1)[: len(data)] = data
        self.buffer_updated(len(data))

    # --- the listener

    def take_texts(self, relay_in_ns: int, count: int) -> None:
        assert relay_in_ns > 0
        assert not self.within_message
        assert not self.ended
        assert self._at == self._bounds[self._next], "the library has a part of a text"
        same = self.frames[self._next : self._next + count]
        assert batch().texts(0, count) == [each.text for each in same]
        assert all(each.is_text for each in same)
        self.messages += [each.text for each in same]
        self._next += count
        self._at = self._bounds[self._next]
        self.taken.append(count)

    # --- the test

    def expect(self, upto: int) -> None:
        """The stream is read up to there: perhaps few and whole frames, which are the library's."""
        if self._at == self._bounds[self._next] and upto - self._at <= _FEW_BYTES:
            with contextlib.suppress(ValueError):
                self._few.update(range(self._next, self._bounds.index(upto, self._next)))

    @property
    def expected(self) -> list[int]:
        """Which frames the library is to get, where all are harmless."""
        return [each.number for each in self.frames if not each.is_text or each.number in self._few]

    @property
    def is_between_frames(self) -> bool:
        """Whether the library has no frame in part, large ones aside."""
        begin = self._bounds[self._next]
        return self._at == begin or len(self.frames[self._next].data) > LARGE

    @property
    def has_all(self) -> bool:
        return self._at == len(self.stream)


def messages_of(frames: Sequence[Sent]) -> list[bytes]:
    """What the library alone makes of them."""
    server = Server(frames, max(len(each.data) for each in [*frames, sent(PING, b"")]))
    for each in frames:
        if not server.ended:
            server.read(each.data)
    return server.messages


class Connection:
    """A transport whose bytes come in reads of any size."""

    def __init__(self, server: Server, *, in_frame: bool = False) -> None:
        self.server = server
        self.stepped_aside = 0
        """So many times; what comes next is read in bulk again, by another one."""
        self.reader = self._new_reader(in_frame=in_frame)
        self.rest = memoryview(server.stream)

    def _new_reader(self, *, in_frame: bool = False) -> BulkReader:
        return BulkReader(self.server, self.server, batch(), self._step_aside, in_frame=in_frame)

    def _step_aside(self) -> None:
        self.stepped_aside += 1
        self.reader = self._new_reader()

    def read(self, size: int) -> None:
        """Read so much, or what there is; 0: ask for the buffer, and find nothing."""
        buffer = self.reader.get_buffer(-1)
        assert len(buffer) >= LARGE
        count = min(len(buffer), size, len(self.rest))
        buffer[:count] = self.rest[:count]
        self.rest = self.rest[count:]
        if count:
            self.server.expect(len(self.server.stream) - len(self.rest))
            self.reader.buffer_updated(count)
            if not self.server.may_read_ahead:
                assert self.server.ended or self.server.is_between_frames
        batch().frames[: len(NOISE)] = NOISE  # what the next connection reads

    def read_all(self, sizes: Iterator[int]) -> None:
        """All that is left, in reads of these sizes."""
        while self.rest:
            self.read(next(sizes))


def fed(
    frames: Sequence[Sent], sizes: Sequence[int] = (1 << 30,), room: int = 1 << 16
) -> tuple[Server, BulkReader]:
    connection = Connection(Server(frames, room))
    connection.read_all(itertools.cycle(sizes))
    return connection.server, connection.reader


seeds = st.integers(0, 2**32)
alike = st.builds(texts, st.integers(1, 80), st.integers(0, 500), seeds)
heavy = st.builds(texts, st.integers(1, 40), st.integers(4_000, 9_000), seeds)
in_two_bytes = st.lists(st.binary(max_size=125).map(wordy), max_size=4)
mixed = st.lists(st.integers(0, 300), max_size=60).map(
    lambda sizes: [sent(TEXT, b"m" * size) for size in sizes]
)
large = st.sampled_from([65_535, 65_536, LARGE - 14, LARGE - 13, 300_000]).map(
    lambda size: [sent(TEXT, b"large" * (size // 5) + b"!" * (size % 5))]
)
binary = st.just([sent(BINARY, b"b" * 130)] * 3)
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
harmless = st.one_of(alike, alike, heavy, in_two_bytes, mixed, large, binary, control, fragments)
refused = st.sampled_from(
    [
        [sent(TEXT, b"u" * 200, masked=False)],
        [sent(TEXT, b"u" * 200, masked=False)] * 30,
        [sent(CLOSE, b"\x03\xe8")],
        [sent(TEXT, b"", fin=False)],  # and then something that is no continuation
        [sent(CONTINUATION, b"c" * 200)],
    ]
)
sizes_of_reads = (
    st.integers(0, 20) | st.integers(100, 400) | st.integers(3_000, 1 << 18) | st.just(1 << 18)
)
# what is left is copied for each read: a frame of 130 KB in reads of a byte would take a second
cuts = st.lists(sizes_of_reads, max_size=8).map(lambda sizes: [*sizes, 5_000])
rooms = st.sampled_from([300, 4_096, 1 << 17])


def joined(groups: list[list[Sent]]) -> list[Sent]:
    return [each for group in groups for each in group]


@given(st.lists(harmless, max_size=5).map(joined), cuts, rooms)
@settings(max_examples=100)
def test_the_library_gets_all_but_the_texts_whatever_the_reads(
    frames: list[Sent], sizes: list[int], room: int
) -> None:
    server, _ = fed(frames, sizes, room)
    assert server.has_all
    assert server.passed == server.expected
    assert sum(server.taken) == len(frames) - len(server.passed)
    assert all(1 <= count <= MOST_TEXTS for count in server.taken)
    assert server.messages == messages_of(frames)


@given(
    st.lists(harmless, min_size=1, max_size=4).map(joined).filter(bool),
    st.integers(0, 1 << 18),
    cuts,
    rooms,
)
@settings(max_examples=100)
def test_one_that_begins_within_a_frame_passes_all_on_until_it_knows_where_the_next_is(
    frames: list[Sent], begun: int, sizes: list[int], room: int
) -> None:
    server = Server(frames, room)
    server.may_read_ahead = True
    # the library alone, up to somewhere
    begun = min(begun, len(server.stream))
    for begin in range(0, begun, room):
        server.read(server.stream[begin : min(begin + room, begun)])
    connection = Connection(server, in_frame=True)
    connection.rest = connection.rest[begun:]
    left = itertools.cycle(sizes)
    while connection.rest:
        connection.read(next(left))
        # found, it has the rest of one frame to pass on
        server.may_read_ahead = connection.reader.is_lost or not server.is_between_frames
    assert server.has_all
    assert server.messages == messages_of(frames)


def test_frames_are_taken_from_the_first_whose_beginning_is_seen() -> None:
    frames = texts(60, 200)
    size = len(frames[0].data)
    server = Server(frames)
    server.may_read_ahead = True
    server.read(server.stream[:7])
    connection = Connection(server, in_frame=True)
    connection.rest = connection.rest[7:]
    connection.read(size - 7 + 1)  # one byte of the next: not its size
    connection.read(20 * size)  # one byte of the one after these
    connection.read(size)
    assert (connection.reader.is_lost, server.taken) == (True, [])
    connection.read(size + 100)
    assert not connection.reader.is_lost
    server.may_read_ahead = False
    connection.read(20 * size)  # the rest of that one, which the library has, and others
    assert server.taken == [19]
    connection.read_all(itertools.repeat(1 << 18))
    assert server.messages == [each.text for each in frames]


@given(st.lists(harmless, min_size=1, max_size=2).map(joined).filter(bool))
@settings(max_examples=10)
def test_all_is_the_same_in_reads_of_a_byte(frames: list[Sent]) -> None:
    few = [each for each in frames if len(each.data) < 2_000][:15]
    server, _ = fed(few, (1,))
    assert server.messages == messages_of(few)
    assert all(count == 1 for count in server.taken)


@given(
    st.lists(st.lists(harmless, max_size=3).map(joined), min_size=2, max_size=3),
    st.lists(st.tuples(st.integers(0, 2), sizes_of_reads), max_size=12),
)
@settings(max_examples=100)
def test_connections_that_share_the_memory_do_not_mix(
    streams: list[list[Sent]], reads: list[tuple[int, int]]
) -> None:
    connections = [Connection(Server(frames)) for frames in streams]
    for which, size in itertools.cycle([*reads, (0, 700), (1, 9_000), (2, 300)]):
        connections[which % len(connections)].read(size)
        if not any(each.rest for each in connections):
            break
    for each in connections:
        assert each.server.has_all
        assert each.server.passed == each.server.expected
        assert each.server.messages == messages_of(each.server.frames)


def test_two_that_both_have_a_part_of_a_frame_keep_it() -> None:
    one, other = (Connection(Server(texts(3, _FEW_BYTES, seed))) for seed in (1, 2))
    size = len(one.server.frames[0].data)
    for connection, upto in [(one, 3), (other, 900), (one, size + 100), (other, 300)]:
        connection.read(upto)
    assert (one.server.taken, other.server.taken) == ([1], [1])
    for connection in (other, one):
        connection.read(1 << 18)
        assert connection.server.taken == [1, 2]
        assert connection.server.messages == [each.text for each in connection.server.frames]


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
    frames = [*before, *refused, *behind, *texts(2, 200)]
    server, reader = fed(frames, sizes)
    assert server.ended
    assert server.messages == messages_of(frames)
    assert server.messages[: len(messages_of(before))] == messages_of(before)
    assert len(reader.get_buffer(-1)) == FRAMES_BYTES  # what comes behind takes no room either


@pytest.mark.parametrize(
    ("count", "chars", "taken"),
    [
        (1, _FEW_BYTES, [1]),
        (MOST_TEXTS, 100, [MOST_TEXTS]),
        (MOST_TEXTS + 1, 100, [MOST_TEXTS, 1]),
        (2 * MOST_TEXTS + 5, 100, [MOST_TEXTS, MOST_TEXTS, 5]),
    ],
)
def test_texts_that_came_together_are_taken_together(
    count: int, chars: int, taken: list[int]
) -> None:
    server, _ = fed([sent(TEXT, b"t" * (chars + i % 60)) for i in range(count)])
    assert server.taken == taken
    assert server.passed == []


@pytest.mark.parametrize(
    "other",
    [
        sent(BINARY, b"x" * 200),
        sent(PING, b"x"),
        sent(PING, b""),
        sent(TEXT, b"x" * 65_536),
        wordy(b"x" * 100),
    ],
)
def test_one_that_is_the_librarys_parts_the_texts(other: Sent) -> None:
    server, _ = fed([*texts(50, 200), other, *texts(60, 100)])
    assert server.taken == [50, 60]
    assert server.passed == [50]


@pytest.mark.parametrize(
    ("frames", "taken", "passed"),
    [
        (texts(1, 250), [], [0]),
        ([*texts(2, 100), sent(PING, b"p"), *texts(1, 0)], [], [0, 1, 2, 3]),
        (texts(2, _FEW_BYTES // 2 - 8), [], [0, 1]),  # 8 bytes before each text
        ([*texts(1, _FEW_BYTES // 2 - 8), *texts(1, _FEW_BYTES // 2 - 7)], [2], []),
        ([*texts(1, 9), sent(CLOSE, b"\x03\xe8"), *texts(1, 9)], [], [0, 1]),
    ],
)
def test_few_are_the_librarys(frames: list[Sent], taken: list[int], passed: list[int]) -> None:
    server, _ = fed(frames)
    assert (server.taken, server.passed) == (taken, passed)
    assert server.messages == messages_of(frames)


def test_few_with_a_part_of_another_behind_are_not() -> None:
    size = len(texts(1, 200)[0].data)
    server, _ = fed(texts(2, 200), (size + 9, 1 << 18))
    assert (server.taken, server.passed) == ([1], [1])


def small_reads(server: Server, reads: int) -> Connection:
    """A connection after so many that brought one frame each."""
    connection = Connection(server)
    for each in server.frames[:reads]:
        connection.read(len(each.data))
    return connection


def test_the_library_gets_its_place_back_where_few_come_at_a_time() -> None:
    frames = texts(3 * _FEW_READS, 200)
    assert small_reads(Server(frames), _FEW_READS - 1).stepped_aside == 0
    connection = small_reads(Server(frames), _FEW_READS)
    assert connection.stepped_aside == 1
    connection.read_all(itertools.repeat(len(frames[0].data)))
    assert connection.stepped_aside == 3
    assert connection.server.messages == [each.text for each in frames]


@pytest.mark.parametrize("then", [20 * 208, 100], ids=["many frames", "a part of one"])
def test_the_library_does_not_get_its_place_back_before_they_come_so_in_a_row(then: int) -> None:
    frames = texts(100, 200)
    connection = small_reads(Server(frames), _FEW_READS - 1)
    connection.read(then)
    for _ in range(_FEW_READS - 1):
        connection.read(len(frames[0].data))
    assert connection.stepped_aside == 0
    connection.read_all(itertools.repeat(1 << 18))
    assert connection.server.messages == [each.text for each in frames]


def test_the_library_does_not_get_a_connection_back_that_has_ended() -> None:
    frames = [*texts(_FEW_READS - 1, 200), sent(CLOSE, b"\x03\xe8")]
    connection = small_reads(Server(frames), _FEW_READS)
    assert connection.server.ended
    assert connection.stepped_aside == 0


def test_texts_within_a_message_are_for_the_library_to_refuse() -> None:
    server, _ = fed([sent(TEXT, b"begun", fin=False), *texts(100, 200)])
    assert server.taken == []
    assert len(server.passed) == 2
    assert server.ended


def test_texts_behind_the_end_of_a_message_are_taken_again() -> None:
    message = [sent(TEXT, b"a", fin=False), sent(PING, b"p"), sent(CONTINUATION, b"b")]
    server, _ = fed([*texts(2, 900), *message, *texts(3, 900)])
    assert server.taken == [2, 3]
    assert server.passed == [2, 3, 4]
    assert server.messages[2] == b"ab"


@pytest.mark.parametrize("reads", [1_000, 1 << 17, 1 << 18])
def test_a_frame_that_is_larger_than_the_buffer_passes(reads: int) -> None:
    large = sent(TEXT, bytes(3 << 20))
    server, _ = fed([*texts(30, 200), large, *texts(40, 200, seed=1)], (reads,))
    assert server.has_all
    assert 30 in server.passed
    assert server.passed == server.expected
    assert sum(server.taken) == 71 - len(server.passed)


def test_what_else_happens_to_a_connection_is_told_to_the_library() -> None:
    server, reader = fed(texts(30, 200))
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
