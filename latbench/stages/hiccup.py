"""The hiccup meter: how late a thread that has nothing to do but wake up wakes up.

After Gil Tene's jHiccup: whatever holds this thread up (the hypervisor, the kernel, another process
on the CPU, a process stopped) holds up the ticks in the same process at the same time. What it sees
is the platform, for no tick passes through it. It needs the interpreter to read the clock, so up to
about 0.2 ms of lateness may be the process's own work.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Final

from latbench.clock import NS_PER_MS, NS_PER_S, monotonic_ns
from latbench.ring import RingWriter
from latbench.stages.linux import minimise_timer_slack

INTERVAL_NS: Final = NS_PER_MS
SWITCH_INTERVAL_S: Final = 100e-6
"""A thread that waits for the interpreter gets it within 100 µs. With Python's 5 ms whatever else
the process does would pass for a stall of the machine: a meter beside a busy thread woke 2.5 ms
late at p50, with this 0.17 ms."""
MAX_CATCH_UP: Final = 4096
"""Wake-ups missed in a stall that are recorded; a longer one (over 4 s) keeps its first and longest
4,096, so that the ring can't overrun."""


class HiccupMeter:
    """Sleeps for 1 ms against an absolute deadline, again and again, in a thread of its own.

    Deadlines don't move: after a stall of 50 ms the 49 that were missed are recorded as well, 49,
    48 … 1 ms late, for a tick might have been due at any of them (no coordinated omission).
    Costs 3 to 4 % of a CPU.
    """

    def __init__(self, ring: RingWriter) -> None:
        self._push = ring.push
        self._stopped = False
        self._switched_before_s = SWITCH_INTERVAL_S
        self._thread = threading.Thread(target=self._serve, name="hiccup", daemon=True)

    def start(self) -> None:
        """Begin to measure; until it stops, threads of this process take turns quickly."""
        self._switched_before_s = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        self._thread.start()

    def stop(self) -> None:
        """Measure no more; also when it never began."""
        self._stopped = True
        if self._thread.ident is not None:
            self._thread.join()
            sys.setswitchinterval(self._switched_before_s)

    def _serve(self) -> None:
        minimise_timer_slack()  # of this thread: it is inherited only from one that has it
        deadline_ns = monotonic_ns() + INTERVAL_NS
        while not self._stopped:
            left_ns = deadline_ns - monotonic_ns()
            if left_ns > 0:
                # CPython sleeps to an absolute moment as well (clock_nanosleep, TIMER_ABSTIME)
                time.sleep(left_ns / NS_PER_S)
            woke_ns = monotonic_ns()
            deadline_ns = self._record(deadline_ns, woke_ns)

    def _record(self, deadline_ns: int, woke_ns: int) -> int:
        """Record every deadline up to `woke_ns`; the next one."""
        caught_up = 0
        while deadline_ns <= woke_ns:
            if caught_up < MAX_CATCH_UP:
                self._push(deadline_ns, woke_ns - deadline_ns)
            caught_up += 1
            deadline_ns += INTERVAL_NS
        return deadline_ns
