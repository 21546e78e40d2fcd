"""Watching a run: the two ways to show it share one small protocol."""

from __future__ import annotations

from typing import Protocol

from rich.console import Console

from latbench.render.lines import LineView
from latbench.render.live import LiveView
from latbench.result import Snapshot


class RunView(Protocol):
    """Shows snapshots of a run while it goes on."""

    def start(self) -> None:
        """Begin; the terminal is the view's until `stop`."""

    def update(self, snapshot: Snapshot) -> None:
        """Show `snapshot`, at most 4 times a second."""

    def stop(self) -> None:
        """End and leave the terminal as it was; again does nothing."""


def open_view(console: Console, title: str, *, embedded: bool) -> RunView:
    """A live view on a terminal, else a line every few seconds.

    Rich's own word isn't taken for it: `FORCE_COLOR`, set by many CI services, makes it call a pipe
    a terminal.
    """
    if console.file.isatty() and console.is_terminal and not console.is_dumb_terminal:
        return LiveView(console, title, embedded=embedded)
    return LineView(console, title)
