"""The probes of the floor: what this machine and this broker take with next to nothing in between.

One after the other, for two at a time would disturb each other; each paced, for an idle CPU wakes
slower than one that is kept busy.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

import uvloop

from latbench.clock import monotonic_ns
from latbench.control import Done, Measured, Ready
from latbench.errors import LatbenchError
from latbench.floor import ACK, CONSUME, TCP, TIMER, WEBSOCKET
from latbench.plan import ProbePlan, StagePlan
from latbench.ring import RingWriter
from latbench.stages import bare_websocket
from latbench.stages.bare_kafka import KafkaPing
from latbench.stages.metronome import Metronome
from latbench.stages.supervised import Supervisor
from latbench.stages.websocket import set_nodelay


def run(plan: StagePlan, supervisor: Supervisor, rings: dict[str, RingWriter]) -> None:
    """Measure all of it, tell each when it is done."""
    del rings
    assert isinstance(plan, ProbePlan)
    supervisor.send(Ready())
    for measure in (_tcp, _websocket, _kafka):
        if supervisor.stopping.is_set():
            break
        for probe, values_ns in measure(plan, supervisor).items():
            supervisor.send(Measured(probe, values_ns))
    supervisor.send(Done())


def _tcp(plan: ProbePlan, supervisor: Supervisor) -> dict[str, list[int]]:
    try:
        late_ns, round_trips_ns = ping_tcp(
            plan.tcp_address, plan.samples, plan.interval_ns, supervisor.stopping.is_set
        )
    except ConnectionError:
        raise LatbenchError(
            "the other end of the floor's socket has gone", "run it again"
        ) from None
    return {TIMER: late_ns, TCP: round_trips_ns}


def _websocket(plan: ProbePlan, supervisor: Supervisor) -> dict[str, list[int]]:
    return {WEBSOCKET: uvloop.run(_ping_websocket(plan, supervisor))}


def _kafka(plan: ProbePlan, supervisor: Supervisor) -> dict[str, list[int]]:
    ping = KafkaPing(plan, supervisor.stopping.is_set)
    ping.run()
    return {ACK: ping.acks_ns, CONSUME: ping.consumes_ns}


def ping_tcp(
    address: tuple[str, int], count: int, interval_ns: int, stopping: Callable[[], bool]
) -> tuple[list[int], list[int]]:
    """How late each wake-up came, and how long the round trip took that it began, in ns.

    A round trip is from before `send` until `recv` has all of the answer. Raises `ConnectionError`
    when there is nobody to answer.
    """
    late_ns: list[int] = []
    round_trips_ns: list[int] = []
    payload, length = bare_websocket.PAYLOAD, len(bare_websocket.PAYLOAD)
    with socket.create_connection(address) as connection:
        set_nodelay(connection)
        wait, send, receive = Metronome(interval_ns).wait, connection.sendall, connection.recv
        for _ in range(count):  # hot path
            if stopping():
                break
            late_ns.append(wait())
            sent_ns = monotonic_ns()
            send(payload)
            answer = receive(length, socket.MSG_WAITALL)
            round_trips_ns.append(monotonic_ns() - sent_ns)
            if len(answer) < length:
                raise ConnectionError
    return late_ns, round_trips_ns


async def _ping_websocket(plan: ProbePlan, supervisor: Supervisor) -> list[int]:
    loop = asyncio.get_running_loop()

    def end_with(stop: Callable[[], None]) -> None:
        def end() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: it has ended already
                loop.call_soon_threadsafe(stop)

        supervisor.on_stop(end)

    values_ns = await bare_websocket.ping(
        plan.ws_engine, plan.ws_address, plan.samples, plan.interval_ns, end_with
    )
    return list(values_ns)
