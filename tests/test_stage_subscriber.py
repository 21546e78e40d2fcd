"""Subscribers on loopback, the relay being a socket in the test's hand."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.server import ServerProtocol

from latbench.control import Done, Ready
from latbench.errors import LatbenchError
from latbench.plan import SubscriberPlan
from latbench.recording import SUBSCRIBER, SubscriberCounter
from latbench.stages import subscriber
from latbench.stages.fanout import framed
from latbench.stages.frames import whole_frames
from latbench.tick import splice_relayed
from tests.cli import wait_until
from tests.relaying import alike
from tests.stages import RUN_ID, ListeningSupervisor, TwoEndedRing

NOW_NS = 3_000_000 * 10**9
both_ways = pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])
either_run = pytest.mark.parametrize("run_id", [RUN_ID, ""], ids=["its run", "the first run"])


def relayed(seq: int, symbol: str = "TCS") -> bytes:
    """A tick as a relay sends it."""
    return splice_relayed(alike(seq, symbol), NOW_NS - 50_000, NOW_NS - 30_000, NOW_NS - 20_000)


def text(message: bytes) -> bytes:
    return framed(0x81, message)


class StoppableSupervisor(ListeningSupervisor):
    def __init__(self) -> None:
        super().__init__()
        self.stopping = threading.Event()


class FakeRelay:
    """Accepts WebSocket clients and hands their sockets to the test."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self._server.getsockname()[1]}/ticks"
        self.sockets: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._server.accept()
            except OSError:
                return
            protocol = ServerProtocol()
            while not (events := protocol.events_received()):
                protocol.receive_data(sock.recv(4096))
            protocol.send_response(protocol.accept(events[0]))  # type: ignore[arg-type]
            # a tick right behind the answer, as a busy relay would
            sock.sendall(b"".join(protocol.data_to_send()) + text(relayed(0)))
            self.sockets.append(sock)

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()
        for sock in self.sockets:
            sock.close()


class Bench:
    def __init__(self, relay: FakeRelay, plan: SubscriberPlan) -> None:
        self.relay = relay
        self.ring = TwoEndedRing(SUBSCRIBER)
        self.supervisor = StoppableSupervisor()
        rings = {SUBSCRIBER: self.ring.writer}
        self._thread = threading.Thread(
            target=lambda: subscriber.run(plan, self.supervisor.as_supervisor(), rings)
        )
        self._thread.start()
        wait_until(lambda: any(isinstance(each, Ready) for each in self.supervisor.heard))
        wait_until(lambda: len(relay.sockets) == plan.clients)

    def stop(self) -> list[dict[str, int]]:
        """All that was recorded."""
        self.supervisor.stopping.set()
        self._thread.join(10)
        assert isinstance(self.supervisor.heard[-1], Done)
        return self.ring.rows()


@contextmanager
def subscribing(clients: int, *, compiled: bool, run_id: str = RUN_ID) -> Iterator[Bench]:
    relay = FakeRelay()
    plan = SubscriberPlan(run_id=run_id, url=relay.url, clients=clients, compiled=compiled)
    bench = Bench(relay, plan)
    try:
        yield bench
    finally:
        bench.supervisor.stopping.set()
        relay.close()


def seqs(rows: list[dict[str, int]], client: int) -> list[int]:
    return [row["seq"] for row in rows if row["client"] == client]


@both_ways
@either_run
def test_each_tick_is_recorded_for_each_subscriber_with_its_stamps(
    compiled: bool, run_id: str
) -> None:
    with subscribing(5, compiled=compiled, run_id=run_id) as bench:
        data = b"".join(text(relayed(seq)) for seq in range(1, 2000))
        for sock in bench.relay.sockets:
            sock.sendall(data)
        rows = bench.stop()
    for client in range(5):
        assert seqs(rows, client) == list(range(2000))
    for row in rows:
        assert row["due_ns"] == NOW_NS - 70_000
        assert row["relay_in_ns"] == NOW_NS - 30_000
        assert row["received_ns"] > 0
    assert bench.ring.count(SubscriberCounter.CONNECTED) == 5
    assert bench.ring.count(SubscriberCounter.ENDED) == 0


@both_ways
def test_frames_that_come_in_parts_are_put_together_for_each_by_itself(compiled: bool) -> None:
    with subscribing(3, compiled=compiled) as bench:
        data = [
            b"".join(text(relayed(1000 * number + seq)) for seq in range(1, 40))
            for number in range(3)
        ]
        sent = 0
        while any(data):
            for number, sock in enumerate(bench.relay.sockets):
                part = 1 + (sent * 37) % 300
                sock.sendall(data[number][:part])
                data[number] = data[number][part:]
                sent += 1
            wait_until(lambda: True)
        rows = bench.stop()
    by_socket = {tuple(seqs(rows, client)) for client in range(3)}
    assert by_socket == {(0, *range(1000 * n + 1, 1000 * n + 40)) for n in range(3)}


@both_ways
def test_what_is_no_tick_of_the_run_is_counted_and_the_next_is_recorded(compiled: bool) -> None:
    other = relayed(5).replace(RUN_ID.encode(), b"deadbeef")
    fragments = bytes([0x01, 3]) + b'{"a' + bytes([0x80, 3]) + b'":1'
    odd = {
        "junk": text(b"\xff\xfe"),
        "json": text(b'{"symbol":"TCS"}'),
        "not relayed": text(alike(7)),
        "another run": text(other),
        "fragments": fragments,
        "large": text(b"x" * 300_000),
    }
    with subscribing(1, compiled=compiled) as bench:
        (sock,) = bench.relay.sockets
        for number, frames in enumerate(odd.values(), start=1):
            sock.sendall(frames + text(relayed(number)))
        rows = bench.stop()
    assert seqs(rows, 0) == list(range(len(odd) + 1))
    assert bench.ring.count(SubscriberCounter.UNKNOWN) == len(odd)


@both_ways
def test_a_tick_in_fragments_is_a_tick(compiled: bool) -> None:
    whole = relayed(1)
    with subscribing(1, compiled=compiled) as bench:
        (sock,) = bench.relay.sockets
        sock.sendall(framed(0x01, whole[:100]) + framed(0x80, whole[100:]) + text(relayed(2)))
        rows = bench.stop()
    assert seqs(rows, 0) == [0, 1, 2]


@both_ways
def test_pings_are_answered_between_ticks(compiled: bool) -> None:
    with subscribing(1, compiled=compiled) as bench:
        (sock,) = bench.relay.sockets
        sock.sendall(text(relayed(1)) + framed(0x89, b"there?") + text(relayed(2)))
        sock.settimeout(5)
        pong = sock.recv(100)
        assert pong[0] == 0x8A
        rows = bench.stop()
        goodbye = sock.recv(100)
        assert goodbye[0] == 0x88
    assert seqs(rows, 0) == [0, 1, 2]


@both_ways
def test_one_that_is_sent_away_is_told_with_the_reason_and_the_others_go_on(
    compiled: bool,
) -> None:
    with subscribing(2, compiled=compiled) as bench:
        first, second = bench.relay.sockets
        first.sendall(framed(0x88, b"\x03\xf0too slow"))
        wait_until(lambda: bench.ring.count(SubscriberCounter.ENDED) == 1)
        second.sendall(text(relayed(1)))
        rows = bench.stop()
    assert sorted(seqs(rows, 0) + seqs(rows, 1)) == [0, 0, 1]
    (said,) = bench.supervisor.said
    assert "away: 1008 too slow" in said


def test_one_that_cannot_connect_ends_all_with_the_reason() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    plan = SubscriberPlan(run_id="", url=f"ws://127.0.0.1:{port}/ticks", clients=3)
    ring = TwoEndedRing(SUBSCRIBER)
    supervisor = StoppableSupervisor()
    with pytest.raises(LatbenchError) as caught:
        subscriber.run(plan, supervisor.as_supervisor(), {SUBSCRIBER: ring.writer})
    assert "0 of 3 subscribers could connect" in caught.value.message
    assert caught.value.hint


@given(st.lists(st.integers(0, 70_000), max_size=6), st.integers(0, 9))
def test_whole_frames_end_where_the_last_of_them_does(sizes: list[int], cut: int) -> None:
    frames = [framed(0x81, b"x" * size) for size in sizes]
    data = b"".join(frames)
    assert whole_frames(data) == len(data)
    if frames and cut:
        short = data[: max(len(data) - cut, 0)]
        assert whole_frames(short) in {len(data) - len(frames[-1]), *_ends(frames)}
        assert whole_frames(short) <= len(short)


def _ends(frames: list[bytes]) -> list[int]:
    ends, at = [0], 0
    for frame in frames:
        at += len(frame)
        ends.append(at)
    return ends


def test_plans_of_subscribers_travel_as_they_are() -> None:
    plan = SubscriberPlan(run_id="", url="ws://x/ticks", clients=3)
    assert msgspec.json.decode(msgspec.json.encode(plan), type=SubscriberPlan) == plan
