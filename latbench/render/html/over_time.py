"""Latency and throughput over a run's time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from latbench.clock import NS_PER_S
from latbench.render.html.figures import (
    HOP_NAMES,
    SHOWN_FIRST,
    Chart,
    Control,
    Option,
    TimeUnit,
    Trace,
    axis,
    hop_choice,
    latency_axis,
    layout,
    rounded,
    seconds,
)
from latbench.render.html.sides import Shown
from latbench.render.html.timebase import (
    STALLS,
    is_only_run,
    middles,
    mode,
    stalled_share,
    time_axis,
    unit_of,
    with_bands,
)
from latbench.series import HopTimeline, Timeline
from latbench.units import format_duration

_STATISTICS: Final = {"p50": "solid", "p99": "5px,3px", "max": "1.5px,3px"}
_STALL_WORDS: Final = (
    "Shaded: the share of ticks that overlap a stall of the machine (a timer that woke 1 ms late "
    "or more)."
)


def latency_chart(shown: Sequence[Shown]) -> Chart:
    """p50, p99 and maximum of each interval, of one hop at a time."""
    unit, alone = unit_of(shown), is_only_run(shown)
    data: list[Trace] = []
    figure = layout(
        xaxis=time_axis(shown, unit, anchor="y"),
        yaxis=latency_axis("latency", type="log", domain=[0, 1]),
        barmode="overlay",
        bargap=0,
    )
    several = any(not each.is_one_run for each in shown)
    has_stalls = not several and any(
        run.timeline.stalled.size for each in shown for run in each.side.series
    )
    if has_stalls and not alone:
        figure["yaxis"]["domain"] = [0.3, 1]
        figure["yaxis2"] = axis(
            "stalled", domain=[0, 0.2], range=[0, 100], ticksuffix=" %", nticks=3, fixedrange=True
        )
        figure["xaxis"]["anchor"] = "y2"
        data += _stall_lines(shown, unit, "y2")
    for each in shown:
        for run in each.side.series:
            for hop, line in run.timeline.hops.items():
                data += _latency_lines(each, run.timeline, unit, hop, line, alone=alone)
    if alone:
        figure, data = with_bands(figure, data, shown[0].side.series[0].timeline, unit)
    return Chart(
        "latency",
        "Latency over time",
        _latency_words(shown, alone=alone, several=several, has_stalls=has_stalls),
        data,
        figure,
        (
            hop_choice([hop for hop in HOP_NAMES if any(_has(each, hop) for each in shown)]),
            _statistic_choice(alone=alone, several=several),
        ),
        height=400 if alone else 460,
    )


def _has(shown: Shown, hop: str) -> bool:
    return any(hop in run.timeline.hops for run in shown.side.series)


def _statistic_choice(*, alone: bool, several: bool) -> Control:
    return Control(
        "stat",
        "statistic",
        tuple(
            Option(
                name,
                name,
                f"--stat-{name}" if alone else "--muted",
                "solid" if alone and name == "p99" else dash,
                is_on=alone or name != "max",  # six lines are too many to tell apart
            )
            for name, dash in _STATISTICS.items()
            if name != "max" or not several
        ),
        is_single=False,
    )


def _latency_words(
    shown: Sequence[Shown], *, alone: bool, several: bool, has_stalls: bool
) -> str:  # fmt: skip
    intervals = {run.timeline.interval_ns for each in shown for run in each.side.series}
    told = (
        f"Of the ticks due in each interval of {format_duration(intervals.pop())}"
        if len(intervals) == 1
        else "Of the ticks due in each interval"
    )
    words = f"{told}; with fewer than 100 of them, p99 is the slowest."
    if several:
        words += " Each run is a line of its own; all begin at 0."
    if has_stalls:
        words += f" {_STALL_WORDS}" if alone else (
            " Below: the share of ticks that overlap a stall of the machine (a timer that woke "
            "1 ms late or more)."
        )  # fmt: skip
    return words


def _latency_lines(
    shown: Shown, timeline: Timeline, unit: TimeUnit, hop: str, line: HopTimeline, *, alone: bool
) -> Iterator[Trace]:
    values = {"p50": line.p50_ns, "p99": line.p99_ns, "max": line.max_ns}
    for statistic, dash in _STATISTICS.items():
        if statistic == "max" and not shown.is_one_run:
            continue
        yield {
            "type": "scatter",
            "mode": mode(timeline),
            "name": shown.prefixed(statistic),
            "x": middles(timeline, unit),
            "y": seconds(values[statistic].tolist()),
            "line": {
                "color": f"--stat-{statistic}" if alone else shown.colour,
                "width": {"p50": 2.2, "p99": 1.8, "max": 1.4}[statistic]
                if shown.is_one_run
                else 1.2,
                "dash": "solid" if alone and statistic == "p99" else dash,
            },
            "opacity": 1 if shown.is_one_run else 0.45,
            "hoverinfo": None if shown.is_one_run else "skip",
            "visible": hop == SHOWN_FIRST,
            "meta": {"hop": hop, "stat": statistic, "text": "latency"},
        }


def _stall_lines(shown: Sequence[Shown], unit: TimeUnit, yaxis: str) -> Iterator[Trace]:
    """The same of two sides: bands would lie over one another."""
    for each in shown:
        for run in each.side.series:
            timeline = run.timeline
            if timeline.stalled.size:
                yield {
                    "type": "scatter",
                    "mode": mode(timeline),
                    "name": each.prefixed("stalled"),
                    "x": middles(timeline, unit),
                    "y": rounded(100 * stalled_share(timeline)),
                    "yaxis": yaxis,
                    "line": {"color": each.colour, "width": 1, "shape": "hvh"},
                    "hovertemplate": "%{y:.1f} % of ticks",
                    "meta": {"mark": STALLS},
                }


def throughput_chart(shown: Sequence[Shown]) -> Chart:
    """Ticks a second: due, and of those consumed."""
    unit, alone = unit_of(shown), is_only_run(shown)
    data: list[Trace] = []
    figure = layout(
        xaxis=time_axis(shown, unit),
        yaxis=axis("ticks a second", rangemode="tozero", tickformat="~s"),
        barmode="overlay",
        bargap=0,
    )
    for each in shown:
        for result, run in zip(each.side.results, each.side.series, strict=True):
            timeline = run.timeline
            spans = np.minimum(timeline.interval_ns, result.measured_ns - timeline.begins_ns)
            # the last interval is cut short: a rate over a sliver of one is noise
            spans = np.where(spans * 2 >= timeline.interval_ns, spans / NS_PER_S, np.nan)
            for name, counts, dash in (
                ("due", timeline.count, "1.5px,3px"),
                ("consumed", timeline.consumed, "solid"),
            ):
                data.append(
                    {
                        "type": "scatter",
                        "mode": mode(timeline),
                        "name": each.prefixed(name),
                        "x": middles(timeline, unit),
                        "y": rounded(counts / spans),
                        "line": {
                            "color": "--stat-p50" if alone else each.colour,
                            # sides often have the same rate: the first shows around the second
                            "width": (4 if each.letter == "A" else 1.8) if each.is_one_run else 1,
                            "dash": dash,
                        },
                        "opacity": 1 if each.is_one_run else 0.45,
                        "hovertemplate": "%{y:,.0f}/s" if each.is_one_run else None,
                        "hoverinfo": None if each.is_one_run else "skip",
                        "meta": {"rate": name},
                    }
                )
    if alone:
        figure, data = with_bands(figure, data, shown[0].side.series[0].timeline, unit)
    return Chart(
        "throughput",
        "Throughput",
        "Ticks by the moment that they were due, and those of them that were consumed: a gap "
        "between the lines is loss.",
        data,
        figure,
        (_rates(alone=alone),),
        height=260,
    )


def _rates(*, alone: bool) -> Control:
    colour = "--stat-p50" if alone else "--muted"
    options = (Option("due", "due", colour, "dot"), Option("consumed", "consumed", colour, "solid"))
    return Control("rate", "ticks", options, is_single=False)
