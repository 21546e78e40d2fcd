"""The proxy on real sockets: one direction is delayed, the other is not, nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop

from latbench.clock import NS_PER_MS, NS_PER_S, monotonic_ns
from latbench.plan import DelayStep, ProxyPlan
from latbench.stages.proxy import Delays, Proxy
from tests.test_kafka_wire import METADATA, answer, metadata_v1, request

Steps = tuple[DelayStep, ...]
TIMEOUT_S = 20.0


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    uvloop.run(asyncio.wait_for(test(), TIMEOUT_S))


class Upstream:
    """Listens; hands out the sockets of what connects."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()

    def accept(self) -> socket.socket:
        self._listener.settimeout(TIMEOUT_S)
        accepted, _ = self._listener.accept()
        accepted.settimeout(TIMEOUT_S)
        return accepted

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    made = Upstream()
    yield made
    made.close()


def plan(upstream: tuple[str, int], *, towards_upstream: bool = True, **more: Any) -> ProxyPlan:
    return ProxyPlan(
        run_id="",
        host="127.0.0.1",
        upstreams=(upstream,),
        steps=(),
        towards_upstream=towards_upstream,
        is_kafka=more.get("is_kafka", False),
        passing_bytes=more.get("passing_bytes", 0),
    )


@contextlib.asynccontextmanager
async def proxied(
    plan: ProxyPlan, *steps: tuple[int, int], start_ns: int | None = None
) -> AsyncIterator[socket.socket]:
    """A client's socket through a proxy; steps are (offset, delay) in ms from now or `start_ns`."""
    delays = Delays([DelayStep(at * NS_PER_MS, ms * NS_PER_MS) for at, ms in steps])
    proxy = Proxy(plan, delays)
    (address,) = await proxy.open()
    delays.begin(monotonic_ns() if start_ns is None else start_ns)
    client = await asyncio.to_thread(socket.create_connection, address, TIMEOUT_S)
    try:
        yield client
    finally:
        client.close()
        await proxy.close()


def receive(connection: socket.socket, count: int) -> tuple[bytes, int]:
    """So many bytes, and when the last of them was there."""
    got = b""
    while len(got) < count:
        piece = connection.recv(count - len(got))
        assert piece, f"the end after {got!r}"
        got += piece
    return got, monotonic_ns()


def one_way_ns(sender: socket.socket, receiver: socket.socket) -> int:
    sent_ns = monotonic_ns()
    sender.sendall(b"tick")
    got, at_ns = receive(receiver, 4)
    assert got == b"tick"
    return at_ns - sent_ns


@pytest.mark.parametrize("towards_upstream", [True, False])
def test_one_direction_is_delayed_and_the_other_is_not(
    upstream: Upstream, towards_upstream: bool
) -> None:
    async def test() -> None:
        step = (0, 50)
        async with proxied(
            plan(upstream.address, towards_upstream=towards_upstream), step
        ) as client:
            server = await asyncio.to_thread(upstream.accept)
            ends = (client, server) if towards_upstream else (server, client)
            # the quickest of several: what the machine stalls is no delay of the proxy
            slow = [await asyncio.to_thread(one_way_ns, *ends) for _ in range(6)]
            quick = [await asyncio.to_thread(one_way_ns, *reversed(ends)) for _ in range(6)]
            server.close()
        assert min(slow) >= 50 * NS_PER_MS
        assert min(slow) < 53 * NS_PER_MS
        assert min(quick) < 3 * NS_PER_MS

    run(test)


def test_before_the_run_begins_nothing_is_delayed(upstream: Upstream) -> None:
    async def test() -> None:
        future = monotonic_ns() + 3600 * NS_PER_S
        async with proxied(plan(upstream.address), (0, 500), start_ns=future) as client:
            server = await asyncio.to_thread(upstream.accept)
            passed = [await asyncio.to_thread(one_way_ns, client, server) for _ in range(3)]
            server.close()
        assert min(passed) < 100 * NS_PER_MS

    run(test)


def test_what_comes_after_a_delay_has_fallen_stays_behind_what_came_before(
    upstream: Upstream,
) -> None:
    async def test() -> None:
        # the first piece is sent within the delay of 400 ms, the second when there is none
        async with proxied(plan(upstream.address), (0, 400), (150, 0)) as client:
            server = await asyncio.to_thread(upstream.accept)
            begun_ns = monotonic_ns()
            client.sendall(b"first")
            await asyncio.sleep(0.2)
            client.sendall(b"second")
            got, at_ns = await asyncio.to_thread(receive, server, 11)
            server.close()
        assert got == b"firstsecond"
        assert at_ns - begun_ns >= 390 * NS_PER_MS

    run(test)


@pytest.mark.parametrize("delay_ms", [0, 20])
def test_an_end_of_one_direction_is_passed_on_and_the_other_stays_open(
    upstream: Upstream, delay_ms: int
) -> None:
    async def test() -> None:
        async with proxied(plan(upstream.address), (0, delay_ms)) as client:
            server = await asyncio.to_thread(upstream.accept)
            client.sendall(b"question")
            client.shutdown(socket.SHUT_WR)
            got, _ = await asyncio.to_thread(receive, server, 8)
            assert got == b"question"
            assert await asyncio.to_thread(server.recv, 1) == b""
            server.sendall(b"answer")
            got, _ = await asyncio.to_thread(receive, client, 6)
            assert got == b"answer"
            server.close()
            assert await asyncio.to_thread(client.recv, 1) == b""

    run(test)


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_connection_that_is_reset_ends_on_the_other_side(upstream: Upstream, who: str) -> None:
    async def test() -> None:
        async with proxied(plan(upstream.address), (0, 5)) as client:
            server = await asyncio.to_thread(upstream.accept)
            await asyncio.to_thread(one_way_ns, client, server)
            ends, stays = (client, server) if who == "client" else (server, client)
            ends.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            ends.close()
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.to_thread(stays.recv, 1) == b""
            stays.close()

    run(test)


def test_a_connection_ends_when_nobody_listens_upstream(upstream: Upstream) -> None:
    async def test() -> None:
        upstream.close()
        async with proxied(plan(upstream.address)) as client:
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.to_thread(client.recv, 1) == b""

    run(test)


@pytest.mark.parametrize("delay_ms", [0, 10])
def test_megabytes_go_through_whole_to_a_reader_that_takes_its_time(
    upstream: Upstream, delay_ms: int
) -> None:
    content = bytes(range(256)) * 80_000  # 20 MB: five times what is held back at most

    async def test() -> None:
        async with proxied(plan(upstream.address), (0, delay_ms)) as client:
            server = await asyncio.to_thread(upstream.accept)
            sender = threading.Thread(target=client.sendall, args=(content,))
            sender.start()
            got, _ = await asyncio.to_thread(receive, server, len(content))
            await asyncio.to_thread(sender.join)
            server.close()
        assert got == content

    run(test)


def test_a_broker_is_named_by_the_listener_before_it(upstream: Upstream) -> None:
    async def test() -> None:
        async with proxied(plan(upstream.address, is_kafka=True)) as client:
            server = await asyncio.to_thread(upstream.accept)
            question = request(METADATA, 77)
            client.sendall(question)
            got, _ = await asyncio.to_thread(receive, server, len(question))
            assert got == question
            server.sendall(answer(77, metadata_v1(upstream.address)))
            expected = answer(77, metadata_v1(client.getpeername()))
            got, _ = await asyncio.to_thread(receive, client, len(expected))
            assert got == expected
            server.close()

    run(test)


def test_small_answers_pass_at_once_and_large_ones_are_held_back(upstream: Upstream) -> None:
    async def test() -> None:
        held_back = plan(upstream.address, towards_upstream=False, is_kafka=True, passing_bytes=200)
        async with proxied(held_back, (0, 60)) as client:
            server = await asyncio.to_thread(upstream.accept)

            def takes_ns(message: bytes) -> int:
                sent_ns = monotonic_ns()
                server.sendall(message)
                return receive(client, len(message))[1] - sent_ns

            small = [await asyncio.to_thread(takes_ns, answer(1, bytes(100))) for _ in range(4)]
            large = [await asyncio.to_thread(takes_ns, answer(1, bytes(300))) for _ in range(4)]
            server.close()
        assert min(small) < 5 * NS_PER_MS
        assert min(large) >= 60 * NS_PER_MS

    run(test)


def test_each_upstream_has_a_listener_of_its_own(upstream: Upstream) -> None:
    another = Upstream()

    async def test() -> None:
        both = ProxyPlan(
            run_id="",
            host="127.0.0.1",
            upstreams=(upstream.address, another.address),
            steps=(),
            towards_upstream=True,
            is_kafka=False,
        )
        proxy = Proxy(both, Delays(()))
        addresses = await proxy.open()
        for address, there in zip(addresses, (upstream, another), strict=True):
            with await asyncio.to_thread(socket.create_connection, address, TIMEOUT_S) as client:
                server = await asyncio.to_thread(there.accept)
                await asyncio.to_thread(one_way_ns, client, server)
                server.close()
        await proxy.close()

    run(test)
    another.close()


@pytest.mark.parametrize(
    ("offset_ms", "delay_ms"), [(-1, 0), (0, 1), (99, 1), (100, 25), (5000, 25)]
)
def test_the_delay_is_that_of_the_last_step_begun(offset_ms: int, delay_ms: int) -> None:
    delays = Delays([DelayStep(0, NS_PER_MS), DelayStep(100 * NS_PER_MS, 25 * NS_PER_MS)])
    assert delays.at(10 * NS_PER_S) == 0
    delays.begin(NS_PER_S)
    assert delays.at(NS_PER_S + offset_ms * NS_PER_MS) == delay_ms * NS_PER_MS
