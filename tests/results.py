"""Results and snapshots made up for tests, plausible in every figure and the same every time.

`make_result()` is a quiet run of five minutes at 5,000 ticks/s against Kafka;
`make_result(counts=make_counts(lost=3))` changes what a test is about, and
`make_result(**SCHEMA_1)` lacks what the first files lack. The means of the four parts add up to the
mean of `end_to_end`.
"""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec

from latbench.clock import NS_PER_MS, NS_PER_S
from latbench.config import RunConfig
from latbench.result import (
    BrokerFacts,
    ClientFigures,
    Counts,
    Environment,
    FanoutFigures,
    Finding,
    Floor,
    HopSummary,
    MachineFigures,
    ProcessFigures,
    RunResult,
    RunStatus,
    Snapshot,
    StageSnapshot,
    StallFigures,
    TailShare,
)
from latbench.tick import HOPS

PERCENTS = {
    "p50": 50.0, "p75": 75.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9, "p99.99": 99.99
}  # fmt: skip

_HOPS_US: dict[str, tuple[float, tuple[float, ...], float, float, float]] = {
    # min, percentiles, max, mean, stdev
    "schedule": (12.4, (80.1, 95.4, 110, 131, 412, 1210, 4310), 12300, 92.6, 110),
    "websocket": (31.7, (55.0, 61.2, 72.9, 88.3, 140, 480, 1320), 3870, 58.4, 31.2),
    "relay": (0.812, (7.12, 7.9, 9.44, 12.1, 21.4, 95.1, 311), 702, 7.71, 5.05),
    "kafka": (288, (430, 472, 531, 604, 1020, 2310, 7940), 31200, 461, 215),
    "end_to_end": (371, (581, 640, 722, 841, 1310, 3260, 9050), 44100, 619.71, 262),
    "ack": (201, (340, 371, 418, 480, 902, 2020, 7010), 30900, 362, 190),
    "service": (340, (498, 541, 612, 703, 1170, 2610, 8120), 33100, 527.11, 231),
    "without": (371, (580, 637, 716, 812, 969, 1740, 4030), 8870, 604.1, 118),
    "hiccup": (50.6, (61.2, 64.8, 70.1, 78.4, 121, 1120, 4080), 8310, 64.9, 58.3),
}
_TAIL_US = {"schedule": 604.0, "websocket": 151.0, "relay": 24.3, "kafka": 1330.0}


def make_hop(hop: str = "end_to_end", *, scale: float = 1.0, **changes: Any) -> HopSummary:
    """One hop of a quiet run, its latencies times `scale`.

    A percentile with fewer than 100 of `count` samples above it is None.
    """
    low, percentiles, high, mean, stdev = _HOPS_US[hop]
    count = changes.get("count", 1_500_000)
    summary = HopSummary(
        hop=hop,
        count=count,
        rate_hz=5000.0,
        min_ns=round(low * scale * 1000),
        mean_ns=mean * scale * 1000,
        stdev_ns=stdev * scale * 1000,
        max_ns=round(high * scale * 1000),
        percentiles_ns={
            name: round(value * scale * 1000)
            if count - math.ceil(round(percent * count / 100, 6)) >= 100
            else None
            for (name, percent), value in zip(PERCENTS.items(), percentiles, strict=True)
        },
    )
    return msgspec.structs.replace(summary, **changes)


def make_hops(*, scale: float = 1.0, **changes: Any) -> tuple[HopSummary, ...]:
    """All hops in the order of `HOPS`, each changed in the same way."""
    return tuple(make_hop(hop.name, scale=scale, **changes) for hop in HOPS)


def make_hiccups(**changes: Any) -> HopSummary:
    """How late the timers of four processes woke, a thousand times a second each."""
    given = {"count": 1_200_000, "rate_hz": 4000.0}
    return make_hop("hiccup", **given | changes)


def make_without(count: int = 1_483_588) -> HopSummary:
    """`end_to_end` over the ticks that overlap no stall."""
    return msgspec.structs.replace(make_hop("without", count=count), hop="end_to_end")


def make_stalls(**changes: Any) -> StallFigures:
    """Of a machine that is to blame for most of the tail."""
    stalls = StallFigures(
        threshold_ns=1_000_000,
        count=1_204,
        ticks=16_412,
        tail_ticks=11_390,
        without=make_without(),
    )
    return msgspec.structs.replace(stalls, **changes)


_PROCESSES: dict[str, tuple[float, int, int, int, int, int]] = {
    # CPUs in use, switches (involuntary, voluntary), MiB now and at most, open descriptors
    "supervisor": (0.034, 214, 301_377, 121, 133, 41),
    "generator": (0.212, 1_204, 1_541_903, 68, 69, 22),
    "relay": (0.631, 3_310, 1_604_118, 84, 88, 31),
    "consumer": (0.187, 902, 1_529_450, 77, 80, 28),
    "broker": (0.448, 2_871, 3_020_664, 72, 74, 37),
}


def make_process(process: str = "relay", **changes: Any) -> ProcessFigures:
    """One process of a quiet run."""
    cpus, taken, given, mib, peak_mib, descriptors = _PROCESSES[process]
    scale = 0.8 + list(_PROCESSES).index(process) / 10
    figures = ProcessFigures(
        process=process,
        span_ns=299 * NS_PER_S,
        cpu_ns=round(cpus * 299 * NS_PER_S),
        involuntary_switches=taken,
        voluntary_switches=given,
        minor_faults=1_204 + descriptors,
        major_faults=0,
        rss_bytes=mib << 20,
        peak_rss_bytes=peak_mib << 20,
        descriptors=descriptors,
        hiccups=make_hop("hiccup", scale=scale, count=300_000, rate_hz=1000.0),
    )
    return msgspec.structs.replace(figures, **changes)


def make_processes(*, embedded: bool = False) -> tuple[ProcessFigures, ...]:
    """All processes of a run, with the mock broker's where it is one of them."""
    return tuple(make_process(name) for name in _PROCESSES if embedded or name != "broker")


def make_client(**changes: Any) -> ClientFigures:
    """Of Kafka clients whose messages wait for the request before."""
    client = ClientFigures(
        queue_mean_ns=101_300.0,
        queue_max_ns=9_120_000,
        send_mean_ns=8_140.0,
        send_max_ns=402_000,
        ack_mean_ns=211_700.0,
        ack_max_ns=28_700_000,
        throttle_mean_ns=0.0,
        throttle_max_ns=0,
        batches=750_113,
        batch_messages=1.9996,
        batch_bytes=812.4,
        fetch_mean_ns=398_200.0,
    )
    return msgspec.structs.replace(client, **changes)


def make_fanout(**changes: Any) -> FanoutFigures:
    """Of 100 subscribers that got everything; give `missed`, and `received` follows."""
    expected = changes.get("expected", 151_000_000)
    figures = FanoutFigures(
        subscribers=100,
        ended=0,
        expected=expected,
        received=expected - changes.get("missed", 0),
        missed=0,
        dropped=0,
        fewest=1_510_000,
        most=1_510_000,
    )
    return msgspec.structs.replace(figures, **changes)


def make_counts(**changes: Any) -> Counts:
    """Of a run that lost nothing; give `sent` or `lost`, and `consumed` follows."""
    sent = changes.get("sent", 1_510_000)
    counts = Counts(
        sent=sent,
        warmup=10_000,
        measured=sent - 10_000,
        relayed=sent,
        acked=sent,
        consumed=sent - changes.get("lost", 0),
        lost=0,
        duplicates=0,
        reordered=0,
        unknown=0,
        malformed=0,
        delivery_errors=0,
        relay_backpressure=0,
        relay_backpressure_ns=0,
        generator_backpressure=0,
        generator_backpressure_ns=0,
        ring_overruns=0,
    )
    return msgspec.structs.replace(counts, **changes)


def make_environment(**changes: Any) -> Environment:
    """Of a small cloud machine."""
    environment = Environment(
        cpu_model="AMD EPYC 7B13",
        cpus=2,
        governor="performance",
        kernel="6.1.0-25-cloud-amd64",
        memory_bytes=8_342_102_016,
        python="3.11.9",
        libraries={
            "confluent-kafka": "2.12.2",
            "librdkafka": "2.12.2",
            "picows": "2.0.0",
            "uvloop": "0.22.1",
        },
        git_revision="2419d19",
        boot_id="3b0c8f52-6d0e-4c1e-9b1f-2f4c0f0f8a11",
        hostname="bench-1",
    )
    return msgspec.structs.replace(environment, **changes)


def make_broker(*, embedded: bool = False, **changes: Any) -> BrokerFacts:
    """A real Kafka, or librdkafka's mock."""
    broker = (
        BrokerFacts(kind="embedded", version="2.12.2", bootstrap="127.0.0.1:40961", partitions=4)
        if embedded
        else BrokerFacts(
            kind="kafka",
            version="4.3.1",
            bootstrap="localhost:9092",
            partitions=1,
            cluster_id="p2bXq0m1QJqk3l0zF4h0aA",
        )
    )
    return msgspec.structs.replace(broker, **changes)


def make_config(**changes: Any) -> RunConfig:
    """Five minutes at 5,000 ticks/s against a Kafka on this machine."""
    config = RunConfig(tick_rate_hz=5000, duration_ns=300 * NS_PER_S, broker="localhost:9092")
    return msgspec.structs.replace(config, **changes)


def make_tail(**changes: Any) -> TailShare:
    """What the slowest hundredth spent its time on."""
    tail = TailShare(
        above_ns=1_310_000,
        count=14_987,
        mean_ns={hop: value * 1000 for hop, value in _TAIL_US.items()},
    )
    return msgspec.structs.replace(tail, **changes)


_FLOOR_NS = {
    "timer": 18_300, "tcp": 31_800, "websocket": 45_900, "ack": 216_000, "consume": 330_000
}  # fmt: skip


def make_floor(*, count: int = 10_000, **p50_ns: int) -> Floor:
    """What a quiet machine takes; `timer=` and so on give a probe another p50.

    Percentiles are `None` where `count` samples don't tell; the others are of the p50's shape.
    """
    shape = make_hop("hiccup", count=count)
    p50 = _HOPS_US["hiccup"][1][0] * 1000
    return Floor(
        measured_unix_ns=1_764_005_390 * NS_PER_S,
        interval_ns=NS_PER_MS,
        probes=tuple(
            msgspec.structs.replace(
                shape,
                hop=probe,
                rate_hz=1000.0,
                percentiles_ns={
                    name: None if value is None else round(value * given / p50)
                    for name, value in shape.percentiles_ns.items()
                },
            )
            for probe, given in (_FLOOR_NS | p50_ns).items()
        ),
    )


def make_result(**changes: Any) -> RunResult:
    """A quiet run with every field filled in; any field can be changed."""
    hops = make_hops()
    result = RunResult(
        latbench="0.1.0",
        run_id="5f1c09ab",
        status=RunStatus.COMPLETE,
        started_unix_ns=1_764_005_400 * NS_PER_S,
        start_ns=81_234_567_890_123,
        measured_ns=300 * NS_PER_S,
        target_rate_hz=5000.0,
        achieved_rate_hz=5000.0,
        config=make_config(),
        environment=make_environment(),
        broker=make_broker(),
        counts=make_counts(),
        hops=hops,
        tail=make_tail(),
        findings=(),
        warmup_ns=2 * NS_PER_S,
        hiccups=make_hiccups(),
        stalls=make_stalls(),
        processes=make_processes(),
        machine=MachineFigures(busy=0.571, steal=0.0042, iowait=0.0),
        client=make_client(),
        own_cost_ns={"generator": 2_110, "relay": 4_390, "consumer": 1_980},
        advice=(
            Finding(
                code="ticks-wait-for-the-request-before",
                values={"held": 101_300.0, "hop": "kafka", "mean": 461_000.0, "ack": 211_700.0},
            ),
        ),
    )
    return msgspec.structs.replace(result, **changes)


SCHEMA_1: Final[dict[str, Any]] = {
    "schema": 1, "warmup_ns": None, "hiccups": None, "stalls": None, "processes": (),
    "machine": None, "client": None, "own_cost_ns": {}, "advice": (),
}  # fmt: skip
"""Changes that make a result what a file of schema 1 holds."""


_CPU_SHARES = {"supervisor": 0.031, "generator": 0.208, "relay": 0.644, "consumer": 0.179}


def make_stages(*, died: str = "", known: bool = True) -> tuple[StageSnapshot, ...]:
    """The processes of a run; the one called `died` has. Not `known`: no CPU and memory yet."""
    stages = []
    for index, stage in enumerate(_CPU_SHARES):
        has_died = stage == died
        shown = StageSnapshot(
            stage=stage,
            pid=4711 + index,
            state="died" if has_died else "running",
            note="killed by signal 9" if has_died else "",
            cpu_share=_CPU_SHARES[stage] if known and not has_died else None,
            rss_bytes=_PROCESSES[stage][3] << 20 if known and not has_died else 0,
        )
        stages.append(shown)
    return tuple(stages)


def make_snapshot(**changes: Any) -> Snapshot:
    """34 s into a run of 62 s; any field can be changed."""
    p99s = [round(1_150_000 + 160_000 * math.sin(second / 3) ** 2) for second in range(34)]
    p99s[17] = 3_920_000
    p99s[18] = 2_140_000
    snapshot = Snapshot(
        phase="measuring",
        elapsed_ns=34 * NS_PER_S + 250_000_000,
        total_ns=62 * NS_PER_S,
        hops=make_hops(count=161_250),
        e2e_p99_per_second_ns=tuple(p99s),
        rate_sent_hz=5000.0,
        rate_consumed_hz=4998.0,
        sent=171_250,
        consumed=171_244,
        in_flight=6,
        lost=0,
        duplicates=0,
        reordered=0,
        errors=0,
        stages=make_stages(),
        hiccups=make_hiccups(count=129_000),
    )
    return msgspec.structs.replace(snapshot, **changes)
