"""Clients that have gone without a word: asked by a ping, and given up when nothing comes.

A connection whose other end has lost its power or its network stays open for minutes or for ever
(TCP has no sign of it while nothing is sent). What counts as a sign of life is anything received,
and anything that the other end's TCP acknowledges: a subscriber that reads slowly has the ping
far behind in its queue, and is slow, not gone.
"""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import struct
from collections.abc import Iterable
from typing import Final, Protocol

from websockets.frames import CloseCode

from latbench.recording import RelayCounter

_SWEEP_S: Final = 0.5
_BYTES_ACKED_AT: Final = 120
"""`tcpi_bytes_acked` in Linux's `struct tcp_info`, 8 bytes."""


class Quiet(Protocol):
    """A client that may have gone."""

    heard: bool

    @property
    def transport(self) -> asyncio.Transport:
        """Its connection."""

    def ping(self) -> None:
        """Ask whether it is there."""

    def close(self, code: int, reason: str) -> None:
        """Give it up."""


class _House(Protocol):
    paused: bool
    counters: memoryview

    @property
    def members(self) -> Iterable[Quiet]:
        """All clients."""


@dataclasses.dataclass(slots=True)
class _Silence:
    lasted_s: float = 0.0
    acknowledged_bytes: int = 0
    """By the other end when the present span began."""


class Liveness:
    """Looks at every client twice a second."""

    def __init__(self, house: _House, ping_after_s: float, timeout_s: float) -> None:
        self._house = house
        self._ping_after_s = ping_after_s
        self._timeout_s = timeout_s
        self._silences: dict[Quiet, _Silence] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin."""
        self._timer = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep)

    def stop(self) -> None:
        """Give nobody up any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _sweep(self) -> None:
        self.look(_SWEEP_S)
        self.start()

    def look(self, elapsed_s: float) -> None:
        """Look at every client; the last time was so long ago."""
        if self._house.paused:  # nothing is read from anyone
            return
        silences: dict[Quiet, _Silence] = {}
        for member in list(self._house.members):
            if member.heard:
                member.heard = False
                continue
            silence = self._silences.get(member) or _Silence()
            if not self._is_given_up(member, silence, elapsed_s):
                silences[member] = silence
        self._silences = silences

    def _is_given_up(self, member: Quiet, silence: _Silence, elapsed_s: float) -> bool:
        before_s, silence.lasted_s = silence.lasted_s, silence.lasted_s + elapsed_s
        if before_s < self._ping_after_s <= silence.lasted_s:
            silence.acknowledged_bytes = acknowledged_bytes(member.transport)
            member.ping()
        elif silence.lasted_s >= self._ping_after_s + self._timeout_s:
            now_bytes = acknowledged_bytes(member.transport)
            if now_bytes == silence.acknowledged_bytes:
                self._give_up(member)
                return True
            silence.acknowledged_bytes = now_bytes
            silence.lasted_s = self._ping_after_s  # another such span
        return False

    def _give_up(self, member: Quiet) -> None:
        self._house.counters[RelayCounter.TIMED_OUT] += 1
        # what `websockets` says, too, when a ping stays unanswered
        member.close(CloseCode.INTERNAL_ERROR, "no answer to a ping")


def acknowledged_bytes(transport: asyncio.Transport) -> int:
    """So many bytes the other end's TCP has acknowledged; 0 where that can't be known."""
    sock = transport.get_extra_info("socket")
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED_AT + 8)
    except (OSError, AttributeError):
        return 0
    if len(info) < _BYTES_ACKED_AT + 8:
        return 0
    value: int = struct.unpack_from("=Q", info, _BYTES_ACKED_AT)[0]
    return value
