"""Brokers' addresses in Kafka's answers, out of streams that are cut anywhere."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench.kafka_wire import Answers, Renamer, Requests

THERE, HERE = ("broker-1.example", 9092), ("127.0.0.1", 45_678)
ALSO_THERE, ALSO_HERE = ("broker-1.example", 9093), ("127.0.0.1", 45_679)
NAMES = {THERE: HERE, ALSO_THERE: ALSO_HERE}

PRODUCE, FETCH, METADATA, FIND_COORDINATOR = 0, 1, 3, 10


def framed(content: bytes) -> bytes:
    return struct.pack(">i", len(content)) + content


def request(api: int, correlation_id: int, body: bytes = b"") -> bytes:
    return framed(struct.pack(">hhih", api, 4, correlation_id, 3) + b"abc" + body)


def answer(correlation_id: int, body: bytes) -> bytes:
    return framed(struct.pack(">i", correlation_id) + body)


def classic(address: tuple[str, int]) -> bytes:
    host, port = address
    return struct.pack(f">h{len(host)}si", len(host), host.encode(), port)


def compact(address: tuple[str, int]) -> bytes:
    host, port = address
    assert len(host) < 127
    return bytes([len(host) + 1]) + host.encode() + struct.pack(">i", port)


def metadata_v1(*addresses: tuple[str, int]) -> bytes:
    """Brokers (node, host, port, no rack), controller, one topic without partitions."""
    brokers = b"".join(
        struct.pack(">i", node) + classic(address) + b"\xff\xff"
        for node, address in enumerate(addresses)
    )
    topics = struct.pack(">ih", 1, 0) + struct.pack(">h5s", 5, b"ticks") + b"\0" + bytes(4)
    return struct.pack(">i", len(addresses)) + brokers + struct.pack(">i", 0) + topics


def metadata_v12(*addresses: tuple[str, int]) -> bytes:
    """The same in the flexible form, with throttle time and tagged fields."""
    brokers = b"".join(
        struct.pack(">i", node) + compact(address) + b"\0\0"
        for node, address in enumerate(addresses)
    )
    return b"\0" + bytes(4) + bytes([len(addresses) + 1]) + brokers + b"\x06abcde" + bytes(9)


def coordinator_v1(address: tuple[str, int]) -> bytes:
    return struct.pack(">ihhi", 0, 0, -1, 7) + classic(address)


def coordinator_v4(address: tuple[str, int]) -> bytes:
    return b"\0" + bytes(4) + b"\x02\x06group" + struct.pack(">i", 7) + compact(address) + bytes(5)


def passed(requests: bytes, answers: bytes) -> bytes:
    """All answers after a proxy."""
    watcher = Requests()
    watcher.watch(requests)
    stream = Answers(watcher, Renamer(NAMES))
    return b"".join(piece for _, piece in stream.split(answers)) + stream.rest()


BODIES = [
    pytest.param(METADATA, metadata_v1, id="metadata, classic"),
    pytest.param(METADATA, metadata_v12, id="metadata, compact"),
]


@pytest.mark.parametrize(("api", "body"), BODIES)
def test_every_broker_in_metadata_gets_the_address_of_its_listener(
    api: int, body: Callable[..., bytes]
) -> None:
    got = passed(request(api, 5), answer(5, body(THERE, ALSO_THERE)))
    assert got == answer(5, body(HERE, ALSO_HERE))


@pytest.mark.parametrize("body", [coordinator_v1, coordinator_v4])
def test_a_coordinator_gets_the_address_of_its_listener(body: Callable[..., bytes]) -> None:
    got = passed(request(FIND_COORDINATOR, 9), answer(9, body(THERE)))
    assert got == answer(9, body(HERE))


def test_a_host_of_more_than_126_bytes_is_found_in_both_forms() -> None:
    host = "b" * 60 + "." + "c" * 70
    length = len(host)
    renamer = Renamer({(host, 9092): HERE})
    for long, short in (
        (struct.pack(">h", length), classic(HERE)),
        (bytes([(length + 1) & 0x7F | 0x80, (length + 1) >> 7]), compact(HERE)),
    ):
        message = framed(b"1234" + long + host.encode() + struct.pack(">i", 9092) + b"5678")
        assert renamer.rename(message) == framed(b"1234" + short + b"5678")


def test_another_port_or_host_is_left_as_it_is() -> None:
    message = answer(5, metadata_v1(("broker-1.example", 9094), ("broker-2.example", 9092)))
    assert passed(request(METADATA, 5), message) == message


@pytest.mark.parametrize("api", [PRODUCE, FETCH])
def test_what_looks_like_an_address_in_other_answers_is_left_as_it_is(api: int) -> None:
    message = answer(5, metadata_v1(THERE) + metadata_v12(THERE))
    assert passed(request(api, 5), message) == message


def test_only_the_answer_to_the_request_is_renamed_and_only_once() -> None:
    asked = request(FETCH, 1) + request(METADATA, 2) + request(FETCH, 3)
    body = metadata_v1(THERE)
    got = passed(asked, answer(1, body) + answer(2, body) + answer(3, body) + answer(2, body))
    assert got == answer(1, body) + answer(2, metadata_v1(HERE)) + answer(3, body) + answer(2, body)


def test_without_addresses_to_rename_nothing_changes() -> None:
    message = answer(1, metadata_v1(THERE))
    assert Renamer({}).rename(message) == message


def test_a_large_answer_goes_on_piece_by_piece_and_tells_its_size() -> None:
    watcher = Requests()
    watcher.watch(request(FETCH, 1))
    stream = Answers(watcher, Renamer(NAMES))
    message = answer(1, bytes(1_000_000))
    begin, end = message[:1000], message[1000:]
    assert stream.split(begin) == [(len(message), begin)]
    assert stream.split(end) == [(len(message), end)]


def test_an_answer_that_names_brokers_waits_until_it_is_whole() -> None:
    watcher = Requests()
    watcher.watch(request(METADATA, 1))
    stream = Answers(watcher, Renamer(NAMES))
    message = answer(1, metadata_v1(THERE))
    assert stream.split(message[:-1]) == []
    renamed = answer(1, metadata_v1(HERE))
    assert [piece for _, piece in stream.split(message[-1:])] == [renamed]


def test_what_is_cut_off_within_an_answer_is_still_given() -> None:
    watcher = Requests()
    watcher.watch(request(METADATA, 1))
    stream = Answers(watcher, Renamer(NAMES))
    cut = answer(1, metadata_v1(THERE))[:-1]
    assert stream.split(cut) == []
    assert stream.rest() == cut
    assert stream.rest() == b""


messages = st.lists(
    st.tuples(
        st.sampled_from([PRODUCE, FETCH, METADATA, FIND_COORDINATOR]),
        st.one_of(
            st.binary(max_size=80),
            st.just(metadata_v1(THERE, ALSO_THERE)),
            st.just(metadata_v12(ALSO_THERE, THERE)),
            st.just(coordinator_v4(THERE)),
        ),
    ),
    max_size=8,
)
cuts = st.lists(st.integers(1, 40), min_size=1, max_size=50)


def in_chunks(stream: bytes, sizes: list[int]) -> list[bytes]:
    chunks, at = [], 0
    while at < len(stream):
        size = sizes[len(chunks) % len(sizes)]
        chunks.append(stream[at : at + size])
        at += size
    return chunks


@given(messages, cuts, cuts)
def test_how_a_stream_is_cut_makes_no_difference(
    talk: list[tuple[int, bytes]], cuts_up: list[int], cuts_down: list[int]
) -> None:
    asked = b"".join(request(api, number, body) for number, (api, body) in enumerate(talk))
    answers = b"".join(answer(number, body) for number, (_, body) in enumerate(talk))
    expected = passed(asked, answers)
    watcher = Requests()
    for chunk in in_chunks(asked, cuts_up):
        watcher.watch(chunk)
    stream = Answers(watcher, Renamer(NAMES))
    got = [pair for chunk in in_chunks(answers, cuts_down) for pair in stream.split(chunk)]
    assert b"".join(piece for _, piece in got) + stream.rest() == expected
    renamed = [
        Renamer(NAMES).rename(answer(number, body))
        if api in {METADATA, FIND_COORDINATOR}
        else answer(number, body)
        for number, (api, body) in enumerate(talk)
    ]
    assert expected == b"".join(renamed)


@given(st.binary(max_size=300), cuts)
def test_what_is_no_kafka_goes_through_unchanged(noise: bytes, sizes: list[int]) -> None:
    watcher = Requests()
    watcher.watch(noise)
    stream = Answers(Requests(), Renamer(NAMES))
    got = [piece for chunk in in_chunks(noise, sizes) for _, piece in stream.split(chunk)]
    assert b"".join(got) + stream.rest() == noise
