"""The floor on its own: a broker, the probes, and an end that leaves nothing running."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from latbench import __version__, environment
from latbench.config import RunConfig
from latbench.kept_broker import keep_broker
from latbench.probing import Tell, await_stage, check_stage, measure_floor, prepare_floor
from latbench.processes import StageProcess
from latbench.result import BrokerFacts, Environment, Floor
from latbench.signals import Interrupted, Signals


class FloorResult(msgspec.Struct, frozen=True, kw_only=True):
    """What `latbench floor` came to."""

    latbench: str
    """The version that measured it."""
    environment: Environment
    broker: BrokerFacts
    config: RunConfig
    """Only what has to do with WebSocket, Kafka and pinning says something here."""
    floor: Floor


def measure_alone(
    config: RunConfig, samples: int, interval_ns: int, log_directory: Path, tell: Tell
) -> FloorResult:
    """The floor of this machine and this broker, now; `samples` of each probe, so far apart.

    Raises `LatbenchError` when it can't be measured, `Interrupted` when a signal came. Whatever
    happens, no process is left running.
    """
    with Signals() as signals, _broker(config, log_directory) as mock:

        def hear() -> None:
            if signals.first:
                raise Interrupted(signals.first)
            if mock is not None:
                check_stage(mock)

        bootstrap = config.kept_broker or config.broker
        if mock is not None:
            bootstrap = await_stage(mock, lambda: mock.ready, hear).bootstrap
        facts = prepare_floor(config, bootstrap)
        floor = measure_floor(config, facts, samples, interval_ns, log_directory, hear, tell)
    return FloorResult(
        latbench=__version__,
        environment=environment.describe(),
        broker=facts,
        config=config.without_secrets(),
        floor=floor,
    )


@contextlib.contextmanager
def _broker(config: RunConfig, log_directory: Path) -> Iterator[StageProcess | None]:
    """The embedded broker's process, told to work; None where the broker is another's."""
    if config.kept_broker or not config.is_embedded:
        yield None
        return
    with keep_broker(log_directory) as process:
        yield process
