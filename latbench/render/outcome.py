"""What came of a run's ticks: how many arrived, which did not, what went amiss."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from latbench.render.hops import NOT_AVAILABLE
from latbench.render.ink import Ink, Line, fields
from latbench.result import Counts, FanoutFigures, HopSummary, RunResult
from latbench.units import format_count, format_latency

_RANGES_SHOWN: Final = 8


def draw_outcome(result: RunResult, width: int, ink: Ink, *, measured: bool) -> list[Line]:
    """Spread, counts, and whatever should not have happened."""
    lines: list[Line] = []
    if measured:
        lines += fields([("spread", _spread(result.hop("end_to_end")))], width, ink)
    for label, text, style in _told(result):
        lines += fields([(label, text)], width, ink, style=style)
    return lines


def told_counts(result: RunResult) -> Iterable[tuple[str, str]]:
    """Where the ticks went and what went amiss, as (label, text) each."""
    return ((label, text) for label, text, _ in _told(result))


def _told(result: RunResult) -> Iterable[tuple[str, str, str]]:
    """The same with the style of each."""
    counts = result.counts
    yield "ticks", _ticks(counts, alone=result.config.consumer_alone), ""
    is_grave = bool(counts.lost or counts.ring_overruns)
    if result.fanout is not None:
        yield "fan-out", _fanout(result.fanout), "bold red" if result.fanout.missed else ""
    if amiss := ", ".join(_amiss(counts)):
        yield "amiss", amiss, "bold red" if is_grave else "yellow"
    if lost := _lost(result):
        yield "lost seq", lost, "red"
    if strange := ", ".join(_strange(result.hops)):
        yield "amiss", f"latencies counted apart, in no figure above: {strange}", "yellow"


def _spread(end_to_end: HopSummary) -> str:
    p50_ns = end_to_end.percentiles_ns.get("p50")
    p999_ns = end_to_end.percentiles_ns.get("p99.9")
    spread = NOT_AVAILABLE
    if p50_ns is not None and p999_ns is not None:
        spread = format_latency(p999_ns - p50_ns)
    return f"end_to_end: p99.9 − p50 = {spread}, stdev = {format_latency(end_to_end.stdev_ns)}"


def _ticks(counts: Counts, *, alone: bool) -> str:
    if alone:  # what was sent is not known
        return (
            f"{format_count(counts.consumed)} consumed ({format_count(counts.warmup)} of them for "
            f"warm-up), {format_count(counts.measured)} measured"
        )
    return (
        f"{format_count(counts.sent)} sent ({format_count(counts.warmup)} of them for warm-up), "
        f"{format_count(counts.measured)} measured, {format_count(counts.consumed)} consumed"
        f"{', none lost' if not counts.lost else ''}"
    )


def _fanout(fanout: FanoutFigures) -> str:
    many = "1 subscriber" if fanout.subscribers == 1 else f"{fanout.subscribers:,} subscribers"
    told = (
        f"{many}, {format_count(fanout.received)} of {format_count(fanout.expected)} ticks received"
    )
    if not fanout.missed:
        return f"{told}, none missed"
    told += f", {format_count(fanout.missed)} missed"
    if fanout.dropped:
        told += f" ({format_count(fanout.dropped)} dropped as too slow)"
    short = ", ".join(f"{number} missed {format_count(missed)}" for number, missed in fanout.short)
    more = fanout.short_count - len(fanout.short)
    return f"{told}: subscriber {short}{f' and {more:,} more' if more else ''}"


def _lost(result: RunResult) -> str:
    """The lost ticks by `seq` as the result file spells it, without commas between digits."""
    shown = result.lost_ranges[:_RANGES_SHOWN]
    told = ", ".join(f"{first}" if first == last else f"{first}–{last}" for first, last in shown)
    hidden = max(result.lost_range_count, len(result.lost_ranges)) - len(shown)
    more = f" and {format_count(hidden)} more range{'s' if hidden > 1 else ''}"
    return f"{told}{more if hidden else ''}"


def _strange(hops: Iterable[HopSummary]) -> Iterable[str]:
    for hop in hops:
        if hop.negative:
            yield f"{format_count(hop.negative)} of {hop.hop} below 0"
        if hop.out_of_range:
            yield f"{format_count(hop.out_of_range)} of {hop.hop} above 24 h"


def _amiss(counts: Counts) -> Iterable[str]:
    told = (
        (counts.lost, "lost"),
        (counts.duplicates, "consumed more than once"),
        (counts.reordered, "consumed after a later tick of their partition"),
        (counts.delivery_errors, "given up by the producer"),
        (counts.malformed, "malformed at the relay"),
        (counts.unknown, "messages on the topic that are no tick of this run"),
        (counts.ring_overruns, "rows that no ring had room for"),
        (counts.source_skipped, "lines of the capture that hold no message"),
    )
    yield from (f"{format_count(number)} {words}" for number, words in told if number)
    for times, waited_ns, who in (
        (counts.relay_backpressure, counts.relay_backpressure_ns, "the relay waited for Kafka"),
        (
            counts.generator_backpressure,
            counts.generator_backpressure_ns,
            "the generator waited for the relay",
        ),
    ):
        if times:
            often = "once" if times == 1 else f"{format_count(times)} times"
            yield f"{who} {often}, {format_latency(waited_ns)} in all"
