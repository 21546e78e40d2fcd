"""`latbench` with a known delay in one connection: a variant for `latbench ab` to find.

    python benchmarks/delayed.py websocket 150 run --tick-rate 4000 …

The first word is the place (`websocket`, `produce`, `fetch`), the second the delay in microseconds;
0 leads through the same proxy without holding anything up, so that two variants differ in nothing
but the delay.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from latbench import broker
from latbench.assignment import Assignment
from latbench.clock import WallAnchor
from latbench.control import Start, Work
from latbench.plan import DelayStep, ProxyPlan
from latbench.processes import StageProcess, wait_for_words

PLACES = ("websocket", "produce", "fetch")
EMPTY_ANSWER_BYTES = 160
"""A broker's answer without ticks is smaller and passes at once (see latbench/selftest.py)."""


class OneDelay:
    """The `launch.Detour` that leads one connection through a proxy, the others straight."""

    def __init__(self, assignment: Assignment, place: str, delay_ns: int, directory: Path) -> None:
        self._config = assignment.config
        self._place = place
        self._delay_ns = delay_ns
        self.process = StageProcess("proxy", [], directory / "proxy.log")

    def relay(self, host: str, port: int) -> tuple[str, int]:
        if self._place != "websocket":
            return host, port
        return self._open(((host, port),))[0]

    def producer(self, bootstrap: str) -> str:
        return self._kafka(bootstrap) if self._place == "produce" else bootstrap

    def consumer(self, bootstrap: str) -> str:
        return self._kafka(bootstrap) if self._place == "fetch" else bootstrap

    def begin(self, start_ns: int) -> None:
        self.process.send(Start(start_ns=start_ns, anchor=WallAnchor.take()))

    def _kafka(self, bootstrap: str) -> str:
        upstreams = broker.broker_addresses(self._config, bootstrap)
        return ",".join(f"{host}:{port}" for host, port in self._open(upstreams))

    def _open(self, upstreams: tuple[tuple[str, int], ...]) -> list[tuple[str, int]]:
        is_fetch = self._place == "fetch"
        plan = ProxyPlan(
            run_id="",
            host="127.0.0.1",
            upstreams=upstreams,
            steps=(DelayStep(0, self._delay_ns),),
            towards_upstream=not is_fetch,
            is_kafka=self._place != "websocket",
            passing_bytes=EMPTY_ANSWER_BYTES + len(self._config.topic) if is_fetch else 0,
        )
        self.process.send(Work(plan))
        while self.process.ready is None and not self.process.broken:
            wait_for_words([self.process], 1.0)
            self.process.listen()
        assert self.process.ready is not None, self.process.log_tail()
        found = []
        for address in self.process.ready.bootstrap.split(","):
            host, _, port = address.rpartition(":")
            found.append((host, int(port)))
        return found


def main() -> None:
    place, delay_us = sys.argv[1], float(sys.argv[2])
    assert place in PLACES, place
    sys.argv = ["latbench", *sys.argv[3:]]
    from latbench.cli import conduct, run_cli  # noqa: PLC0415
    from latbench.processes import Crew  # noqa: PLC0415

    straight: Callable[..., Any] = conduct.supervise

    def delayed(assignment: Assignment, observe: Any, crew: Crew | None = None) -> Any:
        config = msgspec.structs.replace(assignment.config, delays_injected=True)
        assignment = msgspec.structs.replace(assignment, config=config)
        with TemporaryDirectory() as directory:
            detour = OneDelay(assignment, place, round(delay_us * 1000), Path(directory))
            try:
                return straight(assignment, observe, detour=detour, crew=crew)
            finally:
                detour.process.end()

    conduct.supervise = delayed
    run_cli()


if __name__ == "__main__":
    main()
