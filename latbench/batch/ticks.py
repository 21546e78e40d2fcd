"""What relay, consumer and subscribers do with many ticks at once, by `ticks.c`.

The compiled twin of `tick` (one message at a time) and of `tickmatrix` (NumPy): 0.1 µs a message.
Each function stops at the first message that it does not know and returns how many it has done;
that one is for the plain functions.
"""

from __future__ import annotations

import enum
import functools
import struct
from array import array
from pathlib import Path
from typing import Final

from latbench.batch import wasm
from latbench.tick import relayed_suffix
from latbench.tickmatrix import StampReader, relayed_end, sent_end

MOST: Final = 512
"""So many messages are handled at once."""
FRAMES_BYTES: Final = 1 << 18
MESSAGE_BYTES: Final = 72
"""`rd_kafka_message_t` where pointers have 64 bits."""
_ADDED_BYTES: Final = 256
"""More than a frame adds to its document."""
_VALUE_AT: Final = 24
_VALUE_BYTES_AT: Final = _VALUE_AT + 8
_KEY_AT: Final = 40
_POINTER_AND_SIZE: Final = struct.Struct("=QQ")
WAITING: Final = 1 << 21
"""So many ticks may wait for the broker's answer."""
SEEN: Final = 1 << 22
"""A tick that comes again is known as a duplicate for the next four million ticks: one byte for
each of them, holding which of 255 rounds of the array it was last seen in."""
PARTITIONS: Final = 1 << 14
SEGMENT: Final = struct.Struct("=IIqq")
"""Begin and end in `SubscriberBatch.frames`, the subscriber's number, when it was read."""
_SUFFIX_SLOTS: Final = ("relay_in_ns", "relay_out_ns", "latency_t1", "latency_t2")
_STAMPS: Final = 5
_ROW_BYTES: Final = 8 * 8
"""Of the longest."""


class _Region(enum.IntEnum):
    """The module's arrays, as `address` in `ticks.c` numbers them."""

    FRAMES = 0
    TEXTS = 1
    TABLE = 2
    VALUES = 3
    MESSAGES = 4
    ROWS = 5
    WAITING = 6
    ENDS = 7
    ADDRESSES = 8
    PARTITIONS = 9
    OFFSETS = 10
    SEEN = 11
    LAST = 12
    END_TEXT = 13
    END_FIXED = 14
    SLOTS = 15
    SUFFIX = 16
    SUFFIX_SLOTS = 17
    CONSUMED_BYTES = 18
    COUNTS = 19
    SEGMENTS = 20


@functools.cache
def _binary() -> bytes:
    return Path(__file__).with_name("ticks.wasm").read_bytes()


class _Batch:
    """A module that knows how one run's messages end."""

    def __init__(self, end: bytes, suffix: bytes, partitions: int) -> None:
        instance = self._instance = wasm.Instance(_binary())
        self._address = instance.function("address", 1)
        reader = StampReader(end)
        self._part(_Region.END_TEXT, len(end))[:] = reader.fixed_text
        self._part(_Region.END_FIXED, len(end))[:] = reader.fixed_mask
        begins = [slot.start for slot in reader.slots.values()]
        self._part(_Region.SLOTS, _STAMPS * 4).cast("I")[: len(begins)] = _uint32(begins)
        self._part(_Region.SUFFIX, len(suffix))[:] = suffix
        found = {name: suffix.find(b'"%s":' % name.encode()) for name in _SUFFIX_SLOTS}
        places = [at + len(name) + 3 for name, at in found.items()]
        self._part(_Region.SUFFIX_SLOTS, 16).cast("I")[:] = _uint32(places)
        self.rows = self._part(_Region.ROWS, MOST * _ROW_BYTES)
        """What the last call has recorded, for `RingWriter.push_packed`."""
        self.messages = self._part(_Region.MESSAGES, MOST * MESSAGE_BYTES)
        """Room for `MOST` of librdkafka's messages."""
        self.messages_address: int = instance.base + self._address(_Region.MESSAGES)
        configure = instance.function("configure", 4)
        configure(len(end), len(suffix), instance.base, partitions)

    def _part(self, region: _Region, size_bytes: int) -> memoryview:
        begin = self._address(region)
        return self._instance.memory[begin : begin + size_bytes]


def _uint32(values: list[int]) -> memoryview[int]:
    return memoryview(array("I", values))


class SentBatch(_Batch):
    """A generator's documents to frames."""

    def __init__(self, run_id: str) -> None:
        super().__init__(sent_end(run_id), relayed_suffix(0, 0, 0), 0)
        self.documents = self._part(_Region.TEXTS, FRAMES_BYTES)
        self.due_ns = self._part(_Region.ADDRESSES, MOST * 8)
        self.masks = self._part(_Region.PARTITIONS, MOST * 4)
        self.frames = self._part(_Region.VALUES, FRAMES_BYTES + MOST * _ADDED_BYTES)
        self.make_frames = self._instance.function("make_frames", 3)
        """(count, width, first_seq): `frames` of so many `documents` with their due moments."""

    def most(self, width: int) -> int:
        """So many documents of a width have room at once."""
        return min(MOST, FRAMES_BYTES // width)


class RelayBatch(_Batch):
    """Frames to messages for librdkafka; its answers to rows.

    `partitions`: keys are spread over so many by CRC32; 0: the producer's partitioner.
    """

    def __init__(self, run_id: str, partitions: int) -> None:
        super().__init__(sent_end(run_id), relayed_suffix(0, 0, 0), partitions)
        function = self._instance.function
        self.frames = self._part(_Region.FRAMES, FRAMES_BYTES)
        """Where what a socket brings is put."""
        self._table = self._part(_Region.TABLE, MOST * 8).cast("I")
        self._consumed = self._part(_Region.CONSUMED_BYTES, 4).cast("I")
        self.waiting = self._part(_Region.WAITING, WAITING * 8).cast("q")
        """`relay_out_ns` of each tick that waits for its answer, at its seq modulo `WAITING`."""
        self.take_frames = function("take_frames", 3)
        """(begin, end, most): text frames in `frames` from `begin` on, to be read as texts: how
        many; 512 at most, whole, final, masked and of up to 64 KiB."""
        self.relay = function("relay", 4)
        """(first, count, relay_in_ns, relay_out_ns): put the relay's stamps into the texts from
        `first` to before `count`. How many are in `messages` now, and in `rows`, three each."""
        self.answer = function("answer", 2)
        """(count, acked_ns): `rows` of five for so many delivered `messages`."""

    @property
    def consumed_bytes(self) -> int:
        """Of the frames that were taken last."""
        return self._consumed[0]

    def seq_of(self, i: int) -> int:
        """Of the message `i`, as `relay` has recorded it."""
        return int.from_bytes(self.rows[24 * i : 24 * i + 8], "little")

    def value_bytes(self, i: int) -> int:
        """The size of the message `i`."""
        begin = MESSAGE_BYTES * i + _VALUE_BYTES_AT
        return int.from_bytes(self.messages[begin : begin + 8], "little")

    def value(self, i: int) -> bytes:
        """The message `i` itself, until the next `relay`."""
        return self._pointed_at(MESSAGE_BYTES * i + _VALUE_AT)

    def key(self, i: int) -> str:
        """Its key, which is its symbol."""
        return self._pointed_at(MESSAGE_BYTES * i + _KEY_AT).decode(errors="replace")

    def _pointed_at(self, begin: int) -> bytes:
        """What a pointer in `messages`, and the size behind it, are of."""
        address, size = _POINTER_AND_SIZE.unpack_from(self.messages, begin)
        at = address - self._instance.base
        return self._instance.memory[at : at + size].tobytes()

    def texts(self, first: int, count: int) -> list[bytes]:
        """The texts from `first` to before `count`."""
        memory, table = self._instance.memory, self._table
        return [
            memory[table[2 * i] : table[2 * i] + table[2 * i + 1]].tobytes()
            for i in range(first, count)
        ]


class ConsumerBatch(_Batch):
    """Librdkafka's messages to rows."""

    def __init__(self, run_id: str) -> None:
        end = relayed_end(run_id)
        super().__init__(end, relayed_suffix(0, 0, 0), 0)
        function = self._instance.function
        self.end_chars = len(end)
        self.ends = self._part(_Region.ENDS, MOST * len(end))
        """Room for the ends of `MOST` messages, `end_chars` each."""
        self.addresses = self._part(_Region.ADDRESSES, MOST * 8).cast("q")
        self.seen = self._part(_Region.SEEN, SEEN)
        self.last = self._part(_Region.LAST, PARTITIONS * 8).cast("q")
        self._counts = self._part(_Region.COUNTS, 12).cast("I")
        self.find_ends = function("find_ends", 1)
        """(count): `addresses` of the ends of so many `messages`."""
        self.record = function("record", 3)
        """(first, count, consumed_ns): `rows` of eight for the ticks among `ends`; see `counts`."""

    @property
    def counts(self) -> tuple[int, int, int]:
        """Of the last `record`: rows, duplicates, and rows that came out of order."""
        rows, duplicates, reordered = self._counts
        return rows, duplicates, reordered


class SubscriberBatch(_Batch):
    """What subscribers have read to rows."""

    def __init__(self, run_id: str) -> None:
        super().__init__(relayed_end(run_id), relayed_suffix(0, 0, 0), 0)
        self.frames = self._part(_Region.FRAMES, FRAMES_BYTES)
        """Where what their sockets bring is put, one read behind the other."""
        self.segments = self._part(_Region.SEGMENTS, MOST * SEGMENT.size)
        """A `SEGMENT` for each read, `MOST` at most."""
        self._left = self._part(_Region.CONSUMED_BYTES, 4).cast("I")
        self.receive = self._instance.function("receive", 1)
        """(count): `rows` of five for ticks in so many segments; again until there are none."""

    @property
    def left(self) -> int:
        """In so many segments something is left: its begin has been moved there."""
        return self._left[0]
