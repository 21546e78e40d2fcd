"""The table of hops, which the live view and the report share.

With room (from about 130 columns) it has a row a hop and a column a statistic. With less it stands
on its side, a column a hop and a row a statistic: that is complete at 80 columns, and no number is
cut short. Either way the parts come first and add up to `end_to_end`, which is set apart.

The hiccups of the platform are no hop: no tick passes through them. They stand last, as a row like
the others, or as a line below the table that stands on its side.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from latbench.floor import floor_ns_by_hop, times_floor
from latbench.render.ink import Drawn, Ink, Line, left, paragraph, right, width_of
from latbench.result import Floor, HopSummary
from latbench.tick import FANOUT, HOPS, Hop, HopKind
from latbench.units import format_count, format_latency, format_multiple, format_rate

NOT_AVAILABLE: Final = "n/a"
MOCK: Final = "librdkafka's mock broker, not Kafka"
HICCUP: Final = "hiccup"
TIMES_FLOOR: Final = "×floor"

LATENCY_WIDTH: Final = 7
"""`55.1 µs`: fixed, so that columns stand still while a live view's figures change."""
_NAME_WIDTH: Final = len("p99.99")
_PLATFORM_STATISTICS: Final = ("p50", "p99", "p99.9", "p99.99", "max")
_ON_BROKER: Final = ("kafka", "ack")
_UNIT_STYLES: Final = {"ns": "dim", "µs": "dim", "ms": "cyan", "s": "magenta"}
_STYLES: Final = {
    HopKind.PART: "",
    HopKind.TOTAL: "bold",
    HopKind.SIDE: "dim",
    HopKind.UNCORRECTED: "dim",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Statistic:
    """One figure of a hop and the way it is read from a summary."""

    name: str
    read: Callable[[HopSummary], float | None]


def _percentile(name: str) -> Statistic:
    return Statistic(name, lambda summary: summary.percentiles_ns.get(name))


STATISTICS: Final = (
    Statistic("count", lambda summary: summary.count),
    Statistic("rate", lambda summary: summary.rate_hz),
    Statistic("min", lambda summary: summary.min_ns),
    *map(_percentile, ("p50", "p75", "p90", "p95", "p99", "p99.9", "p99.99")),
    Statistic("max", lambda summary: summary.max_ns),
    Statistic("mean", lambda summary: summary.mean_ns),
    Statistic("stdev", lambda summary: summary.stdev_ns),
)


def _times_floor(multiples: Mapping[str, float]) -> Statistic:
    return Statistic(TIMES_FLOOR, lambda summary: multiples.get(summary.hop))


def only(*names: str) -> tuple[Statistic, ...]:
    """The statistics of these names, in the table's order."""
    return tuple(statistic for statistic in STATISTICS if statistic.name in names)


def latency_spans(value_ns: float | None, width: int, style: str, ink: Ink) -> Line:
    """A latency right-aligned in `width` cells, its unit coloured by magnitude; None is `n/a`.

    Every unit takes two cells: the digits of `3.21  s` stand below those of `3.21 ms`.
    """
    if value_ns is None:
        return [(right(NOT_AVAILABLE, width), "dim")]
    number, _, unit = format_latency(value_ns).partition(" ")
    shown = f" {ink.text(unit):>2}"
    unit_style = style if style == "dim" else f"{style} {_UNIT_STYLES[unit]}"
    return [(right(number, width - len(shown)), style), (shown, unit_style)]


def tag_of(hop: Hop, *, embedded: bool) -> str:
    """What a hop is, in at most 11 cells: `T1`, `T3 mock`, `total`, `uncorrected`."""
    match hop.kind:
        case HopKind.TOTAL:
            return "total"
        case HopKind.SIDE:
            return "mock" if embedded and hop.name in _ON_BROKER else "side"
        case HopKind.UNCORRECTED:
            return "uncorrected"
        case _:
            code, dot, _ = hop.label.partition(" · ")
            mock = " mock" if embedded and hop.name in _ON_BROKER else ""
            return f"{code}{mock}" if dot else ""


def label_of(hop: Hop, *, embedded: bool) -> str:
    """What happens in a hop, from where to where, and what to think of it."""
    if hop.kind is HopKind.UNCORRECTED:
        return f"{hop.label}, uncorrected"
    return f"{hop.label} (mock)" if embedded and hop.name in _ON_BROKER else hop.label


@dataclasses.dataclass(frozen=True, slots=True)
class _Row:
    """What the table tells of one hop, or of the platform."""

    name: str
    tag: str
    label: str
    style: str
    summary: HopSummary | None
    is_total: bool = False

    def cell(self, statistic: Statistic, ink: Ink, *, compact: bool = False) -> Line:
        """One figure of it."""
        summary = self.summary
        value = statistic.read(summary) if summary is not None and summary.count else None
        match statistic.name:
            case "count" | "rate" if compact:
                return [(_compact(value or 0), self.style)]
            case "count":
                return [(format_count(round(value or 0)), self.style)]
            case "rate":
                return [(format_rate(value or 0.0), self.style)]
            case name if name == TIMES_FLOOR:
                return [(ink.text("–" if value is None else format_multiple(value)), self.style)]
            case _ if summary is None or not summary.count:
                return [(right(ink.text("–"), LATENCY_WIDTH), "dim")]
            case _:
                return latency_spans(value, LATENCY_WIDTH, self.style, ink)


class HopTable(Drawn):
    """All hops and all (or the given) statistics; `notes` adds what a first reader has to know.

    `only_measured` leaves out hops that are not among the given ones. `hiccups` adds how late
    timers woke on this machine, `floor` how many times its floor each hop's p50 is.
    """

    def __init__(
        self,
        hops: Sequence[HopSummary],
        *,
        embedded: bool,
        hiccups: HopSummary | None = None,
        floor: Floor | None = None,
        statistics: Sequence[Statistic] = STATISTICS,
        notes: bool = True,
        only_measured: bool = False,
    ) -> None:
        self._summaries: Mapping[str, HopSummary] = {summary.hop: summary for summary in hops}
        self._hops = _shown_hops(self._summaries)
        if only_measured:
            self._hops = tuple(hop for hop in self._hops if hop.name in self._summaries)
        self._hiccups = hiccups
        self._embedded = embedded
        self._floor = floor
        self._statistics = statistics
        if floor is not None:
            self._statistics = [*statistics, _times_floor(times_floor(floor, hops))]
        self._notes = notes

    def draw(self, width: int, ink: Ink) -> list[Line]:
        """One table with a row a hop where it fits, else with a column a hop; then the notes."""
        lines = self._in_rows(width, ink) or self._in_columns(width, ink)
        if self._notes:
            lines.append([])
            for note in self.note_texts():
                lines += paragraph(note, width, ink, style="dim")
        return lines

    def draw_shortest(self, width: int, ink: Ink) -> list[Line]:
        """The table without notes in whichever form has fewer lines."""
        columns = self._in_columns(width, ink)
        rows = self._in_rows(width, ink)
        return columns if rows is None or len(columns) < len(rows) else rows

    def _side_words(self) -> str:
        if FANOUT.name not in self._summaries:
            return "ack is a side branch."
        return "ack and fanout are side branches, fanout with each tick once for each subscriber."

    def note_texts(self) -> list[str]:
        """What a first reader has to know of the figures."""
        texts = [
            "For every tick the four parts add up to end_to_end; percentiles don't add. "
            f"{self._side_words()}"
        ]
        if self._hiccups is not None:
            texts[0] += " hiccup: how late all timers woke."
        if self._embedded:
            texts.append(
                f"kafka and ack were measured against {MOCK}: they test the pipeline and say "
                "nothing about a real broker."
            )
        if self._floor is not None:
            texts.append(_floor_words(self._floor))
        shown = self._summaries.values()
        if any(None in summary.percentiles_ns.values() for summary in shown if summary.count):
            texts.append("n/a: fewer than 100 ticks lie above, so a figure would be a guess.")
        return texts

    def _of(self, hop: Hop, ink: Ink) -> _Row:
        return _Row(
            name=hop.name,
            tag=ink.text(tag_of(hop, embedded=self._embedded)),
            label=ink.text(label_of(hop, embedded=self._embedded)),
            style=_STYLES[hop.kind],
            summary=self._summaries.get(hop.name),
            is_total=hop.kind is HopKind.TOTAL,
        )

    def _of_platform(self) -> _Row | None:
        if self._hiccups is None:
            return None
        return _Row(HICCUP, "platform", "timer wake-ups late by", "dim", self._hiccups)

    def _in_rows(self, width: int, ink: Ink) -> list[Line] | None:
        platform = self._of_platform()
        rows = [*(self._of(hop, ink) for hop in self._hops), *([platform] if platform else [])]
        cells = [[row.cell(statistic, ink) for statistic in self._statistics] for row in rows]
        widths = [
            max(len(statistic.name), *(width_of(row[column]) for row in cells))
            for column, statistic in enumerate(self._statistics)
        ]
        # a label begins below the one above; a tag ends there, in whatever room its name leaves
        name_width = max(len(row.name) for row in rows) + 2
        label_width = max(len(row.label) for row in rows)
        both = max(len(row.name) + 1 + len(row.tag) for row in rows)
        labelled = [(left(row.name, name_width), left(row.label, label_width)) for row in rows]
        tagged = [(row.name, right(row.tag, both - len(row.name))) for row in rows]
        for gap, heads in ((2, labelled), (2, tagged), (1, tagged)):
            if sum(map(len, heads[0])) + sum(widths) + gap * len(widths) <= width:
                return self._rows(rows, heads, cells, widths, gap, ink)
        return None

    def _rows(
        self,
        rows: Sequence[_Row],
        heads: Sequence[tuple[str, str]],
        cells: Sequence[Sequence[Line]],
        widths: Sequence[int],
        gap: int,
        ink: Ink,
    ) -> list[Line]:
        head_width = sum(map(len, heads[0]))
        header = "".join(
            right(ink.text(statistic.name), gap + width)
            for statistic, width in zip(self._statistics, widths, strict=True)
        )
        rule: Line = [(ink.rule(head_width + len(header)), "dim")]
        lines: list[Line] = [[(" " * head_width, ""), (header, "dim")]]
        for row, (name, title), figures in zip(rows, heads, cells, strict=True):
            line: Line = [(name, row.style), (title, "dim")]
            for cell, cell_width in zip(figures, widths, strict=True):
                line.append((" " * (gap + cell_width - width_of(cell)), ""))
                line += cell
            if row.is_total:
                lines += [rule, line, rule]
            else:
                lines.append(line)
        return lines

    def _in_columns(self, width: int, ink: Ink) -> list[Line]:
        rows = [self._of(hop, ink) for hop in self._hops]
        below = self._platform_line(width, ink)
        for gap in (2, 1):
            lines = self._columns(rows, gap, ink)
            if max(map(width_of, lines)) <= width:
                return [*lines, *below]
        ends = next(index for index, row in enumerate(rows) if row.is_total) + 1
        return [
            *self._columns(rows[:ends], 1, ink), [], *self._columns(rows[ends:], 1, ink), *below,
        ]  # fmt: skip

    def _platform_line(self, width: int, ink: Ink) -> list[Line]:
        """As many of the hiccups' figures as a line holds; none where there are none."""
        row = self._of_platform()
        if row is None:
            return []
        shown = [item for item in self._statistics if item.name in _PLATFORM_STATISTICS]
        while True:
            line: Line = [(left(row.name, _NAME_WIDTH), row.style)]
            for item in shown:
                line += [(f"  {item.name} ", "dim"), *row.cell(item, ink)]
            if width_of(line) <= width:
                return [line]
            shown.pop(0)

    def _columns(self, rows: Sequence[_Row], gap: int, ink: Ink) -> list[Line]:
        lines: list[Line] = [[(" " * _NAME_WIDTH, "")], [(" " * _NAME_WIDTH, "")]]
        names = (
            "rate/s" if item.name == "rate" else ink.text(item.name) for item in self._statistics
        )
        lines += [[(left(name, _NAME_WIDTH), "dim")] for name in names]
        bar = ink.text("│")
        previous: _Row | None = None
        for row in rows:
            column: list[Line] = [[(row.name, row.style)], [(row.tag, "dim")]]
            column += [row.cell(item, ink, compact=True) for item in self._statistics]
            cell_width = max(map(width_of, column))
            is_apart = previous is not None and (row.is_total or previous.is_total)
            # the first column needs one blank only: its figures are narrower than its heading
            lead = f" {bar} " if is_apart else " " * (gap if previous else 1)
            for line, cell in zip(lines, column, strict=True):
                line.extend([(lead + " " * (cell_width - width_of(cell)), "dim"), *cell])
            previous = row
        return lines


def _shown_hops(summaries: Mapping[str, HopSummary]) -> tuple[Hop, ...]:
    """Those of ticks, and that of subscribers where there are some."""
    if FANOUT.name not in summaries:
        return HOPS
    return (*HOPS[:-1], FANOUT, HOPS[-1])


def _floor_words(floor: Floor) -> str:
    """What the hops' multiples are of."""
    floors_ns = floor_ns_by_hop(floor)
    listed = ", ".join(f"{hop} {format_latency(value)}" for hop, value in floors_ns.items())
    if not listed:
        return f"{TIMES_FLOOR}: nothing to compare with, the probes had too few samples."
    return (
        f"{TIMES_FLOOR}: p50 against what this machine and broker took just before, with next to "
        f"nothing in between, {format_latency(floor.interval_ns)} apart: {listed}."
    )


def _compact(value: float) -> str:
    """A count or a rate in at most 7 cells."""
    if value < 1_000_000:
        return (
            format_count(round(value)) if value >= 100 else f"{value:.2f}".rstrip("0").rstrip(".")
        )
    millions = value / 1e6
    return (
        f"{millions:,.0f} M"
        if millions >= 99.95
        else f"{millions:.{2 if millions < 9.995 else 1}f} M"
    )
