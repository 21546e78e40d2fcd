"""The floor: what a machine and a broker take with next to nothing in between.

Each hop of a tick has a limit that no pipeline on this machine gets under at the same pace: a
message does not cross a socket faster than two bare sockets pass it on, nor a broker faster than
for a client that has nothing else to do. The probes measure these limits; here stands which probe
is the limit of which hop, and by how much a hop is above it. `docs/floor.md` says where each moment
is taken.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from latbench.analysis import summarise
from latbench.clock import NS_PER_MS, NS_PER_S, NS_PER_US
from latbench.config import RunConfig
from latbench.histogram import Histogram
from latbench.result import Floor, HopSummary

INTERVAL_NS: Final = NS_PER_MS
"""Between two samples of a probe: the pace of 1,000 ticks/s, which is a run's unless told.

An idle CPU wakes slower than a busy one, a broker's threads as well: 0.5, 1 and 2 ms apart
produce → consume took 200, 262 and 294 µs (`docs/floor.md`). So a run is set beside a floor of its
own pace, or the multiple tells of sleeping CPUs what is taken for the pipeline's."""

_RUN_INTERVALS_NS: Final = (500 * NS_PER_US, 2 * NS_PER_MS)
"""Below 0.5 ms a bare message on a broker (200 to 350 µs) fills the pace, and nothing rests; above
2 ms the probes would take longer than 13 s."""

MIN_INTERVAL_NS: Final = 50 * NS_PER_US
"""Below it nothing that is paced would rest at all."""
MAX_INTERVAL_NS: Final = NS_PER_S

SAMPLES: Final = 10_000
"""The fewest that have 100 beyond p99."""
RUN_SAMPLES: Final = 2_000
"""Before a run: 200 beyond p90, in 7 s at the pace of 1,000 ticks/s."""
MIN_SAMPLES: Final = 1_000
"""100 beyond p90."""
MAX_SAMPLES: Final = 1_000_000
WARM_SAMPLES: Final = 200
"""The first ones of each probe pay for connections and caches."""

TIMER: Final = "timer"
TCP: Final = "tcp"
WEBSOCKET: Final = "websocket"
ACK: Final = "ack"
CONSUME: Final = "consume"


@dataclasses.dataclass(frozen=True, slots=True)
class Probe:
    """One thing that is measured."""

    name: str
    label: str
    """What happens in it, for people."""
    limits: str
    """What it is the limit of, for people."""


PROBES: Final = (
    Probe(TIMER, "timer wake-up", "no hop: a process that sleeps"),
    Probe(TCP, "TCP round trip", "any way to another process"),
    Probe(WEBSOCKET, "WebSocket round trip", "websocket: half of it"),
    Probe(ACK, "produce → ack", "ack"),
    Probe(CONSUME, "produce → consume", "kafka (T3)"),
)

_TERMS: Final[Mapping[str, tuple[tuple[str, float], ...]]] = {
    "websocket": ((WEBSOCKET, 0.5),),
    "kafka": ((CONSUME, 1.0),),
    "end_to_end": ((WEBSOCKET, 0.5), (CONSUME, 1.0)),
    "ack": ((ACK, 1.0),),
}
"""Each hop's floor as a sum of probes, each times a factor. `relay` has none: all of it is the
pipeline's own work. Nor has `schedule`: a generator that wakes early waits for no timer."""


def run_interval_ns(config: RunConfig) -> int:
    """Between two samples before a run: what lies between two of its ticks, from 0.5 to 2 ms.

    A replay's pace is its file's, and changes: 1 ms.
    """
    if config.is_replay:
        return INTERVAL_NS
    least_ns, most_ns = _RUN_INTERVALS_NS
    return min(max(NS_PER_S // config.tick_rate_hz, least_ns), most_ns)


def summarise_probe(probe: str, values_ns: Sequence[int], interval_ns: int) -> HopSummary:
    """A probe's figures, without its first samples (`WARM_SAMPLES`, a sixth at most)."""
    histogram = Histogram()
    warm = min(WARM_SAMPLES, len(values_ns) // 6)
    histogram.record(np.array(values_ns[warm:], dtype=np.int64))
    return summarise(probe, histogram, histogram.count * interval_ns)


def hop_floor_ns(floor: Floor, hop: str) -> float | None:
    """The p50 that a hop can't get under; None for a hop without one, or without its probes.

    That of `end_to_end` is the *bare floor*: the sum of the p50 of half a WebSocket round trip and
    of produce → consume. (The p50 of a sum is not the sum of the p50, but near it where one term is
    most of it.)
    """
    terms = _TERMS.get(hop)
    if terms is None:
        return None
    total_ns = 0.0
    for name, factor in terms:
        p50_ns = floor.p50_ns(name)
        if p50_ns is None:
            return None
        total_ns += factor * p50_ns
    return total_ns


def floor_ns_by_hop(floor: Floor) -> dict[str, float]:
    """`hop_floor_ns` of every hop that has one."""
    floors = ((hop, hop_floor_ns(floor, hop)) for hop in _TERMS)
    return {hop: floor_ns for hop, floor_ns in floors if floor_ns is not None}


def times_floor(floor: Floor, hops: Sequence[HopSummary]) -> dict[str, float]:
    """The p50 of each hop that has a floor, as a multiple of it."""
    multiples: dict[str, float] = {}
    for hop in hops:
        floor_ns, p50_ns = hop_floor_ns(floor, hop.hop), hop.percentiles_ns.get("p50")
        if floor_ns and p50_ns is not None:
            multiples[hop.hop] = p50_ns / floor_ns
    return multiples
