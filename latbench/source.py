"""What the generator sends and when: blocks of ticks, of a simulated market or a recorded file."""

from __future__ import annotations

import dataclasses
import itertools
import queue
import threading
from bisect import bisect_left
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np

from latbench import pacing
from latbench.clock import NS_PER_S, WallAnchor
from latbench.config import MAX_SPEED
from latbench.errors import LatbenchError
from latbench.market import Market
from latbench.plan import ReplaySource, SimulatedSource
from latbench.replay import RecordedBatch, read_recorded
from latbench.tickmatrix import Chars, Ints

PREFETCHED_BLOCKS: Final = 4
LONE_ROUND_NS: Final = NS_PER_S
"""A round of a loop over a file that spans no time, and so has no gap between messages."""


@dataclasses.dataclass(frozen=True, slots=True)
class TickBlock:
    """Some ticks in the order of their due moments, never none; tick i has index i throughout."""

    due_ns: list[int]
    """Monotonic, non-decreasing."""
    symbol_ids: list[int]
    """Indices into the source's symbols."""
    blob: bytes
    bounds: list[int]
    """One more than ticks: the document of tick i is `blob[bounds[i]:bounds[i + 1]]`, a JSON object
    without its closing brace."""
    framed: FramedTicks | None = None
    """The same made ready for a socket; None where documents differ in length."""


@dataclasses.dataclass(frozen=True, slots=True)
class FramedTicks:
    """The ticks of a block as WebSocket frames that lack only the moment of sending."""

    frames: Chars
    """n × frame: what goes to the socket once the moment is put in."""
    sent_slot: slice
    """Where in a frame: the characters of `sent_ns` are to be XORed in, the mask is there."""
    rows: Ints
    """n × 4, as the generator records them; `sent_ns` (the last) is to be filled in."""


def tick_blocks(
    source: SimulatedSource | ReplaySource,
    start_ns: int,
    anchor: WallAnchor,
    horizon_ns: int | None,
) -> Generator[TickBlock]:
    """The ticks of a source, the first due at or after the monotonic moment `start_ns`.

    Those due `horizon_ns` or longer after the start are cut off. A simulated market and a looped
    replay without a horizon have no end. A replay at `MAX_SPEED` has no schedule, so each of its
    ticks is due at `start_ns` and none is cut off: when to stop is for the sender to say.
    """
    match source:
        case SimulatedSource():
            return _simulated(source, start_ns, anchor, horizon_ns)
        case ReplaySource():
            return _replayed(source, start_ns, horizon_ns)


def _simulated(
    source: SimulatedSource, start_ns: int, anchor: WallAnchor, horizon_ns: int | None
) -> Generator[TickBlock]:
    market = Market(source.symbols, source.rate_hz, source.seed)
    start_unix_ns = anchor.to_unix_ns(start_ns)
    for offsets in pacing.offset_blocks(source.arrivals, source.rate_hz, source.seed):
        count = len(offsets)
        if horizon_ns is not None:
            count = int(np.searchsorted(offsets, horizon_ns))
        if count:
            sent = offsets[:count]
            blob, width, symbol_ids = market.documents(sent + start_unix_ns)
            yield TickBlock(
                due_ns=(sent + start_ns).tolist(),
                symbol_ids=symbol_ids.tolist(),
                blob=blob,
                bounds=list(range(0, len(blob) + 1, width)),
            )
        if count < len(offsets):
            return


def _replayed(source: ReplaySource, start_ns: int, horizon_ns: int | None) -> Generator[TickBlock]:
    id_of = {symbol: i for i, symbol in enumerate(source.symbols)}
    as_fast_as_possible = source.speed == MAX_SPEED
    # by its decimal digits: as a binary fraction 0.1 is a little more than a tenth
    scale = Fraction(1) if as_fast_as_possible else 1 / Fraction(str(source.speed))
    multiplier, divisor = scale.numerator, scale.denominator
    for elapsed_ns, batch in _rounds(source):
        count = len(elapsed_ns)
        if as_fast_as_possible:
            due_ns = [start_ns] * count
        else:
            offsets = [elapsed * multiplier // divisor for elapsed in elapsed_ns]
            if horizon_ns is not None:
                count = bisect_left(offsets, horizon_ns)
            due_ns = [start_ns + offset for offset in offsets[:count]]
        if count:
            documents = batch.documents[:count]
            try:
                symbol_ids = [id_of[symbol] for symbol in batch.symbols[:count]]
            except KeyError as error:
                raise LatbenchError(
                    f"{source.path} now holds a symbol {error.args[0]!r} that is new",
                    "leave the file alone while it is replayed",
                ) from None
            yield TickBlock(
                due_ns=due_ns,
                symbol_ids=symbol_ids,
                blob=b"".join(documents),
                bounds=[0, *itertools.accumulate(map(len, documents))],
            )
        if count < len(elapsed_ns):
            return


def _rounds(source: ReplaySource) -> Iterator[tuple[list[int], RecordedBatch]]:
    """Batches with the recorded time at each message since the first of all, never going back.

    A looped file's next round begins one mean gap after the latest message.
    """
    round_ns = 0
    while True:
        first_ns = latest_ns = -1
        messages = 0
        for batch in read_recorded(Path(source.path)):
            if not batch.unix_ns:
                continue
            if not messages:
                first_ns = latest_ns = batch.unix_ns[0]
            running_ns = list(itertools.accumulate(batch.unix_ns, max, initial=latest_ns))[1:]
            latest_ns = running_ns[-1]
            messages += len(running_ns)
            yield [round_ns + unix_ns - first_ns for unix_ns in running_ns], batch
        if not (source.loop and messages):
            return
        span_ns = latest_ns - first_ns
        round_ns += span_ns + max(1, span_ns // (messages - 1)) if span_ns else LONE_ROUND_NS


class Prefetcher:
    """Makes blocks ahead in a thread of its own, so that the sender finds the next one ready.

    Up to `PREFETCHED_BLOCKS` wait. For one consumer; close it, or use it in a `with`, to end the
    thread before the blocks are used up.

    Reading a file holds the interpreter lock for up to `sys.getswitchinterval()` while the sender
    wants it. With Python's 5 ms a timer was 0.5 to 1 ms late at p99 during a replay of 10,000/s,
    with 0.1 ms 0.25 ms; the process should set that. NumPy lets go of the lock by itself.
    """

    def __init__(self, blocks: Generator[TickBlock]) -> None:
        self._blocks = blocks
        self._ready: queue.Queue[TickBlock | Exception | None] = queue.Queue(PREFETCHED_BLOCKS)
        self._closing = False
        self._end: Exception | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._fill, name="prefetch", daemon=True)
        self._thread.start()

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def next_block(self) -> TickBlock | None:
        """The next block, waited for where none is ready; None after the last and once closed.

        What was raised while making it is raised here, in its turn.
        """
        if not self._ended:
            item = self._ready.get()
            if isinstance(item, TickBlock):
                return item
            self._ended = True
            self._end = item
        if self._end is not None:
            raise self._end
        return None

    def close(self) -> None:
        """End the thread, at the latest when the block that it works on is made."""
        self._closing = True
        if not self._ended:
            self._ended = True
            self._end = None
        # with the queue empty the thread can put what it holds, and then sees that it should end
        while True:
            try:
                self._ready.get_nowait()
            except queue.Empty:
                break
        self._thread.join()

    def _fill(self) -> None:
        end: Exception | None = None
        try:
            for block in self._blocks:
                self._ready.put(block)
                if self._closing:
                    return
        except Exception as error:  # noqa: BLE001  it is the consumer's to handle
            end = error
        finally:
            # closes the file that a replay has open
            self._blocks.close()
        if not self._closing:
            self._ready.put(end)
