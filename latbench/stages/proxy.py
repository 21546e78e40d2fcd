"""The proxy of `latbench selftest`: holds back, by a known time, what goes in one direction.

What is read at t goes on at t plus the delay of that moment, in order: when the delay falls, what
comes after waits for what came before. The other direction passes at once, so a hop that the delay
lies in grows by the delay and not by twice as much.
"""

from __future__ import annotations

import asyncio
import functools
import socket
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, cast

import uvloop

from latbench.clock import monotonic_ns
from latbench.control import Done, Ready
from latbench.kafka_wire import Address, Answers, Renamer, Requests
from latbench.plan import DelayStep, ProxyPlan, StagePlan
from latbench.ring import RingWriter
from latbench.stages.linux import AbsoluteTimer
from latbench.stages.supervised import Supervisor

_HELD_LIMIT_BYTES: Final = 1 << 22
"""With so much held back in one direction its source has to wait."""

_EARLY_NS: Final = 100_000
"""The timer goes off so much early and the rest is waited out awake: a process that sleeps is back
20 to 100 µs late on a virtual machine, which would be in every delay but 0."""


def run(plan: StagePlan, supervisor: Supervisor, rings: dict[str, RingWriter]) -> None:
    """Pass on until told to stop."""
    del rings
    assert isinstance(plan, ProxyPlan)
    uvloop.run(_serve(plan, supervisor))


async def _serve(plan: ProxyPlan, supervisor: Supervisor) -> None:
    delays = Delays(plan.steps)
    proxy = Proxy(plan, delays)
    supervisor.send(
        Ready(bootstrap=",".join(f"{host}:{port}" for host, port in await proxy.open()))
    )
    start = await asyncio.to_thread(supervisor.wait_start)
    if start is not None:
        delays.begin(start.start_ns)
        await asyncio.to_thread(supervisor.stopping.wait)
    await proxy.close()
    supervisor.send(Done())


class Delays:
    """How long to hold back what is read at a moment."""

    def __init__(self, steps: Sequence[DelayStep]) -> None:
        self._offsets_ns = [step.offset_ns for step in steps]
        self._delays_ns = [0, *(step.delay_ns for step in steps)]
        self._start_ns: int | None = None

    def begin(self, start_ns: int) -> None:
        """The steps' offsets count from here; until this is called nothing is held back."""
        self._start_ns = start_ns

    def at(self, now_ns: int) -> int:
        """The delay in nanoseconds of what is read now."""
        if self._start_ns is None:
            return 0
        return self._delays_ns[bisect_right(self._offsets_ns, now_ns - self._start_ns)]


class Proxy:
    """Listens on a port for each upstream and joins what connects there with the upstream."""

    def __init__(self, plan: ProxyPlan, delays: Delays) -> None:
        self._plan = plan
        self._delays = delays
        self._servers: list[asyncio.Server] = []
        self._renamer = Renamer({})
        self._joining: set[asyncio.Task[None]] = set()
        self._sides: set[_Side] = set()

    async def open(self) -> list[Address]:
        """Listen; the addresses in the order of the upstreams."""
        loop = asyncio.get_running_loop()
        addresses: list[Address] = []
        for upstream in self._plan.upstreams:
            listener = socket.create_server((self._plan.host, 0))
            addresses.append((self._plan.host, listener.getsockname()[1]))
            self._servers.append(
                await loop.create_server(functools.partial(self._accept, upstream), sock=listener)
            )
        if self._plan.is_kafka:
            # nobody knows the addresses yet, so nobody has connected
            self._renamer = Renamer(dict(zip(self._plan.upstreams, addresses, strict=True)))
        return addresses

    async def close(self) -> None:
        """Listen no more, end all connections."""
        for server in self._servers:
            server.close()
        for joining in self._joining:
            joining.cancel()
        for side in self._sides:
            side.abort()
        while self._sides:
            await asyncio.sleep(0)

    def _accept(self, upstream: Address) -> _Side:
        """The lanes of a connection that has come in, and its connection to the upstream."""
        plan, nothing = self._plan, Delays(())
        up = Lane(self._delays if plan.towards_upstream else nothing, is_open=False)
        down = Lane(nothing if plan.towards_upstream else self._delays, plan.passing_bytes)
        up.twin, down.twin = down, up
        if plan.is_kafka:
            requests = Requests()
            answers = Answers(requests, self._renamer)
            up.watch, down.split, down.rest = requests.watch, answers.split, answers.rest
        joining = asyncio.get_running_loop().create_task(self._join(upstream, up, down))
        self._joining.add(joining)
        joining.add_done_callback(self._joining.discard)
        return _Side(up, down, self._sides)

    async def _join(self, upstream: Address, up: Lane, down: Lane) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: _Side(down, up, self._sides), *upstream)
        except OSError:
            down.end(lost=True)  # as the client would have seen it: a connection that closes
        else:
            up.open()


class _Side(asyncio.Protocol):
    """One of the two sockets of a connection: what it reads goes into the lane away from it."""

    def __init__(self, away: Lane, here: Lane, alive: set[_Side]) -> None:
        self._away = away
        self._here = here
        self._alive = alive

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        both_ways = cast("asyncio.Transport", transport)  # uvloop's own is no subclass of it
        self._alive.add(self)
        self._here.sink = both_ways
        self._away.attach(both_ways)

    def abort(self) -> None:
        """Close at once."""
        if self._here.sink is not None:
            self._here.sink.abort()

    def data_received(self, data: bytes) -> None:
        self._away.take(data)

    def eof_received(self) -> bool:
        self._away.end()
        return True  # what comes the other way still has to be written here

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._alive.discard(self)
        self._away.end(lost=True)
        self._here.cut()

    def pause_writing(self) -> None:
        self._here.choke(on=True)

    def resume_writing(self) -> None:
        self._here.choke(on=False)


class Lane:
    """One direction of a connection: what is taken in goes out again, later and in order."""

    def __init__(self, delays: Delays, passing_bytes: int = 0, *, is_open: bool = True) -> None:
        self.twin: Lane = self
        """The other direction."""
        self.sink: asyncio.Transport | None = None
        self.ended = False
        """Whether the end has been passed on."""
        self.watch: Callable[[bytes], None] | None = None
        """Sees what is taken in."""
        self.split: Callable[[bytes], Iterable[tuple[int, bytes]]] | None = None
        """Makes of it what goes out: the pieces of messages, each with its message's size."""
        self.rest: Callable[[], bytes] | None = None
        """What `split` has kept."""
        self._source: asyncio.Transport | None = None
        self._delays = delays
        self._passing_bytes = passing_bytes
        self._queue: deque[tuple[int, bytes | None]] = deque()
        self._held_bytes = 0
        self._last_ns = 0
        self._is_open = is_open
        self._timer: AbsoluteTimer | None = None
        self._ending = self._lost = self._choked = self._paused = False

    def attach(self, source: asyncio.Transport) -> None:
        """Where it is read from."""
        self._source = source
        self._regulate()

    def open(self) -> None:
        """There is somebody now to pass it on to; until then all is kept."""
        self._is_open = True
        self._deliver()

    def take(self, data: bytes) -> None:
        """Something was read."""
        now_ns = monotonic_ns()
        if self.watch is not None:
            self.watch(data)
        delay_ns = self._delays.at(now_ns)
        pieces = ((len(data), data),) if self.split is None else self.split(data)
        for size, piece in pieces:
            self._put(now_ns + (delay_ns if size >= self._passing_bytes else 0), piece)
        self._regulate()

    def end(self, *, lost: bool = False) -> None:
        """Nothing more will be read; `lost`: nothing can be written back either."""
        self._lost |= lost
        if self._ending:
            if self.ended and lost:
                self._close_sink()
            return
        self._ending = True
        now_ns = monotonic_ns()
        due_ns = now_ns + self._delays.at(now_ns)
        if self.rest is not None and (rest := self.rest()):
            self._put(due_ns, rest)
        self._put(due_ns, None)

    def cut(self) -> None:
        """There is nobody any more to pass it on to."""
        self.sink = None
        self._queue.clear()
        self._held_bytes = 0
        self.ended = True
        self._free_timer()

    def choke(self, *, on: bool) -> None:
        """The sink can't, or again can, take more."""
        self._choked = on
        self._regulate()

    def _put(self, due_ns: int, piece: bytes | None) -> None:
        if self.ended:
            return
        self._last_ns = due_ns = max(due_ns, self._last_ns)
        if self._is_open and not self._queue and due_ns <= monotonic_ns():
            self._pass_on(piece)
            return
        self._queue.append((due_ns, piece))
        self._held_bytes += len(piece or b"")
        if len(self._queue) == 1:
            self._arm(due_ns)

    def _arm(self, due_ns: int) -> None:
        if self._timer is None:
            self._timer = AbsoluteTimer()
            asyncio.get_running_loop().add_reader(self._timer.fileno(), self._on_timer)
        self._timer.arm(due_ns - _EARLY_NS)

    def _on_timer(self) -> None:
        assert self._timer is not None
        self._timer.clear()
        if self._is_open:
            self._deliver()

    def _deliver(self) -> None:
        """Pass on what is due or about to be."""
        while self._queue and self._queue[0][0] <= monotonic_ns() + _EARLY_NS:
            due_ns, piece = self._queue.popleft()
            while monotonic_ns() < due_ns:
                pass
            self._held_bytes -= len(piece or b"")
            self._pass_on(piece)
        if self._queue:
            self._arm(self._queue[0][0])
        self._regulate()

    def _pass_on(self, piece: bytes | None) -> None:
        if self.sink is None or self.sink.is_closing():
            return
        if piece is not None:
            self.sink.write(piece)
            return
        self.ended = True
        self._free_timer()
        if self._lost or self.twin.ended:
            self._close_sink()
            self.twin._close_sink()
        else:
            self.sink.write_eof()

    def _close_sink(self) -> None:
        if self.sink is not None:
            self.sink.close()  # what is written already still goes out

    def _free_timer(self) -> None:
        if self._timer is not None:
            asyncio.get_running_loop().remove_reader(self._timer.fileno())
            self._timer.close()
            self._timer = None

    def _regulate(self) -> None:
        """Read while there is room for it."""
        if self._source is None or self._source.is_closing() or self._ending:
            return
        full = self._choked or self._held_bytes > _HELD_LIMIT_BYTES
        if full and not self._paused:
            self._source.pause_reading()
        elif self._paused and not full:
            self._source.resume_reading()
        self._paused = full
