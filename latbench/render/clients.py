"""Where the Kafka hop goes, by what the Kafka clients count themselves."""

from __future__ import annotations

from typing import NamedTuple

from latbench.config import RunConfig
from latbench.render.grid import Column, draw_grid, text_column
from latbench.render.hops import LATENCY_WIDTH, latency_spans
from latbench.render.ink import Ink, Line, fields
from latbench.result import ClientFigures
from latbench.units import format_count


def draw_clients(client: ClientFigures, width: int, ink: Ink, config: RunConfig) -> list[Line]:
    """The stations of a message in the clients, then how they were put together."""
    told = stations(client, config)
    columns = [
        text_column("", [ink.text(each.name) for each in told]),
        Column("mean", [latency_spans(each.mean_ns, LATENCY_WIDTH, "", ink) for each in told]),
        Column("max", [_max(each.max_ns, each.mean_ns, ink) for each in told]),
        text_column("", [each.words for each in told], "dim", worth=1),
    ]
    lines: list[Line] = [
        [(title(config), "bold"), ("  by librdkafka's count; times overlap", "dim")],
        *draw_grid(columns, width, ink),
    ]
    if batches := batches_in_words(client):
        lines += fields([("batches", batches)], width, ink)
    return lines


class Station(NamedTuple):
    """A place where a message is for a while."""

    name: str
    mean_ns: float | None
    max_ns: float | None
    """None as well where only the mean is known."""
    words: str


def title(config: RunConfig) -> str:
    """What the stations are of."""
    return "Where T3 goes (mock)" if config.is_embedded else "Where T3 goes"


def stations(client: ClientFigures, config: RunConfig) -> list[Station]:
    """Where a message is on its way through the clients, in order."""
    linger_ms = config.effective_linger_ms
    queued = f"linger ({linger_ms:g} ms), mostly" if linger_ms else "until a request takes it"
    found = [
        Station(
            "in the producer's queue", client.queue_mean_ns, client.queue_max_ns,
            queued,
        ),
        Station(
            "from there to the socket", client.send_mean_ns, client.send_max_ns,
            "the request before, mostly",
        ),
        Station(
            "produce request → answer", client.ack_mean_ns, client.ack_max_ns,
            "network, broker, replicas",
        ),
        Station(
            "fetch request → answer", client.fetch_mean_ns, None,
            "mostly waiting for data to come",
        ),
    ]  # fmt: skip
    if config.consumer_alone:  # the producer is somebody else's
        return found[-1:]
    if client.throttle_max_ns:
        throttled = (client.throttle_mean_ns, client.throttle_max_ns)
        found.insert(3, Station("throttled", *throttled, "what the broker said to wait"))
    return found


def _max(most_ns: float | None, mean_ns: float | None, ink: Ink) -> Line:
    if most_ns is None and mean_ns is not None:
        return [(" " * (LATENCY_WIDTH - 1) + ink.text("–"), "dim")]
    return latency_spans(most_ns, LATENCY_WIDTH, "", ink)


def batches_in_words(client: ClientFigures) -> str:
    """How many there were, and of what size; "" without any."""
    if not client.batches:
        return ""
    told = format_count(client.batches)
    each = []
    if client.batch_messages is not None:
        each.append(f"{client.batch_messages:,.1f} messages")
    if client.batch_bytes is not None:
        each.append(f"{format_count(round(client.batch_bytes))} bytes")
    if each:
        told += f" of {' and '.join(each)} on average"
    return f"{told}; none throttled" if client.throttle_max_ns == 0 else told
