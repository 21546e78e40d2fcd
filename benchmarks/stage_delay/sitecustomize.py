"""A known delay inside one stage of a run; Python imports this module where it is on its path.

`LATBENCH_DELAY` holds the hop and the nanoseconds: `websocket:150000` lets the generator write that
much later than its stamp says, `kafka:150000` lets the consumer sleep as long before it looks at
what has come. Neither takes a CPU of its own, as a proxy between two stages would: at 4,000 ticks/s
one made these two CPUs 80 to 100 % busy, and the delay drowned in that. latbench is imported only
where there is something to delay: Python imports this module at every start.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import deque
from typing import Any


def delay_writes(delay_ns: int) -> None:
    """Every message goes `delay_ns` after the generator has handed it over."""
    from latbench.clock import monotonic_ns  # noqa: PLC0415
    from latbench.stages.linux import AbsoluteTimer  # noqa: PLC0415
    from latbench.stages.websocket_picows import PicowsLink  # noqa: PLC0415

    send = PicowsLink.send
    waiting: deque[tuple[int, bytes]] = deque()
    timers: list[AbsoluteTimer] = []

    def let_go(link: Any) -> None:
        (timer,) = timers
        timer.clear()
        while waiting and waiting[0][0] <= monotonic_ns():
            send(link, waiting.popleft()[1])
        if waiting:
            timer.arm(waiting[0][0])

    def send_later(link: Any, message: bytes) -> None:
        if not timers:
            timers.append(AbsoluteTimer())
            asyncio.get_running_loop().add_reader(timers[0].fileno(), let_go, link)
        if not waiting:
            timers[0].arm(monotonic_ns() + delay_ns)
        waiting.append((monotonic_ns() + delay_ns, message))

    begin, close = PicowsLink.__init__, PicowsLink.close

    def begin_in_order(link: Any, *arguments: Any) -> None:
        begin(link, *arguments)
        write = link.write_frames

        def write_after(frames: Any) -> None:  # of a generator that is behind: none may overtake
            while waiting:
                send(link, waiting.popleft()[1])
            write(frames)

        link.write_frames = write_after

    async def close_after(link: Any) -> None:
        while waiting:
            await asyncio.sleep(delay_ns / 1e9)
        await close(link)

    PicowsLink.__init__ = begin_in_order  # type: ignore[method-assign]
    PicowsLink.send = send_later  # type: ignore[method-assign]
    PicowsLink.close = close_after  # type: ignore[method-assign]


def delay_arrivals(delay_ns: int) -> None:
    """Every look at the topic that finds something is over `delay_ns` later."""
    from latbench.stages.kafka_direct_consumer import DirectConsumer  # noqa: PLC0415

    wait = DirectConsumer.wait

    def wait_longer(consumer: Any, timeout_s: float) -> Any:
        batch = wait(consumer, timeout_s)
        if batch is not None:
            time.sleep(delay_ns / 1e9)
        return batch

    DirectConsumer.wait = wait_longer  # type: ignore[method-assign]


def main() -> None:
    hop, _, delay_ns = os.environ.get("LATBENCH_DELAY", "").partition(":")
    if "LATBENCH_STAGE_FD" not in os.environ or not int(delay_ns or 0):
        return
    stage = sys.orig_argv[-1]
    if (stage, hop) == ("generator", "websocket"):
        delay_writes(int(delay_ns))
    elif (stage, hop) == ("consumer", "kafka"):
        delay_arrivals(int(delay_ns))


main()
