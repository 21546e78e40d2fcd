"""The generator: sends each tick when it is due, whatever happened to the ones before (open loop).

A late tick is sent at once, never skipped, and its lateness is the hop `schedule`.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from typing import Final

import uvloop

from latbench.clock import monotonic_ns
from latbench.config import MAX_SPEED
from latbench.control import Done, Ready, Start
from latbench.errors import LatbenchError
from latbench.plan import GeneratorPlan, ReplaySource, StagePlan
from latbench.recording import GENERATOR, GeneratorCounter
from latbench.ring import RingWriter
from latbench.source import Prefetcher, TickBlock, tick_blocks
from latbench.stages import own_cost
from latbench.stages.linux import AbsoluteTimer
from latbench.stages.supervised import Supervisor
from latbench.stages.websocket import Link, connect
from latbench.tick import sent_suffix_format

_BURST: Final = 64
"""Ticks sent in a row before the event loop gets its turn (about 0.7 ms)."""

_BACKLOG_LIMIT_BYTES: Final = 1 << 20
"""With so much buffered in this process the generator waits for the socket, so that a relay that
does not read costs latency (which is measured) and not memory (which would end the run)."""

_BACKLOG_POLL_NS: Final = 200_000


def run(plan: StagePlan, supervisor: Supervisor, rings: dict[str, RingWriter]) -> None:
    """Connect, wait for the start, send all ticks, close."""
    assert isinstance(plan, GeneratorPlan)
    uvloop.run(_generate(plan, supervisor, rings[GENERATOR]))


async def _generate(plan: GeneratorPlan, supervisor: Supervisor, ring: RingWriter) -> None:
    link = await connect(plan.ws_engine, plan.url)
    supervisor.send(Ready(own_cost_ns=own_cost.of_generator(plan.run_id)))
    start = await asyncio.to_thread(supervisor.wait_start)
    if start is not None:
        await _send_all(plan, supervisor, ring, link, start)
    await link.close()
    supervisor.send(Done())
    await asyncio.to_thread(supervisor.stopping.wait)


async def _send_all(
    plan: GeneratorPlan, supervisor: Supervisor, ring: RingWriter, link: Link, start: Start
) -> None:
    unpaced = isinstance(plan.source, ReplaySource) and plan.source.speed == MAX_SPEED
    blocks = tick_blocks(plan.source, start.start_ns, start.anchor, plan.horizon_ns)
    with Prefetcher(blocks) as prefetcher:
        ends_ns = None if plan.horizon_ns is None else start.start_ns + plan.horizon_ns
        sender = Sender(plan.run_id, link, ring, prefetcher, unpaced=unpaced, ends_ns=ends_ns)
        loop = asyncio.get_running_loop()
        supervisor.on_stop(lambda: loop.call_soon_threadsafe(sender.stop))
        supervisor.on_until(lambda due_ns: loop.call_soon_threadsafe(sender.end_at, due_ns))
        try:
            await sender.run()
        finally:
            sender.close()


class Sender:
    """Sends the ticks of one source over one link, woken by a timer for each that is due."""

    def __init__(
        self,
        run_id: str,
        link: Link,
        ring: RingWriter,
        blocks: Prefetcher,
        *,
        unpaced: bool = False,
        ends_ns: int | None = None,
    ) -> None:
        self.sent = 0
        self._suffix = sent_suffix_format(run_id)
        self._link = link
        self._ring = ring
        self._blocks = blocks
        self._unpaced = unpaced
        self._ends_ns = ends_ns
        self._timer = AbsoluteTimer()
        self._loop = asyncio.get_running_loop()
        self._finished: asyncio.Future[None] = self._loop.create_future()
        self._block: TickBlock | None = None
        self._index = 0
        self._waiting_since_ns = 0
        self._until_ns: int | None = None

    async def run(self) -> None:
        """Send until the source ends or `stop`; raises when the relay closes the connection."""
        self._block = self._blocks.next_block()
        self._loop.add_reader(self._timer.fileno(), self._on_timer)
        if self._block is None:
            self.stop()
        else:
            self._timer.arm(self._block.due_ns[0])  # unpaced, too: all are due at the start
        await self._finished

    def stop(self) -> None:
        """Send nothing more."""
        if not self._finished.done():
            self._finished.set_result(None)

    def end_at(self, due_ns: int) -> None:
        """Send no tick that is due at `due_ns` or later; stop once those before are sent."""
        if self._unpaced:  # due when they are sent, whatever their block says
            self._ends_ns = due_ns
            return
        self._until_ns = due_ns
        if self._is_over():  # else only when the next is due, which may be long after
            self.stop()

    def close(self) -> None:
        """Give the timer back."""
        self._loop.remove_reader(self._timer.fileno())
        self._timer.close()

    def _arm_next(self) -> None:
        if self._block is None:
            self.stop()
        else:
            self._timer.arm(1 if self._unpaced else self._block.due_ns[self._index])

    def _on_timer(self) -> None:
        self._timer.clear()
        if self._finished.done():
            return
        try:
            self._turn()
        except Exception as error:  # noqa: BLE001 (whatever it is belongs to who awaits `run`)
            self._finished.set_exception(error)

    def _turn(self) -> None:
        """Send what is due now, at most `_BURST` of it, and set the timer for the rest."""
        if self._link.closed:
            raise LatbenchError(
                f"the relay closed the connection after {self.sent:,} ticks",
                "see the relay's log",
            )
        if self._unpaced and self._ends_ns is not None and monotonic_ns() >= self._ends_ns:
            self.stop()
            return
        if self._must_wait():
            self._timer.arm(monotonic_ns() + _BACKLOG_POLL_NS)
            return
        self._send_due()
        if self._is_over():
            self.stop()
            return
        self._arm_next()

    def _is_over(self) -> bool:
        """Whether the next tick is due after the end that was told."""
        if self._until_ns is None or self._block is None:
            return False
        return self._block.due_ns[self._index] >= self._until_ns

    def _must_wait(self) -> bool:
        """Whether the socket is full; counts how often and how long that held ticks up."""
        full = self._link.backlog_bytes() > _BACKLOG_LIMIT_BYTES
        counters = self._ring.counters
        if full and not self._waiting_since_ns:
            self._waiting_since_ns = monotonic_ns()
            counters[GeneratorCounter.BACKPRESSURE] += 1
        elif not full and self._waiting_since_ns:
            counters[GeneratorCounter.BACKPRESSURE_NS] += monotonic_ns() - self._waiting_since_ns
            self._waiting_since_ns = 0
        return full

    def _send_due(self) -> None:  # hot path
        block, index = self._block, self._index
        assert block is not None
        due, symbol_ids, blob, bounds = block.due_ns, block.symbol_ids, block.blob, block.bounds
        send, push, now, suffix = self._link.send, self._ring.push, monotonic_ns, self._suffix
        seq, unpaced = self.sent, self._unpaced
        last = min(len(due), index + _BURST)
        if self._until_ns is not None:
            last = bisect_left(due, self._until_ns, index, last)
        sent_ns = now()
        while index < last:
            due_ns = due[index]
            if unpaced:
                due_ns = sent_ns
            elif due_ns > sent_ns:
                break
            send(blob[bounds[index] : bounds[index + 1]] + suffix % (seq, due_ns, sent_ns))
            push(seq, symbol_ids[index], due_ns, sent_ns)
            seq += 1
            index += 1
            sent_ns = now()  # one reading is the next tick's stamp and tells whether it is due
        self.sent, self._index = seq, index
        if index >= len(due):
            self._block, self._index = self._blocks.next_block(), 0
