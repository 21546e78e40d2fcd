"""What runs are judged by, made up: a quiet one, and for each finding one that calls for it."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from latbench.clock import NS_PER_S
from latbench.config import MAX_SPEED
from latbench.findings import Code
from latbench.judging import Evidence
from latbench.result import HopSummary, MachineFigures, RunStatus
from latbench.settling import Drift
from tests.results import (
    make_broker,
    make_config,
    make_counts,
    make_environment,
    make_fanout,
    make_hiccups,
    make_hop,
    make_hops,
)

Values = dict[str, float | str]

REPLAY: Final = make_config(source="feed.ws", speed=MAX_SPEED)
AUTO: Final = make_config(warmup_auto=True, warmup_ns=120 * NS_PER_S)


def make_evidence(**changes: Any) -> Evidence:
    """A run that there is nothing to say of: on a machine with room, that stalls a little."""
    evidence = Evidence(
        config=make_config(),
        environment=make_environment(cpus=8),
        broker=make_broker(),
        counts=make_counts(),
        hops=make_hops(),
        scheduled_hz=5000.0,
        achieved_hz=5000.0,
        status=RunStatus.COMPLETE,
        meters={"relay": make_hiccups()},
        machine=MachineFigures(busy=0.6, steal=0.004, iowait=0.02),
        drift=None,
        warmup_ns=2 * NS_PER_S,
    )
    return msgspec.structs.replace(evidence, **changes)


def hops_with(hop: str, **changes: Any) -> tuple[HopSummary, ...]:
    """All hops, one of them changed."""
    return tuple(make_hop(one.hop, **changes) if one.hop == hop else one for one in make_hops())


def with_percentiles(hop: str, **percentiles_ns: int | None) -> HopSummary:
    """A hop with some percentiles changed: `p50`, `p99`, and `p999` for p99.9."""
    summary = make_hiccups() if hop == "hiccup" else make_hop(hop)
    changed = {name.replace("p999", "p99.9"): value for name, value in percentiles_ns.items()}
    return msgspec.structs.replace(summary, percentiles_ns={**summary.percentiles_ns, **changed})


def late_by(p99_ns: int) -> tuple[HopSummary, ...]:
    """All hops of a run whose generator was late."""
    schedule = with_percentiles("schedule", p99=p99_ns)
    return tuple(schedule if one.hop == "schedule" else one for one in make_hops())


CAUSES: Final[dict[Code, tuple[dict[str, Any], Values]]] = {
    # what is changed of a quiet run, and the values that are then told
    Code.NOTHING_MEASURED: ({"counts": make_counts(measured=0)}, {}),
    Code.TICKS_LOST: ({"counts": make_counts(lost=1000, sent=9000)}, {"lost": 1000, "sent": 9000}),
    Code.TICKS_MISSED: ({"missed": 1300}, {"missed": 1300}),
    Code.SUBSCRIBERS_MISSED: (
        {"fanout": make_fanout(missed=1200, short=((7, 1000), (3, 200)), short_count=2)},
        {"missed": 1200, "expected": 151_000_000, "short": 2, "subscribers": 100},
    ),
    Code.SUBSCRIBERS_ENDED: (
        {"fanout": make_fanout(ended=3)},
        {"ended": 3, "subscribers": 100},
    ),
    Code.RING_OVERRUN: ({"counts": make_counts(ring_overruns=2000)}, {"rows": 2000}),
    Code.NEGATIVE_LATENCY: (
        {"hops": hops_with("kafka", negative=3000)},
        {"hop": "kafka", "count": 3000},
    ),
    Code.WARMUP_UNSETTLED: (
        {"config": AUTO, "warmup_ns": 121 * NS_PER_S, "warmup_settled": False},
        {"waited": 121 * NS_PER_S},
    ),
    Code.LATENCY_DRIFTED: (
        {"drift": Drift(first_ns=2_000_000.4, last_ns=600_000.6)},
        {"first": 2_000_000, "last": 600_001},
    ),
    Code.HICCUPS: (
        {"meters": {"relay": with_percentiles("hiccup", p999=1_700_000)}},
        {"process": "relay", "percentile": "p99.9", "hiccup": 1_700_000, "latency": 3_260_000},
    ),
    Code.GENERATOR_LATE: (
        {"hops": late_by(1_100_000)},
        {"late": 1_100_000, "latency": 1_310_000},
    ),
    Code.CUT_OFF: (
        {"counts": make_counts(lost=1000), "status": RunStatus.RECOVERED},
        {"lost": 1000},
    ),
    Code.RATE_MISSED: (
        {"achieved_hz": 4900.0},
        {"achieved": 4900.0, "scheduled": 5000.0, "percent": -2.0},
    ),
    Code.LATENCY_OUT_OF_RANGE: (
        {"hops": hops_with("end_to_end", out_of_range=4000)},
        {"hop": "end_to_end", "count": 4000},
    ),
    Code.DUPLICATES: ({"counts": make_counts(duplicates=1001)}, {"count": 1001}),
    Code.REORDERED: ({"counts": make_counts(reordered=1002)}, {"count": 1002}),
    Code.DELIVERY_ERRORS: ({"counts": make_counts(delivery_errors=1003)}, {"count": 1003}),
    Code.RELAY_BACKPRESSURE: (
        {"counts": make_counts(relay_backpressure=1, relay_backpressure_ns=2_500_000_000)},
        {"times": 1, "duration": 2_500_000_000},
    ),
    Code.GENERATOR_BACKPRESSURE: (
        {"counts": make_counts(generator_backpressure=1200, generator_backpressure_ns=7_000_000)},
        {"times": 1200, "duration": 7_000_000},
    ),
    Code.UNKNOWN_MESSAGES: ({"counts": make_counts(unknown=1004)}, {"count": 1004}),
    Code.MALFORMED_MESSAGES: ({"counts": make_counts(malformed=1005)}, {"count": 1005}),
    Code.CONSUMER_ERRORS: ({"consumer_errors": 1007}, {"count": 1007}),
    Code.CPU_STOLEN: (
        {"machine": MachineFigures(busy=0.6, steal=0.12342, iowait=0.02)},
        {"percent": 12.34},
    ),
    Code.FEW_CPUS: ({"environment": make_environment(cpus=2)}, {"cpus": 2, "processes": 4}),
    Code.POWER_SAVING: (
        {"environment": make_environment(cpus=8, governor="schedutil")},
        {"governor": "schedutil"},
    ),
    Code.FEW_SAMPLES: (
        {"hops": make_hops(count=60_000)},
        {"percentile": "p99.9", "needed": 100_000, "count": 60_000},
    ),
    Code.WARMUP_SETTLED: (
        {"config": AUTO, "warmup_ns": 17 * NS_PER_S},
        {"waited": 17 * NS_PER_S},
    ),
    Code.SOURCE_SKIPPED: ({"counts": make_counts(source_skipped=1006)}, {"count": 1006}),
    Code.NO_SCHEDULE: ({"config": REPLAY}, {}),
    Code.DELAYS_INJECTED: ({"config": make_config(delays_injected=True)}, {}),
    Code.EMBEDDED_BROKER: ({"broker": make_broker(embedded=True)}, {}),
}
