"""A limit on the messages a second that one client may send."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from latbench.clock import NS_PER_S
from latbench.stages.websocket import Taker


class LimitedTaker:
    """A `websocket.Taker` of one client, that passes on to `taker` and counts.

    A bucket of one second's messages, filled evenly (the leaky bucket of ITU-T I.371): a second's
    worth may come at once, more may not. The first message beyond it calls `stop`, and nothing is
    passed on after.
    """

    def __init__(self, taker: Taker, rate_hz: int, stop: Callable[[], None]) -> None:
        self._taker = taker
        self._rate_hz = rate_hz
        self._stop = stop
        self._left = float(rate_hz)
        self._seen_ns = 0
        self._stopped = False

    def _take(self, relay_in_ns: int, count: int) -> int:
        """How many of so many may pass."""
        if self._stopped:
            return 0
        if self._seen_ns:
            filled = (relay_in_ns - self._seen_ns) * self._rate_hz / NS_PER_S
            self._left = min(self._left + filled, float(self._rate_hz))
        self._seen_ns = relay_in_ns
        passing = min(count, int(self._left))
        self._left -= passing
        if passing < count:
            self._stopped = True
            self._stop()
        return passing

    def on_message(self, relay_in_ns: int, message: bytes) -> None:
        """See `websocket.Taker`."""
        if self._take(relay_in_ns, 1):
            self._taker.on_message(relay_in_ns, message)

    def on_messages(self, relay_in_ns: int, messages: Sequence[bytes]) -> None:
        """See `websocket.Taker`."""
        passing = self._take(relay_in_ns, len(messages))
        if passing:
            self._taker.on_messages(relay_in_ns, list(messages[:passing]))

    def on_texts(self, relay_in_ns: int, count: int) -> None:
        """See `websocket.Taker`."""
        passing = self._take(relay_in_ns, count)
        if passing:
            self._taker.on_texts(relay_in_ns, passing)
