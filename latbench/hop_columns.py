"""The hops' statistics as columns of a table: `end_to_end_p99_ns`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from latbench.result import HopSummary
from latbench.thresholds import STATISTICS
from latbench.tick import HOPS


def hop_fields() -> list[tuple[str, pa.DataType]]:
    """`HOP_STATISTIC_ns` for every hop and statistic: floats."""
    return [
        (f"{hop.name}_{statistic}_ns", pa.float64()) for hop in HOPS for statistic in STATISTICS
    ]


def hop_values(hops: Sequence[HopSummary]) -> Iterator[tuple[str, float | None]]:
    """What is in them; nothing for a hop without ticks."""
    for summary in hops:
        if summary.count:
            for statistic, value in summary.percentiles_ns.items():
                yield f"{summary.hop}_{statistic}_ns", value
            yield f"{summary.hop}_mean_ns", summary.mean_ns
            yield f"{summary.hop}_max_ns", float(summary.max_ns)
