"""What the generator and the relay want of a WebSocket library, and which one to take.

Two libraries do it: `picows` (compiled, callbacks, the fast one) and `websockets` (the one most
people run). Both are used without permessage-deflate unless that is asked for, and without queues
of their own: they cost milliseconds (`websockets` has both on by default).
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Protocol

from latbench.batch.ticks import RelayBatch
from latbench.plan import Connection, ServerSettings


class Taker(Protocol):
    """Who gets what came out of a socket, with the moment (monotonic, ns) at which it was taken up.

    What came together has one: all of it had arrived by then.
    """

    def on_message(self, relay_in_ns: int, message: bytes) -> None:
        """Take a message that came by itself: nothing else was in the socket."""

    def on_messages(self, relay_in_ns: int, messages: Sequence[bytes]) -> None:
        """Take some messages that came together."""

    def on_texts(self, relay_in_ns: int, count: int) -> None:
        """Take so many messages that are the batch's texts now."""


class Link(Protocol):
    """The generator's connection to a relay."""

    def send(self, message: bytes) -> None:
        """Hand one message (a text frame) to the socket; what it can't take now is buffered."""

    @property
    def write_frames(self) -> Callable[[memoryview], None] | None:
        """Hands frames that are made already to the socket; None: this library makes its own."""

    def backlog_bytes(self) -> int:
        """How much is buffered in this process because the socket is full."""

    @property
    def closed(self) -> bool:
        """Whether the other side has gone."""

    async def close(self) -> None:
        """Send what is buffered, then close with code 1000."""


class Broadcast(Protocol):
    """The subscribers of a relay."""

    def __len__(self) -> int: ...

    def publish(self, message: bytes, symbol: str) -> None:
        """Send one tick to all who want it."""


class Server(Protocol):
    """The relay's listening side."""

    @property
    def fanout(self) -> Broadcast:
        """Its subscribers."""

    @property
    def port(self) -> int:
        """Where it listens."""

    @property
    def clients(self) -> int:
        """How many connections there are."""

    def pause(self) -> None:
        """Stop reading from every client: the sockets fill up and senders have to wait."""

    def resume(self) -> None:
        """Read again."""

    async def close(self) -> None:
        """Close all connections and stop listening."""


async def connect(engine: str, url: str, connection: Connection | None = None) -> Link:
    """Open the generator's connection with the named library."""
    connection = connection or Connection()
    if engine == "picows":
        from latbench.stages import websocket_picows  # noqa: PLC0415

        return await websocket_picows.connect(url, connection)
    from latbench.stages import websocket_websockets  # noqa: PLC0415

    return await websocket_websockets.connect(url, connection)


async def serve(
    engine: str,
    listener: socket.socket,
    taker: Taker,
    batch: RelayBatch | None = None,
    settings: ServerSettings | None = None,
    counters: memoryview | None = None,
) -> Server:
    """Serve `listener` with the named library.

    `batch`: what many messages at once come by way of (with picows only). `counters`: of the ring
    `relay`.
    """
    arguments = (listener, taker, batch, settings or ServerSettings(), counters)
    if engine == "picows":
        from latbench.stages import websocket_picows  # noqa: PLC0415

        return await websocket_picows.serve(*arguments)
    from latbench.stages import websocket_websockets  # noqa: PLC0415

    return await websocket_websockets.serve(*arguments)


def set_nodelay(sock: socket.socket | None) -> None:
    """Send small segments at once (RFC 896's delay is up to 40 ms with delayed acks)."""
    if sock is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
