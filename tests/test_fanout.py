"""Ticks to any number of subscribers, with sockets made of lists."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame
from websockets.streams import StreamReader

from latbench.config import DISCONNECT, DROP_OLDEST
from latbench.recording import RelayCounter
from latbench.ring import COUNTERS
from latbench.stages.fanout import Fanout, deflated, framed

TURN = 32
"""Writes that go together."""


class FakePace:
    """Calls what is due when it is told to."""

    def __init__(self) -> None:
        self.time_ns = 1_000
        self.soon_calls: list[Callable[[], None]] = []
        self.at_calls: list[tuple[int, Callable[[], None]]] = []

    def now_ns(self) -> int:
        return self.time_ns

    def soon(self, callback: Callable[[], None]) -> None:
        self.soon_calls.append(callback)

    def at(self, due_ns: int, callback: Callable[[], None]) -> None:
        self.at_calls.append((due_ns, callback))

    def go_on(self) -> None:
        """Until nothing is to be done."""
        while self.step():
            pass

    def step(self) -> bool:
        """One callback; whether there was one."""
        if self.soon_calls:
            self.soon_calls.pop(0)()
        elif self.at_calls:
            due_ns, callback = self.at_calls.pop(0)
            self.time_ns = max(self.time_ns, due_ns)
            callback()
        else:
            return False
        return True


class FakeTransport:
    """Takes `room` writes, then is full."""

    def __init__(self, client: FakeClient) -> None:
        self._client = client

    def write(self, frames: bytes) -> None:
        client = self._client
        assert not client.clogged, "written to although it is full"
        client.received += frames
        client.writes += 1
        client.clock.time_ns += client.write_ns
        if client.room is not None:
            client.room -= 1
            if client.room <= 0:
                client.clogged = True
                client.fanout.pause(client)


class FakeClient:
    """A subscriber's connection."""

    def __init__(self, fanout: Fanout, clock: FakePace, room: int | None = None) -> None:
        self.fanout = fanout
        self.clock = clock
        self.room = room
        self.clogged = room == 0
        self.received = b""
        self.writes = 0
        self.write_ns = 10
        self.closed: tuple[int, str] | None = None
        self.transport = cast("Any", FakeTransport(self))

    def close(self, code: int, reason: str) -> None:
        self.closed = code, reason

    def drain(self, room: int | None = None) -> None:
        """Its socket takes more."""
        self.room, self.clogged = room, False
        self.fanout.resume(self)

    @property
    def messages(self) -> list[bytes]:
        return [bytes(frame.data) for frame in frames_of(self.received)]


def frames_of(data: bytes, extensions: list[Any] | None = None) -> list[Frame]:
    """Frames as a client's library reads them."""
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    found = []
    while reader.buffer:
        parsing = Frame.parse(reader.read_exact, mask=False, extensions=extensions)
        try:
            next(parsing)
        except StopIteration as end:
            found.append(end.value)
    return found


class Bench:
    """A fan-out and all around it."""

    def __init__(self, queue: int = 8, slow: str = DROP_OLDEST) -> None:
        self.pace = FakePace()
        self.counters = memoryview(bytearray(8 * COUNTERS)).cast("q")
        self.fanout = Fanout(queue, slow, self.pace, self.counters)

    def join(
        self, room: int | None = None, symbols: set[str] | None = None, *, deflates: bool = False
    ) -> FakeClient:
        client = FakeClient(self.fanout, self.pace, room)
        wanted = None if symbols is None else frozenset(symbols)
        self.fanout.join(client, wanted, deflates=deflates)
        return client

    def publish(self, *numbers: int, symbol: str = "TCS") -> None:
        for number in numbers:
            self.fanout.publish(b"%d" % number, symbol)

    def count(self, counter: RelayCounter) -> int:
        return self.counters[counter]


def numbers(*values: int) -> list[bytes]:
    return [b"%d" % value for value in values]


def test_every_subscriber_gets_every_tick_in_order() -> None:
    bench = Bench(queue=1000)
    clients = [bench.join() for _ in range(100)]
    for number in range(50):
        bench.publish(number)
        if number % 7 == 0:
            bench.pace.go_on()
    bench.pace.go_on()
    for client in clients:
        assert client.messages == numbers(*range(50))
    assert bench.count(RelayCounter.SUBSCRIBER_DROPS) == 0
    assert not bench.fanout.is_busy


def test_ticks_that_come_together_are_written_together() -> None:
    bench = Bench(queue=100)
    client = bench.join()
    bench.publish(*range(20))
    bench.pace.go_on()
    assert (client.writes, client.messages) == (1, numbers(*range(20)))


def test_one_who_comes_later_gets_what_comes_later() -> None:
    bench = Bench()
    first = bench.join()
    bench.publish(1)
    second = bench.join()
    bench.publish(2)
    bench.pace.go_on()
    assert (first.messages, second.messages) == (numbers(1, 2), numbers(2))


def test_one_who_leaves_gets_no_more_and_harms_nobody() -> None:
    bench = Bench()
    leaving, staying = bench.join(), bench.join()
    bench.publish(1)
    bench.fanout.leave(leaving)
    bench.fanout.leave(leaving)
    bench.publish(2)
    bench.pace.go_on()
    assert (leaving.messages, staying.messages) == ([], numbers(1, 2))
    assert len(bench.fanout) == bench.count(RelayCounter.SUBSCRIBERS) == 1
    bench.fanout.leave(staying)
    bench.publish(3)
    bench.pace.go_on()
    assert len(bench.fanout) == 0


def test_a_filter_lets_its_symbols_through() -> None:
    bench = Bench()
    everything, some, other = (
        bench.join(),
        bench.join(symbols={"A", "B"}),
        bench.join(symbols={"C"}),
    )
    for number, symbol in enumerate("ABCD"):
        bench.publish(number, symbol=symbol)
    bench.pace.go_on()
    assert everything.messages == numbers(0, 1, 2, 3)
    assert some.messages == numbers(0, 1)
    assert other.messages == numbers(2)
    bench.fanout.leave(some)
    bench.publish(9, symbol="A")
    bench.pace.go_on()
    assert everything.messages[-1] == b"9"


# --- taking turns -----------------------------------------------------------------------------


def test_after_some_writes_the_event_loop_has_its_turn() -> None:
    bench = Bench()
    clients = [bench.join() for _ in range(3 * TURN + 1)]
    bench.publish(1)
    written = []
    while bench.pace.step():
        written.append(sum(client.writes for client in clients))
    assert written == [TURN, 2 * TURN, 3 * TURN, 3 * TURN + 1]


def test_what_comes_within_a_round_goes_together_in_the_next_which_comes_after_a_rest() -> None:
    bench = Bench(queue=100)
    clients = [bench.join() for _ in range(2 * TURN)]
    bench.publish(0)
    bench.pace.step()
    began_ns = bench.pace.time_ns - TURN * 10
    bench.publish(1)
    bench.publish(2)
    bench.pace.step()
    took_ns = bench.pace.time_ns - began_ns
    ((due_ns, _),) = bench.pace.at_calls
    assert due_ns == bench.pace.time_ns + took_ns // 2
    bench.pace.go_on()
    assert {client.writes for client in clients} == {2}
    assert all(client.messages == numbers(0, 1, 2) for client in clients)


def test_a_tick_that_comes_after_the_rest_goes_at_once() -> None:
    bench = Bench()
    client = bench.join()
    bench.publish(1)
    bench.pace.go_on()
    bench.pace.time_ns += 1_000
    bench.publish(2)
    assert bench.pace.soon_calls
    assert not bench.pace.at_calls
    bench.pace.go_on()
    assert client.messages == numbers(1, 2)


# --- slow subscribers -------------------------------------------------------------------------


def test_one_that_stops_reading_costs_the_others_nothing() -> None:
    bench = Bench(queue=8)
    others = [bench.join() for _ in range(99)]
    stopped = bench.join(room=1)
    for number in range(1000):
        bench.publish(number)
        bench.pace.go_on()
    for client in others:
        assert client.messages == numbers(*range(1000))
    assert stopped.messages == numbers(0)
    assert bench.count(RelayCounter.SUBSCRIBER_DROPS) == 1000 - 1 - 8
    (slow,) = [one for one in bench.fanout if one.client is stopped]
    assert (slow.dropped, slow.behind) == (1000 - 1 - 8, 8)
    stopped.drain()
    bench.publish(1000)
    bench.pace.go_on()
    assert stopped.messages == numbers(0, *range(993, 1001))


def test_one_that_is_too_slow_is_disconnected_where_that_is_wanted() -> None:
    bench = Bench(queue=4, slow=DISCONNECT)
    fine, stopped = bench.join(), bench.join(room=1)
    bench.publish(0)
    bench.pace.go_on()
    bench.publish(1, 2, 3, 4)
    bench.pace.go_on()
    assert stopped.closed is None
    bench.publish(5)
    assert stopped.closed is not None
    code, reason = stopped.closed
    assert code == 1008
    assert "4 ticks behind" in reason
    bench.pace.go_on()
    assert fine.messages == numbers(0, 1, 2, 3, 4, 5)
    assert bench.count(RelayCounter.SLOW_DISCONNECTED) == 1
    assert len(bench.fanout) == 1
    stopped.drain()  # too late, and no error
    bench.pace.go_on()


def test_where_the_relay_itself_has_no_time_all_lose_the_oldest_and_go_on() -> None:
    bench = Bench(queue=4)
    clients = [bench.join() for _ in range(3)]
    bench.publish(*range(10))
    bench.pace.go_on()
    for client in clients:
        assert client.messages == numbers(6, 7, 8, 9)
    assert bench.count(RelayCounter.SUBSCRIBER_DROPS) == 3 * 6


def test_one_that_comes_with_a_full_socket_waits_for_it() -> None:
    bench = Bench()
    client = bench.join(room=0)
    bench.publish(1)
    bench.pace.go_on()
    assert client.messages == []
    client.drain()
    bench.pace.go_on()
    assert client.messages == numbers(1)


Step = st.one_of(
    st.tuples(st.just("publish"), st.integers(1, 12)),
    st.tuples(st.just("step"), st.integers(1, 5)),
    st.tuples(st.just("drain"), st.integers(0, 4)),
    st.tuples(st.just("leave"), st.integers(0, 4)),
    st.tuples(st.just("join"), st.integers(0, 4)),
)


@settings(max_examples=300)
@given(st.lists(Step, max_size=60), st.integers(1, 9))
def test_whatever_happens_each_gets_a_row_of_ticks_with_gaps_where_it_lost_some(
    steps: list[tuple[str, int]], queue: int
) -> None:
    bench = Bench(queue=queue)
    clients = [bench.join(room=room) for room in (None, 1, 2, 3, 5)]
    joined_at = [0] * len(clients)
    left: set[int] = set()
    published = 0
    for action, number in steps:
        if action == "publish":
            bench.publish(*range(published, published + number))
            published += number
        elif action == "step":
            for _ in range(number):
                bench.pace.step()
        elif action == "drain" and clients[number].clogged:
            clients[number].drain(room=2)
        elif action == "leave" and number:
            bench.fanout.leave(clients[number])
            left.add(number)
        elif action == "join":
            clients.append(bench.join(room=number or None))
            joined_at.append(published)
    lost = {id(one.client): one.dropped for one in bench.fanout}
    for number, client in enumerate(clients):
        if number not in left and client.clogged:
            client.drain()
    bench.pace.go_on()
    final = {id(one.client): one.dropped for one in bench.fanout}
    assert not bench.fanout.is_busy
    for number, client in enumerate(clients):
        got = [int(message) for message in client.messages]
        assert got == sorted(set(got))
        assert all(each >= joined_at[number] for each in got)
        if number not in left:
            assert final[id(client)] >= lost[id(client)]
            assert len(got) + final[id(client)] == published - joined_at[number]
            assert got[-1:] == ([published - 1] if published > joined_at[number] else [])


# --- frames -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 70_000])
def test_frames_are_as_the_standard_has_them(size: int) -> None:
    (frame,) = frames_of(framed(0x81, b"x" * size))
    assert (frame.opcode, frame.fin, bytes(frame.data)) == (1, True, b"x" * size)


@given(st.binary(max_size=2000))
def test_what_is_compressed_once_every_client_can_read(payload: bytes) -> None:
    reader = PerMessageDeflate(True, True, 9, 9)
    for _ in range(2):  # one frame says nothing about another
        (frame,) = frames_of(framed(0xC1, deflated(payload)), [reader])
        assert bytes(frame.data) == payload
    assert zlib.decompressobj(wbits=-9).decompress(deflated(payload) + b"\0\0\xff\xff") == payload


def test_those_who_agreed_on_compression_get_it_and_others_do_not() -> None:
    bench = Bench()
    plain, compressed = bench.join(), bench.join(deflates=True)
    bench.publish(7)
    bench.pace.go_on()
    assert plain.messages == numbers(7)
    assert compressed.received[0] == 0xC1
    (frame,) = frames_of(compressed.received, [PerMessageDeflate(True, True, 9, 9)])
    assert bytes(frame.data) == b"7"
