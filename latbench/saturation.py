"""Which part of the pipeline is at its limit first, by what the points of a sweep have measured.

Signs of a limit, at the lowest rate above the answer that shows any: a process that uses all of a
CPU; CPUs that are all busy; back-pressure (a full socket, a full producer's queue); a hop in which
ticks wait much longer than at a low rate. A sign is stored as a code and its values; the prose
stands here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from latbench.advice import COALESCE, SATURATED, wakes_for_single_ticks
from latbench.config import RunConfig
from latbench.result import ClientFigures, Finding, HopSummary
from latbench.sweep_result import Saturation, SweepPoint
from latbench.tick import PARTS
from latbench.units import format_latency, format_rate

MACHINE_BUSY: Final = 0.9
"""Of all CPUs' time: what is left is too little for ticks that come at the same time."""
MACHINE_SHARED: Final = 0.7
"""Or so much, where ticks queue for several processes at once, or for one that has little to do:
these wait for one another."""
LITTLE_TO_DO: Final = 0.5
"""Of a CPU: what uses less is not kept from taking ticks by its own work. At 10,800/s ticks queued
for a consumer that used 29 % of a CPU, on CPUs that were 88 % busy."""
BACKPRESSURE_SHARE: Final = 0.01
"""Of the measured time: less is a moment, not a limit."""
GROWN: Final = 2.0
GROWN_NS: Final = 500_000
GROWN_SHARE: Final = 0.3
"""A queue shows where a hop's mean is at least twice what it was, by half a millisecond or more,
and that is at least so much of what the total's has grown by."""

MACHINE: Final = "machine"
CPU_OF_PROCESS: Final = "cpu-of-process"
CPU_OF_MACHINE: Final = "cpu-of-machine"
SOCKET_FULL: Final = "socket-full"
PRODUCER_FULL: Final = "producer-full"
QUEUE: Final = "queue"
SLOW_ANSWERS: Final = "slow-answers"
BACKLOG: Final = "backlog"

_PROCESSES: Final = ("generator", "relay", "consumer", "broker")
_QUEUE_BEFORE: Final[Mapping[str, str]] = {
    "schedule": "generator",
    "websocket": "relay",
    "relay": "relay",
}
"""Who takes ticks out of the queue that a hop's time is spent in; for `kafka` see `_in_kafka`."""

_PROSE: Final[Mapping[str, str]] = {
    CPU_OF_PROCESS: "the {process} uses {percent:.0f} % of a CPU",
    CPU_OF_MACHINE: (
        "all CPUs are {percent:.0f} % busy ({shares}): processes wait for one another"
    ),
    SOCKET_FULL: "the socket to the relay was full for {percent:.0f} % of the time",
    PRODUCER_FULL: "the producer's queue was full for {percent:.0f} % of the time",
    QUEUE: "ticks queue in {hop}: its mean went from {before} to {now}",
    SLOW_ANSWERS: (
        "ticks wait in the producer while the broker answers: the mean of queue and request went "
        "from {before} to {now}"
    ),
    BACKLOG: "ticks were {behind} behind when the point was ended; {process} used most CPU",
}

_ADVICE: Final[Mapping[str, str]] = {
    "generator": (
        "the generator itself is the limit: it can't send faster here, so the pipeline may hold "
        "more than this sweep can show; free a CPU for it (--pin)"
    ),
    "relay": "give the relay a CPU of its own (--pin), or less to do for each tick",
    "consumer": "give the consumer a CPU of its own (--pin), or partitions to share",
    "broker": "look at the broker: its CPU, its disk, its replicas, --acks",
    MACHINE: "more CPUs, or the broker on another machine; what else runs here?",
}
_LINGER: Final = "--linger 1 sends more ticks a request, which spares relay and broker most"


def describe(sign: Finding) -> str:
    """A sign in words, on one line."""
    values: dict[str, object] = dict(sign.values)
    for name in ("before", "now", "behind"):
        if name in values:
            values[name] = format_latency(float(sign.values[name]))
    return _PROSE[sign.code].format(**values)


def headline(saturation: Saturation) -> str:
    """Who it is, in words, on one line."""
    at = format_rate(saturation.rate_hz)
    if saturation.stage == MACHINE:
        return f"the machine's CPUs, at {at}"
    if saturation.stage:
        return f"the {saturation.stage}, at {at}"
    if saturation.evidence:
        return f"ticks pile up at {at}, and no process shows a limit"
    return f"nothing shows a limit at {at}: it is the tail alone that breaks the SLO"


def advise(saturation: Saturation, config: RunConfig) -> list[str]:
    """What to change, most promising first."""
    told: list[str] = []
    if saturation.stage in {"relay", "broker", MACHINE} and config.effective_linger_ms < 1:
        told = [_LINGER]
        if wakes_for_single_ticks(config, saturation.rate_hz):
            told.insert(0, f"{COALESCE}: all are woken less often")
    return [*told, _ADVICE[saturation.stage]] if saturation.stage else told


def find_saturation(points: Sequence[SweepPoint], answer_hz: int | None) -> Saturation | None:
    """What is at its limit at the lowest failing rate above `answer_hz` that tells.

    None where no such rate has failed.
    """
    failing = sorted(
        (point for point in points if not point.holds and point.rate_hz > (answer_hz or 0)),
        key=lambda point: (point.rate_hz, point.overloaded),
    )
    if not failing:
        return None
    calm = min(
        (point for point in points if point.hops), key=lambda each: each.rate_hz, default=None
    )
    for point in failing:
        signs = list(_signs(point, calm))
        if signs:
            stage, _ = signs[0]
            evidence = tuple(sign for _, sign in signs)
            return Saturation(stage=stage, rate_hz=point.rate_hz, evidence=evidence)
    first = next((point for point in failing if point.overloaded), failing[0])
    evidence = (_backlog(first),) if first.overloaded else ()
    return Saturation(stage="", rate_hz=first.rate_hz, evidence=evidence)


def _backlog(point: SweepPoint) -> Finding:
    shares = {name: point.cpu_shares.get(name, 0.0) for name in _PROCESSES}
    busiest = max(shares, key=lambda name: shares[name])
    told = f"the {busiest} ({shares[busiest]:.0%})".replace("%", " %")
    return _sign(BACKLOG, behind=point.backlog_growth_ns or 0, process=told)


def _signs(point: SweepPoint, calm: SweepPoint | None) -> Iterator[tuple[str, Finding]]:
    """Who is at its limit, and by what, the surest first."""
    shares = {name: point.cpu_shares.get(name, 0.0) for name in _PROCESSES}
    for name, share in sorted(shares.items(), key=lambda each: -each[1]):
        if share >= SATURATED:
            yield name, _sign(CPU_OF_PROCESS, process=name, percent=round(share * 100, 1))
    queues = list(_queues(point, calm)) if calm is not None and calm is not point else []
    is_shared = len({stage for stage, _ in queues}) > 1 or (
        bool(queues) and _has_little_to_do(queues[0][0], point)
    )
    limit = MACHINE_SHARED if is_shared else MACHINE_BUSY
    if point.machine is not None and point.machine.busy >= limit:
        told = ", ".join(f"{name} {share:.0%}" for name, share in shares.items() if share)
        percent = round(point.machine.busy * 100, 1)
        yield MACHINE, _sign(CPU_OF_MACHINE, percent=percent, shares=told.replace("%", " %"))
    for stage, code, waited_ns in (
        ("relay", SOCKET_FULL, point.generator_backpressure_ns),
        ("broker", PRODUCER_FULL, point.relay_backpressure_ns),
    ):
        share = waited_ns / point.measured_ns if point.measured_ns else 0.0
        if share >= BACKPRESSURE_SHARE:
            yield stage, _sign(code, percent=round(share * 100, 1))
    for stage, sign in queues:
        # what a consumer with time to spare has not got, the broker has not handed out
        is_brokers = stage == "consumer" and _has_little_to_do(stage, point)
        yield "broker" if is_brokers else stage, sign


def _has_little_to_do(stage: str, point: SweepPoint) -> bool:
    """Whether that is known of it: nothing is, of a broker that is not ours."""
    return point.cpu_shares.get(stage, 1.0) < LITTLE_TO_DO


def _queues(point: SweepPoint, calm: SweepPoint) -> Iterator[tuple[str, Finding]]:
    """The hops in which ticks wait much longer than they did, the longest first."""
    before, now = _means(calm.hops), _means(point.hops)
    if "end_to_end" not in before or "end_to_end" not in now:
        return
    total_ns = now["end_to_end"] - before["end_to_end"]
    grown = {hop.name: now.get(hop.name, 0.0) - before.get(hop.name, 0.0) for hop in PARTS}
    for hop, growth_ns in sorted(grown.items(), key=lambda each: -each[1]):
        if growth_ns < max(GROWN_NS, GROWN_SHARE * total_ns) or now[hop] < GROWN * before.get(
            hop, 0.0
        ):
            return
        figures = {"before": before.get(hop, 0.0), "now": now[hop]}
        if hop == "kafka":
            yield _in_kafka(point.client, calm.client, growth_ns, figures)
        else:
            yield _QUEUE_BEFORE[hop], _sign(QUEUE, hop=hop, **figures)


def _in_kafka(
    now: ClientFigures | None,
    before: ClientFigures | None,
    growth_ns: float,
    figures: Mapping[str, float],
) -> tuple[str, Finding]:
    """Whether ticks wait for the broker to take them, or for the consumer to fetch them."""
    if now is not None and before is not None:
        produced = {"before": _produce_ns(before), "now": _produce_ns(now)}
        if produced["now"] - produced["before"] >= growth_ns / 2:
            return "broker", _sign(SLOW_ANSWERS, **produced)
        return "consumer", _sign(QUEUE, hop="kafka", **figures)
    return "broker", _sign(QUEUE, hop="kafka", **figures)


def _produce_ns(client: ClientFigures) -> float:
    """From `produce` to the broker's answer, on average, by the producer's own statistics."""
    return sum(
        each or 0.0 for each in (client.queue_mean_ns, client.send_mean_ns, client.ack_mean_ns)
    )


def _means(hops: Sequence[HopSummary]) -> dict[str, float]:
    return {summary.hop: summary.mean_ns for summary in hops if summary.count}


def _sign(code: str, **values: float | str) -> Finding:
    return Finding(code=code, values=dict(values))
