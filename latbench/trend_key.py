"""Which results can be compared over time, and which of them must not be taken for normal."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from pathlib import PurePath
from typing import Final

import msgspec

from latbench.config import RunConfig
from latbench.findings import Severity, severity
from latbench.result import RunResult, RunStatus

_OF_OPTIONS: Final = {
    "linger.ms", "queue.buffering.max.ms", "compression.type", "compression.codec", "acks",
    "request.required.acks",
}  # fmt: skip
"""Properties that options set as well: `SeriesKey` has what holds in the end."""


_ADDED: Final = ("subscribers", "subscriber_queue", "slow_client", "consumer_alone")
"""What scenarios of earlier versions did not have; by default it changes no name of theirs."""


class SeriesKey(msgspec.Struct, frozen=True, kw_only=True):
    """What two runs must have in common to stand in one trend: one scenario on one machine.

    Everything that is known to change a latency on purpose is in it: the load, the pipeline's
    settings, which broker, which machine. Left out is what may differ between two measurements of
    the same thing: durations, warm-up, seed, `--loop`, topic, ports, `--allow`, `--floor`. And left
    out is what a trend is there to show, as it explains a change point: the code's revision, kernel
    and its settings, Python, libraries, latbench itself.
    """

    name: str
    source: str
    """`sim`, or a replayed file's name; its directory differs between checkouts."""
    speed: float
    """Of a replay; 1 for a simulation."""
    tick_rate_hz: int
    """0 for a replay."""
    arrivals: str
    symbols: tuple[str, ...]
    """Those and the arrivals of a simulation; none for a replay."""
    broker: str
    """`embedded` or `kafka`."""
    broker_version: str
    """"" of the embedded one: it is librdkafka, a library."""
    broker_hosts: tuple[str, ...]
    """Without ports, which containers choose anew."""
    partitions: int
    ws_engine: str
    ws_host: str
    kafka_client: str
    acks: str
    linger_ms: float
    compression: str
    producer: tuple[tuple[str, str], ...]
    """All other properties, sorted."""
    consumer: tuple[tuple[str, str], ...]
    coalesce_ns: int
    spin: bool
    compiled: bool
    realtime: bool
    hiccups: bool
    """Meters keep CPUs awake, which lowers the p99."""
    pin: tuple[int, ...]
    cpu_model: str
    cpus: int
    hostname: str
    """"" where any host will do."""
    subscribers: int = 0
    subscriber_queue: int = 0
    slow_client: str = ""
    """Those two 0 and "" where there are no subscribers."""
    consumer_alone: bool = False

    @property
    def scenario_id(self) -> str:
        """Six hexadecimal digits that stay the same between calls and folders."""
        told = msgspec.to_builtins(self)
        for name in _ADDED:
            if not told[name]:
                del told[name]
        return hashlib.blake2s(msgspec.json.encode(told), digest_size=3).hexdigest()


def series_key(result: RunResult, *, any_host: bool = False) -> SeriesKey:
    """What must match for a result to be compared with others; `any_host`: all but the host."""
    config, broker, environment = result.config, result.broker, result.environment
    is_kafka = broker.kind != "embedded"
    hosts = {_host(address.strip()) for address in broker.bootstrap.split(",")}
    acks = next(
        (config.producer[name] for name in ("acks", "request.required.acks")
         if name in config.producer),
        config.acks,
    )  # fmt: skip
    return SeriesKey(
        name=config.name,
        source=PurePath(config.source).name,
        speed=config.speed if config.is_replay else 1.0,
        tick_rate_hz=0 if config.is_replay else config.tick_rate_hz,
        arrivals="" if config.is_replay else str(config.arrivals),
        symbols=() if config.is_replay else config.symbols,
        broker=broker.kind,
        broker_version=broker.version if is_kafka else "",
        broker_hosts=tuple(sorted(hosts)) if is_kafka else (),
        partitions=broker.partitions,
        ws_engine=config.ws_engine,
        ws_host=config.ws_host,
        kafka_client=config.kafka_client,
        acks={"-1": "all"}.get(acks, acks),
        linger_ms=_effective_linger_ms(config),
        compression=config.effective_compression,
        producer=_others(config.producer),
        consumer=_others(config.consumer),
        coalesce_ns=config.coalesce_ns,
        spin=config.spin,
        compiled=config.compiled,
        realtime=config.realtime,
        hiccups=config.hiccups,
        pin=config.pin,
        consumer_alone=config.consumer_alone,
        subscribers=config.subscribers,
        subscriber_queue=config.subscriber_queue if config.subscribers else 0,
        slow_client=config.slow_client if config.subscribers else "",
        cpu_model=environment.cpu_model,
        cpus=environment.cpus,
        hostname="" if any_host else environment.hostname,
    )


def _host(address: str) -> str:
    return address.rpartition(":")[0] or address


def _effective_linger_ms(config: RunConfig) -> float:
    try:
        return config.effective_linger_ms
    except ValueError:  # a property that librdkafka refused: the run failed, and is shown as such
        return config.linger_ms


def _others(properties: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(item for item in properties.items() if item[0] not in _OF_OPTIONS))


class Unused(enum.StrEnum):
    """Why a run is shown and is in no trend."""

    FAILED = "failed"
    INTERRUPTED = "interrupted"
    RECOVERED = "recovered"
    RUNNING = "running"
    DELAYS_INJECTED = "delays-injected"
    INVALID = "invalid"


_BY_STATUS: Final = {
    RunStatus.FAILED: Unused.FAILED,
    RunStatus.INTERRUPTED: Unused.INTERRUPTED,
    RunStatus.RECOVERED: Unused.RECOVERED,
    RunStatus.RUNNING: Unused.RUNNING,
}


def unused_because(result: RunResult) -> tuple[Unused, str] | None:
    """Why a run must not be taken for normal, and its particulars; None: it may."""
    if result.status in _BY_STATUS:
        return _BY_STATUS[result.status], result.failure
    if result.config.delays_injected:
        return Unused.DELAYS_INJECTED, ""
    codes = dict.fromkeys(
        finding.code
        for finding in result.findings
        if not finding.allowed and severity(finding) is Severity.INVALID
    )
    return (Unused.INVALID, ", ".join(codes)) if codes else None
