"""Charts of distributions: percentile curves, histograms with the hiccups below, run by run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from latbench.analysis import percentile_name
from latbench.histogram import MIN_SAMPLES_BEYOND
from latbench.render.html.contributions import runs_in_order
from latbench.render.html.figures import (
    DASHES,
    HOP_NAMES,
    SHOWN_FIRST,
    Chart,
    Control,
    Option,
    Trace,
    axis,
    hop_choice,
    hop_colour,
    latency_axis,
    layout,
    rounded,
    seconds,
)
from latbench.render.html.sides import Shown
from latbench.series import BINS_PER_DECADE, HICCUP, Bins, PercentileCurve
from latbench.tick import HOP_BY_NAME, HopKind

_TICKS: Final = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 99.9999)
_OFF_AT_FIRST: Final = ("ack", HICCUP)


def _keys(shown: Sequence[Shown]) -> list[str]:
    return [
        key for key in (*HOP_NAMES, HICCUP) if any(key in each.pool.distributions for each in shown)
    ]


# --- percentile curve ---------------------------------------------------------------------------


def percentile_chart(shown: Sequence[Shown]) -> Chart:
    """Latency by percentile; all hops of one side, or both sides of one hop."""
    keys = _keys(shown)
    alone = len(shown) == 1
    data: list[Trace] = []
    for each in shown:
        if not each.is_one_run and not alone:
            for run in each.side.series:
                for key in keys:
                    if key in run.curves:
                        data += _curve(each, key, run.curves[key], alone=alone, thin=True)
        for key in keys:
            if key in each.curves:
                data += _curve(each, key, each.curves[key], alone=alone)
    ticks = [(percent, round(100 / (100 - percent))) for percent in _TICKS]
    figure = layout(
        xaxis=axis(
            "percentile",
            type="log",
            unifiedhovertitle={"text": "latency"},
            tickmode="array",
            tickvals=[place for _, place in ticks],
            ticktext=[percentile_name(percent).removeprefix("p") for percent, _ in ticks],
        ),
        yaxis=latency_axis("latency", type="log"),
    )
    return Chart(
        "percentiles",
        "Latency by percentile",
        "Each step to the right is ten times as rare. A line ends at its last honest point, the "
        f"dot: beyond it lie fewer than {MIN_SAMPLES_BEYOND} ticks, and a figure would be a guess."
        + _runs_words(shown, "Thin lines are single runs, thick ones all runs of a side added."),
        data,
        figure,
        (_hops_of_one(keys) if alone else hop_choice(keys),),
        height=420,
    )


def _runs_words(shown: Sequence[Shown], words: str) -> str:
    is_telling = len(shown) > 1 and any(not each.is_one_run for each in shown)
    return f" {words}" if is_telling else ""


def _hops_of_one(keys: Sequence[str]) -> Control:
    options = tuple(
        Option(
            key, _legend_of(key), hop_colour(key), DASHES.get(key, "solid"),
            key not in _OFF_AT_FIRST,
        )
        for key in keys
    )  # fmt: skip
    return Control("hop", "hops", options, is_single=False)


def _legend_of(key: str) -> str:
    is_uncorrected = key in HOP_BY_NAME and HOP_BY_NAME[key].kind is HopKind.UNCORRECTED
    return f"{key} (uncorrected)" if is_uncorrected else key


def _curve(
    shown: Shown, key: str, curve: PercentileCurve, *, alone: bool, thin: bool = False
) -> Iterator[Trace]:
    if not curve.percent.size:
        return
    colour = hop_colour(key) if alone else shown.colour
    # a thin line shows where a run lies, for which every fourth point will do
    kept = np.arange(curve.percent.size - 1, -1, -4 if thin else -1)[::-1]
    xs = rounded(100 / (100 - curve.percent[kept]))
    ys = seconds(curve.value_ns[kept].tolist())
    is_on = key not in _OFF_AT_FIRST if alone else key == SHOWN_FIRST
    common: Trace = {
        "type": "scatter",
        "name": key if alone else shown.letter,
        "visible": is_on,
        "meta": {"hop": key, "text": "latency"},
    }
    width = 0.8 if thin else 3.0 if alone and key == SHOWN_FIRST else 2.0
    yield {
        **common,
        "mode": "lines",
        "x": xs,
        "y": ys,
        "customdata": [] if thin else [float(f"{percent:.6g}") for percent in curve.percent],
        "line": {
            "color": colour,
            "width": width,
            "dash": DASHES.get(key, "solid") if alone else shown.dash,
        },
        "opacity": 0.4 if thin else 1,
        "hoverinfo": "skip" if thin else None,
    }
    if not thin:
        yield {
            **common,
            "mode": "markers",
            "x": xs[-1:],
            "y": ys[-1:],
            "marker": {"color": colour, "size": 7},
            "hoverinfo": "skip",
            "meta": {"hop": key},
        }


# --- histogram ----------------------------------------------------------------------------------


def histogram_chart(shown: Sequence[Shown]) -> Chart:
    """Latencies in bins of equal ratio, one hop at a time; the hiccups below on the same axis."""
    keys = [key for key in _keys(shown) if key != HICCUP]
    has_hiccups = any(HICCUP in each.bins for each in shown)
    alone = len(shown) == 1
    figure = layout(
        xaxis=latency_axis(
            "latency",
            type="log",
            anchor="y2" if has_hiccups else "y",
            unifiedhovertitle={"text": "in this bin"},
        ),
        yaxis=_count_axis("ticks", [0.4, 1] if has_hiccups else [0, 1], alone=alone),
    )
    if has_hiccups:
        figure["yaxis2"] = _count_axis("wake-ups", [0, 0.28], alone=alone)
    data: list[Trace] = []
    highest: dict[str, float] = {}
    lowest: dict[str, float] = {}
    for each in shown:
        for key in [*keys, *([HICCUP] if has_hiccups else [])]:
            if key not in each.bins:
                continue
            trace = _steps(each, key, each.bins[key], alone=alone)
            data.append(trace)
            counts = [value for value in trace["y"] if value]
            name = trace["yaxis"]
            highest[name] = max([highest.get(name, 0.0), *counts])
            lowest[name] = min([lowest.get(name, math.inf), *counts])
    for name, high in highest.items():
        low = lowest[name] * 0.7
        figure["yaxis2" if name == "y2" else "yaxis"]["range"] = [
            math.log10(low), math.log10(high * 1.5),
        ]  # fmt: skip
        for trace in data:
            if trace["yaxis"] == name:
                trace["meta"]["floor"] = low
    return Chart(
        "histogram",
        "Histogram",
        "How many ticks took how long; bins grow by 12 %. "
        + (
            "Below, on the same axis, how late plain timers woke on this machine (hiccups): a "
            "latency far beyond every hiccup has another cause than the machine's stalls."
            if has_hiccups
            else ""
        ),
        data,
        figure,
        (hop_choice(keys), _scale_choice()),
        height=460 if has_hiccups else 340,
    )


def _count_axis(what: str, domain: list[float], *, alone: bool) -> dict[str, Any]:
    """Numbers where there is one side, shares where two of different size are compared."""
    shown = {"tickformat": "~s"} if alone else {"tickformat": "~g", "ticksuffix": " %"}
    return axis(what, type="log", dtick=1, domain=domain, **shown)


def _scale_choice() -> Control:
    options = (Option("log", "log"), Option("linear", "linear", is_on=False))
    return Control("scale", "counts", options, is_single=True)


def _steps(shown: Shown, key: str, bins: Bins, *, alone: bool) -> Trace:
    used = np.flatnonzero(bins.counts)
    first, last = int(used[0]), int(used[-1])
    ratio = 10 ** (1 / BINS_PER_DECADE)
    middles = np.sqrt(bins.edges_ns[:-1] * bins.edges_ns[1:])[first : last + 1]
    counts = bins.counts[first : last + 1]
    values: list[float | None] = (
        counts.tolist() if alone else rounded(100 * counts / bins.counts.sum())
    )
    colour = hop_colour(key) if alone else shown.colour
    return {
        "type": "scatter",
        "mode": "lines",
        "name": (key if key == HICCUP else "ticks") if alone else shown.letter,
        "x": seconds([middles[0] / ratio, *middles, middles[-1] * ratio]),
        "y": [0, *values, 0],
        "yaxis": "y2" if key == HICCUP else "y",
        "line": {
            "shape": "hvh",
            "width": 1.6,
            "color": colour,
            "dash": shown.dash,
        },
        "fill": "tozeroy",
        "fillcolor": f"{colour}-fill",
        "visible": key in (SHOWN_FIRST, HICCUP),
        "meta": {
            "text": "bin",
            "half": round(ratio**0.5, 6),
            "unit": "%" if not alone else "wake-ups" if key == HICCUP else "ticks",
            **({} if key == HICCUP else {"hop": key}),
        },
    }


# --- run by run ---------------------------------------------------------------------------------


def runs_chart(shown: Sequence[Shown]) -> Chart | None:
    """p50 and p99 of each run, in the order that they were made; None for a run a side."""
    if all(each.is_one_run for each in shown):
        return None
    runs = runs_in_order(shown)
    names = [name for name, _, _ in runs]
    data: list[Trace] = []
    for each in shown:
        own = [(name, result) for name, side, result in runs if side is each]
        for hop in HOP_NAMES:
            for statistic, symbol in (("p50", "circle"), ("p99", "diamond-open")):
                values = [result.hop(hop).percentiles_ns.get(statistic) for _, result in own]
                data.append(
                    {
                        "type": "scatter",
                        "mode": "markers",
                        "name": each.prefixed(statistic),
                        "x": [name for name, _ in own],
                        "y": seconds(math.nan if v is None else v for v in values),
                        "marker": {"color": each.colour, "size": 9, "symbol": symbol},
                        "visible": hop == SHOWN_FIRST,
                        "meta": {"hop": hop, "stat": statistic, "text": "latency"},
                    }
                )
    statistics = Control(
        "stat",
        "statistic",
        (Option("p50", "● p50"), Option("p99", "◇ p99")),
        is_single=False,
    )
    figure = layout(
        xaxis=axis(
            "run, in the order that they were made", type="category", categoryorder="array",
            categoryarray=names, showgrid=False,
        ),
        yaxis=latency_axis("latency", type="log"),
    )  # fmt: skip
    return Chart(
        "runs",
        "Run by run",
        "Each mark is one run: the unit that a comparison counts. How far the runs of one side lie "
        "apart is the noise that a difference has to stand out from."
        + (
            ""
            if any(result.hop(SHOWN_FIRST).percentiles_ns.get("p99") for _, _, result in runs)
            else f" These runs are too short for a p99: fewer than {MIN_SAMPLES_BEYOND} ticks lie "
            "above it."
        ),
        data,
        figure,
        (hop_choice(HOP_NAMES), statistics),
        height=340,
    )


def as_mapping(charts: Sequence[Chart]) -> Mapping[str, Any]:
    """All figures by their key, as the page's script wants them."""
    return {chart.key: chart.figure() for chart in charts}
