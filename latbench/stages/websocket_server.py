"""The relay's listening side, whichever library talks to its clients.

It knows who is there: lets them in (`front_door`), stops and takes up reading from all of them,
finds those that have gone without a word (`liveness`), and sends them off at the end. A library's
part is to be a `Member` for each client.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable
from typing import Final, Protocol

from websockets.frames import CloseCode

from latbench.batch.ticks import RelayBatch
from latbench.errors import LatbenchError, reason
from latbench.plan import ServerSettings
from latbench.recording import RelayCounter
from latbench.ring import COUNTERS
from latbench.stages.fanout import Fanout
from latbench.stages.first_message import FromFirstMessage
from latbench.stages.front_door import Admit, FrontDoor
from latbench.stages.liveness import Liveness
from latbench.stages.loop_pace import LoopPace
from latbench.stages.message_rate import LimitedTaker
from latbench.stages.visits import Reception, Visit
from latbench.stages.websocket import Taker

CLOSE_TIMEOUT_S: Final = 0.5
"""For a client to answer the close frame; one that never reads would hold up the end of a run."""
_DRAIN_TIMEOUT_S: Final = 1.0
_POLL_S: Final = 0.005
_WORST_SHOWN: Final = 10
_SUBSCRIBER_SOCKET_BYTES: Final = 1 << 17
"""What the kernel keeps for a subscriber that does not read (twice that, with its bookkeeping: some
300 ticks). Left to itself it grows to 4 MB for each: a queue of seconds that nobody asked for."""


class Member(Protocol):
    """A client that is in."""

    heard: bool
    """Set when anything has come from it; cleared by who asks."""

    @property
    def visit(self) -> Visit:
        """What it came for."""

    @property
    def transport(self) -> asyncio.Transport:
        """Its connection."""

    @property
    def clogged(self) -> bool:
        """Whether its socket has not taken all that was written."""

    def ping(self) -> None:
        """Ask whether it is there."""

    def close(self, code: int, reason: str) -> None:
        """Send a close frame, then disconnect; it won't be waited for longer than a moment."""


class WebsocketServer:
    """A `websocket.Server`, all but the library's part.

    `counters`: of the ring `relay`. `deflates`: the library can do permessage-deflate.
    """

    def __init__(
        self,
        listener: socket.socket,
        taker: Taker,
        batch: RelayBatch | None,
        settings: ServerSettings,
        counters: memoryview | None = None,
        *,
        deflates: bool = False,
    ) -> None:
        self.port: int = listener.getsockname()[1]
        self.settings = settings
        self.batch = batch
        self.paused = False
        self.members: dict[Member, None] = {}
        self.counters = memoryview(bytearray(8 * COUNTERS)).cast("q")
        if counters is not None:
            self.counters = counters
        self._pace = LoopPace()
        self.fanout = Fanout(
            settings.subscriber_queue, settings.slow_client, self._pace, self.counters
        )
        self._taker = taker
        self._waiting: set[asyncio.Transport] = set()
        self._since_s = time.monotonic()
        self._reception = Reception(
            settings,
            lambda: len(self.members),
            self.describe,
            deflates=deflates and settings.deflate,
        )
        self._liveness = Liveness(self, settings.ping_after_s, settings.ping_timeout_s)
        self._stop_listening: Callable[[], object] | None = None

    @property
    def clients(self) -> int:
        """See `websocket.Server`."""
        return len(self.members)

    def listen(self, stop_listening: Callable[[], object]) -> None:
        """Connections are accepted, until `stop_listening` is called."""
        self._stop_listening = stop_listening
        self._liveness.start()

    def front_door(self, admit: Admit) -> FrontDoor:
        """Where a connection begins; `admit` makes it a member."""
        return FrontDoor(self._reception, admit, self._waiting)

    def ssl_context(self) -> ssl.SSLContext | None:
        """For wss; None: ws."""
        if not self.settings.tls_cert:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        certificate, key = self.settings.tls_cert, self.settings.tls_key
        try:
            context.load_cert_chain(certificate, key or None)
        except (OSError, ssl.SSLError) as error:
            with_key = f" with the key {key}" if key else ""
            raise LatbenchError(
                f"the certificate {certificate}{with_key} can't be used: {reason(error)}",
                "both are PEM; --tls-key is of --tls-cert's first certificate",
            ) from None
        return context

    def taker_of(self, member: Member) -> Taker:
        """Who takes its messages.

        Of one that may send only so many, somebody who counts; of one that receives, somebody who
        sees to it that it is a sender from its first message on, or may not be one.
        """
        taker, limit_hz = self._taker, self.settings.client_rate_hz
        if limit_hz:
            too_many = f"over {limit_hz} messages/s (--client-rate)"
            taker = LimitedTaker(taker, limit_hz, lambda: self._refuse(member, too_many))
        if not member.visit.receives:
            return taker
        return FromFirstMessage(lambda: self._begin_to_send(member, taker))

    def _begin_to_send(self, member: Member, taker: Taker) -> Taker | None:
        if not member.visit.sends:
            self._refuse(member, "ticks are sent to /ingest")
            return None
        self.fanout.leave(member)
        return taker

    def _refuse(self, member: Member, reason: str) -> None:
        """It did what it may not: it has to go."""
        self.counters[RelayCounter.REFUSED_CLIENTS] += 1
        member.close(CloseCode.POLICY_VIOLATION, reason)

    def enter(self, member: Member) -> None:
        """Its handshake is done."""
        self.members[member] = None
        self.counters[RelayCounter.CLIENTS] = len(self.members)
        if self.paused:
            member.transport.pause_reading()
        visit = member.visit
        if visit.receives:
            # a socket that is full shows at once: what waits in this process is in the channel
            # (with 0 uvloop's TLS would call it full when nothing waits)
            member.transport.set_write_buffer_limits(high=1, low=0)
            sock = member.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SUBSCRIBER_SOCKET_BYTES)
            self.fanout.join(member, visit.symbols, deflates=visit.deflates)

    def leave(self, member: Member) -> None:
        """It is gone."""
        self.fanout.leave(member)
        self.members.pop(member, None)
        self.counters[RelayCounter.CLIENTS] = len(self.members)

    def pause(self) -> None:
        """See `websocket.Server`."""
        self.paused = True
        for member in self.members:
            member.transport.pause_reading()

    def resume(self) -> None:
        """See `websocket.Server`."""
        self.paused = False
        for member in self.members:
            if not member.clogged:
                member.transport.resume_reading()

    def describe(self) -> dict[str, object]:
        """What `/healthz` tells."""
        slow = sorted(self.fanout, key=lambda one: one.dropped, reverse=True)
        return {
            "status": "blocked" if self.paused else "ok",
            "uptime_s": round(time.monotonic() - self._since_s, 3),
            "clients": len(self.members),
            "subscribers": len(self.fanout),
            "slow_client": self.settings.slow_client,
            "subscriber_queue": self.settings.subscriber_queue,
            "dropped": self.counters[RelayCounter.SUBSCRIBER_DROPS],
            "disconnected_slow": self.counters[RelayCounter.SLOW_DISCONNECTED],
            "timed_out": self.counters[RelayCounter.TIMED_OUT],
            "malformed": self.counters[RelayCounter.MALFORMED],
            "refused": self.counters[RelayCounter.REFUSED],
            "slowest": [
                {
                    "client": name_of(subscriber.client.transport),
                    "dropped": subscriber.dropped,
                    "behind": subscriber.behind,
                }
                for subscriber in slow[:_WORST_SHOWN]
                if subscriber.dropped or subscriber.behind
            ],
        }

    async def close(self) -> None:
        """Stop listening, let subscribers have what is there for them, then close all with 1001."""
        self._liveness.stop()
        if self._stop_listening is not None:
            self._stop_listening()
        await _wait_while(lambda: self.fanout.is_busy, _DRAIN_TIMEOUT_S)
        for transport in list(self._waiting):
            transport.abort()
        for member in list(self.members):
            member.close(CloseCode.GOING_AWAY, "the relay stops")
        await _wait_while(lambda: bool(self.members), CLOSE_TIMEOUT_S)
        for member in list(self.members):
            member.transport.abort()
        self._pace.close()


async def _wait_while(holds: Callable[[], bool], timeout_s: float) -> None:
    ends_s = time.monotonic() + timeout_s
    while holds() and time.monotonic() < ends_s:
        await asyncio.sleep(_POLL_S)


def name_of(transport: asyncio.Transport) -> str:
    """A client's address, `127.0.0.1:43210`."""
    peer = transport.get_extra_info("peername")
    return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else str(peer)
