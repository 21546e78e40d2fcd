"""A client that receives ticks sends something: what it is changes, or it may not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from latbench.stages.websocket import Taker

NO_SENDING: Final = "ticks are sent to /ingest"


class FirstMessage:
    """A `websocket.Taker` until the first message.

    `on_first` is called once for each call, and gives who takes the messages; None: nobody.
    """

    def __init__(self, on_first: Callable[[], Taker | None]) -> None:
        self._on_first = on_first

    def on_message(self, relay_in_ns: int, message: bytes) -> None:
        """See `websocket.Taker`."""
        taker = self._on_first()
        if taker is not None:
            taker.on_message(relay_in_ns, message)

    def on_messages(self, relay_in_ns: int, messages: Sequence[bytes]) -> None:
        """See `websocket.Taker`."""
        taker = self._on_first()
        if taker is not None:
            taker.on_messages(relay_in_ns, messages)

    def on_texts(self, relay_in_ns: int, count: int) -> None:
        """See `websocket.Taker`."""
        taker = self._on_first()
        if taker is not None:
            taker.on_texts(relay_in_ns, count)
