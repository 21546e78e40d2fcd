"""Both ends of the WebSocket with `picows`."""

from __future__ import annotations

import asyncio
import socket

from picows import (
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    ws_connect,
    ws_create_server,
)

from latbench.stages.websocket import MAX_MESSAGE_BYTES, OnMessage

_DRAIN_POLL_S = 0.001
_CLOSE_TIMEOUT_S = 5.0


class _ClientListener(WSListener):
    def __init__(self) -> None:
        super().__init__()
        self.disconnected = False

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        del transport
        self.disconnected = True


class PicowsLink:
    """A `websocket.Link`."""

    def __init__(self, transport: WSTransport, listener: _ClientListener) -> None:
        self._transport = transport
        self._listener = listener
        self._send = transport.send
        self.backlog_bytes = transport.underlying_transport.get_write_buffer_size

    def send(self, message: bytes) -> None:
        """See `websocket.Link`."""
        self._send(WSMsgType.TEXT, message)

    @property
    def closed(self) -> bool:
        """See `websocket.Link`."""
        return self._listener.disconnected

    async def close(self) -> None:
        """See `websocket.Link`."""
        while self.backlog_bytes() and not self.closed:
            await asyncio.sleep(_DRAIN_POLL_S)
        if not self.closed:
            self._transport.send_close(WSCloseCode.OK)
            self._transport.disconnect()
            await asyncio.wait_for(self._transport.wait_disconnected(), _CLOSE_TIMEOUT_S)


async def connect(url: str) -> PicowsLink:
    """Connect to `url`."""
    transport, listener = await ws_connect(_ClientListener, url, max_frame_size=MAX_MESSAGE_BYTES)
    assert isinstance(listener, _ClientListener)
    return PicowsLink(transport, listener)


class _ServerListener(WSListener):
    """One client of the relay."""

    def __init__(self, server: PicowsServer, on_message: OnMessage) -> None:
        super().__init__()
        self._server = server
        self._on_message = on_message
        self._fragments: list[bytes] = []

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._server.transports.add(transport)
        if self._server.paused:
            transport.underlying_transport.pause_reading()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:  # hot path
        kind = frame.msg_type
        if kind == WSMsgType.TEXT or kind == WSMsgType.BINARY:  # noqa: PLR1714 (no tuple made)
            if frame.fin:
                self._on_message(frame.get_payload_as_bytes())
            else:
                self._fragments = [frame.get_payload_as_bytes()]
        elif kind == WSMsgType.CONTINUATION:
            self._continue(frame)
        elif kind == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()

    def _continue(self, frame: WSFrame) -> None:
        self._fragments.append(frame.get_payload_as_bytes())
        if frame.fin:
            whole, self._fragments = b"".join(self._fragments), []
            self._on_message(whole)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._server.transports.discard(transport)


class PicowsServer:
    """A `websocket.Server`."""

    def __init__(self, listener: socket.socket) -> None:
        self.port: int = listener.getsockname()[1]
        self.transports: set[WSTransport] = set()
        self.paused = False
        self._server: asyncio.Server | None = None

    @property
    def clients(self) -> int:
        """See `websocket.Server`."""
        return len(self.transports)

    def pause(self) -> None:
        """See `websocket.Server`."""
        self.paused = True
        for transport in self.transports:
            transport.underlying_transport.pause_reading()

    def resume(self) -> None:
        """See `websocket.Server`."""
        self.paused = False
        for transport in self.transports:
            transport.underlying_transport.resume_reading()

    async def start(self, listener: socket.socket, on_message: OnMessage) -> None:
        """Begin to accept."""
        self._server = await ws_create_server(
            lambda _request: _ServerListener(self, on_message),
            sock=listener,
            max_frame_size=MAX_MESSAGE_BYTES,
        )

    async def close(self) -> None:
        """See `websocket.Server`."""
        if self._server is not None:
            self._server.close()
        for transport in list(self.transports):
            transport.send_close(WSCloseCode.GOING_AWAY)
            transport.disconnect()


async def serve(listener: socket.socket, on_message: OnMessage) -> PicowsServer:
    """Serve `listener`."""
    server = PicowsServer(listener)
    await server.start(listener, on_message)
    return server
