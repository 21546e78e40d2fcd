"""Clients that have gone without a word, with the clock in the test's hand."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

import pytest

from latbench.recording import RelayCounter
from latbench.ring import COUNTERS
from latbench.stages import liveness
from latbench.stages.liveness import Liveness, acknowledged_bytes

PING_AFTER_S, TIMEOUT_S, SWEEP_S = 5.0, 4.0, 0.5


class FakeMember:
    def __init__(self) -> None:
        self.heard = False
        self.pings = 0
        self.closed: tuple[int, str] | None = None
        self.acknowledged = 0
        self.transport = cast("Any", self)

    def ping(self) -> None:
        self.pings += 1

    def close(self, code: int, reason: str) -> None:
        self.closed = code, reason


class House:
    def __init__(self, *members: FakeMember) -> None:
        self.members = list(members)
        self.paused = False
        self.counters = memoryview(bytearray(8 * COUNTERS)).cast("q")


@pytest.fixture(autouse=True)
def told_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "acknowledged_bytes", lambda transport: transport.acknowledged)


def after(looking: Liveness, seconds: float) -> None:
    for _ in range(round(seconds / SWEEP_S)):
        looking.look(SWEEP_S)


def test_one_that_is_silent_is_pinged_once_and_given_up_within_ten_seconds() -> None:
    member = FakeMember()
    house = House(member)
    looking = Liveness(house, PING_AFTER_S, TIMEOUT_S)
    after(looking, 4.5)
    assert (member.pings, member.closed) == (0, None)
    after(looking, 0.5)
    assert member.pings == 1
    after(looking, 3.5)
    assert member.closed is None
    after(looking, 0.5)
    assert member.closed == (1011, "no answer to a ping")
    assert member.pings == 1
    assert house.counters[RelayCounter.TIMED_OUT] == 1


def test_anything_that_comes_is_a_sign_of_life() -> None:
    member = FakeMember()
    looking = Liveness(House(member), PING_AFTER_S, TIMEOUT_S)
    for _ in range(5):
        after(looking, 8.5)
        member.heard = True
        looking.look(SWEEP_S)
    assert (member.pings, member.closed) == (5, None)


def test_a_slow_reader_whose_tcp_goes_on_is_not_gone() -> None:
    member = FakeMember()
    looking = Liveness(House(member), PING_AFTER_S, TIMEOUT_S)
    for _ in range(60):
        looking.look(SWEEP_S)
        member.acknowledged += 1000
    assert member.closed is None
    after(looking, 2 * TIMEOUT_S)  # one such span may have begun before the last sign of life
    assert member.closed is not None


def test_while_the_relay_reads_from_nobody_nobody_is_given_up() -> None:
    member = FakeMember()
    house = House(member)
    house.paused = True
    looking = Liveness(house, PING_AFTER_S, TIMEOUT_S)
    after(looking, 60)
    assert (member.pings, member.closed) == (0, None)


def test_linux_tells_how_many_bytes_were_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()

    class Transport:
        def __init__(self, sock: socket.socket | None) -> None:
            self._sock = sock

        def get_extra_info(self, name: str) -> socket.socket | None:
            assert name == "socket"
            return self._sock

    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as client:
            peer, _ = server.accept()
            with peer:
                before = acknowledged_bytes(cast("asyncio.Transport", Transport(client)))
                client.sendall(b"x" * 1000)
                peer.recv(1000)
                client.sendall(b"y")  # whose acknowledgement comes behind that of the others
                peer.recv(1)
                found = acknowledged_bytes(cast("asyncio.Transport", Transport(client)))
                assert 0 <= found - before <= 1001
                assert found >= before
        assert acknowledged_bytes(cast("asyncio.Transport", Transport(client))) == 0
    assert acknowledged_bytes(cast("asyncio.Transport", Transport(None))) == 0
