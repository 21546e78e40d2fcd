"""Charts over a run's time: latency, where it goes, and how many ticks came through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

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
    hop_colour,
    latency_axis,
    layout,
    rounded,
    seconds,
    time_unit,
)
from latbench.render.html.sides import Shown
from latbench.result import RunResult
from latbench.series import HopTimeline, Timeline
from latbench.tick import PARTS
from latbench.units import format_count, format_duration

STALLS: Final = "stalls"
_STATISTICS: Final = {"p50": "solid", "p99": "5px,3px", "max": "1.5px,3px"}
_STALL_WORDS: Final = (
    "Shaded: the share of ticks that overlap a stall of the machine (a timer that woke 1 ms late "
    "or more)."
)


def _unit(shown: Sequence[Shown]) -> TimeUnit:
    return time_unit(max(run.measured_ns for each in shown for run in each.side.results))


def _middles(timeline: Timeline, unit: TimeUnit) -> list[float | None]:
    return unit.of((timeline.begins_ns + timeline.interval_ns / 2).tolist())


def _mode(timeline: Timeline) -> str:
    """A line of one point would not be seen."""
    return "lines" if timeline.begins_ns.size > 2 else "lines+markers"


def _time_axis(shown: Sequence[Shown], unit: TimeUnit, **changes: Any) -> dict[str, Any]:
    longest_ns = max(run.measured_ns for each in shown for run in each.side.results)
    return axis(unit.title, showgrid=False, range=[0, *unit.of([longest_ns])], **changes)


def _only_run(shown: Sequence[Shown]) -> bool:
    return len(shown) == 1 and shown[0].is_one_run


# --- stalls -----------------------------------------------------------------------------------


def _stalled_share(timeline: Timeline) -> np.ndarray[Any, np.dtype[np.float64]]:
    return timeline.stalled / np.maximum(timeline.count, 1)


def _with_bands(
    figure: dict[str, Any], data: list[Trace], timeline: Timeline, unit: TimeUnit
) -> tuple[dict[str, Any], list[Trace]]:
    """A figure with the stalls behind its lines: Plotly draws an axis that lies over another last."""
    bands = _stall_bands(timeline, unit)
    if not bands:
        return figure, data
    above = {**figure["yaxis"], "overlaying": "y", "side": "left", "tickmode": "auto"}
    below = {"range": [0, 1], "visible": False, "fixedrange": True}
    moved = [{**trace, "yaxis": "y2"} for trace in data]
    return {**figure, "yaxis": below, "yaxis2": above}, [*bands, *moved]


def _stall_bands(timeline: Timeline, unit: TimeUnit) -> list[Trace]:
    """A band for each interval with stalled ticks, the darker the more of them."""
    if not timeline.stalled.size:
        return []
    marked = np.flatnonzero(timeline.stalled)
    share = _stalled_share(timeline)[marked]
    middles = _middles(timeline, unit)
    return [
        {
            "type": "bar",
            "name": "stalled",
            "x": [middles[index] for index in marked],
            "y": [1] * marked.size,
            "width": timeline.interval_ns / unit.ns,
            "marker": {
                "color": "--stall",
                "opacity": rounded(0.05 + 0.45 * share),
                "line": {"width": 0},
            },
            "text": [
                f"{format_count(int(timeline.stalled[index]))} of "
                f"{format_count(int(timeline.count[index]))} ticks"
                for index in marked
            ],
            "textposition": "none",
            "hovertemplate": "%{text}",
            "meta": {"mark": STALLS},
        }
    ]


def _stall_lines(shown: Sequence[Shown], unit: TimeUnit, yaxis: str) -> Iterator[Trace]:
    """The same of two sides: bands would lie over one another."""
    for each in shown:
        for run in each.side.series:
            timeline = run.timeline
            if timeline.stalled.size:
                yield {
                    "type": "scatter",
                    "mode": _mode(timeline),
                    "name": each.prefixed("stalled"),
                    "x": _middles(timeline, unit),
                    "y": rounded(100 * _stalled_share(timeline)),
                    "yaxis": yaxis,
                    "line": {"color": each.colour, "width": 1, "shape": "hvh"},
                    "hovertemplate": "%{y:.1f} % of ticks",
                    "meta": {"mark": STALLS},
                }


# --- latency ----------------------------------------------------------------------------------


def latency_chart(shown: Sequence[Shown]) -> Chart:
    """p50, p99 and maximum of each interval, of one hop at a time."""
    unit, alone = _unit(shown), _only_run(shown)
    data: list[Trace] = []
    figure = layout(
        xaxis=_time_axis(shown, unit, anchor="y"),
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
        figure, data = _with_bands(figure, data, shown[0].side.series[0].timeline, unit)
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
            " Below: the share of ticks that overlap a stall of the machine (a timer that woke 1 ms "
            "late or more)."
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
            "mode": _mode(timeline),
            "name": shown.prefixed(statistic),
            "x": _middles(timeline, unit),
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


# --- where the time goes ------------------------------------------------------------------------


def contributions_chart(shown: Sequence[Shown]) -> Chart:
    """Means of the four parts, stacked: over time, or run by run where there are several."""
    if all(each.is_one_run for each in shown):
        return _contributions_over_time(shown)
    return _contributions_by_run(shown)


_SUM_WORDS: Final = (
    "The means of the four parts, one on top of the other: they add up to end_to_end's mean, "
    "exactly (percentiles would not)"
)


def _contributions_over_time(shown: Sequence[Shown]) -> Chart:
    unit = _unit(shown)
    figure = layout(
        xaxis=_time_axis(shown, unit, anchor="y" if len(shown) == 1 else "y2"),
        barmode="overlay",
        bargap=0,
    )
    figure["yaxis"] = latency_axis("mean", rangemode="tozero")
    data: list[Trace] = []
    if len(shown) == 2:
        figure["yaxis"] |= {"domain": [0.55, 1], "title": {"text": "A, mean"}}
        figure["yaxis2"] = latency_axis(
            "B, mean", rangemode="tozero", domain=[0, 0.45], matches="y", anchor="x"
        )
    for number, each in enumerate(shown):
        timeline = each.side.series[0].timeline
        common = {
            "type": "scatter",
            "mode": "lines",
            "x": _middles(timeline, unit),
            "yaxis": "y2" if number else "y",
        }
        for part in PARTS:
            if part.name in timeline.hops:
                data.append(
                    {
                        **common,
                        "name": part.name,
                        "y": seconds(timeline.hops[part.name].mean_ns.tolist()),
                        "stackgroup": f"parts {each.letter}",
                        "line": {"width": 0, "color": hop_colour(part.name)},
                        "fillcolor": hop_colour(part.name),
                        "meta": {"text": "latency"},
                    }
                )
        if SHOWN_FIRST in timeline.hops:
            data.append(
                {
                    **common,
                    "name": SHOWN_FIRST,
                    "y": seconds(timeline.hops[SHOWN_FIRST].mean_ns.tolist()),
                    "line": {"width": 1.2, "color": "--text"},
                    "meta": {"text": "latency"},
                }
            )
    if len(shown) == 1:
        figure, data = _with_bands(figure, data, shown[0].side.series[0].timeline, unit)
    words = f"{_SUM_WORDS}, which is the line."
    if len(shown) == 2:
        words += " A above, B below, on the same scale."
    return Chart(
        "contributions", "Where the time goes", words, data, figure,
        (_part_legend(),), height=340 if len(shown) == 1 else 480,
    )  # fmt: skip


def _part_legend() -> Control:
    """Colours only: nothing of a sum can be left out."""
    options = tuple(Option(part.name, part.name, hop_colour(part.name)) for part in PARTS)
    return Control("", "parts", options, is_single=False)


def runs_in_order(shown: Sequence[Shown]) -> list[tuple[str, Shown, RunResult]]:
    """All runs as they followed one another, each with a short name: `A 1`, `B 1`, `A 2`."""
    runs = [
        (each, number, result)
        for each in shown
        for number, result in enumerate(each.side.results, start=1)
    ]
    runs.sort(key=lambda run: run[2].started_unix_ns)
    return [(each.prefixed(str(number)), each, result) for each, number, result in runs]


def _contributions_by_run(shown: Sequence[Shown]) -> Chart:
    runs = runs_in_order(shown)
    data: list[Trace] = [
        {
            "type": "bar",
            "name": part.name,
            "x": [name for name, _, _ in runs],
            "y": seconds(result.hop(part.name).mean_ns for _, _, result in runs),
            "marker": {"color": hop_colour(part.name), "line": {"width": 0}},
            "meta": {"text": "latency"},
            "textposition": "none",
        }
        for part in PARTS
    ]
    figure = layout(
        xaxis=axis("run, in the order that they were made", type="category", showgrid=False),
        yaxis=latency_axis("mean", rangemode="tozero"),
        barmode="stack",
        bargap=0.35,
    )
    return Chart(
        "contributions", "Where the time goes, run by run", f"{_SUM_WORDS}.", data, figure,
        (_part_legend(),),
    )  # fmt: skip


# --- throughput -------------------------------------------------------------------------------


def throughput_chart(shown: Sequence[Shown]) -> Chart:
    """Ticks a second: due, and of those consumed."""
    unit, alone = _unit(shown), _only_run(shown)
    data: list[Trace] = []
    figure = layout(
        xaxis=_time_axis(shown, unit),
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
                        "mode": _mode(timeline),
                        "name": each.prefixed(name),
                        "x": _middles(timeline, unit),
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
        figure, data = _with_bands(figure, data, shown[0].side.series[0].timeline, unit)
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
