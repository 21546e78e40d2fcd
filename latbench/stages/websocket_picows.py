"""Both ends of the WebSocket with `picows`."""

from __future__ import annotations

import asyncio
import socket

from picows import (
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSProtocolError,
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
    """One client of the relay.

    Every ping is answered. One that does not read the answers is not read from either, or they
    would fill this process's memory.
    """

    def __init__(self, server: PicowsServer, on_message: OnMessage) -> None:
        super().__init__()
        self._server = server
        self._on_message = on_message
        self._fragments: list[bytes] = []
        self._fragments_bytes = 0
        self._transport: WSTransport | None = None
        self.clogged = False

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        self._server.listeners[transport] = self
        if self._server.paused:
            transport.underlying_transport.pause_reading()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:  # hot path
        kind = frame.msg_type
        if kind == WSMsgType.TEXT or kind == WSMsgType.BINARY:  # noqa: PLR1714 (no tuple made)
            if self._fragments:
                raise WSProtocolError(WSCloseCode.PROTOCOL_ERROR, "a message within another")
            if frame.fin:
                self._on_message(frame.get_payload_as_bytes())
            else:
                self._fragments = [frame.get_payload_as_bytes()]
                self._fragments_bytes = len(self._fragments[0])
        elif kind == WSMsgType.CONTINUATION:
            self._continue(frame)
        elif kind == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()

    def _continue(self, frame: WSFrame) -> None:
        if not self._fragments:
            raise WSProtocolError(WSCloseCode.PROTOCOL_ERROR, "a continuation of nothing")
        fragment = frame.get_payload_as_bytes()
        self._fragments.append(fragment)
        self._fragments_bytes += len(fragment)
        # picows limits a frame; a message may have any number of them, empty ones included
        if max(self._fragments_bytes, len(self._fragments)) > MAX_MESSAGE_BYTES:
            raise WSProtocolError(WSCloseCode.MESSAGE_TOO_BIG, "too large a message")
        if frame.fin:
            whole, self._fragments = b"".join(self._fragments), []
            self._on_message(whole)

    def pause_writing(self) -> None:
        self.clogged = True
        if self._transport is not None:
            self._transport.underlying_transport.pause_reading()

    def resume_writing(self) -> None:
        self.clogged = False
        if self._transport is not None and not self._server.paused:
            self._transport.underlying_transport.resume_reading()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._server.listeners.pop(transport, None)


class PicowsServer:
    """A `websocket.Server`."""

    def __init__(self, listener: socket.socket) -> None:
        self.port: int = listener.getsockname()[1]
        self.listeners: dict[WSTransport, _ServerListener] = {}
        self.paused = False
        self._server: asyncio.Server | None = None

    @property
    def clients(self) -> int:
        """See `websocket.Server`."""
        return len(self.listeners)

    def pause(self) -> None:
        """See `websocket.Server`."""
        self.paused = True
        for transport in self.listeners:
            transport.underlying_transport.pause_reading()

    def resume(self) -> None:
        """See `websocket.Server`."""
        self.paused = False
        for transport, listener in self.listeners.items():
            if not listener.clogged:
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
        for transport in list(self.listeners):
            transport.send_close(WSCloseCode.GOING_AWAY)
            transport.disconnect()


async def serve(listener: socket.socket, on_message: OnMessage) -> PicowsServer:
    """Serve `listener`."""
    server = PicowsServer(listener)
    await server.start(listener, on_message)
    return server
