"""The relay's port as its clients meet it, with both libraries."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
from typing import Any, cast

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as raw_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from latbench.config import WS_ENGINES
from latbench.plan import ServerSettings
from latbench.recording import RelayCounter
from latbench.stages.websocket import Server
from latbench.stages.websocket_server import WebsocketServer
from tests.cli import until
from tests.serving import each_server, on_a_loop, serving
from tests.websocket_client import CLOSE, CONTINUATION, PONG, TEXT, RawClient, frame, handshake

each_library = pytest.mark.parametrize("server_engine", WS_ENGINES)
QUICK = ServerSettings(ping_after_s=0.5, ping_timeout_s=0.5)


async def client_of(server: Server, path: str, **options: Any) -> ClientConnection:
    options = {"compression": None, "proxy": None, **options}
    return await raw_connect(f"ws://127.0.0.1:{server.port}{path}", **options)


async def ask(server: Server, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
    """A plain request, by the standard library's client."""

    def request() -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request(method, path)
        answer = connection.getresponse()
        found = answer.status, dict(answer.headers), answer.read()
        connection.close()
        return found

    return await asyncio.to_thread(request)


def publish(server: Server, *messages: bytes) -> None:
    for message in messages:
        server.fanout.publish(message, "TCS")


async def receive(client: ClientConnection, count: int) -> list[bytes]:
    return [await client.recv(decode=False) for _ in range(count)]


def counted(server: Server, counter: RelayCounter) -> int:
    return cast("WebsocketServer", server).counters[counter]


@each_library
def test_a_plain_request_gets_a_page_beside_the_clients(server_engine: str) -> None:
    async def main() -> None:
        async with serving(server_engine) as (server, received):
            client = await client_of(server, "/ingest")
            status, headers, body = await ask(server, "GET", "/")
            assert (status, b"latbench" in body) == (200, True)
            status, head, body = await ask(server, "HEAD", "/")
            assert (status, body, head["Content-Length"]) == (200, b"", headers["Content-Length"])
            assert (await ask(server, "GET", "/nowhere"))[0] == 404
            assert (await ask(server, "GET", "/ticks"))[0] == 426
            assert (await ask(server, "POST", "/"))[0] == 405
            status, _, body = await ask(server, "GET", "/healthz")
            told = json.loads(body)
            assert (status, told["status"], told["clients"]) == (200, "ok", 1)
            server.pause()
            assert json.loads((await ask(server, "GET", "/healthz"))[2])["status"] == "blocked"
            server.resume()
            await client.send(b"still there")
            await until(lambda: received == [b"still there"])
            await client.close()

    on_a_loop(main)


@each_library
def test_subscribers_get_what_is_published_and_those_of_a_filter_theirs(
    server_engine: str,
) -> None:
    async def main() -> None:
        async with serving(server_engine) as (server, _):
            clients = [await client_of(server, "/ticks") for _ in range(3)]
            filtered = await client_of(server, "/ticks?symbols=NIFTY")
            await until(lambda: len(server.fanout) == 4)
            server.fanout.publish(b"one", "TCS")
            server.fanout.publish(b"x" * 70_000, "NIFTY")
            for client in clients:
                assert await receive(client, 2) == [b"one", b"x" * 70_000]
            assert await receive(filtered, 1) == [b"x" * 70_000]
            for client in [*clients, filtered]:
                await client.close()
            await until(lambda: len(server.fanout) == 0)

    on_a_loop(main)


@each_server
def test_who_comes_to_the_root_gets_ticks_until_it_sends_one(server_engine: str) -> None:
    async def main() -> None:
        async with serving(server_engine) as (server, received):
            client = await client_of(server, "/")
            await until(lambda: len(server.fanout) == 1)
            publish(server, b"before")
            assert await receive(client, 1) == [b"before"]
            await client.send("first")
            await client.send("second")
            await until(lambda: received == [b"first", b"second"])
            assert len(server.fanout) == 0
            publish(server, b"after")
            await (await client.ping())
            await client.close()
            with pytest.raises(ConnectionClosed):
                await client.recv()

    on_a_loop(main)


@each_server
def test_who_only_receives_may_not_send(server_engine: str) -> None:
    async def main() -> None:
        async with serving(server_engine) as (server, received):
            client, other = await client_of(server, "/ticks"), await client_of(server, "/ticks")
            await client.send("a tick?")
            await client.wait_closed()
            assert (client.close_code, client.close_reason) == (1008, "ticks are sent to /ingest")
            assert counted(server, RelayCounter.REFUSED_CLIENTS) == 1
            await until(lambda: len(server.fanout) == 1)
            publish(server, b"on")
            assert await receive(other, 1) == [b"on"]
            assert received == []
            await other.close()

    on_a_loop(main)


@each_library
@pytest.mark.parametrize("slow_client", ["drop-oldest", "disconnect"])
def test_one_client_that_stops_reading_ninety_nine_do_not_notice(
    server_engine: str, slow_client: str
) -> None:
    """And neither does this process's memory."""
    settings = ServerSettings(slow_client=slow_client, subscriber_queue=64, ping_after_s=3600)
    messages = [b"%6d " % number + b"x" * 10_000 for number in range(400)]

    async def read_all(client: ClientConnection) -> list[bytes]:
        return await receive(client, len(messages))

    async def main() -> None:
        async with serving(server_engine, settings) as (server, _):
            stopped = await asyncio.to_thread(RawClient.upgraded, server.port, "/ticks")
            stopped.hold_little()
            healthy = [
                await client_of(server, "/ticks", max_queue=None, ping_interval=None)
                for _ in range(99)
            ]
            await until(lambda: len(server.fanout) == 100)
            readers = [asyncio.create_task(read_all(client)) for client in healthy]
            fanout = cast("WebsocketServer", server).fanout
            for number, message in enumerate(messages):
                publish(server, message)
                if number % 16 == 15:  # no faster than those who read take it
                    await until(lambda: not fanout.is_busy)
            for reader in readers:
                assert await reader == messages
            dropped = counted(server, RelayCounter.SUBSCRIBER_DROPS)
            assert dropped > 0
            if slow_client == "disconnect":
                await until(lambda: len(server.fanout) == 99)
                assert counted(server, RelayCounter.SLOW_DISCONNECTED) == 1
            else:
                told = json.loads((await ask(server, "GET", "/healthz"))[2])
                (slow,) = told["slowest"]
                assert slow["dropped"] == told["dropped"] == dropped
                assert slow["behind"] == 64
                assert len(server.fanout) == 100
            stopped.close()
            for client in healthy:
                await client.close()

    on_a_loop(main)


@each_library
def test_a_half_open_connection_is_found_and_one_that_answers_pings_is_kept(
    server_engine: str,
) -> None:
    async def main() -> None:
        async with serving(server_engine, QUICK) as (server, received):
            alive = await client_of(server, "/ticks", ping_interval=None)
            gone = await asyncio.to_thread(RawClient.upgraded, server.port, "/ingest")
            await until(lambda: server.clients == 2)
            await until(lambda: server.clients == 1, timeout_s=5)
            assert counted(server, RelayCounter.TIMED_OUT) == 1
            publish(server, b"on")
            assert await receive(alive, 1) == [b"on"]
            gone.close()
            await alive.close()
            assert received == []

    on_a_loop(main)


@each_library
def test_a_client_too_many_is_told_so_and_may_come_when_another_has_gone(
    server_engine: str,
) -> None:
    async def main() -> None:
        async with serving(server_engine, ServerSettings(max_clients=2)) as (server, _):
            first, second = await client_of(server, "/ticks"), await client_of(server, "/ingest")
            with pytest.raises(InvalidStatus) as caught:
                await client_of(server, "/ticks")
            assert caught.value.response.status_code == 503
            await first.close()
            await until(lambda: server.clients == 1)
            third = await client_of(server, "/ticks")
            await second.close()
            await third.close()

    on_a_loop(main)


@each_server
def test_one_that_sends_more_than_it_may_has_to_go_and_no_other(server_engine: str) -> None:
    async def main() -> None:
        async with serving(server_engine, ServerSettings(client_rate_hz=50)) as (server, received):
            eager, modest = await client_of(server, "/ingest"), await client_of(server, "/ingest")
            with contextlib.suppress(ConnectionClosed):
                for _ in range(200):
                    await eager.send("x")
            await eager.wait_closed()
            assert (eager.close_code, eager.close_reason) == (
                1008,
                "over 50 messages/s (--client-rate)",
            )
            assert 50 <= len(received) < 200
            await modest.send("fine")
            await until(lambda: received[-1] == b"fine")
            await modest.close()

    on_a_loop(main)


@each_server
def test_a_message_over_the_limit_ends_its_connection_with_1009(server_engine: str) -> None:
    async def main() -> None:
        async with serving(server_engine, ServerSettings()) as (server, received):
            client = await client_of(server, "/ingest")
            await client.send(b"x" * 65_536)
            await until(lambda: received == [b"x" * 65_536])
            with contextlib.suppress(ConnectionClosed):
                await client.send(b"x" * 65_537)
            await client.wait_closed()
            assert client.close_code == 1009
            assert len(received) == 1

    on_a_loop(main)


def test_ticks_are_compressed_where_websockets_agrees_on_it_and_incoming_ones_read() -> None:
    async def main() -> None:
        async with serving("websockets", ServerSettings(deflate=True)) as (server, received):
            client = await client_of(server, "/", compression="deflate")
            assert client.protocol.extensions
            await until(lambda: len(server.fanout) == 1)
            publish(server, b"tick " * 100, b"tack")
            assert await receive(client, 2) == [b"tick " * 100, b"tack"]
            await client.send("y" * 1000)
            await until(lambda: received == [b"y" * 1000])
            await client.close()

    on_a_loop(main)


def test_picows_does_not_agree_on_compression() -> None:
    async def main() -> None:
        async with serving("picows", ServerSettings(deflate=True)) as (server, _):
            client = await client_of(server, "/ticks", compression="deflate")
            assert not client.protocol.extensions
            await client.close()

    on_a_loop(main)


@each_library
def test_a_stop_lets_subscribers_have_what_is_there_for_them_and_says_1001(
    server_engine: str,
) -> None:
    async def main() -> None:
        async with serving(server_engine) as (server, _):
            clients = [await client_of(server, "/ticks", max_queue=None) for _ in range(30)]
            await until(lambda: len(server.fanout) == 30)
            publish(server, *(b"%d" % number for number in range(200)))
            await server.close()
            for client in clients:
                assert await receive(client, 200) == [b"%d" % number for number in range(200)]
                await client.wait_closed()
                assert client.close_code == 1001

    on_a_loop(main)


@each_library
@pytest.mark.parametrize(
    "beginning",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="TLS"),
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000, id="a head without end"),
        pytest.param(b"\0\0\r\n\r\n", id="zeros"),
        pytest.param(b"GET  /\r\n\r\n", id="no version"),
    ],
)
def test_what_is_no_request_is_refused_at_once(server_engine: str, beginning: bytes) -> None:
    async def main() -> None:
        async with serving(server_engine) as (server, _):

            def talk() -> bytes:
                with socket.create_connection(("127.0.0.1", server.port), 4) as sock:
                    sock.sendall(beginning)
                    return sock.recv(1000)

            with contextlib.suppress(ConnectionResetError):
                assert (await asyncio.to_thread(talk))[:10] == b"HTTP/1.1 4"

    on_a_loop(main)


@each_library
def test_a_request_that_comes_in_parts_with_frames_behind_it_is_one(server_engine: str) -> None:
    async def main() -> None:
        async with serving(server_engine) as (server, received):
            client = RawClient(server.port)
            data = handshake("/ingest") + frame(TEXT, b"at once") + frame(TEXT, b"and on")
            for begin in range(0, len(data), 17):
                client.send(data[begin : begin + 17])
                await asyncio.sleep(0)
            await until(lambda: received == [b"at once", b"and on"])
            assert await asyncio.to_thread(client.was_heard)
            client.close()

    on_a_loop(main)


@each_library
def test_a_pong_that_nobody_asked_for_is_no_message(server_engine: str) -> None:
    async def main() -> None:
        async with serving(server_engine) as (server, received):
            client = await asyncio.to_thread(RawClient.upgraded, server.port, "/ticks")
            client.send(frame(PONG, b"unasked"))
            assert await asyncio.to_thread(client.was_heard)
            client.send(frame(CLOSE, b"\x03\xe8"))
            assert not await asyncio.to_thread(client.was_heard)
            assert received == []
            client.close()

    on_a_loop(main)


@each_server
@pytest.mark.parametrize(
    ("frames", "code"),
    [
        pytest.param(frame(TEXT, b"x", reserved=4), 1002, id="reserved bit"),
        pytest.param(frame(CLOSE, b"\x03\xe8", reserved=1), 1002, id="reserved bit of a close"),
        pytest.param(frame(TEXT, b"\xce\xba\xed\xa0\x80"), 1007, id="no UTF-8"),
        pytest.param(
            frame(TEXT, b"\xce", fin=False) + frame(CONTINUATION, b"\xff"), 1007,
            id="no UTF-8 in fragments",
        ),
        pytest.param(frame(CLOSE, b"\x03\xee"), 1002, id="close 1006, which is never sent"),
        pytest.param(frame(CLOSE, b"\x00\x00"), 1002, id="close 0"),
        pytest.param(frame(CLOSE, b"\x03"), 1002, id="half a close code"),
        pytest.param(frame(CLOSE, b"\x03\xe8\xff"), 1007, id="close with a reason of no UTF-8"),
        pytest.param(frame(CLOSE, b"\x0b\xb8fine"), 3000, id="close 3000"),
        pytest.param(frame(CLOSE), None, id="close without a code"),
    ],
)  # fmt: skip
def test_close_codes_are_those_of_the_standard(
    frames: bytes, code: int | None, server_engine: str
) -> None:
    """As the Autobahn test suite asks for them (3, 6 and 7)."""

    async def main() -> None:
        async with serving(server_engine) as (server, received):
            client = await asyncio.to_thread(RawClient.upgraded, server.port, "/ingest")
            client.send(frames)
            answer = await asyncio.to_thread(client.read_to_the_end)
            assert answer[0] == 0x80 | CLOSE
            told = int.from_bytes(answer[2:4], "big") if answer[1] else None
            assert told == code
            assert received == []
            client.close()

    on_a_loop(main)


@each_server
def test_text_beyond_ascii_is_taken_and_so_is_what_is_no_text(server_engine: str) -> None:
    async def main() -> None:
        async with serving(server_engine) as (server, received):
            client = await client_of(server, "/ingest")
            rupees = "₹ 24,321.55".encode()
            await client.send(rupees.decode())
            await client.send(["₹", " 1"])
            await client.send(b"\xff\xfe")  # binary
            client.transport.write(frame(TEXT, rupees) * 20)
            await until(lambda: len(received) == 23)
            assert received[:3] == [rupees, "₹ 1".encode(), b"\xff\xfe"]
            assert received[3:] == [rupees] * 20
            await client.close()

    on_a_loop(main)
