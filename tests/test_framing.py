"""Frames made ahead of time, read by the parser of another WebSocket library."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from latbench.arrivals import Arrivals
from latbench.clock import NS_PER_MS, NS_PER_S, WallAnchor
from latbench.plan import SimulatedSource
from latbench.source import FramedTicks, TickBlock, tick_blocks
from latbench.stages.framing import framed, header_of
from latbench.tick import decode_sent, sent_suffix_format

RUN_ID = "5f1c09ab"
SUFFIX = sent_suffix_format(RUN_ID)
SUFFIX_CHARS = len(SUFFIX % (0, 0, 0))
MAX = 2**63 - 1


def block(documents: list[bytes], due_ns: list[int] | None = None) -> TickBlock:
    return TickBlock(
        due_ns=due_ns or list(range(100, 100 + len(documents))),
        symbol_ids=[i % 3 for i in range(len(documents))],
        blob=b"".join(documents),
        bounds=[0, *itertools.accumulate(map(len, documents))],
    )


def frames_of(*blocks: TickBlock) -> list[TickBlock]:
    return list(framed((each for each in blocks), RUN_ID))


def ticks_of(made: TickBlock) -> FramedTicks:
    assert made.framed is not None
    return made.framed


def put_in(ticks: FramedTicks, sent_ns: int) -> bytes:
    """What goes to the socket, as the generator makes it: the moment XORed in."""
    ticks.frames[:, ticks.sent_slot] ^= np.frombuffer(b"%20d" % sent_ns, dtype=np.uint8)
    return ticks.frames.tobytes()


def parsed(stream: bytes, pieces: Iterator[int] | None = None) -> list[bytes]:
    """The texts in a client's stream, by a server that takes nothing unmasked or fragmented."""
    server = ServerProtocol(state=OPEN)
    while stream:
        size = len(stream) if pieces is None else next(pieces)
        server.receive_data(stream[:size])
        stream = stream[size:]
    assert server.parser_exc is None
    texts = []
    for event in server.events_received():
        assert isinstance(event, Frame)
        assert (event.opcode, event.fin) == (Opcode.TEXT, True)
        assert (event.rsv1, event.rsv2, event.rsv3) == (False, False, False)
        texts.append(bytes(event.data))
    return texts


def messages(made: TickBlock, first_seq: int, sent_ns: int) -> list[bytes]:
    """What a generator makes of a block one by one."""
    return [
        made.blob[begin:end] + SUFFIX % (first_seq + i, due_ns, sent_ns)
        for i, ((begin, end), due_ns) in enumerate(
            zip(itertools.pairwise(made.bounds), made.due_ns, strict=True)
        )
    ]


@st.composite
def alike(draw: st.DrawFn) -> TickBlock:
    """A block whose documents have one length."""
    # about where a header grows: with the suffix 125 and 126 bytes
    width = draw(st.integers(1, 24) | st.integers(100, 400))
    count = draw(st.integers(1, 5))
    documents = draw(
        st.lists(st.binary(min_size=width, max_size=width), min_size=count, max_size=count)
    )
    due_ns = draw(st.lists(st.integers(0, MAX), min_size=count, max_size=count))
    return block(documents, due_ns)


@given(st.lists(alike(), min_size=1, max_size=3), st.integers(0, MAX), st.integers(1, 97))
@settings(max_examples=200)
def test_frames_hold_the_messages_that_are_made_one_by_one(
    blocks: list[TickBlock], sent_ns: int, piece: int
) -> None:
    made = frames_of(*blocks)
    seq = 0
    for before, after in zip(blocks, made, strict=True):
        # a document of random bytes is no UTF-8, and the parser does not mind
        stream = put_in(ticks_of(after), sent_ns)
        expected = messages(before, seq, sent_ns)
        assert parsed(stream) == parsed(stream, itertools.repeat(piece)) == expected
        rows = ticks_of(after).rows
        assert rows[:, 0].tolist() == list(range(seq, seq + len(before.due_ns)))
        assert rows[:, 1].tolist() == before.symbol_ids
        assert rows[:, 2].tolist() == before.due_ns
        assert (after.due_ns, after.symbol_ids) == (before.due_ns, before.symbol_ids)
        assert (after.blob, after.bounds) == (before.blob, before.bounds)
        seq += len(before.due_ns)


@pytest.mark.parametrize("chars", [0, 1, 124, 125, 126, 127, 128, 255, 256, 300, 65_534, 65_535])
def test_a_header_tells_its_length_in_as_few_bytes_as_may_be(chars: int) -> None:
    header, mask = header_of(chars), b"\x01\x02\x03\x04"
    text = bytes(i % 251 for i in range(chars))
    masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(text))
    assert parsed(header + mask + masked) == [text]
    # RFC 6455, 5.2: the minimal number of bytes must be used
    assert len(header) == (2 if chars <= 125 else 4)


@pytest.mark.parametrize("chars", [116, 125, 126, 65_534, 65_535])
def test_messages_of_all_lengths_up_to_the_longest_are_framed(chars: int) -> None:
    document = b"#" * (chars - SUFFIX_CHARS)
    (made,) = frames_of(block([document, document]))
    texts = parsed(put_in(ticks_of(made), 7))
    assert texts == messages(made, 0, 7)
    assert {len(text) for text in texts} == {chars}


def test_a_message_that_needs_a_longer_header_is_left_as_it_is() -> None:
    given_ = block([b"#" * (65_536 - SUFFIX_CHARS)] * 2)
    assert frames_of(given_) == [given_]
    assert given_.framed is None


@pytest.mark.parametrize(
    "documents",
    [
        [b'{"a":1', b'{"a":12'],
        [b'{"a":12', b'{"a":1'],
        [b'{"a":1', b'{"a":12', b'{"a":'],  # as long in all as three of the first
        [b'{"a":1', b'{"a":1', b'{"a":12'],
    ],
)
def test_documents_of_differing_length_stay_unframed(documents: list[bytes]) -> None:
    given_ = block(documents)
    assert frames_of(given_) == [given_]
    assert given_.framed is None


def test_seq_goes_on_over_blocks_framed_or_not() -> None:
    even, uneven = [b'{"a":1'] * 3, [b'{"a":1', b'{"a":10']
    made = frames_of(block(even), block(uneven), block(uneven), block(even), block(even[:1]))
    assert [each.framed is not None for each in made] == [True, False, False, True, True]
    assert [ticks_of(made[i]).rows[:, 0].tolist() for i in (0, 3, 4)] == [
        [0, 1, 2], [7, 8, 9], [10]
    ]  # fmt: skip
    assert parsed(put_in(ticks_of(made[3]), 1)) == messages(made[3], 7, 1)


def test_each_frame_has_a_mask_of_its_own() -> None:
    # RFC 6455, 5.3: of a strong source of entropy, not to be foretold from the one before
    documents = [b'{"symbol":"NIFTY","price":  24321.55'] * 256
    (made,) = frames_of(block(documents))
    frames = ticks_of(made).frames
    masks = frames[:, 4:8]
    assert len(np.unique(masks, axis=0)) >= 255  # two alike once in 130,000 times
    bits = np.unpackbits(masks, axis=1)
    # 256 tosses of each bit: 5 sigma
    assert (np.abs(bits.sum(axis=0, dtype=int) - 128) <= 40).all()
    # what stands in the place of the moment before it is put in is the mask alone
    slot = ticks_of(made).sent_slot
    places = np.arange(slot.start, slot.stop) - 8
    assert (frames[:, slot] == masks[:, places % 4]).all()


def test_only_a_part_of_a_block_may_get_its_moment() -> None:
    (made,) = frames_of(block([b'{"a":1'] * 5))
    ticks = ticks_of(made)
    for first, last, sent_ns in ((0, 2, 11), (2, 3, 10**18), (3, 5, MAX)):
        part = FramedTicks(ticks.frames[first:last], ticks.sent_slot, ticks.rows[first:last])
        assert parsed(put_in(part, sent_ns)) == messages(made, 0, sent_ns)[first:last]


def test_a_markets_ticks_are_framed_and_are_ticks() -> None:
    source = SimulatedSource(("NIFTY", "BANKNIFTY", "日経"), 20_000, Arrivals.POISSON, 3)
    anchor = WallAnchor(monotonic_ns=1_000_000_000, unix_ns=1732470000_000000000)
    blocks = tick_blocks(source, 5 * NS_PER_S, anchor, 600 * NS_PER_MS)
    seq = 0
    for made in framed(blocks, RUN_ID):
        texts = parsed(put_in(ticks_of(made), MAX))
        assert texts == messages(made, seq, MAX)
        for text, due_ns, symbol_id in zip(texts, made.due_ns, made.symbol_ids, strict=True):
            tick = decode_sent(text)
            assert tick.symbol == source.symbols[symbol_id]
            assert tick.latbench.due_ns == due_ns
            assert (tick.latbench.run, tick.latbench.seq, tick.latbench.sent_ns) == (
                RUN_ID,
                seq,
                MAX,
            )
            seq += 1
    assert seq > 8192


def test_closing_the_frames_closes_their_blocks() -> None:
    closed: list[bool] = []

    def endless() -> Generator[TickBlock]:
        try:
            while True:
                yield block([b"{"])
        finally:
            closed.append(True)

    frames = framed(endless(), RUN_ID)
    next(frames)
    frames.close()
    assert closed == [True]
