"""Both ends of the WebSocket with `websockets`, its asyncio API."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websockets_connect
from websockets.asyncio.connection import broadcast
from websockets.asyncio.server import Server as AsyncioServer
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as websockets_serve
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from latbench.clock import monotonic_ns
from latbench.stages.websocket import MAX_MESSAGE_BYTES, Taker

_DRAIN_POLL_S = 0.001
_CLOSE_TIMEOUT_S = 0.5
"""For clients to answer the closing of the connection; one that never reads would hold up the end
of a run."""


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


async def connect(url: str) -> WebsocketsLink:
    """Connect to `url`."""
    connection = await websockets_connect(
        url,
        compression=None,
        max_queue=None,
        max_size=MAX_MESSAGE_BYTES,
        ping_interval=None,
        proxy=None,
    )
    return WebsocketsLink(connection)


class _RelayConnection(ServerConnection):
    """One client of the relay.

    Every ping is answered. One that does not read the answers is not read from either, or they
    would fill this process's memory.
    """

    relay: WebsocketsServer
    """Of the class, not of each object: the library makes the objects."""

    def connection_made(self, transport: Any) -> None:
        self.relay.transports.add(transport)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.relay.transports.discard(self.transport)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.relay.paused:
            self.transport.resume_reading()


class WebsocketsServer:
    """A `websocket.Server`."""

    def __init__(self, listener: socket.socket, taker: Taker) -> None:
        self.port: int = listener.getsockname()[1]
        self.paused = False
        self._on_messages = taker.on_messages
        self.transports: set[asyncio.Transport] = set()
        """Also of those that have not shaken hands yet."""
        self._connections: set[ServerConnection] = set()
        self._server: AsyncioServer | None = None

    @property
    def clients(self) -> int:
        """See `websocket.Server`."""
        return len(self._connections)

    def pause(self) -> None:
        """See `websocket.Server`."""
        self.paused = True
        for connection in self._connections:
            connection.transport.pause_reading()

    def resume(self) -> None:
        """See `websocket.Server`."""
        self.paused = False
        for connection in self._connections:
            if not connection.paused:  # for writing
                connection.transport.resume_reading()

    async def _handle(self, connection: ServerConnection) -> None:
        self._connections.add(connection)
        if self.paused:
            connection.transport.pause_reading()
        on_messages = self._on_messages
        receive = connection.recv
        try:
            with contextlib.suppress(ConnectionClosed):
                while True:  # hot path
                    message = await receive(decode=False)
                    on_messages(monotonic_ns(), [message])
        finally:
            self._connections.discard(connection)

    async def start(self, listener: socket.socket) -> None:
        """Begin to accept."""

        class Connection(_RelayConnection):
            relay = self

        self._server = await websockets_serve(
            self._handle,
            sock=listener,
            create_connection=Connection,
            compression=None,
            max_queue=None,
            max_size=MAX_MESSAGE_BYTES,
            ping_interval=None,
        )

    async def close(self) -> None:
        """See `websocket.Server`."""
        if self._server is None:
            return
        self._server.close(code=1001)
        closed = asyncio.ensure_future(self._server.wait_closed())
        if not (await asyncio.wait([closed], timeout=_CLOSE_TIMEOUT_S))[0]:
            for transport in list(self.transports):
                transport.abort()
            await closed


async def serve(listener: socket.socket, taker: Taker) -> WebsocketsServer:
    """Serve `listener`."""
    server = WebsocketsServer(listener, taker)
    await server.start(listener)
    return server
