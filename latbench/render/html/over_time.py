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
    has_time,
    is_only_run,
    middles,
    mode,
    time_axis,
    timelines,
    unit_of,
    with_bands,
)
from latbench.series import HopTimeline, Timeline
from latbench.units import format_duration

_STATISTICS: Final = {"p50": "solid", "p99": "5px,3px", "max": "1.5px,3px"}
_SHADED: Final = (
    "Shaded: the share of ticks that overlap a stall of the machine (a timer that woke 1 ms late "
    "or more)."
)
_STRIP: Final = "Below: how late the latest timer of all processes woke in it (hiccup)."


def latency_chart(shown: Sequence[Shown]) -> Chart | None:
    """p50, p99 and maximum of each interval, of one hop at a time; None where rows are gone."""
    if not has_time(shown):
        return None
    unit, alone, lines = unit_of(shown), is_only_run(shown), timelines(shown)
    data: list[Trace] = []
    figure = layout(
        xaxis=time_axis(shown, unit, anchor="y"),
        yaxis=latency_axis("latency", type="log", domain=[0, 1]),
        barmode="overlay",
        bargap=0,
    )
    several = any(not each.is_one_run for each in shown)
    has_strip = not several and any(own[0].hiccup_max_ns for own in lines)
    if has_strip:
        figure["yaxis"]["domain"] = [0.34, 1]
        figure["yaxis3"] = latency_axis("hiccup", type="log", domain=[0, 0.24])
        figure["xaxis"]["anchor"] = "y3"
        data += [
            _hiccups(each, own[0], unit, alone=alone)
            for each, own in zip(shown, lines, strict=True)
        ]
    for each, own in zip(shown, lines, strict=True):
        for timeline in own:
            for hop, line in timeline.hops.items():
                data += _latency_lines(
                    each, timeline, unit, hop, line, several=several, alone=alone
                )
    only = lines[0][0]
    if alone:
        figure, data = with_bands(figure, data, only, unit)
    words = [_interval_words(lines)]
    if several:
        words.append("Each run is a line of its own; all begin at 0.")
    if alone and only.stalled.any():
        words.append(_SHADED)
    if has_strip:
        words.append(_STRIP)
    return Chart(
        "latency",
        "Latency over time",
        " ".join(words),
        data,
        figure,
        (
            hop_choice(
                [hop for hop in HOP_NAMES if any(hop in each.hops for own in lines for each in own)]
            ),
            _statistic_choice(alone=alone, several=several),
        ),
        height=480 if has_strip else 400,
    )


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


def _interval_words(lines: Sequence[Sequence[Timeline]]) -> str:
    lengths = {each.interval_ns for own in lines for each in own}
    of_length = f" of {format_duration(lengths.pop())}" if len(lengths) == 1 else ""
    return (
        f"Of the ticks due in each interval{of_length}; with fewer than 100 of them, p99 is the "
        "slowest."
    )


def _latency_lines(
    shown: Shown,
    timeline: Timeline,
    unit: TimeUnit,
    hop: str,
    line: HopTimeline,
    *,
    alone: bool,
    several: bool,
) -> Iterator[Trace]:
    values = {"p50": line.p50_ns, "p99": line.p99_ns, "max": line.max_ns}
    for statistic, dash in _STATISTICS.items():
        if statistic == "max" and several:
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


def _hiccups(shown: Shown, timeline: Timeline, unit: TimeUnit, *, alone: bool) -> Trace:
    """The worst wake-up of each interval, and whose it was."""
    processes = list(timeline.hiccup_max_ns)
    size = timeline.begins_ns.size
    # an interval may have none: long runs keep the worst of longer spans
    late_ns = np.array([[0.0] * size, *timeline.hiccup_max_ns.values()])
    late_ns = np.where(np.isnan(late_ns), 0.0, late_ns)
    worst = late_ns.argmax(axis=0)
    return {
        "type": "scatter",
        "mode": mode(timeline),
        "name": shown.prefixed("hiccup"),
        "x": middles(timeline, unit),
        "y": seconds(np.where(worst > 0, late_ns.max(axis=0), np.nan).tolist()),
        "yaxis": "y3",
        "connectgaps": True,
        "line": {
            "color": "--hop-hiccup" if alone else shown.colour,
            "width": 1.2,
            "shape": "hvh",
            "dash": "solid" if alone else shown.dash,
        },
        "meta": {
            "text": "latency",
            "whose": [processes[number - 1] if number else "" for number in worst.tolist()],
        },
    }


def throughput_chart(shown: Sequence[Shown]) -> Chart | None:
    """Ticks a second: due, and of those consumed; None where rows are gone."""
    if not has_time(shown):
        return None
    unit, alone, lines = unit_of(shown), is_only_run(shown), timelines(shown)
    data: list[Trace] = []
    figure = layout(
        xaxis=time_axis(shown, unit),
        yaxis=axis("ticks a second", rangemode="tozero", tickformat="~s"),
        barmode="overlay",
        bargap=0,
    )
    for each, own in zip(shown, lines, strict=True):
        for result, timeline in zip(each.side.results, own, strict=True):
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
        figure, data = with_bands(figure, data, lines[0][0], unit)
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
