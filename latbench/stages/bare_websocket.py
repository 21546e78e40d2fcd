"""A bare WebSocket round trip with either library: the floor of the hop `websocket`, twice over.

No decoding, no stamping of messages, no ring: a frame goes out, the other process sends it back.
"""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect, ws_create_server
from websockets.asyncio.client import connect as websockets_connect
from websockets.asyncio.connection import broadcast
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as websockets_serve
from websockets.exceptions import ConnectionClosed

from latbench.clock import monotonic_ns
from latbench.errors import LatbenchError
from latbench.stages.linux import AbsoluteTimer

PAYLOAD: Final = b"x" * 200
"""As long as a simulated tick with its stamps."""


class Server(Protocol):
    """What listens."""

    def close(self) -> None:
        """Accept no more."""


async def serve(engine: str, listener: socket.socket) -> Server:
    """Echo every message of whoever connects."""
    if engine == "picows":
        return await ws_create_server(lambda _request: _PicowsEcho(), sock=listener)
    return await websockets_serve(
        _echo_websockets, sock=listener, compression=None, max_queue=None, ping_interval=None
    )


async def ping(
    engine: str, address: tuple[str, int], count: int, interval_ns: int, on_start: OnStart
) -> Sequence[int]:
    """Each round trip in ns, from before the call that sends until the echo is handed over.

    `on_start` is given what ends it early. Raises `LatbenchError` when the other end has gone.
    """
    url = f"ws://{address[0]}:{address[1]}/"
    pinger = Pinger(count, interval_ns)
    on_start(pinger.stop)
    try:
        if engine == "picows":
            return await _ping_picows(url, pinger)
        return await _ping_websockets(url, pinger)
    finally:
        pinger.close()


OnStart = Callable[[Callable[[], None]], object]


class Pinger:
    """Sends one message at each deadline, `interval_ns` apart, and waits for its echo.

    A deadline that passes while a message is on its way is passed over, so there is never more than
    one on its way.
    """

    def __init__(self, count: int, interval_ns: int) -> None:
        self.values_ns: list[int] = []
        self._count = count
        self._interval_ns = interval_ns
        self._send: Callable[[bytes], object] = lambda _message: None
        self._loop = asyncio.get_running_loop()
        self._finished: asyncio.Future[None] = self._loop.create_future()
        self._timer = AbsoluteTimer()
        self._due_ns = self._sent_ns = 0

    async def run(self, send: Callable[[bytes], object]) -> list[int]:
        """Ping until there are enough."""
        self._send = send
        self._loop.add_reader(self._timer.fileno(), self._on_timer)
        self._due_ns = monotonic_ns() + self._interval_ns
        self._timer.arm(self._due_ns)
        await self._finished
        return self.values_ns

    def stop(self) -> None:
        """End early."""
        if not self._finished.done():
            self._finished.set_result(None)

    def fail(self) -> None:
        """The other end has gone."""
        if not self._finished.done():
            self._finished.set_exception(
                LatbenchError("the other end of the floor's WebSocket has gone", "run it again")
            )

    def close(self) -> None:
        """Give the timer back."""
        self._loop.remove_reader(self._timer.fileno())
        self._timer.close()
        if self._finished.done() and not self._finished.cancelled():
            self._finished.exception()  # told already, or of no interest any more

    def _on_timer(self) -> None:  # hot path
        self._timer.clear()
        send = self._send
        self._sent_ns = monotonic_ns()
        send(PAYLOAD)

    def on_echo(self, answered_ns: int) -> None:  # hot path
        """The message is back."""
        self.values_ns.append(answered_ns - self._sent_ns)
        if len(self.values_ns) >= self._count:
            self.stop()
            return
        self._due_ns += self._interval_ns
        now_ns = monotonic_ns()
        if self._due_ns <= now_ns:
            self._due_ns = now_ns + self._interval_ns
        self._timer.arm(self._due_ns)


# --- picows ------------------------------------------------------------------------------------


class _PicowsEcho(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:  # hot path
        if frame.msg_type == WSMsgType.TEXT:
            transport.send(WSMsgType.TEXT, frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()


class _PicowsPing(WSListener):
    def __init__(self, pinger: Pinger) -> None:
        super().__init__()
        self._on_echo = pinger.on_echo
        self._fail = pinger.fail

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:  # hot path
        answered_ns = monotonic_ns()
        if frame.msg_type == WSMsgType.TEXT:
            self._on_echo(answered_ns)
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        del transport
        self._fail()


async def _ping_picows(url: str, pinger: Pinger) -> list[int]:
    transport, _ = await ws_connect(lambda: _PicowsPing(pinger), url)
    try:
        return await pinger.run(functools.partial(transport.send, WSMsgType.TEXT))
    finally:
        transport.disconnect()


# --- websockets --------------------------------------------------------------------------------


async def _echo_websockets(connection: ServerConnection) -> None:
    receive, to = connection.recv, (connection,)
    try:
        while True:  # hot path
            broadcast(to, await receive(decode=False), text=True)
    except ConnectionClosed:
        return


async def _ping_websockets(url: str, pinger: Pinger) -> list[int]:
    async with websockets_connect(
        url, compression=None, max_queue=None, ping_interval=None, proxy=None
    ) as connection:
        receive, on_echo = connection.recv, pinger.on_echo

        async def listen() -> None:
            try:
                while True:  # hot path
                    await receive(decode=False)
                    on_echo(monotonic_ns())
            except ConnectionClosed:
                pinger.fail()

        listening = asyncio.ensure_future(listen())
        try:
            # as the generator does: `broadcast` to one is the library's `send` without an `await`
            return await pinger.run(functools.partial(broadcast, (connection,), text=True))
        finally:
            listening.cancel()
