"""Proving a pipeline's figures: known delays go in, hop by hop, and must come out again.

One ordinary run whose connections lead through proxies.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from latbench import broker
from latbench.clock import NS_PER_S, WallAnchor, monotonic_ns
from latbench.config import RunConfig
from latbench.control import Start, Work
from latbench.errors import LatbenchError, UsageError
from latbench.plan import ProxyPlan
from latbench.processes import StageProcess, wait_for_words
from latbench.selftest_turns import (
    FETCH,
    PLACES,
    PRODUCE,
    TICK_RATE_HZ,
    WEBSOCKET,
    Place,
    Turn,
    steps_at,
)

_EMPTY_ANSWER_BYTES: Final = 160
"""An answer to a fetch without ticks has 90 bytes and the topic's name, one with a tick at least
200 more. The embedded broker gives one after each millisecond; held back, it would keep the next
fetch from being asked, and ticks would wait for that as well: half a delay more on average."""

_READY_TIMEOUT_S: Final = 30.0
_HOST: Final = "127.0.0.1"


def selftest_config(config: RunConfig, turns: Sequence[Turn]) -> RunConfig:
    """The run to make, of a configuration that tells the pipeline; `UsageError` where none can."""
    for which, properties in (("producer", config.producer), ("consumer", config.consumer)):
        protocol = properties.get("security.protocol", "plaintext")
        if protocol.lower() != "plaintext":
            raise UsageError(
                f"the {which}'s security.protocol {protocol} can't be led through a proxy",
                "selftest needs a listener in plain text, or --broker embedded",
            )
    return msgspec.structs.replace(
        config,
        tick_rate_hz=TICK_RATE_HZ,
        warmup_ns=turns[0].begins_ns,
        duration_ns=turns[-1].ends_ns - turns[0].begins_ns,
        name="selftest",
        delays_injected=True,
    )


class Proxies:
    """The `launch.Detour` that leads every connection through a proxy process of its own place.

    The processes are started when they are first needed and end with `close`; like a run's stages
    they end with this process, however it ends.
    """

    def __init__(self, config: RunConfig, turns: Sequence[Turn], log_directory: Path) -> None:
        self._config = config
        self._turns = turns
        self._log_directory = log_directory
        self._processes: dict[str, StageProcess] = {}

    def relay(self, host: str, port: int) -> tuple[str, int]:
        """The proxy before the relay."""
        (address,) = self._open(WEBSOCKET, ((host, port),), towards_upstream=True)
        return address

    def producer(self, bootstrap: str) -> str:
        """The proxies between relay and brokers."""
        return self._open_kafka(PRODUCE, bootstrap, towards_upstream=True)

    def consumer(self, bootstrap: str) -> str:
        """The proxies between brokers and consumer."""
        passing_bytes = _EMPTY_ANSWER_BYTES + len(self._config.topic)
        return self._open_kafka(FETCH, bootstrap, passing_bytes=passing_bytes)

    def begin(self, start_ns: int) -> None:
        """Let the turns begin."""
        anchor = WallAnchor.take()
        for process in self._processes.values():
            process.send(Start(start_ns=start_ns, anchor=anchor))

    def close(self) -> None:
        """End all of them."""
        for process in self._processes.values():
            process.end()

    def failure(self) -> LatbenchError | None:
        """Why a proxy has broken; None when all are well."""
        for place, process in self._processes.items():
            process.listen()
            if process.failed is not None:
                return LatbenchError(process.failed.message, process.failed.hint)
            if process.broken:
                tail = "; ".join(process.log_tail()) or "(empty)"
                return LatbenchError(
                    f"the proxy at {place} died ({process.describe_end()})", f"its log ends: {tail}"
                )
        return None

    def _open_kafka(
        self,
        place: Place,
        bootstrap: str,
        *,
        towards_upstream: bool = False,
        passing_bytes: int = 0,
    ) -> str:
        addresses = self._open(
            place,
            broker.broker_addresses(self._config, bootstrap),
            towards_upstream=towards_upstream,
            is_kafka=True,
            passing_bytes=passing_bytes,
        )
        return ",".join(f"{host}:{port}" for host, port in addresses)

    def _open(
        self,
        place: Place,
        upstreams: tuple[tuple[str, int], ...],
        *,
        towards_upstream: bool,
        is_kafka: bool = False,
        passing_bytes: int = 0,
    ) -> tuple[tuple[str, int], ...]:
        """Give a proxy its work, and wait until it listens."""
        if not self._processes:  # all at once: each takes 150 ms to import its libraries
            for each in PLACES:
                log_path = self._log_directory / f"proxy-{each.name}.log"
                self._processes[each.name] = StageProcess("proxy", [], log_path)
        process = self._processes[place.name]
        plan = ProxyPlan(
            run_id="",
            host=_HOST,
            upstreams=upstreams,
            steps=steps_at(place.name, self._turns),
            towards_upstream=towards_upstream,
            is_kafka=is_kafka,
            passing_bytes=passing_bytes,
        )
        process.send(Work(plan))
        deadline_ns = monotonic_ns() + int(_READY_TIMEOUT_S * NS_PER_S)
        while process.ready is None:
            wait_for_words([process], 0.05)
            process.listen()
            if failure := self.failure():
                raise failure
            if monotonic_ns() > deadline_ns:
                raise LatbenchError(
                    f"the proxy at {place.name} is not ready after {_READY_TIMEOUT_S:g} s",
                    "; ".join(process.log_tail()) or "its log is empty",
                )
        return broker.parse_bootstrap(process.ready.bootstrap)
