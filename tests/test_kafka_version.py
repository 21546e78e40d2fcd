"""What can be told of a broker's release from its ApiVersions answer."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench.kafka_version import (
    UNKNOWN,
    ApiVersions,
    broker_version,
    describe,
    parse_api_versions,
)

# From the correlation id on, by an Apache Kafka 4.3.1 in KRaft mode; of its APIs only Produce and
# ApiVersions are kept (the array's length says so), the features are as sent.
ANSWER = bytes.fromhex(
    "00000001" + "0000" + "03" + "00000000000d00" + "00120000000400" + "00000000"
    "03"
    "0017" + "02" + "11" + b"metadata.version".hex() + "0007001e00"
    "0108" + "000000000000000f"
    "029101" + "07"
    "0e" + b"group.version".hex() + "0001000100"
    "10" + b"streams.version".hex() + "0001000100"
    "14" + b"transaction.version".hex() + "0002000200"
    "21" + b"eligible.leader.replicas.version".hex() + "0001000100"
    "0e" + b"share.version".hex() + "0001000100"
    "11" + b"metadata.version".hex() + "001e001e00"
)


def versions(newest: int, level: int) -> ApiVersions:
    return ApiVersions({"metadata.version": (7, newest)}, {"metadata.version": level})


def test_features_of_a_real_answer_are_read() -> None:
    assert parse_api_versions(ANSWER) == ApiVersions(
        supported={"metadata.version": (7, 30)},
        finalized={
            "group.version": 1,
            "streams.version": 1,
            "transaction.version": 2,
            "eligible.leader.replicas.version": 1,
            "share.version": 1,
            "metadata.version": 30,
        },
    )


def test_an_answer_without_features_has_none() -> None:
    assert parse_api_versions(bytes.fromhex("0000000100000100000000" + "00")) == ApiVersions({}, {})


@given(st.integers(0, len(ANSWER) - 1))
def test_an_answer_cut_short_is_an_error(length: int) -> None:
    with pytest.raises(ValueError, match="answer"):
        parse_api_versions(ANSWER[:length])


@given(st.binary(max_size=200))
def test_noise_is_an_error_or_an_answer_but_never_anything_else(noise: bytes) -> None:
    with contextlib.suppress(ValueError):
        parse_api_versions(struct.pack(">ih", 1, 0) + noise)


def test_an_answer_to_another_request_is_an_error() -> None:
    with pytest.raises(ValueError, match="for request 2"):
        parse_api_versions(struct.pack(">i", 2) + ANSWER[4:])


def test_an_error_code_is_an_error() -> None:
    with pytest.raises(ValueError, match="error code 35"):
        parse_api_versions(struct.pack(">ih", 1, 35) + ANSWER[6:])


def test_an_endless_number_is_an_error() -> None:
    with pytest.raises(ValueError, match="varint"):
        parse_api_versions(ANSWER[:6] + b"\xff" * 6)


@pytest.mark.parametrize(
    ("newest", "level", "told"),
    [
        (30, 30, "4.3 (metadata.version 4.3-IV0, level 30)"),
        (30, 25, "4.3 (metadata.version 4.0-IV3, level 25)"),
        (7, 7, "3.3 (metadata.version 3.3-IV3, level 7)"),
        (31, 30, "after 4.3 (metadata.version 4.3-IV0, level 30)"),
        (31, 31, "after 4.3 (metadata.version level 31)"),
        (6, 6, UNKNOWN),
    ],
)
def test_the_release_is_that_of_the_software_and_the_level_that_of_the_cluster(
    newest: int, level: int, told: str
) -> None:
    assert describe(versions(newest, level)) == told


def test_a_broker_without_metadata_version_is_unknown() -> None:
    assert describe(ApiVersions({}, {})) == UNKNOWN
    assert describe(ApiVersions({"metadata.version": (7, 30)}, {})) == UNKNOWN


def test_a_broker_that_names_no_supported_levels_is_as_its_cluster() -> None:
    assert describe(ApiVersions({}, {"metadata.version": 21})).startswith("3.9 (")


@contextlib.contextmanager
def broker_that_says(answer: bytes | None) -> Iterator[tuple[str, int]]:
    """One connection: reads the request, sends the bytes, closes; None: stays silent."""
    over = threading.Event()

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            if answer is None:
                over.wait(10)
            else:
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield listener.getsockname()
        over.set()
        thread.join()


def closed_port() -> tuple[str, int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address: tuple[str, int] = listener.getsockname()
        return address


def framed(answer: bytes) -> bytes:
    return struct.pack(">i", len(answer)) + answer


def test_the_first_address_that_answers_tells() -> None:
    with broker_that_says(framed(ANSWER)) as address:
        told = broker_version([closed_port(), address])
    assert told == "4.3 (metadata.version 4.3-IV0, level 30)"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        framed(ANSWER)[:-1],
        framed(ANSWER[:-1]),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",  # a length of 1.2 GB
        struct.pack(">i", -1),
    ],
)
def test_what_is_no_answer_is_unknown(answer: bytes) -> None:
    with broker_that_says(answer) as address:
        assert broker_version([address]) == UNKNOWN


def test_a_silent_broker_is_unknown_when_the_time_is_over() -> None:
    with broker_that_says(None) as address:
        start_s = time.monotonic()
        assert broker_version([address, address], timeout_s=0.2) == UNKNOWN
        assert time.monotonic() - start_s < 1
