"""Whether two runs measured the same thing, and what is different about them.

Machine, broker and load have to be the same, or figures say nothing about each other. Settings and
software may differ: they are what is compared, and what differs is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from latbench.comparison import Difference, Unfit
from latbench.config import RunConfig
from latbench.findings import Severity, describe, severity
from latbench.result import RunResult, RunStatus
from latbench.units import format_duration, format_latency, format_rate

_LOAD: Final = (
    "tick_rate_hz",
    "duration_ns",
    "warmup_ns",
    "warmup_auto",
    "symbols",
    "arrivals",
    "seed",
    "source",
    "speed",
    "loop",
    "hiccups",
    "delays_injected",
    "subscribers",
    "consumer_alone",
    "publish_stats",
)
"""Of the configuration: what is asked of a pipeline, and how it is looked at. Hiccup meters keep
CPUs awake, so figures with and without them differ (p99 2.1 and 2.9 ms, docs/performance.md)."""

_REPLAY_IGNORES: Final = frozenset({"tick_rate_hz", "symbols", "arrivals", "seed"})
_SETTINGS: Final = (
    "ws_engine",
    "kafka_client",
    "acks",
    "linger_ms",
    "compression",
    "partitions",
    "producer",
    "consumer",
    "coalesce_ns",
    "spin",
    "realtime",
    "compiled",
    "pin",
    "slow_client",
    "subscriber_queue",
)


_WORDED: Final[Mapping[str, Callable[[Any], str]]] = {
    "tick_rate_hz": format_rate,
    "duration_ns": format_duration,
    "warmup_ns": format_duration,
    "linger_ms": lambda value: f"{value:g} ms",
    # half a millisecond is no whole thousandth of a second
    "coalesce_ns": format_latency,
}
"""How numbers are written, by their name."""


def fingerprint(result: RunResult) -> Mapping[str, str]:
    """What must be the same: machine, broker, load; by name, in words."""
    environment, broker, config = result.environment, result.broker, result.config
    machine = {
        "cpu": environment.cpu_model,
        "cpus": str(environment.cpus),
        "governor": environment.governor or "unknown",
        "kernel": environment.kernel,
        # as it is sold: kernels reserve some MiB more or less
        "memory": f"{environment.memory_bytes / 2**30:.0f} GiB",
        "broker": broker.kind,
        "broker version": broker.version,
    }
    return {**machine, **load(config)}


def load(config: RunConfig) -> Mapping[str, str]:
    """What of it is known before a run: the load; by name, in words."""
    if not config.is_replay:  # of a replay None is its whole length
        config = msgspec.structs.replace(config, duration_ns=config.bounded_duration_ns)
    return {
        option_of(name): _load_text(config, name)
        for name in _LOAD
        if not (config.is_replay and name in _REPLAY_IGNORES)
    }


def _load_text(config: RunConfig, name: str) -> str:
    if name == "duration_ns" and config.duration_ns is None:
        ends = config.is_replay and not config.loop
        return "all of it" if ends else format_duration(config.bounded_duration_ns)
    if name == "speed" and config.as_fast_as_possible:
        return "max"
    return _text(name, getattr(config, name))


def load_differences(base: RunConfig, new: RunConfig) -> tuple[Difference, ...]:
    """Where two configurations ask for different loads: known before anything is run."""
    return differing([load(base)], [load(new)])


def setting(result: RunResult) -> Mapping[str, str]:
    """What may differ: options of the pipeline, versions, the revision; by name, in words."""
    environment, config = result.environment, result.config
    return {
        **{option_of(name): _text(name, getattr(config, name)) for name in _SETTINGS},
        "latbench": result.latbench,
        "git revision": environment.git_revision or "none",
        "python": environment.python,
        **environment.libraries,
    }


def option_of(name: str) -> str:
    """What people call a member of the configuration: the option's name, without its dashes."""
    return re.sub("_(ns|ms|hz)$", "", name).replace("_", "-")


def _text(name: str, value: object) -> str:
    if name in _WORDED and isinstance(value, int | float):
        return _WORDED[name](value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={item}" for key, item in sorted(value.items())) or "none"
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return "default" if value is None else str(value)


def differing(
    base: Sequence[Mapping[str, str]], new: Sequence[Mapping[str, str]]
) -> tuple[Difference, ...]:
    """Where the values of two sides' runs are not all one; several on a side are all told."""
    names = dict.fromkeys(name for each in (*base, *new) for name in each)
    found = []
    for name in names:
        sides = [sorted({each.get(name, "none") for each in side}) for side in (base, new)]
        if sides[0] != sides[1] or len(sides[0]) > 1:
            found.append(Difference(name=name, base=" / ".join(sides[0]), new=" / ".join(sides[1])))
    return tuple(found)


def mismatches(base: Sequence[RunResult], new: Sequence[RunResult]) -> tuple[Difference, ...]:
    """What makes two sides incomparable; empty: nothing does."""
    return differing([fingerprint(each) for each in base], [fingerprint(each) for each in new])


def differences(base: Sequence[RunResult], new: Sequence[RunResult]) -> tuple[Difference, ...]:
    """What is being compared."""
    return differing([setting(each) for each in base], [setting(each) for each in new])


def unfit(result: RunResult, run: str, side: str) -> Unfit | None:
    """Why a run's figures can't be compared; None: they can."""
    if result.status is not RunStatus.COMPLETE:
        told = f": {result.failure}" if result.failure else ""
        return Unfit(run=run, side=side, why=f"it is {result.status}{told}")
    for finding in result.findings:
        if severity(finding) is Severity.INVALID and not finding.allowed:
            return Unfit(run=run, side=side, why=describe(finding))
    return None
