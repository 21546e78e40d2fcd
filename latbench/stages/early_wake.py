"""Waking before a tick is due, so that it goes when it is due and not when a timer comes round.

A timer wakes its process late: the CPU has to leave its sleep, the process has to be put on it and
the interpreter to come as far as the tick; 30 to 80 µs on a virtual machine. Who wakes so much
earlier has the tick ready, waits out the rest with open eyes and sends it at the moment itself.
"""

from __future__ import annotations

from typing import Final

from latbench.clock import monotonic_ns

_FIRST_NS: Final = 50_000
_MOST_NS: Final = 200_000
"""The most that is waited awake, whatever a machine without a CPU to spare does to wake-ups."""
_STEP_NS: Final = 250
_UP: Final = 9
"""Nine steps up for one that came too late, one down for each that did not: they cancel out where
nine of ten are in time (stochastic approximation of a quantile; Robbins and Monro, 1951)."""
_IDLE_SHARE: Final = 4
"""At most this part of the time to the next tick, so that it takes no more than a quarter of a CPU,
and less where a wake-up comes late itself."""


class EarlyWake:
    """When to wake for a tick, by how late the wake-ups before were."""

    def __init__(self) -> None:
        self.lead_ns = _FIRST_NS
        """So long before the tick is due, where there is time for it."""

    def timer_ns(self, now_ns: int, due_ns: int) -> int:  # hot path
        """When a timer that is set at `now_ns` has to go off for a tick that is due at `due_ns`.

        `due_ns` itself where that has passed.
        """
        early_ns = min(self.lead_ns, (due_ns - now_ns) // _IDLE_SHARE)
        return due_ns - early_ns if early_ns > 0 else due_ns

    def was_ready(self, late_ns: int) -> None:  # hot path
        """So long after a timer went off everything was ready to send."""
        if late_ns > self.lead_ns:
            self.lead_ns = min(self.lead_ns + _UP * _STEP_NS, _MOST_NS)
        elif self.lead_ns > _STEP_NS:
            self.lead_ns -= _STEP_NS


def wait_awake(until_ns: int) -> int:  # hot path
    """Read the clock until it says `until_ns` or later; what it said."""
    now_ns = monotonic_ns()
    while now_ns < until_ns:
        now_ns = monotonic_ns()
    return now_ns
