"""Both ends of the WebSocket with `websockets`, its asyncio API."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import cast

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websockets_connect
from websockets.asyncio.connection import broadcast
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as websockets_serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.protocol import State

from latbench.batch.ticks import RelayBatch
from latbench.clock import monotonic_ns
from latbench.plan import MAX_REPLAYED_BYTES, Connection, ServerSettings
from latbench.stages.connecting import headers, refused, ssl_context
from latbench.stages.visits import DEFLATE, Visit
from latbench.stages.websocket import Taker
from latbench.stages.websocket_server import CLOSE_TIMEOUT_S, WebsocketServer

_DRAIN_POLL_S = 0.001


class WebsocketsLink:
    """A `websocket.Link`.

    `broadcast` to one connection is the library's way to send without an `await`: the tick is on
    its way when the call returns, and a full socket shows in the transport's buffer.
    """

    write_frames = None
    """See `websocket.Link`: the library numbers and makes frames itself."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._to = (connection,)
        self.backlog_bytes = connection.transport.get_write_buffer_size

    def send(self, message: bytes) -> None:
        """See `websocket.Link`."""
        broadcast(self._to, message, text=True, raise_exceptions=True)

    @property
    def closed(self) -> bool:
        """See `websocket.Link`."""
        return self._connection.state is not State.OPEN

    async def close(self) -> None:
        """See `websocket.Link`."""
        while self.backlog_bytes() and not self.closed:
            await asyncio.sleep(_DRAIN_POLL_S)
        await self._connection.close()


async def connect(url: str, connection: Connection) -> WebsocketsLink:
    """Connect to `url`."""
    try:
        made = await websockets_connect(
            url,
            compression=None,
            max_queue=None,
            max_size=MAX_REPLAYED_BYTES,
            ping_interval=None,
            proxy=None,
            additional_headers=headers(connection),
            ssl=ssl_context(connection) if url.startswith("wss:") else None,
        )
    except InvalidStatus as error:
        response = error.response
        raise refused(url, response.status_code, bytes(response.body)) from None
    return WebsocketsLink(made)


class _RelayConnection(ServerConnection):
    """One client of the relay, as the library has it.

    Every ping is answered. One that does not read the answers is not read from either, or they
    would fill this process's memory.
    """

    server_side: WebsocketServer
    """Of the class, not of each object: the library makes the objects."""
    member: _Member

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Not before it is let in."""
        door = self.server_side.front_door(self._come_in)
        cast("asyncio.Transport", transport).set_protocol(door)
        door.connection_made(transport)

    def _come_in(self, transport: asyncio.Transport, visit: Visit, rest: bytes) -> None:
        self.member = _Member(self, visit)
        transport.set_protocol(self)
        super().connection_made(transport)
        self.data_received(visit.request + rest)

    def data_received(self, data: bytes) -> None:
        self.member.heard = True
        super().data_received(data)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.server_side.fanout.pause(self.member)
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.server_side.paused:
            self.transport.resume_reading()
        self.server_side.fanout.resume(self.member)


class _Member:
    """A `websocket_server.Member`."""

    def __init__(self, connection: _RelayConnection, visit: Visit) -> None:
        self._connection = connection
        self.visit = visit
        self.heard = True

    @property
    def transport(self) -> asyncio.Transport:
        """See `Member`."""
        return self._connection.transport

    @property
    def clogged(self) -> bool:
        """See `Member`."""
        return self._connection.paused

    def ping(self) -> None:
        """See `Member`."""
        if self._connection.state is State.OPEN:
            self._connection.protocol.send_ping(b"")
            self._connection.send_data()

    def close(self, code: int, reason: str) -> None:
        """See `Member`."""
        self._connection.server_side.fanout.leave(self)
        if self._connection.state is State.OPEN:
            self._connection.protocol.send_close(code, reason)
            self._connection.send_data()
        self._connection.loop.call_later(CLOSE_TIMEOUT_S, self.transport.abort)


async def _handle(server: WebsocketServer, connection: ServerConnection) -> None:
    assert isinstance(connection, _RelayConnection)
    member = connection.member
    on_messages = server.taker_of(member).on_messages
    receive = connection.recv
    server.enter(member)
    try:
        with contextlib.suppress(ConnectionClosed):
            while True:  # hot path
                message = await receive()
                relay_in_ns = monotonic_ns()
                on_messages(relay_in_ns, [_as_bytes(message)])
    finally:
        server.leave(member)


def _as_bytes(message: str | bytes) -> bytes:  # hot path
    """A text, which the library has found to be UTF-8 (RFC 6455, 8.1), as it came."""
    return message.encode() if isinstance(message, str) else message


async def serve(
    listener: socket.socket,
    taker: Taker,
    batch: RelayBatch | None,
    settings: ServerSettings,
    counters: memoryview | None,
) -> WebsocketServer:
    """Serve `listener`."""
    del batch
    server = WebsocketServer(listener, taker, None, settings, counters, deflates=True)

    class Connection(_RelayConnection):
        server_side = server

    async def handle(connection: ServerConnection) -> None:
        await _handle(server, connection)

    listening = await websockets_serve(
        handle,
        sock=listener,
        ssl=server.ssl_context(),
        create_connection=Connection,
        compression=None,
        extensions=[DEFLATE] if settings.deflate else None,
        max_queue=None,
        max_size=settings.max_message_bytes,
        ping_interval=None,
        close_timeout=CLOSE_TIMEOUT_S,
    )
    server.listen(lambda: listening.close(close_connections=False))
    return server
