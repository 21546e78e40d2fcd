"""The report of a comparison: the verdict in words, the gates, every hop, what differs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from latbench.comparison import Change, Difference, GateResult, Verdict
from latbench.render.comparison_words import (
    SURE,
    SURE_LEGEND,
    Told,
    allowed_percent,
    describe_change,
    listed,
    rare_statistic,
    signed_interval,
    signed_percent,
)
from latbench.render.grid import Column, draw_grid, text_column
from latbench.render.hops import LATENCY_WIDTH, NOT_AVAILABLE, latency_spans
from latbench.render.ink import Drawn, Ink, Line, paragraph, width_of
from latbench.tick import HOP_BY_NAME, HopKind

_STYLES: Final = {
    Verdict.PASS: "bold green",
    Verdict.REGRESSION: "bold red",
    Verdict.INCONCLUSIVE: "bold yellow",
    Verdict.INCOMPARABLE: "bold yellow",
}
_SIDE_BY_SIDE: Final = 110
"""From this width on two statistics stand beside each other, and all four are told."""
_MAX_LEFT_OUT: Final = 8
"""Runs left out that are named."""


class ComparisonReport(Drawn):
    """What two sides say of each other, the answer first."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._comparison = told.comparison

    def draw(self, width: int, ink: Ink) -> list[Line]:
        """Complete at 80 cells."""
        comparison = self._comparison
        sections = [
            self._title(width, ink),
            self._answer(width, ink),
            self._gates(width, ink),
            draw_changes(comparison.changes, width, ink),
            _draw_differences("Must be the same and is not", comparison.mismatches, width, ink),
            _draw_differences("What differs", comparison.differences, width, ink),
            self._left_out(width, ink),
            self._limits(width, ink),
        ]
        lines: list[Line] = []
        for section in filter(None, sections):
            lines += [*([[]] if lines else []), *section]
        return lines

    def _title(self, width: int, ink: Ink) -> list[Line]:
        first, *more = self._told.heading
        lines = paragraph(first, width, ink, style="bold")
        for text in more:
            lines += paragraph(text, width, ink, style="dim")
        comparison = self._comparison
        counts = (comparison.base_runs, comparison.new_runs)
        for side, label, count in zip("AB", self._told.labels, counts, strict=True):
            text = f"{label} · {count} run{'s' if count != 1 else ''}"
            lines += paragraph(text, width, ink, style="dim", label=side, gutter=3)
        return lines

    def _answer(self, width: int, ink: Ink) -> list[Line]:
        first, *more = self._told.answer
        lines = paragraph(first, width, ink, style=_STYLES[self._comparison.verdict])
        for text in more:
            lines += paragraph(text, width, ink)
        return lines

    # --- gates --------------------------------------------------------------------------------

    def _gates(self, width: int, ink: Ink) -> list[Line]:
        results = self._comparison.gates
        if not results:
            return []
        lines = draw_grid(_gate_columns(results, ink), width, ink)
        if max(map(width_of, lines)) > width:
            lines = _stacked(results, width, ink)
        for text in self._told.all_notes:
            lines += paragraph(text, width, ink, style="dim")
        return [[("Gates", "bold")], *lines]

    # --- what else ----------------------------------------------------------------------------

    def _left_out(self, width: int, ink: Ink) -> list[Line]:
        unfit = self._comparison.unfit
        lines: list[Line] = []
        for each in unfit[:_MAX_LEFT_OUT]:
            text = f"{each.run}: {each.why}"
            lines += paragraph(text, width, ink, label=each.side, gutter=3)
        if len(unfit) > _MAX_LEFT_OUT:
            lines += paragraph(f"and {len(unfit) - _MAX_LEFT_OUT} more", width, ink, gutter=3)
        return [[("Left out", "bold")], *lines] if lines else []

    def _limits(self, width: int, ink: Ink) -> list[Line]:
        lines: list[Line] = []
        for text in self._told.limits:
            lines += paragraph(text, width, ink, label="–", gutter=2)
        return [[("What this can't tell", "bold")], *lines] if lines else []


def _gate_columns(results: Sequence[GateResult], ink: Ink) -> list[Column]:
    changes = [result.change for result in results]
    verdicts = [[(str(each.verdict), _STYLES[each.verdict])] for each in results]
    return [
        text_column("", [result.gate.short_subject for result in results]),
        *_figures(changes, ink),
        Column("allowed", [[(allowed_percent(result), "")] for result in results]),
        Column("verdict", verdicts, is_text=True),
    ]


def _stacked(results: Sequence[GateResult], width: int, ink: Ink) -> list[Line]:
    """The gates where the table has no room: some lines each."""
    lines: list[Line] = []
    for result in results:
        change = result.change
        title = f"{result.gate.subject}: {result.verdict}"
        lines += paragraph(title, width, ink, style=_STYLES[result.verdict])
        values = [*latency_spans(change.base_ns, 0, "", ink), (ink.text(" → "), "dim")]
        lines.append([("  ", ""), *values, *latency_spans(change.new_ns, 0, "", ink)])
        for text in (describe_change(change), f"{allowed_percent(result)} allowed"):
            lines += paragraph(text, width, ink, gutter=2)
    return lines


# --- hops ---------------------------------------------------------------------------------------


def draw_changes(changes: Sequence[Change], width: int, ink: Ink) -> list[Line]:
    """Every hop's p50 and p99, with room its p90 and mean as well; sure changes are marked.

    Without a single known p99 the p90 takes its place.
    """
    if not changes:
        return []
    rare = rare_statistic(changes)
    groups: list[tuple[str, ...]] = [("p50",), (rare,)]
    if width >= _SIDE_BY_SIDE:
        groups = [("p50", rare), ("p90", "mean")] if rare != "p90" else [("p50", "p90"), ("mean",)]
    lines: list[Line] = []
    for names in groups:
        hops = list(dict.fromkeys(change.hop for change in changes))
        columns = [Column("", [[(hop, _hop_style(hop))] for hop in hops], is_text=True)]
        for name in names:
            chosen = [change for change in changes if change.statistic == name]
            columns += _figures(chosen, ink, group=name, marks=True)
        lines += [*([[]] if lines else []), *draw_grid(columns, width, ink)]
    lines = [[("Every hop", "bold")], *lines]
    if any(change.ratio_low is not None for change in changes):
        lines += paragraph(SURE_LEGEND, width, ink, style="dim")
    return lines


def _hop_style(hop: str) -> str:
    kind = HOP_BY_NAME[hop].kind
    return {HopKind.PART: "", HopKind.TOTAL: "bold"}.get(kind, "dim")


def _figures(
    changes: Sequence[Change], ink: Ink, *, group: str = "", marks: bool = False
) -> list[Column]:
    """A, B, the change and its interval, which goes where there is no room."""
    return [
        Column(
            "A", [latency_spans(each.base_ns, LATENCY_WIDTH, "", ink) for each in changes], group
        ),
        Column(
            "B", [latency_spans(each.new_ns, LATENCY_WIDTH, "", ink) for each in changes], group
        ),
        Column("change", [_change(each, ink, marks=marks) for each in changes], group),
        Column(
            "interval",
            [[_interval(each, ink)] for each in changes],
            group,
            worth=1 if marks else 0,
        ),
    ]


def _change(change: Change, ink: Ink, *, marks: bool) -> Line:
    if change.ratio is None:
        return [(NOT_AVAILABLE, "dim"), *([("  ", "")] if marks else [])]
    style = ""
    if change.is_sure:
        style = "bold yellow" if change.ratio > 1 else "bold green"
    text = ink.text(signed_percent(change.ratio))
    if not marks:
        return [(text, style)]
    return [(text, style), (f" {SURE}" if change.is_sure else "  ", style)]


def _interval(change: Change, ink: Ink) -> tuple[str, str]:
    if change.ratio is None:
        return "", ""
    text = signed_interval(change)
    return ink.text(text), "dim" if change.ratio_low is None else ""


def _draw_differences(
    title: str, differences: Sequence[Difference], width: int, ink: Ink
) -> list[Line]:
    lines: list[Line] = []
    gutter = max((len(each.name) for each in differences), default=0) + 2
    for name, text in listed(differences):
        lines += paragraph(text, width, ink, label=name, gutter=min(gutter, width // 2))
    return [[(ink.text(f"{title} (A → B)"), "bold")], *lines] if lines else []
