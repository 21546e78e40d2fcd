"""Small pieces of HTML; every text that comes in is escaped here."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from typing import Final, NewType

from latbench.render.hops import NOT_AVAILABLE
from latbench.render.ink import Ink
from latbench.units import format_latency

Markup = NewType("Markup", str)
"""HTML, not text."""

_INK: Final = Ink()
_KEEP_TOGETHER: Final = re.compile(r"(?<=\d) (?=(?:ns|µs|ms|s|min|h|GiB|%)(?![\w/]))")
_OPTION: Final = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
_STROKES: Final = {
    "dot": "dotted", "1.5px,3px": "dotted", "dash": "dashed", "5px,3px": "dashed"
}  # fmt: skip
"""What a style sheet calls what Plotly calls a dash."""

FEW: Final = "fewer than 100 ticks lie above, so a figure would be a guess"


def text(words: object) -> Markup:
    """Any text, on one line and without control characters; a number stays with its unit."""
    return Markup(html.escape(_KEEP_TOGETHER.sub("\u00a0", _INK.text(str(words)))))


def prose(words: str) -> Markup:
    """A text in which options of the command line are set apart."""
    return Markup(_OPTION.sub(r"<code>\g<0></code>", text(words)))


def element(name: str, *inner: Markup, **attributes: str) -> Markup:
    """An element; `class_` is `class`, and `_` in a name of an attribute is `-`."""
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
        for key, value in attributes.items()
        if value
    )
    return Markup(f"<{name}{told}>{''.join(inner)}</{name}>")


def join(parts: Iterable[Markup], between: str = "\n") -> Markup:
    """Pieces after one another."""
    return Markup(between.join(parts))


def latency(value_ns: float | None) -> Markup:
    """A latency with its unit; None is `n/a`, which says why when it is pointed at."""
    if value_ns is None:
        return element("abbr", text(NOT_AVAILABLE), class_="na", title=FEW)
    number, _, unit = format_latency(value_ns).partition(" ")
    return Markup(f'{number}<span class="u">\u202f{text(unit)}</span>')


def swatch(colour: str, dash: str = "", *, is_line: bool = True) -> Markup:
    """A sample of a line or of an area."""
    kind = "line" if is_line else "area"
    style = _STROKES.get(dash, "solid")
    return element("i", class_=f"swatch {kind} {style}", style=f"--c:var({colour})")


def table(
    header: Sequence[Markup], rows: Iterable[tuple[Sequence[Markup], str]], *, label: str
) -> Markup:
    """Columns of figures, the first of names; each row with its class. It scrolls by itself."""
    head = join((element("th", cell, scope="col") for cell in header), "")
    body = []
    for cells, kind in rows:
        first = element("th", cells[0], scope="row")
        others = join((element("td", cell) for cell in cells[1:]), "")
        body.append(element("tr", first, others, class_=kind))
    inner = Markup(
        f"<table><thead><tr>{head}</tr></thead>\n<tbody>{join(body)}</tbody></table>"
    )  # fmt: skip
    return Markup(
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(label)}">{inner}</div>'
    )


def folded(title: str, *inner: Markup, is_open: bool = False) -> Markup:
    """What is there for whoever wants to know."""
    opened = " open" if is_open else ""
    return Markup(
        f"<details{opened}><summary>{text(title)}</summary>\n{join(inner)}\n</details>"
    )  # fmt: skip


def paragraph(words: object, kind: str = "") -> Markup:
    """A paragraph of text."""
    return element("p", prose(str(words)), class_=kind)
