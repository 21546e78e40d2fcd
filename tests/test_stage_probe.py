"""The floor's probes and what they ping, each against the other or against somebody who is slow."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import uvloop

from latbench.clock import NS_PER_MS, monotonic_ns
from latbench.config import WS_ENGINES
from latbench.errors import LatbenchError
from latbench.stages import bare_websocket
from latbench.stages.bare_websocket import PAYLOAD
from latbench.stages.echo import echo_tcp
from latbench.stages.metronome import Metronome
from latbench.stages.probe import ping_tcp

INTERVAL_NS = 500_000
PAUSE_NS = 5 * NS_PER_MS


def going_on() -> bool:
    return False


@contextlib.contextmanager
def answering(serve: Callable[[socket.socket], None]) -> Iterator[tuple[str, int]]:
    """A listener's address, what comes there dealt with by `serve` in a thread."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve_until_closed() -> None:
        with contextlib.suppress(OSError):  # it accepts for ever: until the listener is closed
            serve(listener)

    thread = threading.Thread(target=serve_until_closed)
    thread.start()
    try:
        yield listener.getsockname()
    finally:
        listener.shutdown(socket.SHUT_RDWR)  # wakes who accepts, which closing does not
        thread.join()
        listener.close()


def echo_slowly(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        while data := connection.recv(1 << 16):
            time.sleep(PAUSE_NS / 1e9)
            for byte in range(0, len(data), 50):  # an answer in four parts is one answer
                connection.sendall(data[byte : byte + 50])


def hang_up(listener: socket.socket) -> None:
    listener.accept()[0].close()


def test_a_metronome_wakes_at_its_deadlines_and_never_before() -> None:
    metronome = Metronome(INTERVAL_NS)
    begun_ns = monotonic_ns()
    late_ns = [metronome.wait() for _ in range(20)]
    assert min(late_ns) >= 0
    assert monotonic_ns() - begun_ns >= 19 * INTERVAL_NS


def test_a_metronome_passes_over_what_it_has_missed() -> None:
    metronome = Metronome(INTERVAL_NS)
    metronome.wait()
    time.sleep(20 * INTERVAL_NS / 1e9)
    begun_ns = monotonic_ns()
    late_ns = metronome.wait()
    # neither at once nor with the lateness of the deadlines meanwhile
    assert monotonic_ns() - begun_ns >= INTERVAL_NS
    assert 0 <= late_ns < monotonic_ns() - begun_ns


def test_tcp_gives_a_wake_up_and_a_round_trip_for_each_sample() -> None:
    with answering(echo_tcp) as address:
        begun_ns = monotonic_ns()
        late_ns, round_trips_ns = ping_tcp(address, 50, INTERVAL_NS, going_on)
        took_ns = monotonic_ns() - begun_ns
    assert len(late_ns) == len(round_trips_ns) == 50
    assert min(late_ns) >= 0
    assert min(round_trips_ns) > 0
    assert took_ns >= 49 * INTERVAL_NS
    assert sum(late_ns) + sum(round_trips_ns) < took_ns


def test_tcp_counts_all_of_a_round_trip() -> None:
    with answering(echo_slowly) as address:
        late_ns, round_trips_ns = ping_tcp(address, 5, INTERVAL_NS, going_on)
    assert min(round_trips_ns) >= PAUSE_NS
    # what the deadlines missed meanwhile is no lateness of the timer
    assert sorted(late_ns)[2] < PAUSE_NS


def test_tcp_ends_when_it_is_told_to() -> None:
    turns = iter([False] * 7 + [True])
    with answering(echo_tcp) as address:
        late_ns, round_trips_ns = ping_tcp(address, 1000, INTERVAL_NS, lambda: next(turns))
    assert len(late_ns) == len(round_trips_ns) == 7


def test_tcp_does_not_take_an_end_for_an_answer() -> None:
    with answering(hang_up) as address, pytest.raises(ConnectionError):
        ping_tcp(address, 5, INTERVAL_NS, going_on)


@pytest.mark.parametrize("engine", WS_ENGINES)
@pytest.mark.parametrize("other", WS_ENGINES)
def test_either_library_has_its_message_back(engine: str, other: str) -> None:
    async def main() -> list[int]:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        server = await bare_websocket.serve(other, listener)
        try:
            values_ns = await bare_websocket.ping(
                engine, listener.getsockname(), 50, INTERVAL_NS, lambda _stop: None
            )
            return list(values_ns)
        finally:
            server.close()

    begun_ns = monotonic_ns()
    values_ns = uvloop.run(asyncio.wait_for(main(), 30))
    took_ns = monotonic_ns() - begun_ns
    assert len(values_ns) == 50
    assert min(values_ns) > 0
    assert took_ns >= 49 * INTERVAL_NS
    assert sum(values_ns) < took_ns


@pytest.mark.parametrize("engine", WS_ENGINES)
def test_a_websocket_that_is_told_to_stop_gives_what_it_has(engine: str) -> None:
    async def main() -> list[int]:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        server = await bare_websocket.serve(engine, listener)
        loop = asyncio.get_running_loop()
        try:
            values_ns = await bare_websocket.ping(
                engine,
                listener.getsockname(),
                1_000_000,
                INTERVAL_NS,
                lambda stop: loop.call_later(0.05, stop),
            )
            return list(values_ns)
        finally:
            server.close()

    assert 0 < len(uvloop.run(asyncio.wait_for(main(), 30))) < 1_000_000


@pytest.mark.parametrize("engine", WS_ENGINES)
def test_a_websocket_whose_other_end_has_gone_is_told(engine: str) -> None:
    """It shakes hands, takes one message and hangs up."""

    async def main() -> None:
        from websockets.asyncio.server import ServerConnection, serve  # noqa: PLC0415

        async def leave(connection: ServerConnection) -> None:
            assert await connection.recv(decode=False) == PAYLOAD

        async with serve(leave, "127.0.0.1", 0, compression=None) as server:
            address = next(iter(server.sockets)).getsockname()
            await bare_websocket.ping(engine, address, 50, INTERVAL_NS, lambda _stop: None)

    with pytest.raises(LatbenchError, match="the other end of the floor's WebSocket has gone"):
        uvloop.run(asyncio.wait_for(main(), 30))
