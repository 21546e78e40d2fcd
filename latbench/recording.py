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
TICK_RINGS: Final = (GENERATOR, RELAY, ACKS, CONSUMER)
"""The relay has two, one for each of its threads. `seq` comes first in each."""

SUBSCRIBER: Final = "subscriber"
"""A row for each tick that each subscriber got."""

PROCESSES: Final = ("supervisor", "generator", "relay", "consumer", "broker", "subscriber")
"""Each has a hiccup meter and is sampled once a second."""
HICCUPS: Final[Mapping[str, str]] = {process: f"hiccups.{process}" for process in PROCESSES}
"""The ring of each process's hiccup meter."""
WORST_HICCUPS: Final = "hiccups"
WORST_HICCUP_COLUMNS: Final = ("at_ns", "process", "late_ns")
"""What a result file keeps of them: the latest wake-ups, and when they were due."""
PRODUCER_STATISTICS: Final = "producer"
CONSUMER_STATISTICS: Final = "fetches"

_LATENCY_WINDOW: Final = ("sum_us", "count", "max_us")

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
    SUBSCRIBER: ("seq", "client", "due_ns", "relay_in_ns", "received_ns"),
    # when a meter's thread was to wake, and how much later it did
    **dict.fromkeys(HICCUPS.values(), ("deadline_ns", "late_ns")),
    # librdkafka's statistics, once a second: sums and counts of the second that ended at `at_ns`
    PRODUCER_STATISTICS: (
        "at_ns",
        *(
            f"{window}_{figure}"
            for window in ("queue", "send", "ack", "throttle")
            for figure in _LATENCY_WINDOW
        ),
        "batches",
        "batch_messages",
        "batch_bytes",
    ),
    CONSUMER_STATISTICS: ("at_ns", *(f"fetch_{figure}" for figure in _LATENCY_WINDOW)),
}
"""By ring."""

USAGE: Final = "usage"
MACHINE: Final = "machine"
SAMPLED: Final[Mapping[str, tuple[str, ...]]] = {
    USAGE: (
        "at_ns",
        "process",
        "cpu_ns",
        "involuntary_switches",
        "voluntary_switches",
        "minor_faults",
        "major_faults",
        "rss_bytes",
        "peak_rss_bytes",
        "descriptors",
    ),
    MACHINE: ("at_ns", "busy_ns", "idle_ns", "iowait_ns", "steal_ns"),
}
"""What the supervisor samples itself once a second: of each process (its number in `PROCESSES`)
and of all CPUs together. Times and counts are totals since the process or the machine began."""

RINGS_OF_STAGE: Final[Mapping[str, tuple[str, ...]]] = {
    GENERATOR: (GENERATOR, HICCUPS[GENERATOR]),
    RELAY: (RELAY, ACKS, PRODUCER_STATISTICS, HICCUPS[RELAY]),
    CONSUMER: (CONSUMER, CONSUMER_STATISTICS, HICCUPS[CONSUMER]),
    SUBSCRIBER: (SUBSCRIBER, HICCUPS[SUBSCRIBER]),
    "broker": (HICCUPS["broker"],),
    "proxy": (),
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
    SUBSCRIBERS = 4
    """That there are now."""
    SUBSCRIBER_DROPS = 5
    """Ticks that slow subscribers have lost."""
    SLOW_DISCONNECTED = 6
    """Subscribers that were slow and had to go."""
    CLIENTS = 7
    """All connections that there are now."""
    TIMED_OUT = 8
    """Clients that did not answer a ping."""
    REFUSED_CLIENTS = 9
    """Clients that sent what they may not (too much, too large, the wrong thing)."""


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


class SubscriberCounter(enum.IntEnum):
    """In the ring `subscriber`."""

    CONNECTED = 0
    ENDED = 1
    """Connections that the relay has ended."""
    UNKNOWN = 2
    """Messages that are no ticks of the run."""
