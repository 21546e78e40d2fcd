"""Both WebSocket engines on loopback, each end of one against each end of the other."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator

import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as raw_connect
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as raw_serve
from websockets.exceptions import ConnectionClosed

from latbench.plan import MAX_REPLAYED_BYTES
from latbench.source import TickBlock
from latbench.stages.framing import framed
from latbench.stages.websocket import Link, Server, connect
from latbench.tick import sent_suffix_format
from latbench.tickmatrix import Chars
from tests.cli import until
from tests.serving import (
    IN_BULK,
    MIB,
    RUN_ID,
    each_client,
    each_server,
    on_a_loop,
    serving,
)
from tests.websocket_client import CLOSE, CONTINUATION, PING, TEXT, RawClient, frame, handshake


@contextlib.asynccontextmanager
async def linked(engine: str, server: Server) -> AsyncIterator[Link]:
    """A generator's connection to a server."""
    link = await connect(engine, url(server))
    try:
        yield link
    finally:
        await link.close()


def url(server: Server) -> str:
    return f"ws://127.0.0.1:{server.port}/ingest"


async def raw_client(server: Server) -> ClientConnection:
    """A client that is neither engine's link; without compression, as those are."""
    return await raw_connect(url(server), compression=None, proxy=None)


@each_server
@each_client
def test_messages_arrive_whole_and_in_order(server_engine: str, client_engine: str) -> None:
    rng = random.Random(1)
    # the lengths at which a frame's header grows are among them
    sizes = [0, 1, 125, 126, 127, 65_535, 65_536] + [rng.randrange(2_000) for _ in range(3_000)]
    messages = [b"%d " % i + b"x" * size for i, size in enumerate(sizes)] + [b"{\xe2\x82\xac}"]

    async def main() -> None:
        async with (
            serving(server_engine) as (server, received),
            linked(client_engine, server) as link,
        ):
            for message in messages:
                link.send(message)
            await until(lambda: len(received) >= len(messages))
            assert received == messages
            assert all(type(message) is bytes for message in received)

    on_a_loop(main)


@each_server
@each_client
def test_a_message_of_five_megabytes_arrives_whole(server_engine: str, client_engine: str) -> None:
    snapshot = b'{"asks":"' + b"0123456789abcdef" * (5 * MIB // 16) + b'"}'

    async def main() -> None:
        async with (
            serving(server_engine) as (server, received),
            linked(client_engine, server) as link,
        ):
            for message in (b"before", snapshot, b"after"):
                link.send(message)
            await until(lambda: len(received) == 3)
            assert received == [b"before", snapshot, b"after"]

    on_a_loop(main)


@each_server
def test_fragments_are_joined_for_each_client_by_itself(server_engine: str) -> None:
    async def main() -> None:
        async with serving(server_engine) as (server, received):
            one, other = await raw_client(server), await raw_client(server)
            gate, told = asyncio.Event(), asyncio.Event()

            async def in_parts() -> AsyncIterator[str]:
                yield '{"a":'
                yield ""
                await (await one.ping())  # control frames may come between
                told.set()
                await gate.wait()
                yield "1"
                yield "}"

            sending = asyncio.create_task(one.send(in_parts()))
            await told.wait()
            await other.send([b"[", b"2", b"]"])
            await other.send("3")
            await until(lambda: len(received) == 2)
            gate.set()
            await sending
            await one.send("4")
            await until(lambda: len(received) == 4)
            assert received == [b"[2]", b"3", b'{"a":1}', b"4"]
            await one.close()
            await other.close()

    on_a_loop(main)


@each_server
@each_client
def test_a_paused_server_makes_its_sender_wait_and_loses_nothing(
    server_engine: str, client_engine: str
) -> None:
    async def main() -> None:
        async with (
            serving(server_engine) as (server, received),
            linked(client_engine, server) as link,
        ):
            link.send(b"first")
            await until(lambda: received == [b"first"])
            server.pause()
            sent = 1
            while link.backlog_bytes() < 8 * MIB:  # what the sockets hold is far less
                link.send(b"%d " % sent + b"x" * 65_536)
                sent += 1
                await asyncio.sleep(0)
                assert sent < 1_000
            in_time = len(received)
            await asyncio.sleep(0.05)  # that nothing happens can only be waited for
            assert len(received) == in_time
            assert link.backlog_bytes() >= 7 * MIB
            server.resume()
            await until(lambda: len(received) == sent)
            assert [int(message.split()[0]) for message in received[1:]] == list(range(1, sent))
            await until(lambda: link.backlog_bytes() == 0)

    on_a_loop(main)


@each_server
def test_a_client_that_comes_while_reading_is_paused_has_to_wait_too(server_engine: str) -> None:
    async def main() -> None:
        async with serving(server_engine) as (server, received):
            server.pause()
            client = await raw_client(server)
            await until(lambda: server.clients == 1)
            await client.send(b"early")
            await asyncio.sleep(0.05)  # that nothing happens can only be waited for
            assert received == []
            server.resume()
            await until(lambda: received == [b"early"])
            await client.close()

    on_a_loop(main)


@each_server
def test_clients_that_go_while_reading_is_paused_do_not_harm_the_others(
    server_engine: str,
) -> None:
    async def main() -> None:
        async with serving(server_engine) as (server, received):
            leaving, cut, staying = [await raw_client(server) for _ in range(3)]
            await until(lambda: server.clients == 3)
            server.pause()
            goodbye = asyncio.create_task(leaving.close())
            cut.transport.abort()
            await staying.send(b"still here")
            server.resume()
            await until(lambda: received == [b"still here"])
            await goodbye
            server.pause()
            server.resume()
            await staying.send(b"and on")
            await until(lambda: received[1:] == [b"and on"])
            await until(lambda: server.clients == 1)
            await staying.close()

    on_a_loop(main)


@each_server
def test_reading_can_be_paused_and_resumed_at_any_moment_of_a_clients_end(
    server_engine: str,
) -> None:
    """As the relay does it: from within a message, with a close frame right behind that."""

    async def main() -> None:
        async with serving(server_engine) as (server, received):
            staying = await raw_client(server)
            for round_number in range(1, 21):
                leaving = await raw_client(server)
                await leaving.send(b"last words")
                goodbye = asyncio.create_task(leaving.close())
                while not goodbye.done() or server.clients > 1:
                    server.pause()
                    await asyncio.sleep(0)
                    server.resume()
                    await asyncio.sleep(0)
                await goodbye
                assert len(received) == round_number
            await staying.send(b"on")
            await until(lambda: received[-1] == b"on")
            await staying.close()

    on_a_loop(main)


@each_client
def test_a_link_closes_with_code_1000_after_all_it_has_buffered(client_engine: str) -> None:
    received: list[str | bytes] = []
    ended: list[int | None] = []

    async def take(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                received.append(await connection.recv(decode=False))
        ended.append(connection.close_code)

    async def main() -> None:
        async with raw_serve(take, "127.0.0.1", 0, max_queue=1, max_size=None) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            link = await connect(client_engine, f"ws://127.0.0.1:{port}/")
            sent = 0
            while link.backlog_bytes() < 4 * MIB:
                link.send(b"x" * 65_536)
                sent += 1
            assert not link.closed
            await link.close()
            assert link.closed
            await until(lambda: ended)
            assert len(received) == sent
            assert {len(message) for message in received} == {65_536}

    on_a_loop(main)
    assert ended == [1000]


@each_server
@each_client
def test_a_server_that_closes_says_1001_and_its_links_know(
    server_engine: str, client_engine: str
) -> None:
    async def main() -> None:
        async with serving(server_engine) as (server, received):
            link = await connect(client_engine, url(server))
            client = await raw_client(server)
            link.send(b"one")
            await until(lambda: received == [b"one"])
            assert server.clients == 2
            await server.close()
            await until(lambda: link.closed)
            await client.wait_closed()
            assert client.close_code == 1001
            await until(lambda: server.clients == 0)
            await link.close()
            with pytest.raises(OSError, match=r"Connect call failed|onnection refused"):
                await connect(client_engine, url(server))

    on_a_loop(main)


@each_client
def test_a_link_notices_that_the_other_side_was_killed(client_engine: str) -> None:
    async def cut(connection: ServerConnection) -> None:
        await connection.recv()
        connection.transport.abort()

    async def main() -> None:
        async with raw_serve(cut, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            link = await connect(client_engine, f"ws://127.0.0.1:{port}/")
            link.send(b"one")
            await until(lambda: link.closed)
            await link.close()

    on_a_loop(main)


@each_server
def test_a_message_that_is_too_large_ends_its_connection_and_no_other(server_engine: str) -> None:
    async def main() -> None:
        async with serving(server_engine) as (server, received):
            large, small = await raw_client(server), await raw_client(server)
            with contextlib.suppress(ConnectionClosed):
                await large.send(b"x" * (MAX_REPLAYED_BYTES + 1))
            await large.wait_closed()
            await small.send(b"fine")
            await until(lambda: received == [b"fine"])
            await small.close()
            assert large.close_code in {1009, 1006}

    on_a_loop(main)


@each_server
def test_a_client_that_pings_and_never_reads_has_to_wait(server_engine: str) -> None:
    """Else the answers to it fill the relay's memory, a gigabyte in five seconds."""
    pings = frame(PING, b"x" * 125) * 500

    async def main() -> None:
        async with serving(server_engine) as (server, received):
            other = await raw_client(server)
            client = await asyncio.to_thread(RawClient.upgraded, server.port)
            left, refused = pings, 0

            def is_held_up() -> bool:
                nonlocal left, refused
                taken = client.send_without_waiting(left)
                left = left[taken:] or pings
                refused = 0 if taken else refused + 1
                return refused > 100

            await until(is_held_up, what="the client's socket to stay full")
            server.pause()
            server.resume()  # which holds for those that read only
            refused = 0
            await until(is_held_up)
            await other.send(b"fine")
            await until(lambda: received == [b"fine"])

            # once it reads, it is a client like any other
            assert await asyncio.to_thread(client.was_heard, left)
            client.close()
            await other.close()

    on_a_loop(main)


@each_server
def test_a_message_of_endless_fragments_ends_its_connection_and_no_other(
    server_engine: str,
) -> None:
    async def main() -> None:
        async with serving(server_engine) as (server, received):
            other = await raw_client(server)
            client = await asyncio.to_thread(RawClient.upgraded, server.port)
            client.send(frame(TEXT, b"x", fin=False))
            fragment = frame(CONTINUATION, b"x" * MIB, fin=False)

            def send_on() -> bool:
                for _ in range(2 * MAX_REPLAYED_BYTES // MIB):
                    client.send(fragment)
                return client.was_heard()

            assert not await asyncio.to_thread(send_on)
            client.close()
            await other.send(b"fine")
            await until(lambda: received == [b"fine"])
            await other.close()

    on_a_loop(main)


@each_server
def test_what_follows_a_frame_that_was_refused_is_not_handed_over(server_engine: str) -> None:
    """A server may read on for a moment after its close frame, but must not heed what comes."""

    async def main() -> None:
        async with serving(server_engine) as (server, received):
            client = await asyncio.to_thread(RawClient.upgraded, server.port)
            client.send(frame(CONTINUATION, b"end"))
            await until(lambda: client.has_something_to_read, what="the server's close frame")
            client.send(frame(TEXT, b"late"))
            assert not await asyncio.to_thread(client.was_heard)
            client.close()
            assert received == []

    on_a_loop(main)


@each_server
@pytest.mark.parametrize(
    "frames",
    [
        pytest.param(frame(CONTINUATION, b"end"), id="an end without a beginning"),
        pytest.param(frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), id="one within another"),
    ],
)
def test_fragments_that_make_no_message_end_their_connection(
    server_engine: str, frames: bytes
) -> None:
    async def main() -> None:
        async with serving(server_engine) as (server, received):
            client = await asyncio.to_thread(RawClient.upgraded, server.port)
            client.send(frames)
            assert not await asyncio.to_thread(client.was_heard)
            client.close()
            assert received == []

    on_a_loop(main)


@each_server
def test_clients_that_do_not_answer_do_not_hold_up_the_end(server_engine: str) -> None:
    async def main() -> None:
        async with serving(server_engine) as (server, _):
            silent = [await asyncio.to_thread(RawClient.upgraded, server.port) for _ in range(3)]
            silent[1].shut_writing()
            for beginning in (b"", handshake()[:40], b"GET / HTTP/1.1\r\n\r\n", b"\0" * 99):
                silent.append(RawClient(server.port))
                silent[-1].send(beginning)
            await until(lambda: server.clients == 2)
            await asyncio.wait_for(server.close(), 3)
            for client in silent:
                client.close()

    on_a_loop(main)


# --- many frames at once ----------------------------------------------------------------------

SENT_NS = 1_700_000_000_000_000_000


def texts(count: int, first: int = 0) -> list[bytes]:
    """Messages of one length, none like another."""
    return [
        b"%8d " % i + random.Random(i).randbytes(120).hex().encode()
        for i in range(first, first + count)
    ]


def stream(messages: list[bytes]) -> bytes:
    """What a client sends of them."""
    return b"".join(frame(TEXT, message) for message in messages)


def made_ahead(count: int, document_chars: int) -> tuple[Chars, list[bytes]]:
    """A generator's frames, and the messages that it would send one by one."""
    documents = [b"%08d" % i + b"d" * (document_chars - 8) for i in range(count)]
    block = TickBlock(
        due_ns=list(range(1_000, 1_000 + count)),
        symbol_ids=[0] * count,
        blob=b"".join(documents),
        bounds=[0, *itertools.accumulate(map(len, documents))],
    )
    (made,) = framed((each for each in [block]), RUN_ID)
    assert made.framed is not None
    frames, slot = made.framed.frames, made.framed.sent_slot
    frames[:, slot] ^= np.frombuffer(b"%20d" % SENT_NS, dtype=np.uint8)
    suffix = sent_suffix_format(RUN_ID)
    sent = zip(documents, block.due_ns, strict=True)
    return frames, [each + suffix % (seq, due, SENT_NS) for seq, (each, due) in enumerate(sent)]


@each_server
@pytest.mark.parametrize("document_chars", [8, 120, 700])
def test_frames_made_ahead_arrive_as_what_is_sent_one_by_one(
    server_engine: str, document_chars: int
) -> None:
    frames, messages = made_ahead(5_000, document_chars)
    rng = random.Random(document_chars)

    async def main() -> None:
        async with serving(server_engine) as (server, received), linked("picows", server) as link:
            write = link.write_frames
            assert write is not None
            first = 0
            while first < len(frames):
                count = rng.choice([1, 1, 5, 30, 500])
                write(frames[first : first + count].data.cast("B"))
                if rng.random() < 0.5:
                    await asyncio.sleep(0)
                first += count
            await until(lambda: len(received) >= len(messages))
            assert received == messages
            assert (received.texts > 0) is (server_engine == IN_BULK)
            for message in messages[:100]:
                link.send(message)
            await until(lambda: len(received) >= len(messages) + 100)
            assert received[len(messages) :] == messages[:100]

    on_a_loop(main)


@pytest.mark.parametrize(("server_engine", "calls"), [("picows", 2), (IN_BULK, 1)])
def test_what_one_read_brought_is_handed_over_together(server_engine: str, calls: int) -> None:
    async def main() -> None:
        async with serving(server_engine) as (server, received):
            client = await raw_client(server)
            client.transport.write(stream(texts(4)))  # behind these frames are read in bulk
            await until(lambda: len(received) == 4)
            client.transport.write(stream(texts(20)))
            await until(lambda: len(received) == 24)
            assert received[4:] == texts(20)
            assert received.calls == calls
            assert received.texts == (20 if server_engine == IN_BULK else 0)
            await client.close()

    on_a_loop(main)


def test_a_client_that_sends_one_at_a_time_is_read_in_bulk_only_while_it_sends_many() -> None:
    many, one = texts(20), texts(1)

    async def main() -> None:
        async with serving(IN_BULK) as (server, received):
            client = await raw_client(server)
            expected: list[bytes] = []
            in_bulk: list[int] = []

            async def sent(messages: list[bytes]) -> None:
                before = received.texts
                client.transport.write(stream(messages))
                expected.extend(messages)
                await until(lambda: len(received) == len(expected))
                in_bulk.append(received.texts - before)

            for _ in range(2):
                await sent(one)
                await sent(many)  # seen to be many when they are there
                await sent(many)
                for _ in range(40):
                    await sent(one)
            assert received == expected
            assert in_bulk == [0, 0, 20, *[0] * 40] * 2
            # the first 32 behind many come the way that many do
            assert received.alone == 2 * (1 + 8)
            await client.close()

    on_a_loop(main)


def test_one_that_never_pauses_between_frames_is_read_in_bulk_all_the_same() -> None:
    messages = texts(300, 300)  # their frames are of one size
    size = len(frame(TEXT, messages[0]))

    async def main() -> None:
        async with serving(IN_BULK) as (server, received):
            client = await raw_client(server)
            data = stream(messages)
            part = 20 * size + 50  # each read ends within a frame
            for begin in range(0, len(data), part):
                client.transport.write(data[begin : begin + part])
                whole = min(begin + part, len(data)) // size
                await until(lambda whole=whole: len(received) >= whole)  # type: ignore[misc]
            assert received == messages
            # two reads are the library's: to find where a frame begins takes one after the first
            assert received.texts >= 300 - 2 * 21
            await client.close()

    on_a_loop(main)


@each_server
def test_clients_whose_frames_come_in_parts_by_turns_are_read_apart(server_engine: str) -> None:
    of_each = [texts(40, first) for first in (0, 100, 200)]
    rng = random.Random(5)

    async def main() -> None:
        async with serving(server_engine) as (server, received):
            clients = [await asyncio.to_thread(RawClient.upgraded, server.port) for _ in of_each]
            left = [stream(messages) for messages in of_each]
            for client in clients:
                client.send(frame(TEXT, b"first"))
            await until(lambda: received == [b"first"] * 3)
            while any(left):
                for i, client in enumerate(clients):
                    part = rng.choice([1, 5, 100, 249, 700])
                    client.send(left[i][:part])
                    left[i] = left[i][part:]
                await asyncio.sleep(0)  # the parts are read
            await until(lambda: len(received) == 3 + 3 * 40)
            for messages in of_each:
                assert [each for each in received if each in messages] == messages
            for client in clients:
                client.close()

    on_a_loop(main)


@pytest.mark.parametrize("server_engine", ["picows", IN_BULK])
def test_what_comes_after_the_server_has_closed_is_not_handed_over(server_engine: str) -> None:
    async def main() -> None:
        async with serving(server_engine) as (server, received):
            client = await asyncio.to_thread(RawClient.upgraded, server.port)
            client.send(frame(TEXT, b"first"))
            await until(lambda: received == [b"first"])
            await server.close()
            client.send(stream(texts(100)))
            assert not await asyncio.to_thread(client.was_heard)
            await until(lambda: server.clients == 0)
            assert received == [b"first"]
            client.close()

    on_a_loop(main)


def test_a_link_by_websockets_makes_its_own_frames() -> None:
    async def main() -> None:
        async with serving("picows") as (server, _), linked("websockets", server) as link:
            assert link.write_frames is None

    on_a_loop(main)


@each_server
def test_a_ping_amid_many_frames_is_answered(server_engine: str) -> None:
    before, behind = texts(1_000), texts(1_000, 1_000)

    async def main() -> None:
        async with serving(server_engine) as (server, received):
            client = await raw_client(server)
            await client.send(b"first")
            await until(lambda: received == [b"first"])
            client.transport.write(stream(before))
            answered = await client.ping(b"amid")
            client.transport.write(stream(behind))
            await answered
            await until(lambda: len(received) > 2_000)
            assert received[1:] == before + behind
            await client.close()

    on_a_loop(main)


ENDINGS = {
    "a close": frame(CLOSE, b"\x03\xe8"),
    "an unmasked frame": frame(TEXT, b"x" * 249, masked=False),
    "an unknown opcode": frame(0x3, b"x" * 249),
    "a long ping": frame(PING, b"x" * 249),
    "a continuation": frame(CONTINUATION, b"x" * 249),
    "one within another": frame(TEXT, b"x" * 249, fin=False),  # the frames behind it are no part
    "too large": frame(TEXT, length=MAX_REPLAYED_BYTES + 1),
}


@each_server
@pytest.mark.parametrize("what", ENDINGS)
def test_many_frames_before_an_end_arrive_and_none_behind_it(server_engine: str, what: str) -> None:
    before, behind = texts(300), texts(300, 300)

    async def main() -> None:
        async with serving(server_engine) as (server, received):
            other = await raw_client(server)
            client = await asyncio.to_thread(RawClient.upgraded, server.port)
            client.send(stream(before[:1]))
            await until(lambda: len(received) == 1)
            client.send(stream(before[1:]) + ENDINGS[what] + stream(behind))
            assert not await asyncio.to_thread(client.was_heard)
            client.close()
            await until(lambda: server.clients == 1)
            assert received == before
            await other.send(b"fine")
            await until(lambda: received[-1] == b"fine")
            await other.close()

    on_a_loop(main)


@each_server
@pytest.mark.parametrize("cut", [0, 1, 7, 5_000, 5_140])
def test_frames_right_behind_the_handshake_arrive(server_engine: str, cut: int) -> None:
    """A client must wait for the answer (RFC 6455, 4.1); one that does not is still read right."""
    messages = texts(400)
    data = stream(messages)

    async def main() -> None:
        async with serving(server_engine) as (server, received):
            client = RawClient(server.port)
            client.send(handshake() + data[:cut])
            await until(lambda: server.clients == 1)
            client.send(data[cut:])
            assert await asyncio.to_thread(client.was_heard)
            assert received == messages
            client.close()

    on_a_loop(main)


@each_server
def test_pausing_again_and_again_under_load_loses_no_frame(server_engine: str) -> None:
    frames, messages = made_ahead(20_000, 200)

    async def main() -> None:
        async with serving(server_engine) as (server, received), linked("picows", server) as link:
            write = link.write_frames
            assert write is not None
            for first in range(0, len(frames), 250):
                write(frames[first : first + 250].data.cast("B"))
                server.pause()
                await asyncio.sleep(0)
                in_time = len(received)
                await asyncio.sleep(0)
                assert len(received) == in_time
                server.resume()
                await asyncio.sleep(0)
            await until(lambda: len(received) >= len(messages))
            assert received == messages

    on_a_loop(main)
