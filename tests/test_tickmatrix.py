"""The bulk of ticks against one tick at a time: `tickmatrix` against `tick` and `read_one`."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from latbench.market import Market
from latbench.tick import (
    RUN_ID_CHARS,
    SEQ_CHARS,
    STAMP_CHARS,
    decode_relayed,
    decode_sent,
    read_symbol,
    relayed_suffix,
    sent_suffix_format,
    splice_relayed,
    splice_relayed_plainly,
)
from latbench.tickmatrix import (
    LATENCY_LIMIT_NS,
    Chars,
    SentWriter,
    StampReader,
    SymbolReader,
    _write_latencies,
    relayed_end,
    rows_of,
    sent_end,
    splice,
    write_numbers,
)

RUN_ID = "5f1c09ab"
OTHER_RUN_ID = "0badcafe"
SENT = StampReader(sent_end(RUN_ID))
RELAYED = StampReader(relayed_end(RUN_ID))
READERS = {"sent": SENT, "relayed": RELAYED}
DOCUMENT = b'{"timestamp":1732470000.123456,"symbol":"NIFTY","price":  24321.55'
MAX = 2**63 - 1

# where a reader of sixteen characters at once might slip
edges = st.sampled_from(
    [
        *(0, 1, 9, 10, 9_999, 10_000, 10**8 - 1, 10**8),
        *(10**16 - 1, 10**16, 10**16 + 1),
        *(921 * 10**16, 922 * 10**16 - 1, 922 * 10**16, 922 * 10**16 + 1),
        *(MAX - 1, MAX, MAX + 1, 2**64, 10**20 - 1),
    ]
)
moments = st.integers(0, MAX) | edges
seqs = st.integers(0, 10**16 - 1) | st.sampled_from([0, 1, 10**8, 10**16 - 1])
latencies = st.integers(0, LATENCY_LIMIT_NS - 1) | st.sampled_from(
    [0, 1, 999_999, 10**6, 10**9, LATENCY_LIMIT_NS - 1]
)
documents = st.sampled_from(
    [DOCUMENT, b"", b"{", b'{"x":{"latbench":{"seq":0}}', b"no JSON \xff\0\n"]
)


def matrix(messages: list[bytes]) -> Chars:
    rows = rows_of(messages)
    assert rows is not None
    return rows


def padded_like(first: bytes, message: bytes) -> bytes:
    """A message as long as the first: cut or filled up at its front."""
    return message[-len(first) :].rjust(len(first), b"#")


@st.composite
def stamped(draw: st.DrawFn) -> tuple[str, list[bytes]]:
    """Some messages of one length and which reader is theirs: mostly ticks of this run."""
    kind = draw(st.sampled_from(["sent", "relayed"]))
    wild = draw(st.booleans())  # else all moments are near each other, as those of a run
    base_ns = draw(st.integers(0, 2**62) | st.sampled_from([10**16 - 500, 922 * 10**16 - 500]))
    near = st.integers(base_ns, base_ns + 1000)
    moment = moments if wild else near
    messages: list[bytes] = []
    for _ in range(draw(st.integers(1, 6))):
        run_id = draw(st.sampled_from([RUN_ID] * 9 + [OTHER_RUN_ID]))
        end = sent_suffix_format(run_id) % (draw(seqs), draw(moment), draw(moment))
        if kind == "relayed":
            relay_in_ns, t1_ns, t2_ns = draw(moment), draw(latencies), draw(latencies)
            suffix = relayed_suffix(relay_in_ns - t1_ns, relay_in_ns, relay_in_ns + t2_ns)
            end = end[:-2] + suffix
        messages.append(draw(documents) + end)
    return kind, [padded_like(messages[0], message) for message in messages]


def one_by_one(reader: StampReader, messages: list[bytes]) -> list[tuple[int, ...] | None]:
    return [reader.read_one(message) for message in messages]


def fits_a_matrix(reader: StampReader, stamps: list[tuple[int, ...] | None]) -> bool:
    """Whether all are ticks whose numbers are alike above 16 digits, and below what is checked."""
    columns = list(reader.slots).index
    known = [each for each in stamps if each is not None]
    if len(known) < len(stamps):
        return False
    return all(
        len({each[columns(name)] // 10**16 for each in known}) == 1
        and known[0][columns(name)] // 10**16 < 922
        for name in reader.slots
    )


# --- reading stamps


@given(stamped())
@settings(max_examples=400)
def test_a_matrix_of_messages_is_read_as_each_by_itself(of: tuple[str, list[bytes]]) -> None:
    kind, messages = of
    reader = READERS[kind]
    expected, read = one_by_one(reader, messages), reader.read(matrix(messages))
    # it may leave messages to be read one by one, but none that a run is made of
    assert (read is not None) == fits_a_matrix(reader, expected)
    if read is not None:
        assert read.dtype == np.int64
        assert [tuple(row) for row in read.tolist()] == expected


@given(stamped(), st.data())
@settings(max_examples=800)
def test_whatever_byte_is_changed_both_say_the_same_of_it(
    of: tuple[str, list[bytes]], data: st.DataObject
) -> None:
    kind, messages = of
    reader = READERS[kind]
    changed = list(messages)
    for _ in range(data.draw(st.integers(1, 3))):
        row = data.draw(st.integers(0, len(changed) - 1))
        message = bytearray(changed[row])
        # mostly within the stamps
        place = -data.draw(st.integers(1, min(reader.chars + 4, len(message))))
        message[place] = data.draw(
            st.sampled_from(b' 09{}":.-+\x00/:\xa0\xb0') | st.integers(0, 255)
        )
        changed[row] = bytes(message)
    read, expected = reader.read(matrix(changed)), one_by_one(reader, changed)
    if read is not None:
        assert [tuple(row) for row in read.tolist()] == expected
    else:
        assert not fits_a_matrix(reader, expected) or not blanks_are_in_front(reader, changed)


def blanks_are_in_front(reader: StampReader, messages: list[bytes]) -> bool:
    """Whether every number is written as latbench does: no zero before it.

    Zeros in front are read one by one, where they stand above the sixteenth digit of some.
    """
    ends = [message[-reader.chars :] for message in messages]
    return all(
        re.fullmatch(rb" *(0|[1-9]\d*)", end[slot])
        for end in ends
        for slot in reader.slots.values()
    )


def test_any_single_byte_of_a_message_counts() -> None:
    # every byte of an end, changed to every value: 60,000 messages
    for reader, end in ((SENT, sent_end(RUN_ID)), (RELAYED, relayed_end(RUN_ID))):
        for place in range(reader.chars):
            messages = [end[:place] + bytes((value,)) + end[place + 1 :] for value in range(256)]
            rows = matrix(messages)
            for i, expected in enumerate(one_by_one(reader, messages)):
                read = reader.read(rows[i : i + 1])
                assert (None if read is None else tuple(read[0].tolist())) == expected


@given(seqs, moments, moments)
def test_stamps_are_what_the_decoder_finds(seq: int, due_ns: int, sent_ns: int) -> None:
    message = b'{"symbol":"A"' + sent_suffix_format(RUN_ID) % (seq, due_ns, sent_ns)
    read = SENT.read_one(message)
    if max(due_ns, sent_ns) > MAX:
        assert read is None
        return
    stamps = decode_sent(message).latbench
    assert read == (stamps.seq, stamps.due_ns, stamps.sent_ns) == (seq, due_ns, sent_ns)
    relayed = splice_relayed(message, sent_ns, sent_ns, sent_ns)
    stamps = decode_relayed(relayed).latbench
    assert RELAYED.read_one(relayed) == (seq, due_ns, sent_ns, sent_ns, sent_ns)
    assert (stamps.relay_in_ns, stamps.relay_out_ns) == (sent_ns, sent_ns)


def test_the_slots_are_the_stamps_in_their_order() -> None:
    assert list(SENT.slots) == ["seq", "due_ns", "sent_ns"]
    assert list(RELAYED.slots) == ["seq", "due_ns", "sent_ns", "relay_in_ns", "relay_out_ns"]
    for reader in READERS.values():
        widths = [slot.stop - slot.start for slot in reader.slots.values()]
        assert widths == [SEQ_CHARS, *[STAMP_CHARS] * (len(widths) - 1)]


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("cut", [1, 2, 50])
def test_a_message_shorter_than_its_stamps_is_no_tick(kind: str, cut: int) -> None:
    reader = READERS[kind]
    end = sent_end(RUN_ID) if kind == "sent" else relayed_end(RUN_ID)
    for short in (end[cut:], end[:-cut], b""):
        assert reader.read_one(short) is None
        assert reader.read(matrix([short, short])) is None


@pytest.mark.parametrize(
    "message",
    [
        DOCUMENT + sent_end(OTHER_RUN_ID),
        DOCUMENT + relayed_end(RUN_ID),  # it has been through a relay
        DOCUMENT + sent_end(RUN_ID) + b" ",
        DOCUMENT + sent_end(RUN_ID)[:-1],
        b'{"x":%b}' % (b"{" + sent_end(RUN_ID)),  # within the document
    ],
)
def test_only_a_generators_end_of_this_run_is_one(message: bytes) -> None:
    assert SENT.read_one(message) is None
    assert SENT.read(matrix([message] * 3)) is None


def test_the_stamps_of_a_document_that_is_no_json_are_read() -> None:
    message = b"\xff{{{" + sent_suffix_format(RUN_ID) % (7, 8, 9)
    assert SENT.read_one(message) == (7, 8, 9)
    read = SENT.read(matrix([message, message]))
    assert read is not None
    assert read.tolist() == [[7, 8, 9]] * 2


def test_a_latency_of_ten_seconds_or_more_is_read_by_the_decoder_alone() -> None:
    message = DOCUMENT + sent_suffix_format(RUN_ID) % (7, 8, 9)
    late = splice_relayed(message, 9, 9 + LATENCY_LIMIT_NS, 9 + LATENCY_LIMIT_NS)
    assert RELAYED.read_one(late) is None
    assert RELAYED.read(matrix([late, late])) is None
    assert decode_relayed(late).latbench.relay_in_ns == 9 + LATENCY_LIMIT_NS


# --- reading symbols

letters = st.text(
    st.characters(exclude_characters='"\\', exclude_categories=("Cc", "Cs")), min_size=1, max_size=8
)
odd_symbols = st.sampled_from(["", "A", "A B", "日経", "\u20ac", "A,B", "A\x7f", " ", "A ", "{}"])


@st.composite
def headed(draw: st.DrawFn) -> list[bytes]:
    """Messages as a market makes them, all of one length; some changed, some elsewhere from."""
    symbols = draw(st.lists(letters | odd_symbols, min_size=1, max_size=6))
    names = [json.dumps(symbol, ensure_ascii=False).encode() + b"," for symbol in symbols]
    width = max(map(len, names)) + draw(st.integers(0, 2))
    messages = [
        b'{"timestamp":1732470000.%06d,"symbol":%b"price":1' % (i, name.ljust(width))
        for i, name in enumerate(names)
    ]
    for _ in range(draw(st.integers(0, 2))):
        row = draw(st.integers(0, len(messages) - 1))
        changed = bytearray(messages[row])
        place = draw(st.integers(0, len(changed) - 1))
        changed[place] = draw(
            st.sampled_from(b' ",\\:{}A\x00\x1f\x7f\x80\xff') | st.integers(0, 255)
        )
        messages[row] = bytes(changed)
    return messages


@given(st.lists(headed(), min_size=1, max_size=3))
@example([[b'{"timestamp":1732470000.123456,"symbol":"",      "price":1'] * 2] * 2)
@example(
    [
        [
            b'{"timestamp":1732470000.123456,"symbol":"ABCDEF","price":1',
            b'{"timestamp":1732470000.123456,"symbol":"A","xx":"price":1',
        ]
    ]
    * 2
)
@settings(max_examples=800)
def test_a_matrix_of_symbols_is_read_as_each_by_itself(batches: list[list[bytes]]) -> None:
    reader = SymbolReader()  # one for all: what it has kept of a batch must not fool it in the next
    for messages in [*batches, *batches]:
        read = reader.read(matrix(messages))
        if read is not None:
            assert read == [reader.read_one(message) for message in messages]


@given(
    st.lists(letters.filter(str.strip), min_size=1, max_size=8, unique=True), st.integers(0, 2**32)
)
def test_the_symbols_of_a_market_are_read_at_once(symbols: list[str], seed: int) -> None:
    blob, width, ids = Market(tuple(symbols), 1000, seed).documents(
        1732470000_000000000 + np.arange(40, dtype=np.int64)
    )
    rows = np.frombuffer(blob, dtype=np.uint8).reshape(-1, width)
    expected = [symbols[i] for i in ids]
    assert SymbolReader().read(rows) == expected
    assert [SymbolReader.read_one(row.tobytes()) for row in rows] == expected
    assert [read_symbol(row.tobytes() + b"}") for row in rows] == expected


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"{}",
        b'{"symbol":"A"}',
        b'{"timestamp":1732470000.123456,"symbol":"","price":1}',
        b'{"timestamp":1732470000.123456,"symbol":"A\\n","price":1}',
        b'{"timestamp":1732470000.123456,"symbol":"A"}',
        b'{"timestamp":1732470000.1234567,"symbol":"A","price":1}',
        b'{"timestamp":1732470000.123456,"symbol":"\xff","price":1}',
        b'{"timestamp":1732470000.123456,"symbol": "A","price":1}',
        # of a member of the document
        b'{"timestamp":17324,"x":{"y":1,"symbol":"A","z":2},"symbol":"B"}',
        b'{"timestamp":"17324000001234","symbol":"A","price":1}',
    ],
)
def test_a_symbol_elsewhere_is_left_to_the_decoder(message: bytes) -> None:
    reader = SymbolReader()
    assert reader.read_one(message) is None
    for _ in range(2):
        assert reader.read(matrix([message] * 3)) is None


def test_ever_new_symbols_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latbench.tickmatrix._SYMBOLS_KEPT", 10)
    reader = SymbolReader()
    for begin in range(0, 300, 5):
        names = [b"S%03d" % i for i in range(begin, begin + 5)]
        messages = [DOCUMENT.replace(b"NIFTY", name) for name in names]
        assert reader.read(matrix(messages)) == [name.decode() for name in names]
        assert len(reader._known) <= 10 + 5


# --- writing


@given(st.lists(st.integers(0, MAX), min_size=1, max_size=8) | st.lists(edges, min_size=1))
def test_numbers_are_written_as_python_does(values: list[int]) -> None:
    values = [value for value in values if value <= MAX]
    array = np.array(values, dtype=np.int64)
    for chars in (SEQ_CHARS, STAMP_CHARS):
        if max(values, default=0) < 10**chars:
            written = [row.tobytes() for row in write_numbers(array, chars)]
            assert written == [b"%*d" % (chars, value) for value in values]
    assert array.tolist() == values  # left as they were


@given(st.lists(latencies, min_size=1, max_size=8))
def test_latencies_are_written_as_one_by_one(values_ns: list[int]) -> None:
    written = [row.tobytes() for row in _write_latencies(np.array(values_ns, dtype=np.int64))]
    assert written == [b"%4d.%06d" % divmod(value_ns, 1_000_000) for value_ns in values_ns]


@given(st.integers(0, 10**15), st.lists(st.integers(0, MAX), min_size=1, max_size=6))
def test_ends_are_written_as_the_suffix_says(first_seq: int, due_ns: list[int]) -> None:
    writer = SentWriter(RUN_ID)
    width = 9
    rows = np.full((len(due_ns), width + writer.chars), ord("#"), dtype=np.uint8)
    writer.write(rows[:, width:], first_seq, np.array(due_ns, dtype=np.int64))
    suffix = sent_suffix_format(RUN_ID)
    assert [row.tobytes() for row in rows] == [
        b"#" * width + suffix % (first_seq + i, due, 0) for i, due in enumerate(due_ns)
    ]
    sent_slot = writer.sent_slot(width)
    assert sent_slot.stop - sent_slot.start == STAMP_CHARS
    for row in rows:
        row[sent_slot] = np.frombuffer(b"%20d" % 123, dtype=np.uint8)
    assert rows[0].tobytes() == b"#" * width + suffix % (first_seq, due_ns[0], 123)


# --- splicing

relay_latencies = (
    st.integers(-5, 10)
    | st.integers(-(10**11), 10**11)
    | st.sampled_from([0, LATENCY_LIMIT_NS - 1, LATENCY_LIMIT_NS, LATENCY_LIMIT_NS + 1])
)


@given(
    relay_in_ns=st.integers(10**12, 2**62),
    t1_ns=st.lists(latencies, min_size=1, max_size=6)
    | st.lists(relay_latencies, min_size=1, max_size=6)
    | relay_latencies.map(lambda latency_ns: [latency_ns] * 4),
    t2_ns=latencies | st.integers(0, 10**11),
    document=documents,
)
@settings(max_examples=400)
def test_a_matrix_is_spliced_as_each_message_by_itself(
    relay_in_ns: int, t1_ns: list[int], t2_ns: int, document: bytes
) -> None:
    sent_ns = [relay_in_ns - latency_ns for latency_ns in t1_ns]
    suffix, relay_out_ns = sent_suffix_format(RUN_ID), relay_in_ns + t2_ns
    messages = [document + suffix % (i, sent - 1, sent) for i, sent in enumerate(sent_ns)]
    rows = matrix(messages)
    spliced = splice(rows, np.array(sent_ns, dtype=np.int64), relay_in_ns, relay_out_ns)
    has_room = all(0 <= latency_ns < LATENCY_LIMIT_NS for latency_ns in [*t1_ns, t2_ns])
    assert (spliced is not None) == has_room
    if spliced is not None:
        expected = [
            splice_relayed(message, sent, relay_in_ns, relay_out_ns)
            for message, sent in zip(messages, sent_ns, strict=True)
        ]
        assert [row.tobytes() for row in spliced] == expected
        read = RELAYED.read(spliced)
        assert read is not None
        assert read[:, 2:].tolist() == [[sent, relay_in_ns, relay_out_ns] for sent in sent_ns]
    assert [row.tobytes() for row in rows] == messages  # left as they were


def test_what_is_spliced_at_once_says_what_the_plain_way_says() -> None:
    sent_ns = [10**12, 10**12 + 1, 10**12 + 5 * 10**9]
    suffix = sent_suffix_format(RUN_ID)
    messages = [DOCUMENT + suffix % (i, 7, sent) for i, sent in enumerate(sent_ns)]
    relay_ns = (10**12 + 6 * 10**9, 10**12 + 6 * 10**9 + 12_345)
    spliced = splice(matrix(messages), np.array(sent_ns, dtype=np.int64), *relay_ns)
    assert spliced is not None
    for row, message, sent in zip(spliced, messages, sent_ns, strict=True):
        plain = splice_relayed_plainly(message, sent, *relay_ns)
        assert json.loads(row.tobytes()) == json.loads(plain)


# --- rows


@given(st.lists(st.binary(max_size=4), min_size=1, max_size=5))
def test_messages_of_one_length_are_a_matrix_and_others_none(messages: list[bytes]) -> None:
    rows = rows_of(messages)
    if len({len(message) for message in messages}) > 1:
        assert rows is None
    else:
        assert rows is not None
        assert rows.shape == (len(messages), len(messages[0]))
        assert [row.tobytes() for row in rows] == messages


def test_a_run_is_known_by_all_of_its_name() -> None:
    assert len(RUN_ID) == RUN_ID_CHARS
    for i in range(RUN_ID_CHARS):
        other = RUN_ID[:i] + "e" + RUN_ID[i + 1 :]
        message = DOCUMENT + sent_suffix_format(other) % (1, 2, 3)
        assert SENT.read_one(message) is None
        assert SENT.read(matrix([message] * 2)) is None
