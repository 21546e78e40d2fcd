"""Deadlines at equal distances, for what waits in the kernel and not in an event loop."""

from __future__ import annotations

import select

from latbench.clock import monotonic_ns
from latbench.stages.linux import AbsoluteTimer


class Metronome:
    """Wakes its caller at deadlines `interval_ns` apart; one that has passed is passed over."""

    def __init__(self, interval_ns: int) -> None:
        self._interval_ns = interval_ns
        self._timer = AbsoluteTimer()
        self._clear = self._timer.clear
        self._arm = self._timer.arm
        epoll = select.epoll()
        epoll.register(self._timer.fileno(), select.EPOLLIN)
        self._poll = epoll.poll
        self._due_ns = monotonic_ns()

    def wait(self) -> int:  # hot path
        """Sleep until the next deadline; how late it woke, in ns.

        The moment is taken first thing after `epoll_wait(2)` has returned.
        """
        due_ns = self._due_ns + self._interval_ns
        now_ns = monotonic_ns()
        if due_ns <= now_ns:
            due_ns = now_ns + self._interval_ns
        self._due_ns = due_ns
        self._arm(due_ns)
        self._poll()
        woke_ns = monotonic_ns()
        self._clear()
        return woke_ns - due_ns
