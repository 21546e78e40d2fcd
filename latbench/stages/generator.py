"""The generator: sends each tick when it is due, whatever happened to the ones before (open loop).

A late tick is sent at once, never skipped, and its lateness is the hop `schedule`.
"""

from __future__ import annotations

import asyncio
import os
from bisect import bisect_left, bisect_right
from typing import Final

import numpy as np
import uvloop

from latbench.batch.ticks import SentBatch
from latbench.clock import monotonic_ns
from latbench.config import MAX_SPEED
from latbench.control import Done, Ready, Start
from latbench.errors import LatbenchError, reason
from latbench.plan import GeneratorPlan, ReplaySource, StagePlan
from latbench.recording import GENERATOR, GeneratorCounter
from latbench.ring import RingWriter
from latbench.source import FramedTicks, Prefetcher, TickBlock, tick_blocks
from latbench.stages import own_cost
from latbench.stages.early_wake import EarlyWake, wait_awake
from latbench.stages.framing import framed
from latbench.stages.linux import AbsoluteTimer
from latbench.stages.supervised import Supervisor
from latbench.stages.websocket import Link, connect
from latbench.tick import SENT_FORMAT, known_suffix_format, sent_suffix_format

_BURST: Final = 64
"""Ticks sent one by one before the event loop gets its turn (about 0.7 ms)."""

_FRAMES_FROM: Final = 4
"""For so many due at once the frames made ahead are taken. NumPy's calls for one tick take longer
than making its frame: T1's p50 was 112 µs instead of 66 at 1,000/s."""

_FRAMES_AT_ONCE: Final = 2048
"""Frames in one write at most (0.6 MB, of which the socket takes what it has room for)."""

_BACKLOG_LIMIT_BYTES: Final = 1 << 20
"""With so much buffered in this process the generator waits for the socket, so that a relay that
does not read costs latency (which is measured) and not memory (which would end the run)."""

_BACKLOG_POLL_NS: Final = 200_000


def run(plan: StagePlan, supervisor: Supervisor, rings: dict[str, RingWriter]) -> None:
    """Connect, wait for the start, send all ticks, close."""
    assert isinstance(plan, GeneratorPlan)
    uvloop.run(_generate(plan, supervisor, rings[GENERATOR]))


async def _generate(plan: GeneratorPlan, supervisor: Supervisor, ring: RingWriter) -> None:
    try:
        link = await connect(plan.ws_engine, plan.url, plan.connection)
    except OSError as error:
        raise LatbenchError(
            f"no relay answers at {plan.url}: {reason(error)}", "latbench relay starts one"
        ) from None
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
    if link.write_frames is not None and not unpaced:
        blocks = framed(blocks, plan.run_id, SentBatch(plan.run_id) if plan.compiled else None)
    with Prefetcher(blocks) as prefetcher:
        ends_ns = None if plan.horizon_ns is None else start.start_ns + plan.horizon_ns
        sender = Sender(
            plan.run_id,
            link,
            ring,
            prefetcher,
            unpaced=unpaced,
            ends_ns=ends_ns,
            coalesce_ns=plan.coalesce_ns,
            spin=plan.spin,
        )
        loop = asyncio.get_running_loop()
        supervisor.on_stop(lambda: loop.call_soon_threadsafe(sender.stop))
        supervisor.on_until(lambda due_ns: loop.call_soon_threadsafe(sender.end_at, due_ns))
        try:
            await sender.run()
        finally:
            sender.close()


class Sender:
    """Sends the ticks of one source over one link, woken by a timer shortly before one is due.

    `coalesce_ns`: at least so long between two writes; what falls due meanwhile goes together. Only
    what is more than one write may hold goes on at once. With it nothing is waited for awake: at
    10,000/s p50 was 1.5 ms with that and 1.2 without, for the CPU that it took from the others.
    `spin`: never asleep.
    """

    def __init__(
        self,
        run_id: str,
        link: Link,
        ring: RingWriter,
        blocks: Prefetcher,
        *,
        unpaced: bool = False,
        ends_ns: int | None = None,
        coalesce_ns: int = 0,
        spin: bool = False,
    ) -> None:
        self.sent = 0
        self._suffix = sent_suffix_format(run_id)
        self._known_suffix = known_suffix_format(run_id)
        self._link = link
        self._ring = ring
        self._blocks = blocks
        self._unpaced = unpaced
        self._ends_ns = ends_ns
        self._coalesce_ns = coalesce_ns
        self._wrote_ns = 0
        self._spin = spin
        self._timer = AbsoluteTimer()
        self._early_wake = EarlyWake()
        self._early_timer_ns = 0
        """When the timer goes off, where that is before the next write; else 0."""
        self._loop = asyncio.get_running_loop()
        self._finished: asyncio.Future[None] = self._loop.create_future()
        self._block: TickBlock | None = None
        self._index = 0
        self._waiting_since_ns = 0
        self._until_ns: int | None = None

    async def run(self) -> None:
        """Send until the source ends or `stop`; raises when the relay closes the connection."""
        self._block = self._blocks.next_block()
        if self._block is None:
            self.stop()
        elif self._spin:
            self._on_spin()
        else:
            self._loop.add_reader(self._timer.fileno(), self._on_timer)
            if self._unpaced:  # all are due at the start
                self._timer.arm(self._block.due_ns[0])
            else:
                self._arm_next()
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
        elif self._spin:
            return
        elif self._unpaced:
            self._timer.arm(1)
        else:
            next_ns = timer_ns = self._next_write_ns()
            if not self._coalesce_ns:
                timer_ns = self._early_wake.timer_ns(monotonic_ns(), next_ns)
            self._early_timer_ns = timer_ns if timer_ns < next_ns else 0
            self._timer.arm(timer_ns)

    def _next_write_ns(self) -> int:
        """When the next tick may go: not before it is due, nor too soon after the write before."""
        assert self._block is not None
        return max(self._block.due_ns[self._index], self._wrote_ns + self._coalesce_ns)

    def _on_spin(self) -> None:
        """Send what is due and come again when the event loop has looked at its sockets."""
        if self._finished.done():
            return
        # unpaced, too: all are due at the start
        if self._block is not None and monotonic_ns() >= self._next_write_ns():
            self._on_timer()
        self._loop.call_soon(self._on_spin)

    def _on_timer(self) -> None:
        # setting the timer anew makes it unreadable as well, without a call of its own
        if self._finished.done():
            self._timer.clear()
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
        if self._early_timer_ns and self._is_full():
            # it holds nothing up before the next tick is due
            self._early_timer_ns = 0
            self._timer.arm(self._next_write_ns())
            return
        if self._must_wait():
            self._early_timer_ns = 0
            self._timer.arm(monotonic_ns() + _BACKLOG_POLL_NS)
            return
        if not self._early_timer_ns:
            self._send_due()
        elif not self._is_over():
            self._await_next()
        if self._is_over():
            self.stop()
            return
        self._arm_next()

    def _is_over(self) -> bool:
        """Whether the next tick is due after the end that was told."""
        if self._until_ns is None or self._block is None:
            return False
        return self._block.due_ns[self._index] >= self._until_ns

    def _is_full(self) -> bool:
        return self._link.backlog_bytes() > _BACKLOG_LIMIT_BYTES

    def _must_wait(self) -> bool:
        """Whether the socket is full; counts how often and how long that held ticks up."""
        full = self._is_full()
        counters = self._ring.counters
        if full and not self._waiting_since_ns:
            self._waiting_since_ns = monotonic_ns()
            counters[GeneratorCounter.BACKPRESSURE] += 1
        elif not full and self._waiting_since_ns:
            counters[GeneratorCounter.BACKPRESSURE_NS] += monotonic_ns() - self._waiting_since_ns
            self._waiting_since_ns = 0
        return full

    def _await_next(self) -> None:  # hot path
        """Have the next write ready, wait out what is left until its moment, and send."""
        block, index, next_ns = self._block, self._index, self._next_write_ns()
        assert block is not None
        due, bounds = block.due_ns, block.bounds
        due_ns, seq = due[index], self.sent
        head = block.blob[bounds[index] : bounds[index + 1]] + self._known_suffix % (seq, due_ns)
        sent_ns = monotonic_ns()
        head + SENT_FORMAT % sent_ns  # so that what does it is in the CPU's caches
        self._early_wake.was_ready(sent_ns - self._early_timer_ns)
        sent_ns = wait_awake(next_ns)
        if index + 1 < len(due) and due[index + 1] <= sent_ns:
            self._send_due()
            return
        self._link.send(head + SENT_FORMAT % sent_ns)
        # whoever it woke may wait for this CPU: T1's p50 was 10 µs more without that
        os.sched_yield()
        self._ring.push(seq, block.symbol_ids[index], due_ns, sent_ns)
        self.sent, self._index = seq + 1, index + 1
        self._go_on_in_next_block()

    def _send_due(self) -> None:
        assert self._block is not None
        if self._block.framed is None or not self._are_many_due(self._block):
            self._send_each(self._block)
        else:
            self._send_frames(self._block, self._block.framed)
        self._go_on_in_next_block()

    def _go_on_in_next_block(self) -> None:
        """Where all of this one is sent."""
        assert self._block is not None
        if self._index >= len(self._block.due_ns):
            self._block, self._index = self._blocks.next_block(), 0

    def _are_many_due(self, block: TickBlock) -> bool:  # hot path
        """Whether frames made ahead are worth it: a few ticks go quicker as they always did."""
        later = self._index + _FRAMES_FROM - 1
        return later < len(block.due_ns) and block.due_ns[later] <= monotonic_ns()

    def _send_frames(self, block: TickBlock, ticks: FramedTicks) -> None:  # hot path
        index = self._index
        write = self._link.write_frames
        assert write is not None
        most = min(len(block.due_ns), index + _FRAMES_AT_ONCE)
        sent_ns = monotonic_ns()
        last = bisect_right(block.due_ns, sent_ns, index, most)
        if self._until_ns is not None:
            last = bisect_left(block.due_ns, self._until_ns, index, last)
        if last == index:
            return
        frames, rows = ticks.frames[index:last], ticks.rows[index:last]
        frames[:, ticks.sent_slot] ^= np.frombuffer(b"%20d" % sent_ns, dtype=np.uint8)
        write(frames.data)
        if last < most:  # else more may be due: it goes at once
            self._wrote_ns = sent_ns
        rows[:, 3] = sent_ns
        self._ring.push_rows(rows)
        self.sent += last - index
        self._index = last

    def _send_each(self, block: TickBlock) -> None:  # hot path
        index = self._index
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
        if self.sent < seq and index < last:  # else more may be due: it goes at once
            self._wrote_ns = sent_ns
        self.sent, self._index = seq, index
