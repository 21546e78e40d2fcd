"""An A/B session as GitHub-flavoured Markdown: the answer first, then gates, hops, what differs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

from latbench.ab_result import AbResult
from latbench.comparison import Change, Comparison, Difference, Verdict
from latbench.render.ab_words import (
    NOTHING,
    TITLE,
    noise_of,
    origin_of,
    ratios_of,
    told_session,
)
from latbench.render.comparison_words import (
    SURE_LEGEND,
    Told,
    allowed_percent,
    listed,
    rare_statistic,
    signed_interval,
    signed_percent,
)
from latbench.render.hops import NOT_AVAILABLE
from latbench.render.markdown import bullets, escaped, folded, joined, row
from latbench.tick import HOP_BY_NAME, HopKind
from latbench.units import format_latency

_MARKS: Final = {
    Verdict.PASS: "✅",
    Verdict.REGRESSION: "❌",
    Verdict.INCONCLUSIVE: "⚠️",
    Verdict.INCOMPARABLE: "⚠️",
}
"""GitHub strips colours; these are what its own pages mark checks with."""


def draw_ab_markdown(result: AbResult, file: str) -> str:
    """Heading with the verdict, gates, hops, what differs, what it can't tell; machine folded."""
    told = told_session(result)
    origin = [*noise_of(result), *origin_of(result), ("file", file)]
    if told is None:
        sections = [[f"## {TITLE}: nothing to compare"], [NOTHING], [escaped(result.failure)]]
        return joined([*sections, folded("Machine", origin)])
    comparison = told.comparison
    return joined(
        [
            [f"## {TITLE}: {_MARKS[comparison.verdict]} {comparison.verdict}"],
            _answer(told.answer),
            _sides(told),
            _gates(told, result),
            _hops(comparison),
            _differences("Must be the same and is not", comparison.mismatches),
            _differences("What differs", comparison.differences),
            bullets(
                "Left out", [f"{each.side}: {each.run}: {each.why}" for each in comparison.unfit]
            ),
            bullets("What this can't tell", told.limits),
            folded("Machine and noise", origin),
        ]
    )


def _answer(sentences: Sequence[str]) -> Iterator[str]:
    first, *more = sentences
    verdict, _, rest = first.partition(": ")
    yield f"**{escaped(verdict)}:** {escaped(rest)}"
    for text in more:
        yield ""
        yield escaped(text)


def _sides(told: Told) -> Iterator[str]:
    comparison = told.comparison
    yield row("", "what was run", "runs")
    yield row(":--", ":--", "--:")
    counts = (comparison.base_runs, comparison.new_runs)
    for side, label, count in zip("AB", told.labels, counts, strict=True):
        yield row(f"**{side}**", escaped(label), f"{count}")
    yield ""
    yield "; ".join(escaped(text) for text in told.heading[1:])


def _gates(told: Told, result: AbResult) -> Iterator[str]:
    gates = told.comparison.gates
    if not gates:
        return
    yield "### Gates"
    yield ""
    yield row("gate", "A", "B", "change", "interval", "allowed", "verdict", "pairs slower")
    yield row(":--", "--:", "--:", "--:", "--:", "--:", ":--", "--:")
    for each in gates:
        ratios = ratios_of(result, each.gate)
        slower = sum(ratio > 1 for ratio in ratios)
        yield row(
            escaped(each.gate.subject),
            *_figures(each.change),
            allowed_percent(each),
            f"**{each.verdict}**" if each.verdict is not Verdict.PASS else f"{each.verdict}",
            f"{slower} of {len(ratios)}" if ratios else NOT_AVAILABLE,
        )
    for note in told.all_notes:
        yield ""
        yield escaped(note)


def _hops(comparison: Comparison) -> Iterator[str]:
    changes = comparison.changes
    if not changes:
        return
    statistics = ("p50", rare_statistic(changes))
    yield "### Every hop"
    yield ""
    heads = [f"{name} {what}" for name in statistics for what in ("A", "B", "change", "interval")]
    yield row("hop", *heads)
    yield row(":--", *("--:" for _ in heads))
    for hop in dict.fromkeys(each.hop for each in changes):
        bold = "**" if HOP_BY_NAME[hop].kind is HopKind.TOTAL else ""
        of_hop = {each.statistic: each for each in changes if each.hop == hop}
        cells = []
        for name in statistics:
            base, new, change, interval = _figures(of_hop[name])
            mark = " \\*" if of_hop[name].is_sure else ""
            cells += [base, new, f"{bold}{change}{bold}{mark}", interval]
        yield row(f"{bold}{escaped(hop)}{bold}", *cells)
    if any(each.ratio_low is not None for each in changes):
        yield ""
        yield escaped(SURE_LEGEND)


def _figures(change: Change) -> tuple[str, str, str, str]:
    """A, B, the change and its interval."""
    base, new = (
        NOT_AVAILABLE if value is None or math.isnan(value) else format_latency(value)
        for value in (change.base_ns, change.new_ns)
    )
    if change.ratio is None:
        return base, new, NOT_AVAILABLE, ""
    return base, new, signed_percent(change.ratio), signed_interval(change)


def _differences(title: str, differences: Sequence[Difference]) -> Iterator[str]:
    if differences:
        yield f"### {title}"
        yield ""
        yield row("", "A → B")
        yield row(":--", ":--")
    for name, text in listed(differences):
        yield row(escaped(name), escaped(text))
