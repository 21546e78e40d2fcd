"""The other end of the floor's probes: sends back what it is sent, over TCP and over WebSocket.

It stands where the relay stands, in a process of its own, with as little code as can be between
what comes and what goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import Final

import uvloop

from latbench.control import Done, Ready
from latbench.plan import EchoPlan, StagePlan
from latbench.ring import RingWriter
from latbench.stages import bare_websocket
from latbench.stages.supervised import Supervisor
from latbench.stages.websocket import set_nodelay

_HOST: Final = "127.0.0.1"
_READ_BYTES: Final = 1 << 16


def run(plan: StagePlan, supervisor: Supervisor, rings: dict[str, RingWriter]) -> None:
    """Listen twice, echo until told to stop."""
    del rings
    assert isinstance(plan, EchoPlan)
    tcp = socket.create_server((_HOST, 0))
    # a thread that waits in the kernel costs the other nothing, and an event loop is not bare
    threading.Thread(target=echo_tcp, args=(tcp,), name="tcp", daemon=True).start()
    uvloop.run(_echo_websocket(plan, supervisor, tcp.getsockname()[1]))


async def _echo_websocket(plan: EchoPlan, supervisor: Supervisor, tcp_port: int) -> None:
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    supervisor.on_stop(lambda: loop.call_soon_threadsafe(stopping.set))
    listener = socket.create_server((_HOST, 0))
    listener.setblocking(False)
    server = await bare_websocket.serve(plan.ws_engine, listener)
    ports = tcp_port, listener.getsockname()[1]
    supervisor.send(Ready(bootstrap=",".join(f"{_HOST}:{port}" for port in ports)))
    await stopping.wait()
    server.close()
    supervisor.send(Done())


def echo_tcp(listener: socket.socket) -> None:
    """Send back what comes, a connection at a time, until the process ends."""
    while True:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(ConnectionError):
            set_nodelay(connection)
            receive, send = connection.recv, connection.sendall
            while data := receive(_READ_BYTES):  # hot path
                send(data)
