"""librdkafka's own statistics: where a message's time goes inside the Kafka clients.

Each client hands out a JSON document once a second (librdkafka's STATISTICS.md); of it the sums,
counts and maxima of its windows are kept as a row (`recording.COLUMNS`), for sums and counts add up
and percentiles don't.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
import numpy as np

from latbench.recording import COLUMNS, CONSUMER_STATISTICS, PRODUCER_STATISTICS
from latbench.result import ClientFigures
from latbench.ring import Rows

INTERVAL_MS: Final = 1000


class _Window(msgspec.Struct):
    """What was seen since the document before: microseconds, for `throttle` milliseconds."""

    sum: int = 0
    cnt: int = 0
    max: int = 0


class _Broker(msgspec.Struct):
    int_latency: _Window = msgspec.field(default_factory=_Window)
    outbuf_latency: _Window = msgspec.field(default_factory=_Window)
    rtt: _Window = msgspec.field(default_factory=_Window)
    throttle: _Window = msgspec.field(default_factory=_Window)


class _Topic(msgspec.Struct):
    batchsize: _Window = msgspec.field(default_factory=_Window)
    batchcnt: _Window = msgspec.field(default_factory=_Window)


class _Document(msgspec.Struct):
    brokers: dict[str, _Broker] = {}
    topics: dict[str, _Topic] = {}


_decoder: Final = msgspec.json.Decoder(_Document)


def producer_row(document: str, at_ns: int) -> tuple[int, ...]:
    """A producer's document as a row of the ring `PRODUCER_STATISTICS`."""
    statistics = _decoder.decode(document)
    brokers, topics = statistics.brokers.values(), statistics.topics.values()
    return (
        at_ns,
        *_added(broker.int_latency for broker in brokers),
        *_added(broker.outbuf_latency for broker in brokers),
        *_added(broker.rtt for broker in brokers),
        *_added((broker.throttle for broker in brokers), 1000),
        sum(topic.batchcnt.cnt for topic in topics),
        sum(topic.batchcnt.sum for topic in topics),
        sum(topic.batchsize.sum for topic in topics),
    )


def consumer_row(document: str, at_ns: int) -> tuple[int, ...]:
    """A consumer's document as a row of the ring `CONSUMER_STATISTICS`."""
    statistics = _decoder.decode(document)
    return (at_ns, *_added(broker.rtt for broker in statistics.brokers.values()))


def _added(windows: Iterable[_Window], us: int = 1) -> tuple[int, int, int]:
    """Sum, count and maximum of several brokers' windows, in units of `us` microseconds."""
    seen = [window for window in windows if window.cnt]
    return (
        sum(window.sum for window in seen) * us,
        sum(window.cnt for window in seen),
        max((window.max for window in seen), default=0) * us,
    )


def fold(producer: Rows, consumer: Rows) -> ClientFigures | None:
    """The figures of a span whose rows are given; None without any."""
    if not len(producer) and not len(consumer):
        return None
    columns = {
        **_columns(PRODUCER_STATISTICS, producer),
        **_columns(CONSUMER_STATISTICS, consumer),
    }

    def mean_ns(window: str) -> float | None:
        count = int(columns[f"{window}_count"].sum())
        return int(columns[f"{window}_sum_us"].sum()) * 1000 / count if count else None

    def max_ns(window: str) -> int | None:
        if not columns[f"{window}_count"].any():
            return None
        return int(columns[f"{window}_max_us"].max()) * 1000

    batches = int(columns["batches"].sum())
    return ClientFigures(
        queue_mean_ns=mean_ns("queue"),
        queue_max_ns=max_ns("queue"),
        send_mean_ns=mean_ns("send"),
        send_max_ns=max_ns("send"),
        ack_mean_ns=mean_ns("ack"),
        ack_max_ns=max_ns("ack"),
        throttle_mean_ns=mean_ns("throttle"),
        throttle_max_ns=max_ns("throttle"),
        batches=batches,
        batch_messages=int(columns["batch_messages"].sum()) / batches if batches else None,
        batch_bytes=int(columns["batch_bytes"].sum()) / batches if batches else None,
        fetch_mean_ns=mean_ns("fetch"),
    )


def _columns(ring: str, rows: Rows) -> dict[str, Rows]:
    empty = np.empty(0, dtype=np.int64)
    return {
        name: rows[:, number] if len(rows) else empty for number, name in enumerate(COLUMNS[ring])
    }
