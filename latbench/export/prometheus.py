"""A run in Prometheus's text exposition format 0.0.4: a histogram for each hop, gauges beside.

Names and units are as promtool's linter wants them: base units, no type in a name, a HELP and a
TYPE for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import numpy as np

from latbench.clock import NS_PER_S
from latbench.export.hlog import HICCUP
from latbench.export.limits import doubt
from latbench.histogram import HIGHEST_NS, Histogram, bucket_indices
from latbench.result import HopSummary, RunResult

BOUNDS_NS: Final = (
    *(round(step * 10**power) for power in range(3, 11) for step in (1, 2.5, 5)),
    100 * NS_PER_S,
)
"""Upper bounds of the buckets: 1 µs to 100 s, three to a decade."""

_COUNTS: Final[Mapping[str, tuple[str, str]]] = {
    "sent": ("latbench_sent_ticks", "Ticks sent, warm-up included."),
    "measured": ("latbench_measured_ticks", "Ticks due after the warm-up."),
    "relayed": ("latbench_relayed_ticks", "Ticks that the relay had."),
    "acked": ("latbench_acked_ticks", "Ticks that the broker acknowledged."),
    "consumed": ("latbench_consumed_ticks", "Different ticks that the consumer had."),
    "lost": ("latbench_lost_ticks", "Ticks sent that were never consumed."),
    "duplicates": ("latbench_duplicate_ticks", "Ticks consumed once more."),
    "reordered": ("latbench_reordered_ticks", "Ticks consumed after a later one."),
    "delivery_errors": ("latbench_undelivered_ticks", "Ticks that the producer gave up."),
}


def draw_prometheus(result: RunResult, histograms: Mapping[str, Histogram]) -> str:
    """The exposition; `histograms` are those of the result, by hop, and `hiccup`."""
    lines = [
        *_info(result),
        *_gauges(result),
        *_percentiles(result.hops),
        *_histogram_family(
            "latbench_hop_latency_seconds",
            "Latency of each hop over the measured ticks.",
            [(f'hop="{hop.hop}"', histograms.get(hop.hop)) for hop in result.hops],
        ),
    ]
    if result.hiccups is not None:
        lines += _histogram_family(
            "latbench_hiccup_seconds",
            "How late timers woke, in all processes of the run.",
            [("", histograms.get(HICCUP))],
        )
    return "\n".join(lines) + "\n"


def _info(result: RunResult) -> Iterator[str]:
    labels = {
        "run_id": result.run_id,
        "name": result.config.name,
        "status": str(result.status),
        "version": result.latbench,
        "revision": result.environment.git_revision,
        "broker": result.broker.kind,
        "hostname": result.environment.hostname,
    }
    told = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    yield from _head("latbench_run_info", "The run that all others are of; always 1.", "gauge")
    yield f"latbench_run_info{{{told}}} 1"


def _gauges(result: RunResult) -> Iterator[str]:
    singles: list[tuple[str, str, float]] = [
        (
            "latbench_run_valid",
            "1 where the figures may be believed: the run did not fail, no finding is invalid.",
            int(not doubt(result)),
        ),
        (
            "latbench_run_start_timestamp_seconds",
            "Start of the schedule, in seconds since the epoch.",
            result.started_unix_ns / NS_PER_S,
        ),
        ("latbench_measured_seconds", "The measured span.", result.measured_ns / NS_PER_S),
        (
            "latbench_target_rate_hertz",
            "Ticks a second by due moments; 0 at --speed max.",
            result.target_rate_hz,
        ),
        (
            "latbench_achieved_rate_hertz",
            "Ticks a second by moments of sending.",
            result.achieved_rate_hz,
        ),
        *((*told, getattr(result.counts, field)) for field, told in _COUNTS.items()),
    ]
    for name, told, value in singles:
        yield from _head(name, told, "gauge")
        yield f"{name} {_number(value)}"


def _percentiles(hops: Iterable[HopSummary]) -> Iterator[str]:
    """Exact to 0.1 %, which no `histogram_quantile` over a few buckets is.

    Those that are not known are left out.
    """
    name = "latbench_hop_latency_percentile_seconds"
    yield from _head(name, "Latency at a percentile that 100 ticks or more lie above.", "gauge")
    for hop in hops:
        for percentile, value_ns in hop.percentiles_ns.items():
            if value_ns is not None and hop.count:
                labels = f'hop="{hop.hop}",percentile="{percentile}"'
                yield f"{name}{{{labels}}} {_number(value_ns / NS_PER_S)}"


def _histogram_family(
    name: str, told: str, members: Iterable[tuple[str, Histogram | None]]
) -> Iterator[str]:
    yield from _head(name, told, "histogram")
    for label, histogram in members:
        if histogram is None:
            continue
        cumulated = np.cumsum(histogram.counts)
        # to the histogram's 0.1 %: a counter counts whole for the bound that it begins below
        at = bucket_indices(np.minimum(np.array(BOUNDS_NS, dtype=np.int64), HIGHEST_NS))
        lead = f"{label}," if label else ""
        for bound_ns, count in zip(BOUNDS_NS, cumulated[at].tolist(), strict=True):
            yield f'{name}_bucket{{{lead}le="{_number(bound_ns / NS_PER_S)}"}} {count}'
        yield f'{name}_bucket{{{lead}le="+Inf"}} {histogram.count}'
        labels = f"{{{label}}}" if label else ""
        yield f"{name}_sum{labels} {_number(histogram.sum_ns / NS_PER_S)}"
        yield f"{name}_count{labels} {histogram.count}"


def _head(name: str, told: str, kind: str) -> tuple[str, str]:
    return f"# HELP {name} {told}", f"# TYPE {name} {kind}"


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(float(value))


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
