"""What each process and the machine use, sampled once a second by the supervisor."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

import numpy as np

from latbench.clock import NS_PER_S
from latbench.procfs import Usage, read_machine, read_usage
from latbench.recording import MACHINE, PROCESSES, USAGE
from latbench.spool import SpoolWriter

INTERVAL_NS: Final = NS_PER_S
_TOTALS: Final = ("involuntary_switches", "voluntary_switches", "peak_rss_bytes")


class Sampler:
    """Reads `/proc` (1 to 2 ms for five processes) and appends what it says to the spool."""

    def __init__(self, spool: SpoolWriter) -> None:
        self._spool = spool
        self._next_ns = 0
        self._last: dict[str, deque[tuple[int, Usage]]] = {}

    def sample(self, now_ns: int, pids: Mapping[str, int], *, at_once: bool = False) -> None:
        """Take a sample when it is time, or `at_once`; `pids` by process."""
        if now_ns < self._next_ns and not at_once:
            return
        self._next_ns = now_ns + INTERVAL_NS
        rows = []
        for process, pid in pids.items():
            usage = read_usage(pid)
            if usage is not None:
                usage = self._never_less(process, usage)
                rows.append((now_ns, PROCESSES.index(process), *usage))
                self._last.setdefault(process, deque(maxlen=2)).append((now_ns, usage))
        if rows:
            self._spool.append(USAGE, np.array(rows, dtype=np.int64))
        machine = read_machine()
        if machine is not None:
            self._spool.append(MACHINE, np.array([(now_ns, *machine)], dtype=np.int64))

    def _never_less(self, process: str, usage: Usage) -> Usage:
        """The same, with no total below that of the sample before.

        A thread that ends takes its context switches along, and the kernel adds memory up from
        counters of each CPU, exact to some hundred kilobytes.
        """
        if process not in self._last:
            return usage
        before = self._last[process][-1][1]
        return usage._replace(
            **{name: max(getattr(usage, name), getattr(before, name)) for name in _TOTALS}
        )

    def cpu_share(self, process: str) -> float | None:
        """Of one CPU, between the last two samples; None before there are two."""
        samples = self._last.get(process)
        if samples is None or len(samples) < 2:
            return None
        (then_ns, before), (now_ns, after) = samples
        return (after.cpu_ns - before.cpu_ns) / max(now_ns - then_ns, 1)

    def rss_bytes(self, process: str) -> int:
        """Resident memory at the last sample; 0 before."""
        samples = self._last.get(process)
        return samples[-1][1].rss_bytes if samples else 0
