"""Lines of a session that goes on, and below them one that is written over."""

from __future__ import annotations

from rich.console import Console

from latbench.render.ink import Ink


class ProgressLines:
    """Prints to a terminal or a log; only on a terminal a line can be written over."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._ink = Ink(console.options.ascii_only)
        self.overwrites = console.file.isatty() and not console.is_dumb_terminal
        self._shown = ""
        self._has_shown = False

    @property
    def width(self) -> int:
        """Cells of a line."""
        return self._console.width

    def print(self, text: str) -> None:
        """A line that stays."""
        self.take_away()
        self._write(self._ink.text(text).rstrip() + "\n")

    def overwrite(self, text: str) -> None:
        """What the last line says now, as much as fits: one that wraps can't be written over."""
        shown = self._ink.text(text)[: self._console.width - 1]
        if shown != self._shown:
            self._write(f"\r{shown}\x1b[K")
            self._shown, self._has_shown = shown, True

    def take_away(self) -> None:
        """Take the line that is written over away."""
        if self._shown:
            self._write("\r\x1b[K")
            self._shown = ""

    def close(self) -> None:
        """Leave the terminal to the report, an empty line between; once is enough."""
        self.take_away()
        if self._has_shown:
            self._write("\n")
            self._has_shown = False

    def _write(self, text: str) -> None:
        self._console.file.write(text)
        self._console.file.flush()
