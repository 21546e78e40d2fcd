"""The relay's WebSocket server with a taker that sends each message back: what the Autobahn test
suite talks to.

    python tests/echo_server.py --engine picows --port 9001

Everything but the taker is the relay's own: front door, limits, both libraries.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
from collections.abc import Sequence
from typing import Any

import uvloop

from latbench.plan import MAX_REPLAYED_BYTES, ServerSettings
from latbench.stages import websocket_picows, websocket_websockets
from latbench.stages.fanout import framed
from latbench.stages.websocket import serve
from latbench.stages.websocket_server import Member, WebsocketServer

TEXT, BINARY = 0x81, 0x82


class Echo:
    """Sends a client's messages back, as what they came as."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self.head = TEXT

    def on_message(self, relay_in_ns: int, message: bytes) -> None:
        self._member.transport.write(framed(self.head, message))

    def on_messages(self, relay_in_ns: int, messages: Sequence[bytes]) -> None:
        for message in messages:
            self.on_message(relay_in_ns, message)

    def on_texts(self, relay_in_ns: int, count: int) -> None:
        raise AssertionError("there is no batch")


ECHOES: dict[Any, Echo] = {}


def echo_with_picows() -> None:
    """Have the listener tell the echo what kind of message comes."""
    listener: Any = websocket_picows._ServerListener
    take_frame = listener.on_ws_frame

    def on_ws_frame(self: Any, transport: Any, frame: Any) -> None:
        if frame.msg_type.value in {1, 2}:
            self._hand_over()  # what is gathered is of the kind before
            ECHOES[self].head = 0x80 | frame.msg_type.value
        take_frame(self, transport, frame)

    listener.on_ws_frame = on_ws_frame


def echo_with_websockets() -> None:
    """The library tells kinds apart by their type, and compresses what it agreed to."""

    async def handle(server: WebsocketServer, connection: Any) -> None:
        server.enter(connection.member)
        server.fanout.leave(connection.member)
        try:
            async for message in connection:
                await connection.send(message)
        finally:
            server.leave(connection.member)

    websocket_websockets._handle = handle  # type: ignore[assignment]


async def main() -> None:
    parser = argparse.ArgumentParser(description="an echo server for the Autobahn test suite")
    parser.add_argument("--engine", default="picows")
    parser.add_argument("--port", type=int, default=9001)
    arguments = parser.parse_args()
    WebsocketServer.taker_of = (  # type: ignore[method-assign]
        lambda self, member: ECHOES.setdefault(member, Echo(member))
    )
    echo_with_picows() if arguments.engine == "picows" else echo_with_websockets()
    listener = socket.create_server(("127.0.0.1", arguments.port))
    listener.setblocking(False)
    settings = ServerSettings(max_message_bytes=MAX_REPLAYED_BYTES, deflate=True, ping_after_s=3600)
    await serve(arguments.engine, listener, Echo(None), settings=settings)  # type: ignore[arg-type]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
