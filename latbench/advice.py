"""What to change: plain advice, each piece tied to a measured time.

Like a finding, a piece of advice is stored as a code and its values; the prose stands here.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Final

from latbench.clock import NS_PER_MS
from latbench.config import RunConfig
from latbench.result import (
    ClientFigures,
    Counts,
    Finding,
    HopSummary,
    MachineFigures,
    ProcessFigures,
)
from latbench.tick import HOP_BY_NAME, PARTS
from latbench.units import format_latency

WORTH_SAYING: Final = 0.2
"""Of the mean of `end_to_end` (or of the hop): less is not worth anybody's time."""
SATURATED: Final = 0.85
"""Of a CPU: a process busier than that queues what comes to it (M/D/1: the mean wait is
nearly three service times)."""

BUSY: Final = 0.8
"""Of all CPUs' time."""
WAKING_HZ: Final = 5000
"""From 6,000 ticks/s on, on CPUs 83 to 93 % busy, sending together what is due within 0.5 ms left
half of that, and p99 of 2.8 ms became 2.0, of 13.9 ms 2.6; at 4,000/s it only added to p50."""

COALESCE: Final = (
    "--coalesce 0.5 (as in --profile latency) sends together what is due within 0.5 ms"
)

MOCK_BUSY: Final = 0.4
"""Of a CPU. At 4,000/s for 15 s it was 0.53, and 0.25 with `COALESCE`; that made p99 of 2.9 to
10.7 ms 2.2 to 2.5, and p50 of 1.1 ms 1.25 (three pairs)."""

STAGES: Final = ("generator", "relay", "consumer")
SLOW_NS: Final = NS_PER_MS
"""Waits shorter than the least linger that people use are not worth a setting. A warm broker on the
same machine answers in 0.2 to 0.4 ms."""
MUCH_BYTES_PER_S: Final = 20_000_000
"""When the system writes so much back, ticks wait: at 200,000/s (70 MB/s, lz4 makes 11 of them) e2e
p99 was 107 to 247 ms, with lz4 23 to 138 (three pairs)."""


class Advice(enum.StrEnum):
    """Every piece of advice there is."""

    LINGER = "linger-holds-ticks"
    QUEUE = "ticks-wait-for-the-request-before"
    QUEUE_WITH_LINGER = "ticks-wait-in-spite-of-linger"
    BROKER = "broker-answers-slowly"
    BROKER_WRITES = "broker-writes-much"
    THROTTLE = "broker-throttles"
    SATURATED = "process-saturated"
    WAKING = "cpus-busy-waking"
    MOCK_BATCHES = "mock-goes-through-batches"
    GENERATOR = "generator-late"
    MOCK_FETCH = "mock-fetch-wait"


_PROSE: Final[Mapping[Advice, str]] = {
    Advice.LINGER: (
        "linger ({linger_ms:g} ms) holds each tick {held} of the {hop} hop's {mean}: a lower "
        "--linger saves up to that, for more requests"
    ),
    Advice.QUEUE: (
        "each tick waits {held} of the {hop} hop's {mean} in the producer, until requests before "
        "it are answered ({ack} each): --linger 1 makes fewer requests"
    ),
    Advice.QUEUE_WITH_LINGER: (
        "each tick waits {held} of the {hop} hop's {mean} in the producer beyond its linger, until "
        "requests before it are answered ({ack} each): a lower rate, or a faster broker"
    ),
    Advice.BROKER: (
        "the broker takes {held} to answer a produce request, of the {hop} hop's {mean}: look at "
        "its disk, its replicas and --acks"
    ),
    Advice.BROKER_WRITES: (
        "the broker takes {held} to answer a produce request, of the {hop} hop's {mean}, and has "
        "{megabytes:.0f} MB/s to write: --compression lz4 makes that less"
    ),
    Advice.THROTTLE: (
        "the broker throttles the producer by {held} a request on average: raise its quota, or "
        "lower the rate"
    ),
    Advice.SATURATED: (
        "the {process}'s threads use {percent:.0f} % of a CPU, so what comes to it may queue: "
        "lower the rate; --linger spares the relay requests"
    ),
    Advice.WAKING: (
        "all CPUs are {percent:.0f} % busy, much of it with waking up for single ticks: " + COALESCE
    ),
    Advice.MOCK_BATCHES: (
        "the mock broker uses {percent:.0f} % of a CPU: for each fetch it goes through all batches "
        "that it keeps. " + COALESCE + ": fewer batches"
    ),
    Advice.GENERATOR: (
        "{held} of the total's {mean} is the generator being late: it does not get its CPU in "
        "time; free one, or lower the rate"
    ),
    Advice.MOCK_FETCH: (
        "{held} of the total's {mean} is the mock broker, whose fetch cycle alone takes up to "
        "1 ms: only a Kafka tells more (--broker host:port)"
    ),
}


def describe(advice: Finding) -> str:
    """A piece of advice in words, on one line."""
    try:
        prose = _PROSE[Advice(advice.code)]
    except ValueError:
        return f"{advice.code}: {advice.values}"
    values: dict[str, object] = dict(advice.values)
    try:
        for name in ("held", "mean", "ack"):
            if name in values:
                values[name] = format_latency(float(advice.values[name]))
        return prose.format(**values)
    except (KeyError, ValueError):  # written by a version that gave other values
        return f"{advice.code}: {advice.values}"


def advise(
    config: RunConfig,
    hops: tuple[HopSummary, ...],
    client: ClientFigures | None,
    processes: tuple[ProcessFigures, ...],
    machine: MachineFigures | None,
    counts: Counts,
) -> tuple[Finding, ...]:
    """What would make the run's latency lower, the largest part first."""
    if config.delays_injected:  # by latbench itself
        return ()
    means = {summary.hop: summary.mean_ns for summary in hops if summary.count}
    if not means.get("end_to_end"):
        return ()
    total = next(summary for summary in hops if summary.hop == "end_to_end")
    found = [*_of_parts(config, means, client, counts), *_of_client(config, means, client, total)]
    found.sort(key=lambda piece: -float(piece.values["held"]))
    wide = (*_of_processes(processes), *_of_machine(config, machine, total))
    if not wide:
        wide = tuple(_of_mock(config, processes))
    return (*wide, *found)


def wakes_for_single_ticks(config: RunConfig, rate_hz: float) -> bool:
    """Whether so many ticks a second are waited for one by one, so that `COALESCE` is worth it.

    What is sent together, or waits to be, wakes nobody for one tick; who spins does not sleep.
    """
    is_exempt = _goes_together(config) or config.spin or config.as_fast_as_possible
    return rate_hz >= WAKING_HZ and not is_exempt


def _goes_together(config: RunConfig) -> bool:
    return bool(config.coalesce_ns) or config.effective_linger_ms >= 1


def _piece(code: Advice, **values: float | str) -> Finding:
    return Finding(code=code, values=dict(values))


def _of_processes(processes: tuple[ProcessFigures, ...]) -> Iterator[Finding]:
    for each in processes:
        if each.process in STAGES and each.cpu_share > SATURATED:
            share = round(each.cpu_share * 100, 1)
            yield _piece(Advice.SATURATED, process=each.process, percent=share)


def _of_machine(
    config: RunConfig, machine: MachineFigures | None, total: HopSummary
) -> Iterator[Finding]:
    if machine is None or machine.busy < BUSY:
        return
    if wakes_for_single_ticks(config, total.rate_hz):
        yield _piece(Advice.WAKING, percent=round(machine.busy * 100, 1))


def _of_mock(config: RunConfig, processes: tuple[ProcessFigures, ...]) -> Iterator[Finding]:
    if not config.is_embedded or _goes_together(config):
        return
    for each in processes:
        if each.process == "broker" and each.cpu_share >= MOCK_BUSY:
            yield _piece(Advice.MOCK_BATCHES, percent=round(each.cpu_share * 100, 1))


def _of_parts(
    config: RunConfig, means: Mapping[str, float], client: ClientFigures | None, counts: Counts
) -> Iterator[Finding]:
    total_ns = means["end_to_end"]
    largest = max((hop.name for hop in PARTS), key=lambda name: means.get(name, 0.0))
    held_ns = means.get(largest, 0.0)
    if largest == "kafka" and client is not None:
        # until a request is on its way no broker has to do with it
        held_ns -= (client.queue_mean_ns or 0.0) + (client.send_mean_ns or 0.0)
    if held_ns < WORTH_SAYING * total_ns:
        return
    if largest == "schedule" and not counts.generator_backpressure:  # else the relay held it up
        yield _piece(Advice.GENERATOR, held=held_ns, mean=total_ns)
    elif largest == "kafka" and config.is_embedded:
        yield _piece(Advice.MOCK_FETCH, held=held_ns, mean=total_ns)


def _of_client(
    config: RunConfig,
    means: Mapping[str, float],
    client: ClientFigures | None,
    total: HopSummary,
) -> Iterator[Finding]:
    kafka_ns = means.get("kafka", 0.0)
    if client is None or not kafka_ns:
        return
    worth_ns = WORTH_SAYING * kafka_ns
    hop = HOP_BY_NAME["kafka"].name
    queue_ns, ack_ns = client.queue_mean_ns or 0.0, client.ack_mean_ns or 0.0
    linger_ms = config.effective_linger_ms
    lingered_ns = min(linger_ms * NS_PER_MS, queue_ns)
    # librdkafka counts linger and a part of the wait for the request in flight as one; the rest of
    # that wait is before the socket
    waited_ns = queue_ns - lingered_ns + (client.send_mean_ns or 0.0)
    if lingered_ns > worth_ns:
        yield _piece(Advice.LINGER, linger_ms=linger_ms, held=lingered_ns, hop=hop, mean=kafka_ns)
    if waited_ns > max(worth_ns, SLOW_NS):
        code = Advice.QUEUE if linger_ms < 1 else Advice.QUEUE_WITH_LINGER
        yield _piece(code, held=waited_ns, hop=hop, mean=kafka_ns, ack=ack_ns)
    if ack_ns > max(worth_ns, SLOW_NS) and not config.is_embedded:
        written = _bytes_per_s(client, total)
        if config.effective_compression == "none" and written >= MUCH_BYTES_PER_S:
            megabytes = round(written / 1e6, 1)
            yield _piece(
                Advice.BROKER_WRITES, held=ack_ns, hop=hop, mean=kafka_ns, megabytes=megabytes
            )
        else:
            yield _piece(Advice.BROKER, held=ack_ns, hop=hop, mean=kafka_ns)
    throttled_ns = client.throttle_mean_ns or 0.0
    if throttled_ns > 0:
        yield _piece(Advice.THROTTLE, held=throttled_ns)


def _bytes_per_s(client: ClientFigures, total: HopSummary) -> float:
    """What the producer hands to the broker, before compression."""
    if not client.batch_bytes or not total.rate_hz:
        return 0.0
    return client.batches * client.batch_bytes * total.rate_hz / total.count
