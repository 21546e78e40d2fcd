"""What each stage records: the columns of its rings and the counters beside them.

The contract between the stages, which write, and the supervisor, which reads. All integers; times
are monotonic nanoseconds.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

GENERATOR: Final = "generator"
RELAY: Final = "relay"
ACKS: Final = "acks"
CONSUMER: Final = "consumer"

COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    GENERATOR: ("seq", "symbol_id", "due_ns", "sent_ns"),
    RELAY: ("seq", "relay_in_ns", "relay_out_ns"),
    ACKS: ("seq", "relay_out_ns", "acked_ns", "partition", "offset"),
    CONSUMER: (
        "seq",
        "due_ns",
        "sent_ns",
        "relay_in_ns",
        "relay_out_ns",
        "consumed_ns",
        "partition",
        "offset",
    ),
}
"""By ring; the relay has two, one for each of its threads. `seq` comes first everywhere."""

RINGS_OF_STAGE: Final[Mapping[str, tuple[str, ...]]] = {
    GENERATOR: (GENERATOR,),
    RELAY: (RELAY, ACKS),
    CONSUMER: (CONSUMER,),
    "broker": (),
}


class GeneratorCounter(enum.IntEnum):
    """In the ring `generator`."""

    BACKPRESSURE = 0
    BACKPRESSURE_NS = 1


class RelayCounter(enum.IntEnum):
    """In the ring `relay`."""

    MALFORMED = 0
    BACKPRESSURE = 1
    BACKPRESSURE_NS = 2
    REFUSED = 3
    """Ticks that the producer would not take (too large, for one)."""


class AckCounter(enum.IntEnum):
    """In the ring `acks`."""

    DELIVERY_ERRORS = 0
    UNANSWERED = 1
    """Ticks that no answer was asked for (`acks=0`): there is no moment to record."""


class ConsumerCounter(enum.IntEnum):
    """In the ring `consumer`."""

    DUPLICATES = 0
    REORDERED = 1
    UNKNOWN = 2
    ERRORS = 3
    """Errors that the client reported; it goes on by itself."""
