"""What latbench's own work on a tick takes: each stage measures it before the first tick.

Own work is the stamps (reading the clock, carrying them in the message) and the recording (a row in
a ring): what a pipeline that nobody measures would not do. Each stage runs its real code on a tick
of typical size, with the library's part (socket, producer, consumer) left out.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator
from typing import Final

from latbench.clock import monotonic_ns
from latbench.recording import COLUMNS, GENERATOR
from latbench.ring import RingWriter, create_memory
from latbench.stages.framing import header_of
from latbench.stages.kafka import Batch, Delivery, OnDelivery
from latbench.tick import sent_suffix_format, splice_relayed

_ROUNDS: Final = 15
_CALLS: Final = 40
"""600 calls, 2 to 4 ms: after 100 or so CPython's specialising interpreter has warmed up."""
_SCRATCH_ROWS: Final = 1024
"""More than there are calls: a full ring would be another, cheaper way."""

RUN_ID: Final = "00000000"
"""Of the ticks of a stage that has no run of its own."""
DOCUMENT: Final = (
    b'{"timestamp":1732470000.123456,"symbol":"NIFTY","price":24321.55,"volume":125,'
    b'"bid":24321.50,"ask":24321.60,"bid_size":   300,"ask_size":   450}'
)
"""As the simulated market makes them."""


def time_per_call(work: Callable[[], object]) -> int:
    """Nanoseconds a call: the median of rounds, so that a stall in one doesn't count."""
    rounds = []
    for _ in range(_ROUNDS):
        begun_ns = monotonic_ns()
        for _ in range(_CALLS):
            work()
        rounds.append((monotonic_ns() - begun_ns) // _CALLS)
    return int(statistics.median(rounds))


def scratch_ring(ring: str) -> RingWriter:
    """A ring that nobody reads, as wide as the real one and with its counters."""
    columns = len(COLUMNS[ring])
    descriptor = create_memory(columns, _SCRATCH_ROWS)
    try:
        return RingWriter(descriptor, columns)
    finally:
        os.close(descriptor)  # the mapping stays


def sent_message(run_id: str, seq: int = 0) -> bytes:
    """A tick as the generator sends it."""
    now_ns = monotonic_ns()
    return DOCUMENT[:-1] + sent_suffix_format(run_id) % (seq, now_ns, now_ns)


def framed(message: bytes) -> bytes:
    """A message of more than 125 characters as a frame, with a mask that changes nothing."""
    return header_of(len(message)) + bytes(4) + message


def of_generator(run_id: str) -> int:
    """What the generator does with a tick but make and send it, in ns."""
    ring, suffix, document = scratch_ring(GENERATOR), sent_suffix_format(run_id), DOCUMENT[:-1]
    due_ns = monotonic_ns()

    def stamp_and_record() -> None:  # as in `generator.Sender._send_each`
        sent_ns = monotonic_ns()
        document + suffix % (7, due_ns, sent_ns)
        ring.push(7, 0, due_ns, sent_ns)

    return time_per_call(stamp_and_record)


class NullProducer:
    """A `kafka.Producing` that answers at once and sends nothing."""

    def __init__(self, on_delivery: OnDelivery) -> None:
        self._on_delivery = on_delivery

    def produce(self, value: bytes, key: str, seq: int) -> None:
        """Acknowledge a message."""
        del value, key
        self._on_delivery(Delivery([seq], (), [0], [0]))

    async def close(self) -> None:
        """Nothing is left."""


def relayed_messages(run_id: str) -> Iterator[Batch]:
    """As many ticks as `time_per_call` takes, one a batch, as the relay produces them."""
    now_ns = monotonic_ns()
    return iter(
        [
            Batch(
                [0],
                [0],
                [splice_relayed(sent_message(run_id, seq), now_ns, now_ns, now_ns)],
            )
            for seq in range(_ROUNDS * _CALLS)
        ]
    )
