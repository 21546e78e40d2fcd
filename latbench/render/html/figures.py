"""What all charts share: plain Plotly figures, the controls beside them, axes with units.

A figure is JSON for Plotly. A string that begins with `--` is the name of a colour that the page's
style sheet defines for light and for dark; the page's script puts it in. Times are in seconds, as
Plotly's tick format `~s` then writes `200µs` and `1.5ms` by itself, also after zooming.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from latbench.clock import NS_PER_S
from latbench.render.hops import HICCUP
from latbench.tick import HOPS

Trace = dict[str, Any]
DIGITS: Final = 4
"""Significant digits of what is drawn: a chart shows three."""

HOP_NAMES: Final = tuple(hop.name for hop in HOPS)
SHOWN_FIRST: Final = "end_to_end"
DASHES: Final = {"service": "dash", "ack": "dot", HICCUP: "dot"}


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """One choice of a control, and how what it shows is drawn."""

    value: str
    label: str
    colour: str = ""
    dash: str = ""
    is_on: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class Control:
    """What to show of a chart: traces whose `meta` has one of the chosen values under `kind`.

    `scale` is no kind of trace: it makes the vertical axes linear or logarithmic.
    """

    kind: str
    legend: str
    options: tuple[Option, ...]
    is_single: bool
    """One at a time."""


@dataclasses.dataclass(frozen=True, slots=True)
class Chart:
    """A figure with its title, words and controls."""

    key: str
    title: str
    words: str
    data: list[Trace]
    layout: dict[str, Any]
    controls: tuple[Control, ...] = ()
    height: int = 340

    def figure(self) -> dict[str, Any]:
        """What the page's script draws."""
        return {"data": self.data, "layout": {**self.layout, "height": self.height}}


def rounded(values: Iterable[float]) -> list[float | None]:
    """Numbers with `DIGITS` significant digits; what is not finite is a gap."""
    return [
        float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
        for value in map(float, values)
    ]


def seconds(values_ns: Iterable[float] | npt.NDArray[np.float64]) -> list[float | None]:
    """Latencies as they are drawn."""
    return rounded(value / NS_PER_S for value in values_ns)


def hop_colour(hop: str) -> str:
    """The name of a hop's colour."""
    return f"--hop-{hop.replace('_', '-')}"


def hop_choice(hops: Sequence[str], *, first: str = SHOWN_FIRST) -> Control:
    """One hop at a time."""
    options = tuple(Option(hop, hop, is_on=hop == first) for hop in hops)
    return Control("hop", "hop", options, is_single=True)


def latency_axis(title: str, **changes: Any) -> dict[str, Any]:
    """An axis of times."""
    return axis(title, tickformat="~s", ticksuffix="s", **changes)


def axis(title: str, **changes: Any) -> dict[str, Any]:
    """Any axis."""
    return {
        "title": {"text": title, "standoff": 8, "font": {"size": 12}},
        "automargin": True,
        "gridcolor": "--grid",
        "linecolor": "--line",
        "zeroline": False,
        "tickcolor": "--line",
        "spikecolor": "--muted",
        "spikethickness": -1,  # without Plotly's white edge
        **changes,
    }


def layout(**changes: Any) -> dict[str, Any]:
    """What all figures have in common."""
    return {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "--muted", "size": 12},
        "margin": {"l": 8, "r": 12, "t": 10, "b": 8},
        "showlegend": False,
        "hovermode": "x unified",
        "hoverlabel": {
            "bgcolor": "--card", "bordercolor": "--line", "font": {"color": "--text", "size": 12}
        },
        **changes,
    }  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class TimeUnit:
    """What a time axis counts in."""

    name: str
    short: str
    ns: int

    def of(self, values_ns: Iterable[float]) -> list[float | None]:
        """Moments as they are drawn; intervals are round in any unit, so few digits do."""
        return [float(f"{value / self.ns:.6g}") for value in values_ns]

    @property
    def title(self) -> str:
        """The axis's title."""
        return f"{self.name} since measuring began"


def time_unit(longest_ns: int) -> TimeUnit:
    """Seconds, minutes or hours, whichever people would say."""
    if longest_ns <= 300 * NS_PER_S:
        return TimeUnit("seconds", "s", NS_PER_S)
    if longest_ns <= 3 * 3600 * NS_PER_S:
        return TimeUnit("minutes", "min", 60 * NS_PER_S)
    return TimeUnit("hours", "h", 3600 * NS_PER_S)
