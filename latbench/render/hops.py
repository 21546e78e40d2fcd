"""The table of hops, which the live view and the report share.

With room (from about 130 columns) it has a row a hop and a column a statistic. With less it stands
on its side, a column a hop and a row a statistic: that is complete at 80 columns, and no number is
cut short. Either way the parts come first and add up to `end_to_end`, which is set apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from latbench.render.ink import Drawn, Ink, Line, left, paragraph, right, width_of
from latbench.result import HopSummary
from latbench.tick import HOPS, Hop, HopKind
from latbench.units import format_count, format_latency, format_rate

NOT_AVAILABLE: Final = "n/a"
MOCK: Final = "librdkafka's mock broker, not Kafka"

_LATENCY_WIDTH: Final = 7
"""`55.1 µs`: fixed, so that columns stand still while a live view's figures change."""
_NAME_WIDTH: Final = len("p99.99")
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
            return "mock" if embedded else "side"
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


class HopTable(Drawn):
    """All hops and all (or the given) statistics; `notes` adds what a first reader has to know."""

    def __init__(
        self,
        hops: Sequence[HopSummary],
        *,
        embedded: bool,
        statistics: Sequence[Statistic] = STATISTICS,
        notes: bool = True,
    ) -> None:
        self._summaries: Mapping[str, HopSummary] = {summary.hop: summary for summary in hops}
        self._embedded = embedded
        self._statistics = statistics
        self._notes = notes

    def draw(self, width: int, ink: Ink) -> list[Line]:
        """One table with a row a hop where it fits, else with a column a hop; then the notes."""
        lines = self._in_rows(width, ink) or self._in_columns(width, ink)
        if self._notes:
            lines.append([])
            for note in self._note_texts():
                lines += paragraph(note, width, ink, style="dim")
        return lines

    def draw_shortest(self, width: int, ink: Ink) -> list[Line]:
        """The table without notes in whichever form has fewer lines."""
        columns = self._in_columns(width, ink)
        rows = self._in_rows(width, ink)
        return columns if rows is None or len(columns) < len(rows) else rows

    def _note_texts(self) -> list[str]:
        texts = [
            "For every tick the four parts add up to end_to_end; percentiles don't add. ack is a "
            "side branch. service is uncorrected: counted from sent, it hides the generator's "
            "stalls."
        ]
        if self._embedded:
            texts.append(
                f"kafka and ack were measured against {MOCK}: they test the pipeline and say "
                "nothing about a real broker."
            )
        shown = self._summaries.values()
        if any(None in summary.percentiles_ns.values() for summary in shown if summary.count):
            texts.append("n/a: fewer than 100 ticks lie above, so a figure would be a guess.")
        return texts

    def _cell(self, hop: Hop, statistic: Statistic, ink: Ink, *, compact: bool = False) -> Line:
        summary = self._summaries.get(hop.name)
        value = statistic.read(summary) if summary is not None and summary.count else None
        style = _STYLES[hop.kind]
        match statistic.name:
            case "count" | "rate" if compact:
                return [(_compact(value or 0), style)]
            case "count":
                return [(format_count(round(value or 0)), style)]
            case "rate":
                return [(format_rate(value or 0.0), style)]
            case _ if summary is None or not summary.count:
                return [(right(ink.text("–"), _LATENCY_WIDTH), "dim")]
            case _:
                return latency_spans(value, _LATENCY_WIDTH, style, ink)

    def _in_rows(self, width: int, ink: Ink) -> list[Line] | None:
        cells = [
            [self._cell(hop, statistic, ink) for statistic in self._statistics] for hop in HOPS
        ]
        widths = [
            max(len(statistic.name), *(width_of(row[column]) for row in cells))
            for column, statistic in enumerate(self._statistics)
        ]
        labels = [ink.text(label_of(hop, embedded=self._embedded)) for hop in HOPS]
        tags = [ink.text(tag_of(hop, embedded=self._embedded)) for hop in HOPS]
        # a label begins below the one above; a tag ends there, in whatever room its name leaves
        name_width = max(len(hop.name) for hop in HOPS) + 2
        label_width = max(map(len, labels))
        both = max(len(hop.name) + 1 + len(tag) for hop, tag in zip(HOPS, tags, strict=True))
        labelled = [
            (left(hop.name, name_width), left(label, label_width))
            for hop, label in zip(HOPS, labels, strict=True)
        ]
        tagged = [
            (hop.name, right(tag, both - len(hop.name)))
            for hop, tag in zip(HOPS, tags, strict=True)
        ]
        for gap, heads in ((2, labelled), (2, tagged), (1, tagged)):
            if sum(map(len, heads[0])) + sum(widths) + gap * len(widths) <= width:
                return self._rows(heads, cells, widths, gap, ink)
        return None

    def _rows(
        self,
        heads: Sequence[tuple[str, str]],
        cells: Sequence[Sequence[Line]],
        widths: Sequence[int],
        gap: int,
        ink: Ink,
    ) -> list[Line]:
        head_width = sum(map(len, heads[0]))
        header = "".join(
            right(statistic.name, gap + width)
            for statistic, width in zip(self._statistics, widths, strict=True)
        )
        rule: Line = [(ink.rule(head_width + len(header)), "dim")]
        lines: list[Line] = [[(" " * head_width, ""), (header, "dim")]]
        for hop, (name, title), row in zip(HOPS, heads, cells, strict=True):
            line: Line = [(name, _STYLES[hop.kind]), (title, "dim")]
            for cell, cell_width in zip(row, widths, strict=True):
                line.append((" " * (gap + cell_width - width_of(cell)), ""))
                line += cell
            if hop.kind is HopKind.TOTAL:
                lines += [rule, line, rule]
            else:
                lines.append(line)
        return lines

    def _in_columns(self, width: int, ink: Ink) -> list[Line]:
        for gap in (2, 1):
            lines = self._columns(HOPS, gap, ink)
            if max(map(width_of, lines)) <= width:
                return lines
        ends = next(index for index, hop in enumerate(HOPS) if hop.kind is HopKind.TOTAL) + 1
        return [*self._columns(HOPS[:ends], 1, ink), [], *self._columns(HOPS[ends:], 1, ink)]

    def _columns(self, hops: Sequence[Hop], gap: int, ink: Ink) -> list[Line]:
        lines: list[Line] = [[(" " * _NAME_WIDTH, "")], [(" " * _NAME_WIDTH, "")]]
        names = ("rate/s" if item.name == "rate" else item.name for item in self._statistics)
        lines += [[(left(name, _NAME_WIDTH), "dim")] for name in names]
        bar = ink.text("│")
        previous: Hop | None = None
        for hop in hops:
            style = _STYLES[hop.kind]
            column: list[Line] = [
                [(hop.name, style)],
                [(ink.text(tag_of(hop, embedded=self._embedded)), "dim")],
            ]
            column += [self._cell(hop, item, ink, compact=True) for item in self._statistics]
            cell_width = max(map(width_of, column))
            is_apart = previous is not None and HopKind.TOTAL in (hop.kind, previous.kind)
            # the first column needs one blank only: its figures are narrower than its heading
            lead = f" {bar} " if is_apart else " " * (gap if previous else 1)
            for line, cell in zip(lines, column, strict=True):
                line.extend([(lead + " " * (cell_width - width_of(cell)), "dim"), *cell])
            previous = hop
        return lines


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
