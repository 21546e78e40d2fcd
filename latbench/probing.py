"""Measuring the floor: two processes that ping each other, and one of them the broker."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from latbench import broker
from latbench.clock import NS_PER_S, monotonic_ns
from latbench.config import MAX_TOPIC_CHARS, RunConfig
from latbench.control import Work
from latbench.errors import ExitCode, LatbenchError
from latbench.floor import PROBES, TCP, WARM_SAMPLES, WEBSOCKET, summarise_probe
from latbench.plan import EchoPlan, ProbePlan
from latbench.processes import StageProcess, wait_for_words
from latbench.result import BrokerFacts, Floor
from latbench.units import format_duration

TOPIC_SUFFIX: Final = "-floor"
_PATIENCE_NS: Final = 30 * NS_PER_S
"""Beyond what the samples take at their pace."""
_ROUND_S: Final = 0.05

Value = TypeVar("Value")
Hear = Callable[[], None]
"""Called 20 times a second; may raise, which ends the measuring."""
Tell = Callable[[str], None]
"""Called with what is measured next."""


def floor_topic(topic: str) -> str:
    """The topic of the floor's messages: a run's consumer would count them as strangers."""
    return topic[: MAX_TOPIC_CHARS - len(TOPIC_SUFFIX)] + TOPIC_SUFFIX


def prepare_floor(config: RunConfig, bootstrap: str) -> BrokerFacts:
    """The broker with the floor's topic, made where it is missing; see `broker.prepare_topic`."""
    topic = floor_topic(config.topic)
    return broker.prepare_topic(
        msgspec.structs.replace(config, topic=topic, partitions=None), bootstrap
    )


def measure_floor(
    config: RunConfig,
    facts: BrokerFacts,
    samples: int,
    interval_ns: int,
    log_directory: Path,
    hear: Hear,
    tell: Tell = lambda _label: None,
) -> Floor:
    """All probes, `samples` of each, `interval_ns` apart, on a broker that is prepared for it.

    Takes 3 s for 1,000 samples 1 ms apart, and 0.3 s to begin. Raises `LatbenchError` when a
    process breaks or the broker does not go along. Whatever happens, no process is left running.
    """
    begun_unix_ns = time.time_ns()
    run_id = secrets.token_hex(4)
    pinned = dict(zip(("generator", "relay", "consumer"), cycle(config.pin), strict=False))
    echo = StageProcess("echo", [], log_directory / "echo.log")
    try:
        echo.send(
            Work(EchoPlan(run_id=run_id, cpu=pinned.get("relay"), ws_engine=config.ws_engine))
        )
        probe = StageProcess("probe", [], log_directory / "probe.log")
        try:

            def hear_all() -> None:
                check_stage(echo)
                hear()

            ready = await_stage(echo, lambda: echo.ready, hear)
            tcp, websocket = broker.parse_bootstrap(ready.bootstrap)
            plan = ProbePlan(
                run_id=run_id,
                cpu=pinned.get("generator"),
                tcp_address=tcp,
                ws_address=websocket,
                ws_engine=config.ws_engine,
                topic=floor_topic(config.topic),
                producer=broker.producer_properties(config, facts.bootstrap),
                consumer=broker.consumer_properties(config, facts.bootstrap),
                producer_cpu=pinned.get("relay"),
                consumer_cpu=pinned.get("consumer"),
                samples=samples + WARM_SAMPLES,
                interval_ns=interval_ns,
            )
            probe.send(Work(plan))
            _follow(probe, plan, hear_all, tell)
        finally:
            probe.end()
    finally:
        echo.end()
    measured = probe.measured
    return Floor(
        measured_unix_ns=begun_unix_ns,
        interval_ns=interval_ns,
        probes=tuple(
            summarise_probe(each.name, measured[each.name], interval_ns)
            for each in PROBES
            if measured[each.name]
        ),
    )


def _follow(probe: StageProcess, plan: ProbePlan, hear: Hear, tell: Tell) -> None:
    """Until the probe is done; tells what it is at."""
    longest_ns = 2 * plan.samples * plan.interval_ns
    tell("timer and TCP")
    await_stage(probe, lambda: probe.measured.get(TCP), hear, longest_ns)
    tell("WebSocket")
    await_stage(probe, lambda: probe.measured.get(WEBSOCKET), hear, longest_ns)
    tell("Kafka")
    await_stage(probe, lambda: probe.done, hear, longest_ns)


def await_stage(
    process: StageProcess, happened: Callable[[], Value | None], hear: Hear, longest_ns: int = 0
) -> Value:
    """Wait until something has happened to a process, and give that.

    Raises what the process failed of, and `LatbenchError` half a minute after `longest_ns`.
    """
    deadline_ns = monotonic_ns() + longest_ns + _PATIENCE_NS
    while True:
        check_stage(process)
        value = happened()
        if value is not None:
            return value
        if monotonic_ns() > deadline_ns:
            raise LatbenchError(
                f"the {_called(process)} says nothing after "
                f"{format_duration(longest_ns + _PATIENCE_NS)}",
                "; ".join(process.log_tail()) or "its log is empty",
            )
        hear()
        wait_for_words([process], _ROUND_S)


def check_stage(process: StageProcess) -> None:
    """Take what a process has said; raise why it has broken, where it has."""
    process.listen()
    if not process.broken:
        return
    failed = process.failed
    if failed is None:
        tail = "; ".join(process.log_tail()) or "(empty)"
        raise LatbenchError(
            f"the {_called(process)} died ({process.describe_end()})", f"its log ends: {tail}"
        )
    error = LatbenchError(failed.message, failed.hint)
    error.exit_code = ExitCode(failed.exit_code)
    raise error


def _called(process: StageProcess) -> str:
    return "embedded broker" if process.stage == "broker" else f"floor's {process.stage}"
