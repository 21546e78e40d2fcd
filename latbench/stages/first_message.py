"""A client that receives ticks sends something: what it is changes, or it may not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from latbench.stages.websocket import Taker


class FromFirstMessage:
    """A `websocket.Taker` that another one follows.

    `on_first` is called with the first message, and gives who takes that and all behind it; None:
    nobody.
    """

    def __init__(self, on_first: Callable[[], Taker | None]) -> None:
        self._on_first: Callable[[], Taker | None] | None = on_first
        self._then: Taker | None = None

    def _taker(self) -> Taker | None:
        if self._on_first is not None:
            on_first, self._on_first = self._on_first, None
            self._then = on_first()
        return self._then

    def on_message(self, relay_in_ns: int, message: bytes) -> None:
        """See `websocket.Taker`."""
        taker = self._taker()
        if taker is not None:
            taker.on_message(relay_in_ns, message)

    def on_messages(self, relay_in_ns: int, messages: Sequence[bytes]) -> None:
        """See `websocket.Taker`."""
        taker = self._taker()
        if taker is not None:
            taker.on_messages(relay_in_ns, messages)

    def on_texts(self, relay_in_ns: int, count: int) -> None:
        """See `websocket.Taker`."""
        taker = self._taker()
        if taker is not None:
            taker.on_texts(relay_in_ns, count)
