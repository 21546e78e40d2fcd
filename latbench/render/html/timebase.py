"""What charts over time share: their axis, and the stalls marked behind their lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from latbench.render.html.figures import TimeUnit, Trace, axis, rounded, time_unit
from latbench.render.html.sides import Shown
from latbench.series import Timeline
from latbench.units import format_count


def timelines(shown: Sequence[Shown]) -> list[list[Timeline]]:
    """Those of each side, run by run; of a side whose rows are gone none."""
    return [
        [run.timeline for run in each.side.series if run.timeline is not None] for each in shown
    ]


def has_time(shown: Sequence[Shown]) -> bool:
    """Whether every run can be drawn over its time."""
    return all(run.timeline is not None for each in shown for run in each.side.series)


def unit_of(shown: Sequence[Shown]) -> TimeUnit:
    """What the longest run is counted in."""
    return time_unit(max(run.measured_ns for each in shown for run in each.side.results))


def middles(timeline: Timeline, unit: TimeUnit) -> list[float | None]:
    """Where an interval's figures are drawn."""
    return unit.of((timeline.begins_ns + timeline.interval_ns / 2).tolist())


def mode(timeline: Timeline) -> str:
    """A line of one point would not be seen."""
    return "lines" if timeline.begins_ns.size > 2 else "lines+markers"


def time_axis(shown: Sequence[Shown], unit: TimeUnit, **changes: Any) -> dict[str, Any]:
    """From the begin to the end of the longest run."""
    longest_ns = max(run.measured_ns for each in shown for run in each.side.results)
    return axis(
        unit.title,
        showgrid=False,
        range=[0, *unit.of([longest_ns])],
        unifiedhovertitle={"text": f"%{{x}} {unit.short}"},
        **changes,
    )


def is_only_run(shown: Sequence[Shown]) -> bool:
    """Whether there is nothing to compare it with."""
    return len(shown) == 1 and shown[0].is_one_run


def with_bands(
    figure: dict[str, Any], data: list[Trace], timeline: Timeline, unit: TimeUnit
) -> tuple[dict[str, Any], list[Trace]]:
    """A figure with the stalls behind its lines, for Plotly draws an overlaying axis last."""
    bands = _stall_bands(timeline, unit)
    if not bands:
        return figure, data
    above = {**figure["yaxis"], "overlaying": "y", "side": "left", "tickmode": "auto"}
    below = {"range": [0, 1], "visible": False, "fixedrange": True}
    if "domain" in above:
        below["domain"] = above["domain"]
    moved = [{**trace, "yaxis": "y2"} if "yaxis" not in trace else trace for trace in data]
    return {**figure, "yaxis": below, "yaxis2": above}, [*bands, *moved]


def _stall_bands(timeline: Timeline, unit: TimeUnit) -> list[Trace]:
    """A band for each interval with stalled ticks, the darker the more of them."""
    if not timeline.stalled.size:
        return []
    marked = np.flatnonzero(timeline.stalled)
    share = timeline.stalled[marked] / timeline.count[marked]
    places = middles(timeline, unit)
    return [
        {
            "type": "bar",
            "name": "stalled",
            "x": [places[index] for index in marked],
            "y": [1] * marked.size,
            "width": timeline.interval_ns / unit.ns,
            "marker": {
                "color": "--stall",
                "opacity": rounded(0.04 + 0.36 * share),
                "line": {"width": 0},
            },
            "text": [
                f"{format_count(int(timeline.stalled[index]))} of "
                f"{format_count(int(timeline.count[index]))} ticks"
                for index in marked
            ],
            "textposition": "none",
            "hovertemplate": "%{text}",
        }
    ]
