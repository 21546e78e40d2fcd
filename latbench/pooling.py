"""Several runs of one scenario as one: their histograms are added, no percentile is averaged."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from latbench.analysis import summarise
from latbench.clock import NS_PER_S
from latbench.histogram import Histogram
from latbench.result import HopSummary, RunResult, TailShare
from latbench.series import HICCUP, Distribution, add_distributions
from latbench.tick import HOPS


@dataclasses.dataclass(frozen=True, slots=True)
class Pool:
    """What runs gave together."""

    hops: Mapping[str, HopSummary]
    """By name, in the order of `HOPS`; then `hiccup`, where there were meters."""
    tail: TailShare | None
    """Over the slowest ticks of each run: from that run's own p99 up. `above_ns` is the least of
    those; runs without a p99 are left out, and None says that there is no other."""
    distributions: Mapping[str, Distribution]
    measured_ns: int
    sent: int
    measured: int
    lost: int

    @property
    def end_to_end(self) -> HopSummary:
        """The total."""
        return self.hops["end_to_end"]


def pool(results: Sequence[RunResult], parts: Sequence[Mapping[str, Distribution]]) -> Pool:
    """Runs together, with the distributions of each; one run is what its file says."""
    distributions = add_distributions(parts)
    summaries = {
        hop.name: _together([each.hop(hop.name) for each in results], distributions) for hop in HOPS
    }
    if hiccups := [each.hiccups for each in results if each.hiccups is not None]:
        summaries[HICCUP] = _together(hiccups, distributions)
    return Pool(
        hops=summaries,
        tail=_tails([each.tail for each in results]),
        distributions=distributions,
        measured_ns=sum(each.measured_ns for each in results),
        sent=sum(each.counts.sent for each in results),
        measured=sum(each.counts.measured for each in results),
        lost=sum(each.counts.lost for each in results),
    )


def _together(
    summaries: Sequence[HopSummary], distributions: Mapping[str, Distribution]
) -> HopSummary:
    if len(summaries) == 1:
        return summaries[0]
    name = summaries[0].hop
    whole = Histogram()
    whole.negative = sum(each.negative for each in summaries)
    whole.out_of_range = sum(each.out_of_range for each in summaries)
    counted = [each for each in summaries if each.count]
    if not counted or name not in distributions:
        return summarise(name, whole, 0)
    whole.counts += distributions[name].counts
    whole.count = sum(each.count for each in counted)
    whole.min_ns = min(each.min_ns for each in counted)
    whole.max_ns = max(each.max_ns for each in counted)
    span_ns = sum(round(each.count / each.rate_hz * NS_PER_S) for each in counted if each.rate_hz)
    told = summarise(name, whole, span_ns)
    mean_ns = math.fsum(each.mean_ns * each.count for each in counted) / whole.count
    square_ns = math.fsum((each.stdev_ns**2 + each.mean_ns**2) * each.count for each in counted)
    variance = max(square_ns / whole.count - mean_ns**2, 0.0)
    return msgspec.structs.replace(told, mean_ns=mean_ns, stdev_ns=math.sqrt(variance))


def _tails(tails: Iterable[TailShare | None]) -> TailShare | None:
    known = [each for each in tails if each is not None and each.count]
    if not known:
        return None
    count = sum(each.count for each in known)
    return TailShare(
        above_ns=min(each.above_ns for each in known),
        count=count,
        mean_ns={
            part: math.fsum(each.mean_ns[part] * each.count for each in known) / count
            for part in known[0].mean_ns
        },
    )
