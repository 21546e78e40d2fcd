"""Ticks known by the places of their stamps, and ends written many at a time: `tickmatrix`.

What reads many at a time is compiled: see `test_batch_ticks`.
"""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
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
)
from latbench.tickmatrix import (
    SentWriter,
    StampReader,
    read_symbol_at_front,
    relayed_end,
    sent_end,
    write_numbers,
)

RUN_ID = "5f1c09ab"
OTHER_RUN_ID = "0badcafe"
SENT = StampReader(sent_end(RUN_ID))
RELAYED = StampReader(relayed_end(RUN_ID))
READERS = {"sent": SENT, "relayed": RELAYED}
ENDS = {"sent": sent_end(RUN_ID), "relayed": relayed_end(RUN_ID)}
DOCUMENT = b'{"timestamp":1732470000.123456,"symbol":"NIFTY","price":  24321.55'
MAX = 2**63 - 1
LATENCY_LIMIT_NS = 10**10
"""From here on a latency is wider."""

# where a reader or writer of so many digits might slip
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


# --- reading stamps


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


@given(
    seqs,
    st.integers(0, 2**62),
    st.lists(latencies, min_size=3, max_size=3),
    st.lists(
        st.tuples(
            st.floats(0, 1, exclude_max=True),
            st.sampled_from(b' 09{}":.-+\x00/:\xa0\xb0') | st.integers(0, 255),
        ),
        max_size=3,
    ),
)
@settings(max_examples=200)
def test_whatever_bytes_are_changed_it_reads_nothing_else_than_the_decoder(
    seq: int, due_ns: int, hops_ns: list[int], changes: list[tuple[float, int]]
) -> None:
    sent_ns = due_ns + hops_ns[0]
    relay_ns = (sent_ns + hops_ns[1], sent_ns + hops_ns[1] + hops_ns[2])
    message = b'{"symbol":"A"' + sent_suffix_format(RUN_ID) % (seq, due_ns, sent_ns)
    changed = bytearray(splice_relayed(message, sent_ns, *relay_ns))
    for place, value in changes:
        changed[int(place * len(changed))] = value
    read = RELAYED.read_one(bytes(changed))
    if not changes:
        assert read == (seq, due_ns, sent_ns, *relay_ns)
    try:
        stamps = decode_relayed(bytes(changed)).latbench
    except (msgspec.DecodeError, UnicodeDecodeError):
        return  # a tick all the same, perhaps: see below
    if read is not None:
        assert stamps.run == RUN_ID
        assert read == (
            *(stamps.seq, stamps.due_ns, stamps.sent_ns),
            *(stamps.relay_in_ns, stamps.relay_out_ns),
        )


@pytest.mark.parametrize("kind", READERS)
def test_every_byte_of_an_end_counts(kind: str) -> None:
    reader, end = READERS[kind], ENDS[kind]
    numbers = {place for slot in reader.slots.values() for place in range(slot.start, slot.stop)}
    last_digits = {slot.stop - 1 for slot in reader.slots.values()}
    as_it_was = (0,) * len(reader.slots)
    for place in range(reader.chars):
        fixed = bool(reader.fixed_mask[place])
        for value in {end[place] - 1, end[place] + 1, *b' 059"{}:-.\x00\xb0', 255}:
            read = reader.read_one(end[:place] + bytes((value,)) + end[place + 1 :])
            if value == end[place]:
                assert read == as_it_was
            elif fixed:
                assert read is None
            elif place not in numbers:  # a latency, which nobody reads
                assert read == as_it_was
            elif place in last_digits:
                assert (read is not None) == (value in b"0123456789")
            else:  # else there are blanks behind the digit
                assert (read is not None) == (place + 1 in last_digits and value in b"0123456789")


@pytest.mark.parametrize("kind", READERS)
def test_what_is_fixed_is_all_but_the_numbers(kind: str) -> None:
    reader, end = READERS[kind], ENDS[kind]
    assert len(end) == reader.chars == len(reader.fixed_text) == len(reader.fixed_mask)
    assert set(reader.fixed_mask) == {0, 0xFF}
    assert bytes(each & mask for each, mask in zip(end, reader.fixed_mask, strict=True)) == (
        reader.fixed_text
    )
    places = {i for i, mask in enumerate(reader.fixed_mask) if not mask}
    numbers = {place for slot in reader.slots.values() for place in range(slot.start, slot.stop)}
    rest = bytes(end[place] for place in sorted(places - numbers))
    assert numbers < places or numbers == places
    assert rest == b"   0.000000" * {"sent": 0, "relayed": 2}[kind]


def test_the_slots_are_the_stamps_in_their_order() -> None:
    assert list(SENT.slots) == ["seq", "due_ns", "sent_ns"]
    assert list(RELAYED.slots) == ["seq", "due_ns", "sent_ns", "relay_in_ns", "relay_out_ns"]
    for reader in READERS.values():
        widths = [slot.stop - slot.start for slot in reader.slots.values()]
        assert widths == [SEQ_CHARS, *[STAMP_CHARS] * (len(widths) - 1)]


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("cut", [1, 2, 50])
def test_a_message_shorter_than_its_stamps_is_no_tick(kind: str, cut: int) -> None:
    reader, end = READERS[kind], ENDS[kind]
    for short in (end[cut:], end[:-cut], b""):
        assert reader.read_one(short) is None


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


def test_a_run_is_known_by_all_of_its_name() -> None:
    assert len(RUN_ID) == RUN_ID_CHARS
    for i in range(RUN_ID_CHARS):
        other = RUN_ID[:i] + "e" + RUN_ID[i + 1 :]
        assert SENT.read_one(DOCUMENT + sent_suffix_format(other) % (1, 2, 3)) is None


def test_the_stamps_of_a_document_that_is_no_json_are_read() -> None:
    message = b"\xff{{{" + sent_suffix_format(RUN_ID) % (7, 8, 9)
    assert SENT.read_one(message) == (7, 8, 9)


@pytest.mark.parametrize("number", [b"7 7", b"7 ", b" ", b"+7", b"-7", b"7.", b"\xb2", b"7\n"])
def test_what_is_no_number_is_not_read_as_one(number: bytes) -> None:
    end = sent_end(RUN_ID)
    slot = SENT.slots["due_ns"]
    padded = number.rjust(STAMP_CHARS)
    assert SENT.read_one(end[: slot.start] + padded + end[slot.stop :]) is None


def test_a_latency_of_ten_seconds_or_more_is_read_by_the_decoder_alone() -> None:
    message = DOCUMENT + sent_suffix_format(RUN_ID) % (7, 8, 9)
    late = splice_relayed(message, 9, 9 + LATENCY_LIMIT_NS, 9 + LATENCY_LIMIT_NS)
    assert RELAYED.read_one(late) is None
    assert decode_relayed(late).latbench.relay_in_ns == 9 + LATENCY_LIMIT_NS


@given(seqs, st.integers(0, 2**62), latencies, latencies)
def test_ends_are_as_wide_as_those_of_any_tick(
    seq: int, sent_ns: int, t1_ns: int, t2_ns: int
) -> None:
    sent = sent_suffix_format(RUN_ID) % (seq, sent_ns, sent_ns)
    relayed = sent[:-2] + relayed_suffix(sent_ns, sent_ns + t1_ns, sent_ns + t1_ns + t2_ns)
    assert (len(sent), len(relayed)) == (SENT.chars, RELAYED.chars)
    assert SENT.read_one(sent) == (seq, sent_ns, sent_ns)
    assert RELAYED.read_one(relayed) is not None


# --- reading symbols

letters = st.text(
    st.characters(exclude_characters='"\\', exclude_categories=("Cc", "Cs")), min_size=1, max_size=8
)
odd_symbols = st.sampled_from(["", "A", "A B", "日経", "\u20ac", "A,B", "A\x7f", " ", "A ", "{}"])


@given(letters | odd_symbols, st.integers(0, 3), st.sampled_from([b'"price":1', b'"x":{"y":[]}']))
def test_a_symbol_at_the_front_is_what_the_decoder_finds(
    symbol: str, blanks: int, rest: bytes
) -> None:
    name = json.dumps(symbol, ensure_ascii=False).encode()
    message = b'{"timestamp":1732470000.123456,"symbol":%b,%b%b}' % (name, b" " * blanks, rest)
    assert read_symbol_at_front(message) == (symbol or None)
    assert read_symbol(message) == symbol


@given(letters | odd_symbols, st.data())
@settings(max_examples=200)
def test_whatever_byte_is_changed_no_other_symbol_is_read(symbol: str, data: st.DataObject) -> None:
    name = json.dumps(symbol, ensure_ascii=False).encode()
    message = bytearray(b'{"timestamp":1732470000.123456,"symbol":%b, "price":1}' % name)
    place = data.draw(st.integers(0, len(message) - 1))
    message[place] = data.draw(
        st.sampled_from(b' ",\\:{}A\x00\x1f\x7f\x80\xff') | st.integers(0, 255)
    )
    read = read_symbol_at_front(bytes(message))
    try:
        decoded = read_symbol(bytes(message))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    assert read in {decoded, None}


@given(
    st.lists(letters.filter(str.strip), min_size=1, max_size=8, unique=True), st.integers(0, 2**32)
)
@settings(max_examples=50)
def test_the_symbols_of_a_market_are_at_the_front(symbols: list[str], seed: int) -> None:
    blob, width, ids = Market(tuple(symbols), 1000, seed).documents(
        1732470000_000000000 + np.arange(40, dtype=np.int64)
    )
    documents = [bytes(blob[begin : begin + width]) for begin in range(0, 40 * width, width)]
    expected = [symbols[i] for i in ids]
    assert [read_symbol_at_front(document) for document in documents] == expected
    assert [read_symbol(document + b"}") for document in documents] == expected


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
    assert read_symbol_at_front(message) is None


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
