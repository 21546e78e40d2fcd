"""The first words of every connection to the relay: a page is answered, a client let in.

Both WebSocket libraries get a connection only here, with a request that was found good. So what is
answered to whom does not depend on the library, and neither has to be an HTTP server (picows knows
no `HEAD`, and no `Connection: keep-alive, Upgrade`).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Final, cast

from latbench.stages.visits import Answer, Reception, Visit

_HEAD_TIMEOUT_S: Final = 5.0
_MAX_HEAD_BYTES: Final = 16 * 1024
_END: Final = b"\r\n\r\n"
_TOO_LONG: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)

Admit = Callable[[asyncio.Transport, Visit, bytes], None]
"""Lets a client in: the connection, what it is to be, and what it sent behind its request."""


class FrontDoor(asyncio.Protocol):
    """One connection until it is known what it is.

    `waiting`: the connections that are; this one is in there as long.
    """

    def __init__(self, reception: Reception, admit: Admit, waiting: set[asyncio.Transport]) -> None:
        self._reception = reception
        self._admit = admit
        self._waiting = waiting
        self._received = b""
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the request, but not for long."""
        # uvloop's have no common ancestor with asyncio's
        self._transport = cast("asyncio.Transport", transport)
        self._waiting.add(self._transport)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_HEAD_TIMEOUT_S, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        """Take some of the request, or all of it."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._received += data
        head, end, rest = self._received.partition(_END)
        if len(head) > _MAX_HEAD_BYTES:
            self._say(_TOO_LONG)
        elif end:
            self._take(head + end, rest)
        elif not self._received[:1].isalpha():
            # a TLS handshake, for one, has no end that could be waited for
            self._take(head + _END, rest)

    def _take(self, head: bytes, rest: bytes) -> None:
        transport = self._transport
        assert transport is not None
        try:
            found = self._reception.judge(head)
        except Exception as error:  # noqa: BLE001 (whatever a stranger sends must not end the relay)
            sys.stderr.write(f"a request could not be judged: {error!r}\n")
            transport.abort()
            return
        if isinstance(found, Answer):
            self._say(found.data)
            return
        self._leave()
        self._admit(transport, found, rest)

    def _say(self, data: bytes) -> None:
        """Answer, and that is all."""
        assert self._transport is not None
        self._transport.write(data)
        self._transport.close()

    def _leave(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._waiting.discard(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        del exc
        self._leave()
