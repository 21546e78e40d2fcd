"""The verdict of a comparison at the head of its page: the answer, the gates, pair by pair."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from latbench.comparison import Change, Difference, GateResult
from latbench.render.comparison_words import (
    SURE,
    SURE_LEGEND,
    Told,
    allowed_percent,
    listed,
    rare_statistic,
    signed_interval,
    signed_percent,
)
from latbench.render.hops import NOT_AVAILABLE
from latbench.render.html.figures import hop_colour
from latbench.render.html.markup import (
    Markup,
    element,
    folded,
    join,
    latency,
    paragraph,
    swatch,
    table,
    text,
)
from latbench.tick import HOP_BY_NAME, HopKind

_LEAST_SPAN: Final = 0.02
"""Of a strip's logarithms, each way: 2 %, so that one without noise has a scale as well."""
_ROOM_BEFORE: Final = 0.24
_ROOM_AFTER: Final = 0.38
"""The shares of a strip left and right of its two lines, for the words there on a telephone."""
_MARGIN: Final = 0.03
_APART: Final = 0.032
"""Dots of one row are so far apart at least: on a telephone they then just don't touch."""


def draw_verdict(told: Told, ratios: Sequence[Sequence[float]] = ()) -> Markup:
    """The answer, gates, what differs and what it can't tell.

    `ratios`: of each gate, in their order, B over A of each pair; none where runs are not paired.
    """
    comparison = told.comparison
    first, *more = told.answer
    verdict, _, rest = first.partition(": ")
    badge = element("span", text(verdict), class_=f"badge {comparison.verdict}")
    parts = [
        paragraph(" · ".join(told.heading), "kicker"),
        element("p", badge, text(f" {rest}"), class_="answer"),
        *(paragraph(words, "reason") for words in more),
    ]
    if comparison.gates:
        parts.append(_gate_table(comparison.gates))
        parts += _strips(comparison.gates, ratios)
        parts += [paragraph(words, "note") for words in told.all_notes]
    parts += _differences("Must be the same and is not", comparison.mismatches)
    parts += _list("Left out", (f"{bad.side}: {bad.run}: {bad.why}" for bad in comparison.unfit))
    parts += _list("What this can't tell", told.limits)
    if comparison.changes:
        parts.append(folded("Every hop: the change and its interval", *_hops(comparison.changes)))
    return join(part for part in parts if part)


def _figures(change: Change, *, marks: bool = False) -> list[Markup]:
    """A, B, the change and its interval."""
    values = [latency(change.base_ns), latency(change.new_ns)]
    if change.ratio is None:
        return [*values, text(NOT_AVAILABLE), text("")]
    kind = "same"
    if change.is_sure:
        kind = "slower" if change.ratio > 1 else "faster"
    mark = f" {SURE}" if marks and change.is_sure else ""
    told = element("span", text(f"{signed_percent(change.ratio)}{mark}"), class_=kind)
    return [*values, told, text(signed_interval(change))]


def _gate_table(gates: Sequence[GateResult]) -> Markup:
    header = [text(name) for name in ("gate", "A", "B", "change", "interval", "allowed", "verdict")]
    rows = []
    for each in gates:
        verdict = element("b", text(each.verdict), class_=f"verdict-{each.verdict}")
        cells = [
            Markup(f"<b>{text(each.gate.subject)}</b>"),
            *_figures(each.change),
            text(allowed_percent(each)),
            verdict,
        ]
        rows.append((cells, ""))
    return table(header, rows, label="Gates")


def _hops(changes: Sequence[Change]) -> Iterator[Markup]:
    statistics = ("p50", rare_statistic(changes))
    header = [text("hop")]
    for name in statistics:
        header += [text(f"{name} A"), text("B"), text("change"), text("interval")]
    rows = []
    for hop in dict.fromkeys(each.hop for each in changes):
        of_hop = {each.statistic: each for each in changes if each.hop == hop}
        name = Markup(f"{swatch(hop_colour(hop), is_line=False)}<b>{text(hop)}</b>")
        cells = [name]
        for statistic in statistics:
            cells += _figures(of_hop[statistic], marks=True)
        kind = HOP_BY_NAME[hop].kind
        rows.append((cells, {HopKind.PART: "part", HopKind.TOTAL: "total"}.get(kind, "aside")))
    yield table(header, rows, label="Every hop")
    if any(each.ratio_low is not None for each in changes):
        yield paragraph(SURE_LEGEND, "note")


def _list(title: str, items: Iterable[str]) -> Iterator[Markup]:
    told = [element("li", text(words)) for words in items]
    if told:
        yield element("h3", text(title))
        yield element("ul", *told)


def _differences(title: str, differences: Sequence[Difference]) -> Iterator[Markup]:
    yield from _list(
        f"{title} (A → B)" if differences else "",
        (f"{name}: {words}" for name, words in listed(differences)),
    )


# --- strips -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Scale:
    """A strip's logarithmic scale: 0 at its left end, 100 at its right."""

    low: float
    high: float

    def place(self, log: float) -> float:
        """Where a logarithm lies, in per cent of the width."""
        return 100 * min(max((log - self.low) / (self.high - self.low), 0.0), 1.0)


def scale_of(logs: Sequence[float], bound: float) -> Scale:
    """A scale that holds all logarithms, 0 and what is allowed, with room for words beside both."""
    before = max(-min(logs, default=0.0), _LEAST_SPAN)
    after = max(max(logs, default=0.0) - bound, _LEAST_SPAN)
    # the least span of which each room has its share: the largest of what four cases ask for
    span = max(
        before + bound + after,
        (bound + after) / (1 - _ROOM_BEFORE),
        (before + bound) / (1 - _ROOM_AFTER),
        bound / (1 - _ROOM_BEFORE - _ROOM_AFTER),
    )
    low, high = -max(before, _ROOM_BEFORE * span), bound + max(after, _ROOM_AFTER * span)
    return Scale(low - span * _MARGIN, high + span * _MARGIN)


def rows_of(places: Sequence[float]) -> list[int]:
    """In which row each of some dots lies, so that no two of a row touch; 0 is the first."""
    ends: list[float] = []
    found = [0] * len(places)
    for index in sorted(range(len(places)), key=lambda each: places[each]):
        free = (row for row, end in enumerate(ends) if places[index] - end >= 100 * _APART)
        row = next(free, len(ends))
        if row == len(ends):
            ends.append(0.0)
        ends[row] = places[index]
        found[index] = row
    return found


def _strips(gates: Sequence[GateResult], ratios: Sequence[Sequence[float]]) -> Iterator[Markup]:
    of_gates = ratios or [()] * len(gates)
    drawn = [
        _strip(gate, of_gate)
        for gate, of_gate in zip(gates, of_gates, strict=True)
        if gate.change.ratio is not None
    ]
    if not drawn:
        return
    yield element("div", *drawn, class_="strips")
    words = []
    if any(ratios):
        words.append("Each dot is a pair, B over A.")
    if any(each.change.ratio_low is not None for each in gates):
        words.append("The bar is what the change lies between, the mark in it the estimate.")
    else:
        words.append("The thick mark is the estimate.")
    words.append("Shaded is more than is allowed. The scale is logarithmic.")
    yield paragraph(" ".join(words), "note")


def _strip(gate: GateResult, ratios: Sequence[float]) -> Markup:
    change = gate.change
    logs = [math.log(ratio) for ratio in ratios]
    bound = math.log1p(gate.allowed)
    known = [change.ratio, change.ratio_low, change.ratio_high]
    interval = [math.log(ratio) for ratio in known if ratio]
    scale = scale_of([*logs, *interval], bound)
    places = [scale.place(log) for log in logs]
    rows = rows_of(places)
    deepest = max(rows, default=-1) + 1
    dots = [
        element(
            "i",
            class_="dot beyond" if log > bound else "dot",
            style=f"left:{place:.2f}%;top:{row * 12 + 2}px",
            title=f"pair {number}: {signed_percent(ratio)}",
        )
        for number, (ratio, log, place, row) in enumerate(
            zip(ratios, logs, places, rows, strict=True), start=1
        )
    ]
    none, allowed = scale.place(0.0), scale.place(bound)
    lanes = [
        _empty("zone", f"left:{allowed:.2f}%"),
        _empty("mark none", f"left:{none:.2f}%"),
        _empty("mark allowed", f"left:{allowed:.2f}%"),
        element(
            "div",
            element("span", text("no change"), class_="before", style=f"left:{none:.2f}%"),
            element(
                "span",
                text(f"{allowed_percent(gate)} allowed"),
                class_="after",
                style=f"left:{allowed:.2f}%",
            ),
            class_="names",
        ),
        element("div", *dots, class_="dots", style=f"height:{deepest * 12 + 2}px")
        if dots
        else Markup(""),
        element("div", *_interval(change, scale), class_="between"),
    ]
    ends = element(
        "div",
        *(element("span", text(signed_percent(math.exp(end)))) for end in (scale.low, scale.high)),
        class_="ends",
    )
    pairs = f"{sum(log > 0 for log in logs)} of {len(logs)} pairs slower; " if logs else ""
    label = (
        f"{gate.gate.subject}: {pairs}change {signed_percent(change.ratio or 1)}, "
        f"{signed_interval(change)}, {allowed_percent(gate)} allowed"
    )
    return element(
        "div",
        element("b", text(gate.gate.subject), class_="subject"),
        element("div", *lanes, class_="strip", role="img", aria_label=label),
        ends,
        class_="gate",
    )


def _interval(change: Change, scale: Scale) -> Iterator[Markup]:
    low, high, ratio = change.ratio_low, change.ratio_high, change.ratio
    if low and high:
        left, right = scale.place(math.log(low)), scale.place(math.log(high))
        yield _empty("bar", f"left:{left:.2f}%;width:{right - left:.2f}%")
    if ratio:
        yield _empty("estimate", f"left:{scale.place(math.log(ratio)):.2f}%")


def _empty(kind: str, style: str) -> Markup:
    return element("i", class_=kind, style=style)
