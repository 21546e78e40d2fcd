"""Where the time goes: each part's share of the total, in the mean and in the tail."""

from __future__ import annotations

from typing import Final

from latbench.render.hops import label_of, latency_spans
from latbench.render.ink import Ink, Line, left, paragraph, width_of
from latbench.result import RunResult, TailShare
from latbench.tick import HOPS, PARTS, HopKind
from latbench.units import format_count, format_latency

_MAX_BAR: Final = 30


def draw_shares(result: RunResult, width: int, ink: Ink) -> list[Line]:
    """Each part's share of the mean end-to-end latency and, beside it, of the slowest ticks."""
    means = {hop.name: result.hop(hop.name).mean_ns for hop in PARTS}
    tail = result.tail if result.tail is not None and result.tail.count else None
    groups = [("mean of all ticks", means, "cyan")]
    if tail is not None:
        groups.append(("mean of the slowest 1%", dict(tail.mean_ns), "magenta"))

    embedded = result.config.is_embedded
    hops = [hop for hop in HOPS if hop.kind in (HopKind.PART, HopKind.TOTAL)]
    name_width = max(len(hop.name) for hop in hops)
    heads = [left(hop.name, name_width) for hop in hops]
    if width >= 110:
        labels = [ink.text(label_of(hop, embedded=embedded)) for hop in hops]
        label_width = max(map(len, labels))
        heads = [
            f"{head}  {left(label, label_width)}" for head, label in zip(heads, labels, strict=True)
        ]
    # a group: a gap of 3, a latency of 7, a share of 6, a gap of 1, the bar
    bar_width = min((width - len(heads[0])) // len(groups) - 17, _MAX_BAR)

    header: Line = [(" " * len(heads[0]), "")]
    lines: list[Line] = [
        [(head, "bold" if hop.kind is HopKind.TOTAL else "")]
        for hop, head in zip(hops, heads, strict=True)
    ]
    for caption, means_ns, colour in groups:
        header.append((f"   {left(caption, 14 + bar_width)}", "dim"))
        total_ns = sum(means_ns.values())
        for hop, line in zip(hops, lines, strict=True):
            is_total = hop.kind is HopKind.TOTAL
            value_ns = total_ns if is_total else means_ns[hop.name]
            share = value_ns / total_ns if total_ns else 0.0
            style = "bold" if is_total else ""
            bar = "" if is_total else ink.bar(share, bar_width)
            line.extend([("   ", ""), *latency_spans(value_ns, 7, style, ink)])
            line.extend([(f"{share:6.0%} ", style), (left(bar, bar_width), colour)])
    title: Line = [("Where the time goes", "bold")]
    rule: Line = [(ink.rule(width_of(lines[0])), "dim")]
    drawn = [title, header, *lines[:-1], rule, lines[-1]]
    if tail is not None:
        drawn.append([])
        drawn += paragraph(tail_words(tail, means), width, ink, style="dim")
    return drawn


def tail_words(tail: TailShare, means: dict[str, float]) -> str:
    """Which ticks are the slowest, and what is different about them."""
    grown = tail.grows_most(means)
    return (
        f"Slowest: the {format_count(tail.count)} ticks above end_to_end's p99, "
        f"{format_latency(tail.above_ns)}. What grows most in them is {grown}: "
        f"from {format_latency(means[grown])} to {format_latency(tail.mean_ns[grown])}."
    )
