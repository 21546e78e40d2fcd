"""How fast totals grow, over the last second."""

from __future__ import annotations

from collections import deque
from typing import Final

from latbench.clock import NS_PER_S

_SPAN_NS: Final = NS_PER_S


class RateWindow:
    """Totals as they were told, and their growth over the last second."""

    def __init__(self) -> None:
        self._marks: deque[tuple[int, tuple[int, ...]]] = deque()

    def rates_hz(self, now_ns: int, *totals: int) -> tuple[float, ...]:
        """Of each total, in the same order each time; call a few times a second. At first 0."""
        self._marks.append((now_ns, totals))
        while len(self._marks) > 2 and self._marks[1][0] <= now_ns - _SPAN_NS:
            self._marks.popleft()
        then_ns, before = self._marks[0]
        span_ns = now_ns - then_ns
        if not span_ns:
            return (0.0,) * len(totals)
        return tuple(
            (now - then) * NS_PER_S / span_ns for now, then in zip(totals, before, strict=True)
        )
