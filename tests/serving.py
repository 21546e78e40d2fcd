"""A relay's WebSocket server in this process, with each library."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
import uvloop

from latbench.batch.ticks import RelayBatch
from latbench.config import WS_ENGINES
from latbench.plan import MAX_REPLAYED_BYTES, ServerSettings
from latbench.stages.websocket import Server, serve

MIB = 1 << 20
LARGE = ServerSettings(max_message_bytes=MAX_REPLAYED_BYTES)
"""As for a replay."""
TIMEOUT_S = 30.0

IN_BULK = "picows in bulk"
"""Picows with a batch for its texts."""
RUN_ID = "5f1c09ab"

each_server = pytest.mark.parametrize("server_engine", [*WS_ENGINES, IN_BULK])
each_client = pytest.mark.parametrize("client_engine", WS_ENGINES)


def on_a_loop(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `main` as a stage would; nothing may go wrong behind its back either."""
    complaints: list[dict[str, Any]] = []

    async def guarded() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: complaints.append(context))
        await asyncio.wait_for(main(), TIMEOUT_S)

    uvloop.run(guarded())
    assert not complaints


class Received(list[bytes]):
    """The messages in their order, however they came."""

    def __init__(self, batch: RelayBatch | None) -> None:
        super().__init__()
        self.batch = batch
        self.texts = 0
        """So many of them came as the batch's texts."""
        self.calls = 0
        """So many times others came."""
        self.alone = 0
        """So often one came by itself."""

    def on_message(self, relay_in_ns: int, message: bytes) -> None:
        self.on_messages(relay_in_ns, [message])
        self.alone += 1

    def on_messages(self, relay_in_ns: int, messages: list[bytes]) -> None:
        assert relay_in_ns > 0
        assert messages
        self.extend(messages)
        self.calls += 1

    def on_texts(self, relay_in_ns: int, count: int) -> None:
        assert relay_in_ns > 0
        assert count > 0
        assert self.batch is not None
        self.extend(self.batch.texts(0, count))
        self.texts += count


@contextlib.asynccontextmanager
async def serving(
    engine: str, settings: ServerSettings = LARGE
) -> AsyncIterator[tuple[Server, Received]]:
    """A server, and what it receives."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    if engine == IN_BULK:
        received = Received(RelayBatch(RUN_ID, 0))
        server = await serve("picows", listener, received, received.batch, settings)
    else:
        received = Received(None)
        server = await serve(engine, listener, received, settings=settings)
    try:
        yield server, received
    finally:
        await server.close()
