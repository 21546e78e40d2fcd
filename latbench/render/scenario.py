"""What was done in a run: the first lines of its report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from latbench.clock import NS_PER_S
from latbench.config import KAFKA_CLIENTS, RunConfig
from latbench.result import BrokerFacts, Environment, RunResult
from latbench.units import format_duration, format_latency, format_rate


def scenario(result: RunResult) -> Iterable[tuple[str, str]]:
    """Load, source, pipeline and settings, as (label, text) each."""
    config, broker = result.config, result.broker
    yield "load", _load(result)
    if config.consumer_alone:
        yield (
            "pipeline",
            f"{_broker(broker)}, {_topic(config, broker)}; fed by others",
        )
        if how := ", ".join(ways(config)):
            yield "how", how
        if config.consumer:
            yield "consumer", _properties(config.consumer)
        return
    symbols = ", ".join(config.symbols)
    if config.is_replay:
        yield "source", f"replay of {config.source}, {'again and again' if config.loop else 'once'}"
    else:
        many = f"{len(config.symbols)} symbols: " if len(config.symbols) > 1 else ""
        yield "source", f"simulated, seed {config.seed}; {many}{symbols}"
    yield (
        "pipeline",
        (f"WebSocket by {config.ws_engine} → {_broker(broker)}, {_topic(config, broker)}"),
    )
    if how := ", ".join(ways(config)):
        yield "how", how
    settings = (
        (f"acks {config.acks}", {"acks", "request.required.acks"}),
        (f"linger {config.linger_ms:g} ms", {"linger.ms", "queue.buffering.max.ms"}),
        (f"compression {config.compression}", {"compression.type", "compression.codec"}),
    )
    # a property of the user's wins over an option: only what holds is shown
    holding = [text for text, names in settings if not names & config.producer.keys()]
    properties = [f"{key}={value}" for key, value in config.producer.items()]
    yield "producer", ", ".join([*holding, *properties])
    if config.consumer:
        yield "consumer", _properties(config.consumer)
    if config.pin:
        yield "pinned", f"to CPUs {', '.join(map(str, config.pin))}"


def ways(config: RunConfig) -> Iterable[str]:
    """What the stages do otherwise than by default."""
    if config.kafka_client != KAFKA_CLIENTS[0]:
        yield f"Kafka by {config.kafka_client}"
    if not config.compiled:
        yield "one tick at a time, without compiled code"
    if config.coalesce_ns:
        yield f"{format_latency(config.coalesce_ns)} or more between the generator's writes"
    if config.spin:
        yield "spinning"
    if config.realtime:
        yield "real-time where permitted"
    if not config.hiccups:
        yield "no hiccup meters"


def machine_of(environment: Environment) -> str:
    """The machine of a session in a line."""
    cpus = f"{environment.cpus} CPU{'s' if environment.cpus != 1 else ''}"
    return f"{environment.cpu_model}, {cpus}, kernel {environment.kernel}"


def _load(result: RunResult) -> str:
    config: RunConfig = result.config
    measured = format_duration(whole_s(result.measured_ns))
    achieved = format_rate(result.achieved_rate_hz).removesuffix("/s")
    warmup = _warmup(result)
    if config.consumer_alone:
        return f"{achieved} ticks/s, as they came; {measured} measured{warmup}"
    if config.as_fast_as_possible:
        return (
            f"as fast as the pipeline took it, {achieved} ticks/s; due is the moment of sending; "
            f"{measured} measured{warmup}"
        )
    if config.is_replay:
        speed = "at its own speed" if config.speed == 1 else f"at {config.speed:g}× its own speed"
        return f"{speed}, {achieved} ticks/s achieved; {measured} measured{warmup}"
    asked = format_rate(result.target_rate_hz).removesuffix("/s")
    return (
        f"{asked} ticks/s asked for, {achieved} achieved, {config.arrivals} arrivals; "
        f"{measured} measured{warmup}"
    )


def _topic(config: RunConfig, broker: BrokerFacts) -> str:
    many = "s" if broker.partitions != 1 else ""
    return f"topic {config.topic}, {broker.partitions} partition{many}"


def _properties(properties: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in properties.items())


def _warmup(result: RunResult) -> str:
    warmup_ns = result.known_warmup_ns
    if not warmup_ns:
        return ""
    auto = " (auto)" if result.config.warmup_auto else ""
    return f" after a warm-up of {format_duration(whole_s(warmup_ns))}{auto}"


def _broker(broker: BrokerFacts) -> str:
    if broker.kind == "embedded":
        return f"embedded broker (librdkafka {broker.version}'s mock, not Kafka)"
    version = broker.version if broker.version != "unknown" else "of unknown version"
    return f"Kafka {version} at {broker.bootstrap}"


def whole_s(value_ns: int) -> int:
    """A span without its fraction of a second, unless it is shorter than one."""
    return value_ns // NS_PER_S * NS_PER_S if value_ns >= NS_PER_S else value_ns
