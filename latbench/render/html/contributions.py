"""Where the time goes: the four parts on top of one another, over time or run by run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from latbench.render.html.figures import (
    SHOWN_FIRST,
    Chart,
    Control,
    Option,
    Trace,
    axis,
    hop_colour,
    latency_axis,
    layout,
    seconds,
)
from latbench.render.html.sides import Shown
from latbench.render.html.timebase import (
    has_time,
    middles,
    time_axis,
    timelines,
    unit_of,
    with_bands,
)
from latbench.result import RunResult
from latbench.tick import PARTS


def contributions_chart(shown: Sequence[Shown]) -> Chart:
    """Means of the four parts, stacked: over time; run by run of several, or without rows."""
    if all(each.is_one_run for each in shown) and has_time(shown):
        return _contributions_over_time(shown)
    return _contributions_by_run(shown)


_SUM_WORDS: Final = (
    "The means of the four parts, one on top of the other: they add up to end_to_end's mean, "
    "exactly (percentiles would not)"
)


def _contributions_over_time(shown: Sequence[Shown]) -> Chart:
    unit, lines = unit_of(shown), timelines(shown)
    figure = layout(
        xaxis=time_axis(shown, unit, anchor="y" if len(shown) == 1 else "y2"),
        barmode="overlay",
        bargap=0,
    )
    figure["yaxis"] = latency_axis("mean", rangemode="tozero")
    data: list[Trace] = []
    if len(shown) == 2:
        figure["yaxis"] = latency_axis("A, mean", rangemode="tozero", domain=[0.55, 1])
        figure["yaxis2"] = latency_axis(
            "B, mean", rangemode="tozero", domain=[0, 0.45], matches="y", anchor="x"
        )
    for number, (each, (timeline,)) in enumerate(zip(shown, lines, strict=True)):
        common = {
            "type": "scatter",
            "mode": "lines",
            "x": middles(timeline, unit),
            **({"yaxis": "y2"} if number else {}),
        }
        data += [
            {
                **common,
                "name": part.name,
                "y": seconds(timeline.hops[part.name].mean_ns.tolist()),
                "stackgroup": f"parts {each.letter}",
                "line": {"width": 0, "color": hop_colour(part.name)},
                "fillcolor": hop_colour(part.name),
                "meta": {"text": "latency"},
            }
            for part in PARTS
            if part.name in timeline.hops
        ]
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
        figure, data = with_bands(figure, data, lines[0][0], unit)
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
