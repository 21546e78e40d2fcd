"""The consoles that things are printed on: how wide, and whether only ASCII."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Final

from rich.console import Console

PIPED_WIDTH: Final = 140
"""Cells of a line that goes to a file or a pipe: one row a hop, so that `grep kafka` finds it."""


class _OpenConsole(Console):
    """A console that says so when its reader has gone.

    Rich's own ends the process there (`SystemExit`), and with it a run that could go on.
    """

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class _AsciiConsole(_OpenConsole):
    """A console whose terminal knows ASCII only, whatever its stream could encode."""

    @property
    def encoding(self) -> str:
        return "ascii"


def open_console(stream: IO[str], environ: Mapping[str, str]) -> Console:
    """A console on `stream`: as wide as its terminal, else `COLUMNS`, else `PIPED_WIDTH`.

    `LANG=C` or `LC_ALL=C` means an ASCII terminal here. The stream's encoding doesn't tell: Python
    takes UTF-8 for such a locale (PEP 538 and 540). `NO_COLOR` and `FORCE_COLOR` are Rich's.
    """
    locale = environ.get("LC_ALL") or environ.get("LANG", "")
    kind = _AsciiConsole if locale in {"C", "POSIX"} else _OpenConsole
    is_wide = not stream.isatty() and not environ.get("COLUMNS", "").isdigit()
    return kind(
        file=stream,
        width=PIPED_WIDTH if is_wide else None,
        highlight=False,
        markup=False,
        emoji=False,
        _environ=environ,
    )
