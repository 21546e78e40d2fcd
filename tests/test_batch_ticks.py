"""`ticks.wasm` against what it is the compiled twin of: the plain functions, one tick at a time."""

from __future__ import annotations

import ctypes
import functools
import itertools
import random
import struct
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from latbench.batch.ticks import (
    FRAMES_BYTES,
    MOST,
    PARTITIONS,
    SEEN,
    WAITING,
    ConsumerBatch,
    RelayBatch,
)
from latbench.market import Market
from latbench.recording import CONSUMER, ConsumerCounter
from latbench.stages.consumer import Recorder
from latbench.stages.kafka import NO_SEQ, partition_of
from latbench.stages.librdkafka import MESSAGE, Messages
from latbench.tick import decode_sent, relayed_suffix, sent_suffix_format, splice_relayed
from latbench.tickmatrix import StampReader, read_symbol_at_front, relayed_end, sent_end
from tests.stages import RUN_ID, ListeningSupervisor, TwoEndedRing
from tests.websocket_client import BINARY, CLOSE, CONTINUATION, PING, TEXT, frame

OTHER_RUN_ID: Final = "0badcafe"
SENT: Final = StampReader(sent_end(RUN_ID))
RELAYED: Final = StampReader(relayed_end(RUN_ID))
SUFFIX: Final = sent_suffix_format(RUN_ID)
DOCUMENT: Final = b'{"timestamp":1732470000.123456,"symbol":"NIFTY","price":  24321.55'
MAX: Final = 2**63 - 1
LATENCY_LIMIT_NS: Final = 10**10
TIMED_OUT: Final = -185

seeds = st.integers(0, 2**32)
# where a reader or a writer of so many digits might slip
edges = st.sampled_from(
    [
        *(0, 1, 9, 10, 9_999, 10_000, 10**8 - 1, 10**8),
        *(10**16 - 1, 10**16, 10**16 + 1),
        *(MAX - 9, MAX - 8, MAX - 7, MAX - 1, MAX),
    ]
)
moments = st.integers(0, MAX) | edges
seqs = st.integers(0, 10**16 - 1) | st.sampled_from(
    [0, 1, 10**8, WAITING - 1, WAITING, WAITING + 1, 2 * WAITING, 10**16 - 1]
)
latencies = st.integers(0, LATENCY_LIMIT_NS - 1) | st.sampled_from(
    [0, 1, 999_999, 10**6, 10**9, LATENCY_LIMIT_NS - 1]
)
changes = st.sampled_from(b' 09{}":.-+\x00/:,\\\x1f\x7f\x80\xa0\xb0') | st.integers(0, 255)


@functools.cache
def relay_batch(partitions: int = 0) -> RelayBatch:
    return RelayBatch(RUN_ID, partitions)


def messages_of(batch: RelayBatch | ConsumerBatch) -> Messages:
    return np.frombuffer(batch.messages, dtype=MESSAGE)


def rows_of(batch: RelayBatch | ConsumerBatch, count: int, columns: int) -> list[list[int]]:
    numbers = batch.rows.cast("q")[: count * columns].tolist()
    return [numbers[i * columns : (i + 1) * columns] for i in range(count)]


def with_changes(draw: st.DrawFn, message: bytes, most: int = 3) -> bytes:
    """The same but for some bytes."""
    changed = bytearray(message)
    for _ in range(draw(st.integers(1, most))):
        changed[draw(st.integers(0, len(changed) - 1))] = draw(changes)
    return bytes(changed)


# --- frames


def wordy(text: bytes, length_bytes: int) -> bytes:
    """A frame whose length takes more bytes than it has to."""
    head, told = struct.pack("!BB", 0x81, 0xFE if length_bytes == 2 else 0xFF), len(text)
    return head + told.to_bytes(length_bytes, "big") + bytes(4) + text


def plainly_taken(data: bytes, most: int) -> tuple[list[bytes], int]:
    """The texts of the frames that begin some bytes, and how many bytes those are."""
    texts: list[bytes] = []
    at = 0
    while len(texts) < most:
        first, second, *_ = (*data[at : at + 2], 0, 0)
        length, header = second & 0x7F, 2
        if first != 0x81 or not second & 0x80 or length == 127:
            break
        if length == 126:
            header = 4
            length = int.from_bytes(data[at + 2 : at + header], "big")
            if length < 126:
                break
        begin = at + header + 4
        if begin + length > len(data):
            break
        mask, masked = data[begin - 4 : begin], data[begin : begin + length]
        keys = int.from_bytes((mask * (length // 4 + 1))[:length], "big")
        texts.append((int.from_bytes(masked, "big") ^ keys).to_bytes(length, "big"))
        at = begin + length
    return texts, at


sizes = st.integers(0, 300) | st.sampled_from(
    [0, 1, 15, 16, 17, 124, 125, 126, 127, 128, 255, 256, 65_535]
)
whole = st.builds(lambda size, seed: frame(TEXT, random.Random(seed).randbytes(size)), sizes, seeds)
others = st.one_of(
    st.builds(frame, st.sampled_from([BINARY, PING, CLOSE, CONTINUATION, 3, 15]), st.binary()),
    st.builds(lambda size: frame(TEXT, bytes(size), fin=False), sizes),
    st.builds(lambda size: frame(TEXT, bytes(size), masked=False), sizes),
    st.builds(lambda bits: frame(TEXT, b"reserved", reserved=bits), st.integers(1, 7)),
    st.builds(lambda size: frame(TEXT, b"cut", length=size), st.sampled_from([4, 126, 65_536])),
    st.just(frame(TEXT, bytes(65_536))),
    st.builds(wordy, st.binary(max_size=125), st.just(2)),
    st.builds(lambda size: wordy(bytes(size), 8), sizes),
)


@given(
    st.lists(whole | whole | whole | others, max_size=10),
    st.integers(0, 99),
    st.booleans(),
    st.integers(0, MOST) | st.just(MOST),
    st.integers(0, 20) | st.integers(0, 66_000),
)
@settings(max_examples=200)
def test_frames_are_taken_as_a_plain_parser_takes_them(
    pieces: list[bytes], begin: int, at_the_end: bool, most: int, cut: int
) -> None:
    batch = relay_batch()
    stream = b"".join(pieces)[: FRAMES_BYTES - begin]
    if at_the_end:  # nothing behind it
        begin = FRAMES_BYTES - len(stream)
    batch.frames[begin : begin + len(stream)] = stream
    here = stream[: max(len(stream) - cut, 0)]
    texts, taken_bytes = plainly_taken(here, most)
    count = batch.take_frames(begin, begin + len(here), most)
    assert batch.texts(0, count) == texts
    assert batch.consumed_bytes == taken_bytes
    assert batch.texts(count // 2, count) == texts[count // 2 :]
    assert batch.frames[begin : begin + len(stream)] == stream  # left as they were


def test_at_most_512_frames_are_taken_at_once() -> None:
    batch, data = relay_batch(), frame(TEXT, b"") * 1_000
    batch.frames[: len(data)] = data
    assert batch.take_frames(0, len(data), MOST) == MOST
    assert batch.consumed_bytes == MOST * len(frame(TEXT, b""))
    assert batch.texts(0, MOST) == [b""] * MOST
    assert batch.take_frames(0, len(data), MOST + 1) == 0
    assert batch.take_frames(0, FRAMES_BYTES + 1, MOST) == 0


def test_a_buffer_full_of_frames_is_taken_whole() -> None:
    batch = relay_batch()
    rng = random.Random(3)
    texts = [rng.randbytes(FRAMES_BYTES // MOST - 8) for _ in range(MOST)]
    data = b"".join(frame(TEXT, text) for text in texts)
    assert len(data) == FRAMES_BYTES
    batch.frames[:] = data
    assert batch.take_frames(0, FRAMES_BYTES, MOST) == MOST
    assert batch.texts(0, MOST) == texts


# --- the relay

symbols = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x7F, exclude_characters='"\\'),
    min_size=1,
    max_size=12,
) | st.sampled_from(["A", " ", "A B", "A,B", "A ", "{}", "A" * 300])
documents = st.builds(
    lambda timestamp, symbol, blanks, rest: (
        b'{"timestamp":%b,"symbol":"%b",%b"%b' % (timestamp, symbol.encode(), b" " * blanks, rest)
    ),
    st.sampled_from([b"1732470000.123456", b"0" * 17, b"./" * 8 + b"9"]),
    symbols,
    st.integers(0, 5),
    st.sampled_from(
        [
            *(b'price":1', b"", b'x":{"latbench":{"seq":0}}', b'x":{"y":1', b"no JSON \xff\0\n"),
            *(b'product_id":"B"', b'product_id":7', b'd":"' + b"d" * 3_000 + b'"'),
        ]
    ),
)


def load(batch: RelayBatch, messages: Sequence[bytes]) -> None:
    """Make them the batch's texts."""
    data = b"".join(frame(TEXT, message) for message in messages)
    batch.frames[: len(data)] = data
    assert batch.take_frames(0, len(data), MOST) == len(messages)


def is_known(message: bytes, relay_in_ns: int) -> bool:
    """Whether it is a tick as this run's generator sends them."""
    stamps = SENT.read_one(message)
    symbol = read_symbol_at_front(message[: -SENT.chars])
    if stamps is None or symbol is None or not symbol.isascii():
        return False
    return 0 <= relay_in_ns - stamps[2] < LATENCY_LIMIT_NS


def plainly_read(message: bytes) -> tuple[int, int, str]:
    """`seq`, `sent_ns` and symbol, as the relay reads them one by one."""
    try:
        tick = decode_sent(message)
    except (msgspec.DecodeError, UnicodeDecodeError):
        stamps, symbol = SENT.read_one(message), read_symbol_at_front(message)
        assert stamps is not None
        assert symbol is not None
        return stamps[0], stamps[2], symbol
    assert tick.latbench.run == RUN_ID
    return tick.latbench.seq, tick.latbench.sent_ns, tick.symbol or tick.product_id


def assert_relayed(
    batch: RelayBatch, taken: Sequence[bytes], relay_ns: tuple[int, int], partitions: int
) -> None:
    """What the batch has made of messages is what is made of each by itself."""
    made = messages_of(batch)
    for i, message in enumerate(taken):
        seq, sent_ns, symbol = plainly_read(message)
        value, key = splice_relayed(message, sent_ns, *relay_ns), symbol.encode()
        payload, chars = int(made["payload"][i]), int(made["payload_bytes"][i])
        assert ctypes.string_at(payload, chars) == value
        assert ctypes.string_at(int(made["key"][i]), int(made["key_bytes"][i])) == key
        assert made["partition"][i] == (partition_of(key, partitions) if partitions else -1)
        assert (made["error"][i], made["opaque"][i]) == (0, seq + 1)
        assert (batch.seq_of(i), batch.value_bytes(i)) == (seq, len(value))
        assert batch.waiting[seq % WAITING] == relay_ns[1]
        assert rows_of(batch, i + 1, 3)[i] == [seq, *relay_ns]


@st.composite
def sent_ticks(draw: st.DrawFn) -> tuple[list[bytes], tuple[int, int]]:
    """What a generator of this run sent, and when the relay got it and sends it on."""
    relay_in_ns = min(draw(moments), MAX - LATENCY_LIMIT_NS)
    messages = [
        draw(documents)
        + SUFFIX % (draw(seqs), draw(moments), max(relay_in_ns - draw(latencies), 0))
        for _ in range(draw(st.integers(1, 6)))
    ]
    return messages, (relay_in_ns, relay_in_ns + draw(latencies))


@st.composite
def spoiled_ticks(draw: st.DrawFn) -> tuple[list[bytes], tuple[int, int]]:
    """The same with some among them that are not as this run's generator sends them."""
    messages, relay_ns = draw(sent_ticks())
    for _ in range(draw(st.integers(1, 3))):
        i = draw(st.integers(0, len(messages) - 1))
        messages[i] = with_changes(draw, messages[i])
    return messages, relay_ns


@given(sent_ticks(), st.sampled_from([0, 1, 3, 1000]), st.integers(0, 3))
@settings(max_examples=100)
def test_many_ticks_are_relayed_as_each_by_itself(
    of: tuple[list[bytes], tuple[int, int]], partitions: int, first: int
) -> None:
    messages, relay_ns = of
    batch, first = relay_batch(partitions), min(first, len(messages))
    load(batch, messages)
    assert batch.relay(first, len(messages), *relay_ns) == len(messages) - first
    assert_relayed(batch, messages[first:], relay_ns, partitions)


def assert_stops_where_it_must(messages: Sequence[bytes], relay_ns: tuple[int, int]) -> None:
    """As the relay does it: one that is not taken is for the plain functions, and on."""
    batch, first = relay_batch(), 0
    load(batch, messages)
    while first < len(messages):
        done = batch.relay(first, len(messages), *relay_ns)
        known = itertools.takewhile(lambda each: is_known(each, relay_ns[0]), messages[first:])
        assert done == len(list(known))
        assert_relayed(batch, messages[first : first + done], relay_ns, 0)
        first += done + 1


@given(spoiled_ticks())
@settings(max_examples=250)
def test_whatever_bytes_are_changed_it_takes_only_what_it_knows(
    of: tuple[list[bytes], tuple[int, int]],
) -> None:
    assert_stops_where_it_must(*of)


def test_every_byte_of_a_message_counts() -> None:
    # each changed to every value, 50,000 messages
    relay_ns = (LATENCY_LIMIT_NS // 2, LATENCY_LIMIT_NS)
    message = b'{"timestamp":1732470000.123456,"symbol":"AB", "x":1' + SUFFIX % (1, 2, 3)
    batch = relay_batch()
    for place in range(len(message)):
        changed = [message[:place] + bytes((i,)) + message[place + 1 :] for i in range(256)]
        load(batch, changed)
        for i, each in enumerate(changed):
            done = batch.relay(i, i + 1, *relay_ns)
            assert done == is_known(each, relay_ns[0]), each
            if done:
                assert [batch.seq_of(0)] == list((SENT.read_one(each) or ())[:1])


NOW_NS: Final = 10**15
GOOD: Final = DOCUMENT + SUFFIX % (7, NOW_NS - 30, NOW_NS - 20)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{}", id="no tick"),
        pytest.param(SUFFIX % (7, 8, NOW_NS), id="no document"),
        pytest.param(GOOD.replace(RUN_ID.encode(), OTHER_RUN_ID.encode()), id="another run's"),
        pytest.param(GOOD + b"\n", id="a line break behind"),
        pytest.param(GOOD[:-1], id="cut"),
        pytest.param(GOOD[:-2] + relayed_suffix(NOW_NS, NOW_NS, NOW_NS), id="relayed before"),
        pytest.param(DOCUMENT + SUFFIX % (7, 8, NOW_NS + 1), id="sent after it came"),
        pytest.param(DOCUMENT + SUFFIX % (7, 8, NOW_NS - LATENCY_LIMIT_NS), id="10 s late"),
        pytest.param(DOCUMENT + SUFFIX % (7, MAX + 1, NOW_NS), id="due beyond int64"),
        pytest.param(DOCUMENT + SUFFIX % (7, 10**20 - 1, NOW_NS), id="due beyond uint64"),
        pytest.param(DOCUMENT + SUFFIX % (7, 2**64 + 9, NOW_NS), id="due around uint64"),
        pytest.param(DOCUMENT + SUFFIX % (-1, 8, NOW_NS), id="below zero"),
        pytest.param(GOOD.replace(b'"seq":               7', b'"seq":             7 7'), id="two"),
        pytest.param(
            GOOD.replace(b'"seq":               7', b'"seq":              7 '), id="blank"
        ),
        pytest.param(GOOD.replace(b'"seq":               7', b'"seq":                '), id="none"),
        pytest.param(GOOD.replace(b"NIFTY", b"NI\\tY"), id="an escape"),
        pytest.param(GOOD.replace(b"NIFTY", "NIF€Y".encode()), id="not ASCII"),
        pytest.param(GOOD.replace(b"NIFTY", b"NIF\xffY"), id="not UTF-8"),
        pytest.param(GOOD.replace(b"NIFTY", b"NIF\nY"), id="a control character"),
        pytest.param(GOOD.replace(b"NIFTY", b""), id="no symbol"),
        pytest.param(GOOD.replace(b'"symbol"', b'"Symbol"'), id="symbol elsewhere"),
        pytest.param(GOOD.replace(b'{"timestamp"', b'{"time_stamp'), id="no timestamp"),
        pytest.param(GOOD.replace(b"1732470000.123456", b'"32470000.12345"'), id="a text there"),
        pytest.param(GOOD.replace(b"1732470000.123456", b"1732470000.1234567"), id="a longer one"),
        pytest.param(GOOD.replace(b'"NIFTY",', b'"NIFTY" '), id="nothing behind the symbol"),
        pytest.param(DOCUMENT[:48] + SUFFIX % (7, 8, NOW_NS), id="nothing but the symbol"),
        pytest.param(b'{"symbol":"NIFTY"' + SUFFIX % (7, 8, NOW_NS), id="another source's"),
        pytest.param(
            b'{"timestamp":17324,"x":{"y":1,"symbol":"A","z":2},"symbol":"B"'
            + SUFFIX % (7, 8, NOW_NS),
            id="the symbol of a member",
        ),
    ],
)
def test_it_stops_before_what_is_for_the_plain_functions(other: bytes) -> None:
    relay_ns = (NOW_NS, NOW_NS + 5)
    batch = relay_batch()
    load(batch, [GOOD, GOOD, other, GOOD])
    assert batch.relay(0, 4, *relay_ns) == 2
    assert batch.relay(2, 4, *relay_ns) == 0
    assert batch.relay(3, 4, *relay_ns) == 1
    assert batch.relay(4, 4, *relay_ns) == 0
    assert_relayed(batch, [], relay_ns, 0)
    assert_stops_where_it_must([GOOD, GOOD, other, GOOD], relay_ns)


@pytest.mark.parametrize(
    ("t2_ns", "done"), [(0, 2), (-1, 0), (LATENCY_LIMIT_NS - 1, 2), (LATENCY_LIMIT_NS, 0)]
)
def test_a_relay_that_was_late_itself_takes_them_one_by_one(t2_ns: int, done: int) -> None:
    batch = relay_batch()
    load(batch, [GOOD, GOOD])
    assert batch.relay(0, 2, NOW_NS, NOW_NS + t2_ns) == done
    assert_relayed(batch, [GOOD] * done, (NOW_NS, NOW_NS + t2_ns), 0)


def test_the_ticks_of_a_market_are_relayed_512_at_once() -> None:
    names = ("NIFTY", "BANKNIFTY", "A", "{}")
    moments_ns = 1732470000_000000000 + np.arange(MOST, dtype=np.int64)
    blob, width, _ = Market(names, 1000, 7).documents(moments_ns)
    assert width * MOST == len(blob)
    messages = [
        bytes(blob[i * width : (i + 1) * width]) + SUFFIX % (i, NOW_NS - i, NOW_NS - i)
        for i in range(MOST)
    ]
    batch = relay_batch(3)
    load(batch, messages)
    assert batch.relay(0, MOST + 1, NOW_NS, NOW_NS) == 0
    assert batch.relay(0, MOST, NOW_NS, NOW_NS) == MOST
    assert_relayed(batch, messages, (NOW_NS, NOW_NS), 3)


# --- the broker's answers

answers = st.tuples(
    st.sampled_from([0] * 9 + [TIMED_OUT]),
    seqs | seqs | seqs | st.just(NO_SEQ),
    st.sampled_from([0, 1, 5, 2**31 - 1]),
    st.integers(0, MAX) | st.sampled_from([0, 1, 2, -1, -1001]),
)


@given(st.lists(answers, max_size=8), moments)
@example([(0, i, 0, i) for i in range(MOST)], 1)
@settings(max_examples=100)
def test_answers_are_recorded_up_to_the_first_that_is_none(
    given_answers: list[tuple[int, int, int, int]], acked_ns: int
) -> None:
    batch = relay_batch()
    messages = messages_of(batch)
    for i, (error, seq, partition, offset) in enumerate(given_answers):
        one = messages[i]
        one["error"], one["partition"], one["offset"], one["opaque"] = (
            *(error, partition, offset),
            seq + 1,
        )
        batch.waiting[seq % WAITING] = seq * 2 + 1
    expected = [
        [seq, batch.waiting[seq % WAITING], acked_ns, partition, offset]
        for _, seq, partition, offset in itertools.takewhile(
            lambda each: not each[0] and each[1] != NO_SEQ and each[3] >= 0, given_answers
        )
    ]
    done = batch.answer(len(given_answers), acked_ns)
    assert rows_of(batch, done, 5) == expected


def test_no_more_answers_are_read_than_there_is_room_for() -> None:
    batch = relay_batch()
    messages_of(batch)["error"], messages_of(batch)["offset"] = 0, 1
    messages_of(batch)["opaque"] = 1
    assert batch.answer(MOST + 1, 1) == MOST


# --- the consumer


class InMemory:
    """An `Arrived` as librdkafka has it: records `(value, partition, offset, error)`."""

    def __init__(self, records: Sequence[tuple[bytes | None, int, int, int]]) -> None:
        self._values = [None if error else value for value, _, _, error in records]
        self.partitions = [partition for _, partition, _, _ in records]
        self.offsets = [offset for _, _, offset, _ in records]
        self._codes = [error for *_, error in records]
        self.errors = [f"error {code}" for code in self._codes if code]
        self._buffers = [
            None if value is None else ctypes.create_string_buffer(value, len(value) or 1)
            for value, *_ in records
        ]
        self._sizes = [len(value or b"") for value, *_ in records]

    def __len__(self) -> int:
        return len(self._values)

    def value(self, i: int) -> bytes | None:
        return self._values[i]

    def load(self, batch: ConsumerBatch) -> int:
        messages = messages_of(batch)
        for i, buffer in enumerate(self._buffers[:MOST]):
            messages[i]["error"] = self._codes[i]
            messages[i]["payload"] = 0 if buffer is None else ctypes.addressof(buffer)
            messages[i]["payload_bytes"] = self._sizes[i]
            messages[i]["partition"] = self.partitions[i]
            messages[i]["offset"] = self.offsets[i]
        found = batch.find_ends(len(self))
        chars = batch.end_chars
        for i in range(found):
            end = ctypes.string_at(batch.addresses[i], chars)
            assert (self._values[i] or b"").endswith(end)
            batch.ends[i * chars : (i + 1) * chars] = end
        return found


def relayed(document: bytes, seq: int, due_ns: int, hops_ns: Sequence[int]) -> bytes:
    """A tick after the relay; `hops_ns`: the time between two stamps."""
    sent_ns, in_ns, out_ns = list(itertools.accumulate(hops_ns, initial=due_ns))[1:]
    return splice_relayed(document + SUFFIX % (seq, due_ns, sent_ns), sent_ns, in_ns, out_ns)


# few places, so that ticks come again and out of order, also as those of other rounds
consumed_seqs = st.integers(0, 9) | st.builds(
    lambda place, turn: place + turn * SEEN,
    st.sampled_from([0, 1, SEEN - 1]),
    st.sampled_from([0, 1, 253, 254, 255, 256, 510]),
)
consumed_ticks = st.builds(
    relayed,
    st.sampled_from([DOCUMENT, b'{"symbol":"A"', b"", b"no JSON \xff\0"]),
    consumed_seqs,
    st.integers(0, 2**62),
    st.lists(latencies, min_size=3, max_size=3),
)
foreign = st.one_of(
    st.sampled_from([None, b"", b"{}", b"x" * RELAYED.chars, GOOD]),
    st.just(relayed(DOCUMENT, 3, 5, (1, 2, LATENCY_LIMIT_NS))),  # of this run, and longer
    consumed_ticks.map(lambda value: value.replace(RUN_ID.encode(), OTHER_RUN_ID.encode())),
    consumed_ticks.map(lambda value: value + b"\n"),
    consumed_ticks.map(lambda value: value.replace(b": ", b":0")),
    st.composite(lambda draw: with_changes(draw, draw(consumed_ticks), 2))(),
)
records = st.tuples(
    consumed_ticks | consumed_ticks | consumed_ticks | foreign,
    st.sampled_from([0, 0, 1, PARTITIONS - 1, PARTITIONS]),
    st.integers(0, MAX) | st.just(-1),
    st.sampled_from([0] * 19 + [TIMED_OUT]),
)


def taken_by(batch: ConsumerBatch | None, batches: Sequence[InMemory]) -> tuple[Any, ...]:
    """Rows, counters and what was said."""
    ring, supervisor = TwoEndedRing(CONSUMER, 1 << 10), ListeningSupervisor()
    recorder = Recorder(RUN_ID, ring.writer, supervisor.as_supervisor(), batch)
    for number, each in enumerate(batches):
        recorder.take(each, 10**15 + number)
    return ring.rows(), ring.counts(), supervisor.said


@given(st.lists(st.lists(records, max_size=10).map(InMemory), max_size=3))
@settings(max_examples=100)
def test_many_records_are_taken_as_each_by_itself(batches: list[InMemory]) -> None:
    assert taken_by(ConsumerBatch(RUN_ID), batches) == taken_by(None, batches)


def in_order(taken_seqs: Sequence[int], partition: int = 0) -> InMemory:
    values = [relayed(DOCUMENT, seq, 5, (1, 2, 3)) for seq in taken_seqs]
    return InMemory([(value, partition, i, 0) for i, value in enumerate(values)])


def test_all_of_many_records_are_taken_once() -> None:
    # more than find room: the rest one by one
    batches = [in_order(range(MOST + 90)), in_order(range(300, MOST + 100), partition=1)]
    taken = taken_by(ConsumerBatch(RUN_ID), batches)
    assert taken == taken_by(None, batches)
    rows, counts, _ = taken
    assert [row["seq"] for row in rows] == list(range(MOST + 100))
    assert counts[ConsumerCounter.DUPLICATES] == MOST + 90 - 300
    assert counts[ConsumerCounter.UNKNOWN] == 0


def test_a_tick_is_known_again_for_four_million_ticks() -> None:
    batch = ConsumerBatch(RUN_ID)
    first = in_order([5, 6, 5 + SEEN, 6 + SEEN, 5 + SEEN, 6, 5 + 255 * SEEN, 7 + 510 * SEEN])
    rows, counts, _ = taken_by(batch, [first])
    assert [row["seq"] for row in rows] == [
        *(5, 6, 5 + SEEN, 6 + SEEN),
        *(6, 5 + 255 * SEEN, 7 + 510 * SEEN),  # it had been forgotten
    ]
    assert counts[ConsumerCounter.DUPLICATES] == 1
    assert counts[ConsumerCounter.REORDERED] == 1


@pytest.mark.parametrize("turn", [0, 1, 253, 254, 255, 256, 509, 510])
def test_a_tick_is_new_in_every_round(turn: int) -> None:
    batches = [in_order([5 + turn * SEEN, 5 + turn * SEEN, 6])]
    taken = taken_by(ConsumerBatch(RUN_ID), batches)
    assert taken == taken_by(None, batches)
    rows, counts, _ = taken
    assert [row["seq"] for row in rows] == [5 + turn * SEEN, 6]
    assert counts[ConsumerCounter.DUPLICATES] == 1


def test_a_partitions_last_tick_that_was_forgotten_comes_in_order() -> None:
    batches = [in_order([5]), in_order([5 + SEEN], partition=1), in_order([5])]
    taken = taken_by(ConsumerBatch(RUN_ID), batches)
    assert taken == taken_by(None, batches)
    assert taken[1][ConsumerCounter.REORDERED] == 0


@pytest.mark.parametrize("partition", [-1, -(2**31), PARTITIONS, 2**31 - 1])
def test_a_partition_beyond_those_known_is_for_the_plain_functions(partition: int) -> None:
    batch = ConsumerBatch(RUN_ID)
    assert in_order([1, 2]).load(batch) == 2
    assert batch.record(0, 2, 9) == 2
    assert in_order([3], partition).load(batch) == 1
    assert batch.record(0, 1, 9) == 0
    assert batch.counts == (0, 0, 0)


def test_every_byte_of_a_relayed_end_counts() -> None:
    # each changed to every value, 70,000 ends
    batch, end = ConsumerBatch(RUN_ID), relayed_end(RUN_ID)
    changed = bytearray(end)
    for place, value in itertools.product(range(len(end)), range(256)):
        changed[place] = value
        expected = RELAYED.read_one(bytes(changed))
        batch.ends[: len(end)] = changed
        batch.seen[(expected or (0,))[0] % SEEN] = 0
        assert batch.record(0, 1, 9) == (expected is not None), changed
        if expected is not None:
            assert rows_of(batch, 1, 8) == [[*expected, 9, 0, 0]]
        if value == 255:
            changed[place] = end[place]
