"""Bringing a run up: start all stages, tell each its work, wait until each is ready."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Final, Protocol, TypedDict

from latbench import broker
from latbench.assignment import Assignment
from latbench.batch import wasm
from latbench.collector import Rings
from latbench.config import RunConfig
from latbench.control import Ready, Work
from latbench.floor import RUN_SAMPLES, run_interval_ns
from latbench.plan import (
    MAX_MESSAGE_BYTES,
    MAX_REPLAYED_BYTES,
    BrokerPlan,
    ConsumerPlan,
    GeneratorPlan,
    RelayPlan,
    ServerSettings,
    SubscriberPlan,
)
from latbench.probing import measure_floor, prepare_floor
from latbench.processes import Crew
from latbench.result import BrokerFacts, Floor
from latbench.spool import SpoolWriter

CLIENTS_BESIDES: Final = 1_000
"""Of a run's relay: whoever wants to look on."""


class Detour(Protocol):
    """Ways that lead to the same ends with something in between: a proxy of known delay, say."""

    def relay(self, host: str, port: int) -> tuple[str, int]:
        """Where the generator is to connect instead of to the relay's address."""

    def producer(self, bootstrap: str) -> str:
        """Where the relay's producer is to find the broker."""

    def consumer(self, bootstrap: str) -> str:
        """Where the consumer is to find the broker."""

    def begin(self, start_ns: int) -> None:
        """The first tick is due at `start_ns`."""


class Straight:
    """No detour."""

    def relay(self, host: str, port: int) -> tuple[str, int]:
        """The relay itself."""
        return host, port

    def producer(self, bootstrap: str) -> str:
        """The broker itself."""
        return bootstrap

    def consumer(self, bootstrap: str) -> str:
        """The broker itself."""
        return bootstrap

    def begin(self, start_ns: int) -> None:
        """Nothing to do."""


class _Common(TypedDict):
    """What every stage's plan says alike."""

    run_id: str
    hiccups: bool
    spin: bool
    realtime: bool
    compiled: bool


class Launch:
    """The beginning of a run."""

    def __init__(
        self,
        assignment: Assignment,
        crew: Crew,
        run_id: str,
        detour: Detour,
        hear: Callable[[float], None],
    ) -> None:
        self._assignment = assignment
        self._config = assignment.config
        self._crew = crew
        self._run_id = run_id
        self._detour = detour
        self._hear = hear

    def hire(self, rings: Rings, spool: SpoolWriter) -> None:
        """Have all processes at once: each takes 100 to 200 ms to import its libraries.

        A broker that was started before is not started again.
        """
        self.hire_broker(rings, spool)
        subscribers = ("subscriber",) if self._config.subscribers else ()
        for name in ("relay", "consumer", "generator", *subscribers):
            self._crew.hire(name, rings.descriptors_of(name), spool.log_path(name))
        rings.close_descriptors()
        self._crew.dismiss_spares()

    def hire_broker(self, rings: Rings, spool: SpoolWriter) -> None:
        """Start the embedded broker alone, where it is wanted and not there yet."""
        own = self._config.is_embedded and not self._config.kept_broker
        if own and "broker" not in self._crew.members:
            self._crew.hire("broker", rings.descriptors_of("broker"), spool.log_path("broker"))
            plan = BrokerPlan(run_id=self._run_id, hiccups=self._config.hiccups)
            self._crew["broker"].send(Work(plan))

    def measure_floor(self, facts: BrokerFacts, log_directory: Path) -> Floor:
        """The floor, on a broker that is ready; no process but the broker's is to be there yet."""

        def hear() -> None:
            self._hear(0.0)
            self._crew.check()

        self._crew.dismiss_spares()
        prepare_floor(self._config, facts.bootstrap)
        interval_ns = run_interval_ns(self._config)
        return measure_floor(self._config, facts, RUN_SAMPLES, interval_ns, log_directory, hear)

    def prepare_broker(self) -> BrokerFacts:
        """The broker, ready with its topic."""
        bootstrap = self._config.kept_broker or self._config.broker
        if self._config.is_embedded and not self._config.kept_broker:
            bootstrap = self._ready("broker").bootstrap
        return broker.prepare_topic(self._config, bootstrap)

    def give_work(self, facts: BrokerFacts) -> dict[str, int]:
        """Tell each stage what to do; the generator last, for it needs the relay's port.

        Returns what latbench's own work on a tick takes in each, in ns.
        """
        config = self._config
        pinned = dict(zip(("generator", "relay", "consumer"), cycle(config.pin), strict=False))
        common: _Common = {
            "run_id": self._run_id,
            "hiccups": config.hiccups,
            "spin": config.spin,
            "realtime": config.realtime,
            "compiled": config.compiled and wasm.is_available(),
        }
        consumer = ConsumerPlan(
            **common,
            cpu=pinned.get("consumer"),
            kafka_client=config.kafka_client,
            topic=config.topic,
            partitions=facts.partitions,
            consumer=broker.consumer_properties(config, self._detour.consumer(facts.bootstrap)),
        )
        relay = RelayPlan(
            **common,
            cpu=pinned.get("relay"),
            kafka_client=config.kafka_client,
            host=config.ws_host,
            port=config.ws_port,
            ws_engine=config.ws_engine,
            topic=config.topic,
            producer=broker.producer_properties(config, self._detour.producer(facts.bootstrap)),
            partitions=facts.partitions if config.is_embedded or facts.partitions == 1 else None,
            server=_server_settings(config),
        )
        self._crew["consumer"].send(Work(consumer))
        self._crew["relay"].send(Work(relay))
        relay_ready = self._ready("relay")
        host, port = self._detour.relay(_reachable(config.ws_host), relay_ready.port)
        generator = GeneratorPlan(
            **common,
            cpu=pinned.get("generator"),
            coalesce_ns=config.coalesce_ns,
            url=f"ws://{in_url(host)}:{port}/ingest",
            ws_engine=config.ws_engine,
            source=self._assignment.source,
            horizon_ns=self._assignment.horizon_ns,
        )
        self._crew["generator"].send(Work(generator))
        if config.subscribers:
            own_address = f"{in_url(_reachable(config.ws_host))}:{relay_ready.port}"
            subscriber = SubscriberPlan(
                **common, url=f"ws://{own_address}/ticks", clients=config.subscribers
            )
            self._crew["subscriber"].send(Work(subscriber))
            self._ready("subscriber")
        ready = {
            "generator": self._ready("generator"),
            "relay": relay_ready,
            "consumer": self._ready("consumer"),
        }
        return {stage: each.own_cost_ns for stage, each in ready.items()}

    def _ready(self, name: str) -> Ready:
        """Wait until a stage is ready."""
        return self._crew.wait_ready(name, self._hear)


def _server_settings(config: RunConfig) -> ServerSettings:
    """What a run's own relay allows: its clients are latbench's own."""
    return ServerSettings(
        max_message_bytes=MAX_REPLAYED_BYTES if config.is_replay else MAX_MESSAGE_BYTES,
        max_clients=config.subscribers + CLIENTS_BESIDES,
        subscriber_queue=config.subscriber_queue,
        slow_client=config.slow_client,
    )


def _reachable(host: str) -> str:
    """An address that reaches a listener on `host` from this machine."""
    if host in {"0.0.0.0", ""}:  # noqa: S104 (every address: one of them is loopback)
        return "127.0.0.1"
    return "::1" if host == "::" else host


def in_url(host: str) -> str:
    """A host as it stands before a colon and a port (RFC 3986, 3.2.2)."""
    return f"[{host}]" if ":" in host else host
