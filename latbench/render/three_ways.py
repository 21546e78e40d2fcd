"""The total beside two other ways to count it: what the machine did to it, and what hides that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from latbench.render.grid import Column, draw_grid, text_column
from latbench.render.hops import LATENCY_WIDTH, NOT_AVAILABLE, Statistic, latency_spans, only
from latbench.render.ink import Ink, Line, paragraph
from latbench.result import HopSummary, RunResult
from latbench.units import format_count

_SHOWN: Final = only("p50", "p90", "p99", "p99.9", "max")
_NUMBERS: Final = {2: "two", 3: "three"}


class _Way(NamedTuple):
    name: str
    since: str
    summary: HopSummary
    style: str


def draw_three_ways(result: RunResult, width: int, ink: Ink) -> list[Line]:
    """`end_to_end`, the same without the machine's stalls, and `service`; then why they differ."""
    stalls = result.stalls
    ways = [_Way("end_to_end", "from due", result.hop("end_to_end"), "bold")]
    if stalls is not None and stalls.ticks:
        ways.append(_Way("  without stalls", "from due", stalls.without, ""))
    ways.append(_Way("service, uncorrected", "from sent", result.hop("service"), "dim"))
    columns = [
        Column("", [[(way.name, way.style)] for way in ways], is_text=True),
        text_column("", [way.since for way in ways], "dim", worth=2),
        Column("ticks", [[(format_count(way.summary.count), way.style)] for way in ways], worth=1),
        *(_figures(statistic, ways, ink) for statistic in _SHOWN),
    ]
    lines: list[Line] = [[(f"End to end, counted {_NUMBERS[len(ways)]} ways", "bold")]]
    lines += [*draw_grid(columns, width, ink), []]
    for text in comparison_words(result):
        lines += paragraph(text, width, ink, style="dim")
    return lines


def _figures(statistic: Statistic, ways: Sequence[_Way], ink: Ink) -> Column:
    cells = []
    for way in ways:
        value_ns = statistic.read(way.summary) if way.summary.count else None
        cells.append(latency_spans(value_ns, LATENCY_WIDTH, way.style, ink))
    return Column(statistic.name, cells, worth=3 if statistic.name == "p90" else 0)


def comparison_words(result: RunResult) -> Iterable[str]:
    """Why the ways differ."""
    stalls = result.stalls
    if result.config.as_fast_as_possible:
        yield "At --speed max nothing is due: both count from sending and hide a late generator."
    else:
        yield "service counts from sending: it hides a late generator (coordinated omission)."
    if stalls is None:
        return
    stall = f"stall (timer late by {stalls.threshold_ns / 1e6:g} ms or more)"
    if not stalls.ticks:
        yield f"No tick overlaps a {stall}."
        return
    count = result.hop("end_to_end").count
    told = f"{_part(stalls.ticks, count)} overlap a {stall}"
    if result.tail is None or not result.tail.count:
        yield f"{told}."
        return
    yield f"{told}; of the slowest, {_part(stalls.tail_ticks, result.tail.count)}."
    if is_tail_of_stalls(result):
        yield (
            "The tail is mostly of stalls: the machine's own, or of processes that wait for a CPU "
            "that other processes of this run use."
        )


def _part(number: int, whole: int) -> str:
    share = f"{number * 100 / whole:.1f} %" if whole else NOT_AVAILABLE
    return f"{format_count(number)} of {format_count(whole)} ticks ({share})"


def is_tail_of_stalls(result: RunResult) -> bool:
    """Whether stalls explain the slowest ticks.

    A tick that lives long overlaps a stall by chance: so they must be most of the slowest, and
    twice as frequent there as among all.
    """
    stalls, tail, count = result.stalls, result.tail, result.hop("end_to_end").count
    if stalls is None or tail is None or not tail.count or not count:
        return False
    share = stalls.tail_ticks / tail.count
    return share > 0.5 and share > 2 * stalls.ticks / count
