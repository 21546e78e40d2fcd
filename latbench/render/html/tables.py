"""The figures as tables: hops, three ways to count the total, the tail, differences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

from latbench.render.hops import HICCUP, HopTable, label_of, only
from latbench.render.html.figures import hop_colour
from latbench.render.html.markup import (
    Markup,
    element,
    join,
    latency,
    paragraph,
    swatch,
    table,
    text,
)
from latbench.render.html.sides import Shown
from latbench.render.shares import tail_words
from latbench.render.three_ways import comparison_words
from latbench.result import HopSummary, RunResult
from latbench.tick import HOP_BY_NAME, PARTS, HopKind
from latbench.units import format_count, format_latency, format_multiple

_ALL: Final = only(
    "min", "p50", "p75", "p90", "p95", "p99", "p99.9", "p99.99", "max", "mean", "stdev"
)
_COMPARED: Final = only("p50", "p99", "p99.9", "mean")
_WAYS: Final = only("p50", "p90", "p99", "p99.9", "max")
_KINDS: Final = {
    HopKind.PART: "part", HopKind.TOTAL: "total", HopKind.SIDE: "aside",
    HopKind.UNCORRECTED: "aside",
}  # fmt: skip


def _named(name: str, what: str) -> Markup:
    return Markup(
        f"{swatch(hop_colour(name), is_line=False)}<b>{text(name)}</b>"
        f' <span class="what">{text(what)}</span>'
    )


def _what(name: str, *, embedded: bool) -> str:
    if name == HICCUP:
        return "timer wake-ups late by"
    return label_of(HOP_BY_NAME[name], embedded=embedded)


def _kind(name: str) -> str:
    return "aside" if name == HICCUP else _KINDS[HOP_BY_NAME[name].kind]


def hop_table(shown: Shown) -> Markup:
    """A row for each hop."""
    first = shown.side.results[0]
    embedded = first.config.is_embedded
    rows = []
    for name, summary in shown.pool.hops.items():
        figures = [latency(each.read(summary) if summary.count else None) for each in _ALL]
        if not summary.count:
            figures = [text("–")] * len(_ALL)
        count = text(format_count(summary.count))
        cells = [_named(name, _what(name, embedded=embedded)), count, *figures]
        rows.append((cells, _kind(name)))
    header = [text("hop"), text("count"), *(text(each.name) for each in _ALL)]
    return table(header, rows, label=f"Latency by hop {shown.letter}".strip())


def hop_notes(shown: Shown) -> Markup:
    """The terminal report's words below its table."""
    first = shown.side.results[0]
    hops = [summary for name, summary in shown.pool.hops.items() if name != HICCUP]
    hiccups = shown.pool.hops.get(HICCUP)
    floor = first.floor if shown.is_one_run else None
    notes = HopTable(
        hops, embedded=first.config.is_embedded, hiccups=hiccups, floor=floor
    ).note_texts()  # fmt: skip
    return join(paragraph(note, "note") for note in notes)


def ways_table(result: RunResult) -> Markup:
    """The total beside what the machine's stalls make of it, and what hides a late generator."""
    ways: list[tuple[str, str, HopSummary, str]] = [
        ("end_to_end", "from due", result.hop("end_to_end"), "total")
    ]
    if result.stalls is not None and result.stalls.ticks:
        ways.append(("without stalls", "from due", result.stalls.without, ""))
    ways.append(("service, uncorrected", "from sent", result.hop("service"), "aside"))
    rows = []
    for name, since, summary, kind in ways:
        cells = [
            Markup(f'<b>{text(name)}</b> <span class="what">{text(since)}</span>'),
            text(format_count(summary.count)),
            *(latency(each.read(summary) if summary.count else None) for each in _WAYS),
        ]
        rows.append((cells, kind))
    header = [text(""), text("ticks"), *(text(each.name) for each in _WAYS)]
    notes = join(paragraph(words, "note") for words in comparison_words(result))
    return join([table(header, rows, label="End to end, counted in different ways"), notes])


# --- the tail -----------------------------------------------------------------------------------


def _means(shown: Shown) -> dict[str, float]:
    return {hop.name: shown.pool.hops[hop.name].mean_ns for hop in PARTS}


def tail_bars(shown: Sequence[Shown]) -> Markup:
    """The parts' means over all ticks and over the slowest, as bars of one scale."""
    bars: list[tuple[str, dict[str, float]]] = []
    for each in shown:
        means = _means(each)
        bars.append((each.prefixed("all ticks"), means))
        if each.pool.tail is not None:
            bars.append((each.prefixed("slowest 1 %"), each.pool.tail.mean_ns))
    longest = max((sum(means.values()) for _, means in bars), default=0.0) or 1.0
    drawn = []
    for name, means in bars:
        segments = join(
            (
                element(
                    "span",
                    style=f"width:{100 * value / longest:.3g}%;--c:var({hop_colour(part)})",
                    title=f"{part} {format_latency(value)}",
                )
                for part, value in means.items()
                if value > 0
            ),
            "",
        )
        total = element("b", latency(sum(means.values())))
        drawn.append(
            element(
                "div",
                element("span", text(name), class_="bar-name"),
                element("span", segments, class_="bar"),
                total,
                class_="bar-row",
            )
        )
    header = [text("mean"), *(text(name) for name, _ in bars)]
    rows = []
    for hop in PARTS:
        cells = [_named(hop.name, "")]
        for _, means in bars:
            total_ns = sum(means.values())
            share = means[hop.name] / total_ns if total_ns else 0.0
            cells.append(
                Markup(f'{latency(means[hop.name])} <span class="what">{share:.0%}</span>')
            )  # fmt: skip
        rows.append((cells, "part"))
    sums = [latency(sum(means.values())) for _, means in bars]
    rows.append(([_named("end_to_end", ""), *sums], "total"))
    return join(
        [
            element("div", *drawn, class_="bars"),
            table(header, rows, label="Means of the parts"),
            *(paragraph(words, "note") for words in _tails_in_words(shown)),
        ]
    )


def _tails_in_words(shown: Sequence[Shown]) -> Iterator[str]:
    for each in shown:
        tail, name = each.pool.tail, f"{each.letter}: " if each.letter else ""
        if tail is None:
            yield (
                f"{name}Which ticks are the slowest is not known: fewer than 100 of a run's lie "
                "above its p99."
            )
            continue
        means = _means(each)
        if each.is_one_run:
            yield name + tail_words(tail, means)
            continue
        grown = tail.grows_most(means)
        yield (
            f"{name}Slowest: {format_count(tail.count)} ticks, of each run those above its "
            f"own p99. What grows most in them is {grown}: from {format_latency(means[grown])} to "
            f"{format_latency(tail.mean_ns[grown])}."
        )


# --- two sides ----------------------------------------------------------------------------------


def difference(base: float | None, new: float | None) -> str:
    """How much the second is above the first: `+12.3 %`, from threefold on `×3.21`; "" for n/a."""
    if base is None or new is None or base <= 0 or new <= 0:
        return ""
    ratio = new / base
    if ratio >= 3:
        return f"×{format_multiple(ratio)}"
    if ratio <= 1 / 3:
        return f"÷{format_multiple(1 / ratio)}"
    return f"{100 * (ratio - 1):+.1f} %".replace("-", "−")


def difference_mark(base: float | None, new: float | None) -> Markup:
    """The same with an arrow; marked from 5 % on."""
    words = difference(base, new)
    if not words or base is None or new is None:
        return text("–")
    ratio = math.log(new / base)
    if abs(ratio) < math.log(1.05):
        return element("span", text(words), class_="same")
    is_slower = ratio > 0
    arrow = "▲" if is_slower else "▼"
    return element("span", text(f"{arrow} {words}"), class_="slower" if is_slower else "faster")


def difference_table(base: Shown, new: Shown) -> Markup:
    """Each hop of both sides, statistic by statistic."""
    header = [text("hop")]
    totals = [each.pool.end_to_end for each in (base, new)]
    compared = [
        each for each in _COMPARED if any(each.read(total) is not None for total in totals)
    ]  # fmt: skip
    for statistic in compared:
        header += [text(f"{statistic.name} {base.letter}"), text(new.letter), text("change")]
    embedded = base.side.results[0].config.is_embedded
    rows = []
    for name in base.pool.hops:
        cells = [_named(name, _what(name, embedded=embedded))]
        if name not in new.pool.hops:
            continue
        for statistic in compared:
            values = [
                statistic.read(each.pool.hops[name]) if each.pool.hops[name].count else None
                for each in (base, new)
            ]
            cells += [latency(values[0]), latency(values[1]), difference_mark(*values)]
        rows.append((cells, _kind(name)))
    return element("div", table(header, rows, label="Differences by hop"), class_="differences")
