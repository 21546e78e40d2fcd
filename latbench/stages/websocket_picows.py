"""Both ends of the WebSocket with `picows`."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import cast

from picows import (
    WSAutoPingStrategy,
    WSCloseCode,
    WSError,
    WSFrame,
    WSInvalidStatusError,
    WSListener,
    WSMsgType,
    WSProtocolError,
    WSTransport,
    ws_connect,
)
from picows.picows import (  # type: ignore[attr-defined]  # not in its stub
    WSProtocol,  # what `ws_create_server` makes
)
from websockets.exceptions import ProtocolError
from websockets.frames import Close

from latbench.batch.ticks import RelayBatch
from latbench.clock import monotonic_ns
from latbench.errors import LatbenchError
from latbench.plan import MAX_REPLAYED_BYTES, Connection, ServerSettings
from latbench.stages.bulk_frames import BulkReader
from latbench.stages.connecting import headers, refused, ssl_context
from latbench.stages.visits import Visit
from latbench.stages.websocket import Taker
from latbench.stages.websocket_server import CLOSE_TIMEOUT_S, WebsocketServer

_DRAIN_POLL_S = 0.001
_CLOSE_TIMEOUT_S = 5.0
_MOST_AT_ONCE = 512
"""Messages handed over together: what is behind then goes on while the rest is being read."""
_MANY_MESSAGES = 4
"""From so many in one read on they are taken off the socket in bulk. Before that `BulkReader` is
but one more thing between: T1's p50 at 1,000/s was 78 µs with it and 62 without."""
_DATA = (WSMsgType.TEXT, WSMsgType.BINARY)
_CONTINUATION, _CLOSE, _PING = WSMsgType.CONTINUATION, WSMsgType.CLOSE, WSMsgType.PING
_READ_BUFFER_BYTES = 1 << 17
"""Some hundred ticks: what a relay that is behind finds in its socket makes one batch."""
_CONTROL_BYTES = 1 << 11
"""Of one that only receives: it sends pongs. A thousand with room for ticks were 130 MB."""


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
        self.write_frames: Callable[[memoryview], None] = transport.underlying_transport.write
        """See `websocket.Link`; picows adds nothing to its own frames either."""

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


async def connect(url: str, connection: Connection) -> PicowsLink:
    """Connect to `url`; raises `OSError`, or `LatbenchError` where the server says no."""
    try:
        transport, listener = await ws_connect(
            _ClientListener,
            url,
            max_frame_size=MAX_REPLAYED_BYTES,
            extra_headers=headers(connection),
            ssl_context=ssl_context(connection) if url.startswith("wss:") else None,
            max_redirects=0,  # a token is for this address
        )
    except WSInvalidStatusError as error:
        status = error.response.status if error.response else 0
        raise refused(url, status, error.raw_body) from None
    except WSError as error:
        told = " ".join(str(error).split())
        raise LatbenchError(
            f"{url} is no WebSocket server: {told}", "latbench relay is one"
        ) from None
    if not isinstance(listener, _ClientListener):
        raise ConnectionResetError(errno.ECONNRESET, "it closed the connection in the handshake")
    return PicowsLink(transport, listener)


class _ServerListener(WSListener):
    """One client of the relay, a `websocket_server.Member`.

    Every ping is answered. One that does not read the answers is not read from either, or they
    would fill this process's memory.
    """

    def __init__(self, server: WebsocketServer, visit: Visit) -> None:
        super().__init__()
        self._server = server
        self.visit = visit
        """See `Member`."""
        self._most_bytes = server.settings.max_message_bytes
        taker = server.taker_of(self)
        self._on_message = taker.on_message
        self._on_messages = taker.on_messages
        self.take_texts = taker.on_texts
        """See `BulkReader`."""
        self._gathered: list[bytes] = []
        self._relay_in_ns = 0
        self._fragments: list[bytes] = []
        self._fragments_bytes = 0
        self._is_text = False
        """Whether they are of a text."""
        self._transport: WSTransport | None = None
        self._batch = server.batch
        self._is_in_bulk = False
        """Whether a `BulkReader` reads."""
        self.tail_bytes: int | None = None
        """See `BulkReader`."""
        self.clogged = False
        """See `Member`."""
        self.heard = True
        """See `Member`."""
        self.over = False
        """Nothing that comes now is of any meaning (RFC 6455, 7.1.7)."""

    @property
    def transport(self) -> asyncio.Transport:
        """See `Member`."""
        assert self._transport is not None
        return self._transport.underlying_transport

    def ping(self) -> None:
        """See `Member`."""
        if self._transport is not None and not self.over:
            self._transport.send_ping()

    def close(self, code: int, reason: str) -> None:
        """See `Member`."""
        self.over = True
        self._server.fanout.leave(self)
        transport = self._transport
        if transport is not None and not transport.is_disconnected:
            transport.send_close(WSCloseCode(code), reason)
            asyncio.get_running_loop().call_later(CLOSE_TIMEOUT_S, self.transport.abort)
            transport.disconnect()

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        self._server.enter(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:  # hot path
        self.heard = True
        if self.over or frame.payload_size > self._most_bytes:
            # picows reads on for 10 ms after a frame was refused, and would hand over what comes,
            # even a frame that it found too large itself
            self.over = True
            return
        kind = frame.msg_type
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            raise self._refusal(WSCloseCode.PROTOCOL_ERROR, "reserved bits")
        alone = frame.last_in_buffer and not self._gathered and not self._fragments
        if alone and kind in _DATA and frame.fin and not self._is_in_bulk:
            # a tick that comes by itself goes straight on: T2's p50 was 10.6 µs without, 6.8 with
            relay_in_ns = monotonic_ns()
            self._on_message(relay_in_ns, self._payload(frame, kind))
        else:
            self._gather(transport, frame, kind)

    def _gather(self, transport: WSTransport, frame: WSFrame, kind: WSMsgType) -> None:  # hot path
        """Take one frame, and hand over what is there when it was the last of a read."""
        gathered = self._gathered
        if kind in _DATA:
            if self._fragments:
                raise self._refusal(WSCloseCode.PROTOCOL_ERROR, "a message within another")
            if frame.fin:
                if not gathered:
                    # what else the same read brought had arrived by this moment, too
                    self._relay_in_ns = monotonic_ns()
                gathered.append(self._payload(frame, kind))
            else:
                self._is_text = kind == WSMsgType.TEXT
                self._fragments = [frame.get_payload_as_bytes()]
                self._fragments_bytes = len(self._fragments[0])
        elif kind == _CONTINUATION:
            self._continue(frame)
        elif kind == _PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif kind == _CLOSE:
            self._hand_over()
            self.over = True
            self._server.fanout.leave(self)
            _answer_close(transport, frame.get_payload_as_bytes())
        if frame.last_in_buffer:
            self.tail_bytes = frame.tail_size
            many = len(self._gathered) >= _MANY_MESSAGES
            self._hand_over()
            if many and self._batch is not None and not self._is_in_bulk:
                self._read_in_bulk(transport.underlying_transport, self._batch)
        elif len(gathered) >= _MOST_AT_ONCE:
            self._hand_over()

    def _read_in_bulk(self, transport: asyncio.Transport, batch: RelayBatch) -> None:
        """From here on, where picows has read all that came, until that is little for a while.

        Not from the handshake on: a client may send frames right behind its request.
        """
        library = cast("BulkReader", transport.get_protocol())
        self._is_in_bulk = True

        def step_aside() -> None:
            transport.set_protocol(library)
            self._is_in_bulk = False

        in_frame = bool(self.tail_bytes)
        transport.set_protocol(BulkReader(library, self, batch, step_aside, in_frame=in_frame))

    @property
    def within_message(self) -> bool:
        """See `BulkReader`."""
        return bool(self._fragments)

    @property
    def ended(self) -> bool:
        """See `BulkReader`."""
        transport = self._transport
        return transport is None or transport.is_close_frame_sent or transport.is_disconnected

    def _hand_over(self) -> None:  # hot path
        if self._gathered:
            messages, self._gathered = self._gathered, []
            self._on_messages(self._relay_in_ns, messages)

    def _continue(self, frame: WSFrame) -> None:
        if not self._fragments:
            raise self._refusal(WSCloseCode.PROTOCOL_ERROR, "a continuation of nothing")
        fragment = frame.get_payload_as_bytes()
        self._fragments.append(fragment)
        self._fragments_bytes += len(fragment)
        # picows limits a frame; a message may have any number of them, empty ones included
        if max(self._fragments_bytes, len(self._fragments)) > self._most_bytes:
            raise self._refusal(WSCloseCode.MESSAGE_TOO_BIG, "too large a message")
        if frame.fin:
            whole, self._fragments = b"".join(self._fragments), []
            if self._is_text:
                self._check_text(whole)
            if not self._gathered:
                self._relay_in_ns = monotonic_ns()
            self._gathered.append(whole)

    def _payload(self, frame: WSFrame, kind: WSMsgType) -> bytes:  # hot path
        """What a whole message holds; text is UTF-8 (RFC 6455, 8.1)."""
        payload = frame.get_payload_as_bytes()
        if kind == WSMsgType.TEXT and not payload.isascii():
            self._check_text(payload)
        return payload

    def _check_text(self, text: bytes) -> None:
        try:
            text.decode()
        except UnicodeDecodeError:
            raise self._refusal(WSCloseCode.INVALID_TEXT, "text that is no UTF-8") from None

    def _refusal(self, code: WSCloseCode, why: str) -> WSProtocolError:
        self.over = True
        return WSProtocolError(code, why)

    def pause_writing(self) -> None:
        self.clogged = True
        self._server.fanout.pause(self)
        if self._transport is not None:
            self._transport.underlying_transport.pause_reading()

    def resume_writing(self) -> None:
        self.clogged = False
        if self._transport is not None and not self._server.paused:
            self._transport.underlying_transport.resume_reading()
        self._server.fanout.resume(self)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        del transport
        self._hand_over()  # what came before a frame that broke the protocol
        self._server.leave(self)


def _answer_close(transport: WSTransport, payload: bytes) -> None:
    """Answer a close frame (RFC 6455, 5.5.1) and disconnect.

    With its own code where it has one that may be sent (7.4), with none where it has none.
    """
    try:
        Close.parse(payload)
    except ProtocolError:
        transport.send_close(WSCloseCode.PROTOCOL_ERROR)
    except UnicodeDecodeError:
        transport.send_close(WSCloseCode.INVALID_TEXT)
    else:
        transport.send(WSMsgType.CLOSE, payload[:2])
    transport.disconnect()


async def serve(
    listener: socket.socket,
    taker: Taker,
    batch: RelayBatch | None,
    settings: ServerSettings,
    counters: memoryview | None,
) -> WebsocketServer:
    """Serve `listener`."""
    server = WebsocketServer(listener, taker, batch, settings, counters)

    def admit(transport: asyncio.Transport, visit: Visit, rest: bytes) -> None:
        protocol = WSProtocol(
            host_port=None,
            ws_path=None,
            is_client_side=False,
            ws_listener_factory=lambda _request: _ServerListener(server, visit),
            logger=logging.getLogger("picows.server"),
            disconnect_on_exception=True,
            websocket_handshake_timeout=None,
            enable_auto_ping=False,
            auto_ping_idle_timeout=1,
            auto_ping_reply_timeout=1,
            auto_ping_strategy=WSAutoPingStrategy.PING_WHEN_IDLE,
            # picows would keep to itself that a ping was the last of what a read brought
            enable_auto_pong=False,
            max_frame_size=settings.max_message_bytes,
            extra_headers=None,
            read_buffer_init_size=_READ_BUFFER_BYTES if visit.sends else _CONTROL_BYTES,
        )
        transport.pause_reading()  # uvloop reads into the protocol's buffer only if told anew
        transport.set_protocol(protocol)
        transport.resume_reading()
        protocol.connection_made(transport)
        feed(protocol, visit.request + rest)

    loop = asyncio.get_running_loop()
    listening = await loop.create_server(
        lambda: server.front_door(admit), sock=listener, ssl=server.ssl_context()
    )
    server.listen(listening.close)
    return server


def feed(protocol: WSProtocol, data: bytes) -> None:
    """Give picows what it has not read itself."""
    given = 0
    while given < len(data):
        room = memoryview(protocol.get_buffer(-1)).cast("B")
        part = min(len(room), len(data) - given)
        room[:part] = data[given : given + part]
        given += part
        protocol.buffer_updated(part)
