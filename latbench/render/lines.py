"""A run as lines of a log, for where there is no terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rich.console import Console

from latbench.clock import NS_PER_S, monotonic_ns
from latbench.render.hops import NOT_AVAILABLE
from latbench.render.ink import Ink
from latbench.result import Snapshot
from latbench.units import format_clock, format_count, format_latency, format_rate

EVERY_NS: Final = 5 * NS_PER_S


class LineView:
    """One line every 5 s, when a phase begins, and for each new message."""

    def __init__(
        self, console: Console, title: str = "", *, clock: Callable[[], int] = monotonic_ns
    ) -> None:
        self._console = console
        self._title = title
        self._clock = clock
        self._next_ns = 0
        self._phase = ""
        self._messages: tuple[str, ...] = ()

    def start(self) -> None:
        """Print the title."""
        if self._title:
            self._print(self._title)

    def update(self, snapshot: Snapshot) -> None:
        """Print what is new in `snapshot`, and its figures when it is time for them."""
        for message in snapshot.messages:
            if message not in self._messages:
                self._print(message)
        self._messages = snapshot.messages
        now_ns = self._clock()
        if snapshot.phase != self._phase or now_ns >= self._next_ns:
            self._phase = snapshot.phase
            self._next_ns = now_ns + EVERY_NS
            self._print(draw_line(snapshot))

    def stop(self) -> None:
        """Nothing is left to put right."""

    def _print(self, text: str) -> None:
        shown = Ink(self._console.options.ascii_only).text(text)
        # a log's lines are never wrapped: whatever reads them does that
        self._console.print(shown.rstrip(), soft_wrap=True, markup=False, highlight=False)


def draw_line(snapshot: Snapshot) -> str:
    """A snapshot in one line whose columns stand below those of other lines."""
    time = format_clock(max(snapshot.elapsed_ns, 0))
    if snapshot.is_warmup_open:
        time += " until settled"
    elif snapshot.total_ns is not None:
        time += f" of {format_clock(snapshot.total_ns)}"
    end_to_end = next((hop for hop in snapshot.hops if hop.hop == "end_to_end" and hop.count), None)
    percentiles = end_to_end.percentiles_ns if end_to_end is not None else {}
    latencies = {
        "p50": percentiles.get("p50"),
        "p99": percentiles.get("p99"),
        "max": end_to_end.max_ns if end_to_end is not None else None,
    }
    fields = [
        f"{snapshot.phase:<9}  {time}",
        f"{format_rate(snapshot.rate_sent_hz):>9}",
        "end_to_end",
        *(f"{name} {_latency(value_ns):<7}" for name, value_ns in latencies.items()),
        f"in flight {format_count(snapshot.in_flight):<5}",
        f"lost {format_count(snapshot.lost)}",
        f"errors {format_count(snapshot.errors)}",
    ]
    return "  ".join(fields)


def _latency(value_ns: int | None) -> str:
    return NOT_AVAILABLE if value_ns is None else format_latency(value_ns)
