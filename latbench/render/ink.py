"""Lines of styled text, laid out cell by cell, and what they become on a plain ASCII terminal.

Rich's own tables take 10 ms and more for what the live view shows four times a second, and cut
numbers short with an ellipsis when they run out of room. Lines made here cost a tenth of that, and
each table chooses its layout by the room there is.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Final

from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment

Span = tuple[str, str]
"""A text and its style, as Rich spells styles."""

Line = list[Span]

_ASCII: Final[dict[int, str]] = str.maketrans(
    {
        "→": "->", "µ": "u", "…": "...", "·": "-", "–": "-", "−": "-", "—": "-", "×": "x",
        "’": "'", "‘": "'", "“": '"', "”": '"', "≤": "<=", "≥": ">=", "±": "+-", "─": "-",
        "│": "|",
    }
)  # fmt: skip
_KEEP_TOGETHER: Final = re.compile(r"(?<=\d) (?=(?:ns|us|µs|ms|s|min|h|GiB|%)(?![\w/]))")
_NO_BREAK: Final = "\u00a0"
GUTTER: Final = 10
"""Cells that a field's label takes."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ink:
    """The characters that a terminal can show."""

    ascii_only: bool = False

    def text(self, text: str) -> str:
        """`text` on one line, without control characters, in ASCII where there is no more."""
        return _to_ascii(text) if self.ascii_only else _printable(text)

    def rule(self, width: int) -> str:
        """A thin horizontal rule of `width` cells."""
        return ("-" if self.ascii_only else "─") * width

    def bar(self, share: float, width: int) -> str:
        """A bar of up to `width` cells for a share from 0 to 1; what is above 0 shows."""
        if self.ascii_only:
            return "#" * max(round(share * width), 1 if share > 0 else 0)
        eighths = max(round(share * width * 8), 1 if share > 0 else 0)
        return "█" * (eighths // 8) + "▏▎▍▌▋▊▉"[eighths % 8 - 1 : eighths % 8]

    def progress(self, share: float, width: int) -> tuple[str, str]:
        """What is done and what is left of a track of `width` cells."""
        done = min(max(int(share * width), 0), width)
        full, empty = "#-" if self.ascii_only else "━─"
        return full * done, empty * (width - done)

    def chart(self, values: Sequence[int], highest: int, height: int) -> list[str]:
        """Columns from 0 to `highest`, one cell a value, in `height` lines from the top down."""
        levels = " .:-=+*#" if self.ascii_only else " ▁▂▃▄▅▆▇█"
        steps = len(levels) - 1
        heights = [
            # a value above 0 is never drawn as nothing: an empty column is a second without ticks
            max(round(value * height * steps / highest), 1) if value > 0 and highest else 0
            for value in values
        ]
        return [
            "".join(levels[min(max(column - row * steps, 0), steps)] for column in heights)
            for row in range(height - 1, -1, -1)
        ]


@functools.lru_cache(maxsize=1024)
def _printable(text: str) -> str:
    if text.isprintable():
        return text
    text = " ".join(text.split())
    return "".join(char if char.isprintable() else "?" for char in text)


@functools.lru_cache(maxsize=1024)
def _to_ascii(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", _printable(text).translate(_ASCII))
    bare = "".join(char for char in decomposed if not unicodedata.combining(char))
    return bare.encode("ascii", "replace").decode()


def left(text: str, width: int) -> str:
    """`text` filled up to `width` cells on its right."""
    return text + " " * (width - cell_len(text))


def right(text: str, width: int) -> str:
    """`text` filled up to `width` cells on its left."""
    return " " * (width - cell_len(text)) + text


def width_of(line: Line) -> int:
    """The cells that a line takes."""
    return sum(cell_len(text) for text, _ in line)


def wrap(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` cells; a number stays with its unit, long words break."""
    lines = [""]
    for word in _KEEP_TOGETHER.sub(_NO_BREAK, text).split(" "):
        for piece in chop_cells(word, width) if cell_len(word) > width else (word,):
            if not lines[-1]:
                lines[-1] = piece
            elif cell_len(lines[-1]) + 1 + cell_len(piece) <= width:
                lines[-1] += f" {piece}"
            else:
                lines.append(piece)
    return [line.replace(_NO_BREAK, " ") for line in lines]


def paragraph(
    text: str, width: int, ink: Ink, *, style: str = "", label: str = "", label_style: str = "dim",
    gutter: int = 0,
) -> list[Line]:  # fmt: skip
    """`text` wrapped beside a `gutter` of so many cells that holds `label` on the first line."""
    lines: list[Line] = []
    for piece in wrap(ink.text(text), max(width - gutter, 1)):
        head = left(ink.text(label), gutter) if not lines else " " * gutter
        lines.append([(head, label_style), (piece, style)])
    return lines


def fields(
    labelled: Iterable[tuple[str, str]], width: int, ink: Ink, *, style: str = ""
) -> list[Line]:
    """Texts (label, text), each beside its label."""
    lines: list[Line] = []
    for label, text in labelled:
        lines += paragraph(text, width, ink, style=style, label=label, gutter=GUTTER)
    return lines


class Drawn(ABC):
    """Something Rich can print that draws its own lines for the width and characters at hand."""

    @abstractmethod
    def draw(self, width: int, ink: Ink) -> list[Line]:
        """The lines, each of at most `width` cells where `width` is 60 or more."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from segments(self.draw(options.max_width, Ink(options.ascii_only)), console)


def segments(lines: Iterable[Line], console: Console) -> Iterable[Segment]:
    """The lines as Rich prints them, without blanks at their ends."""
    for line in lines:
        last = next((i for i in range(len(line) - 1, -1, -1) if line[i][0].strip()), -1)
        for index, (text, style) in enumerate(line[: last + 1]):
            shown = text.rstrip() if index == last else text
            if shown:
                yield Segment(shown, console.get_style(style) if style else None)
        yield Segment.line()
