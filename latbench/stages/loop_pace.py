"""Callbacks of an event loop at moments of the monotonic clock, finer than its own timers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from latbench.clock import monotonic_ns
from latbench.stages.linux import AbsoluteTimer


class LoopPace:
    """A `fanout.Pace` by a timerfd: uvloop's own timers come in whole milliseconds."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer = AbsoluteTimer()
        self._callback: Callable[[], None] | None = None
        self._closed = False
        self._loop.add_reader(self._timer.fileno(), self._on_timer)
        self.now_ns = monotonic_ns

    def soon(self, callback: Callable[[], None]) -> None:
        """See `Pace`."""
        self._loop.call_soon(callback)

    def at(self, due_ns: int, callback: Callable[[], None]) -> None:
        """See `Pace`."""
        self._callback = callback
        if not self._closed:
            self._timer.arm(due_ns)

    def _on_timer(self) -> None:
        self._timer.clear()
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()

    def close(self) -> None:
        """Call nobody any more; once more is no error."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._timer.fileno())
            self._timer.close()
