"""Where the Kafka hop goes, by what the Kafka clients count themselves."""

from __future__ import annotations

from latbench.config import RunConfig
from latbench.render.grid import Column, draw_grid, text_column
from latbench.render.hops import LATENCY_WIDTH, latency_spans
from latbench.render.ink import Ink, Line, fields
from latbench.result import ClientFigures
from latbench.units import format_count


def draw_clients(client: ClientFigures, width: int, ink: Ink, config: RunConfig) -> list[Line]:
    """The stations of a message in the clients, then how they were put together."""
    linger_ms = config.effective_linger_ms
    queued = f"linger ({linger_ms:g} ms), mostly" if linger_ms else "until a request takes it"
    stations: list[tuple[str, float | None, float | None, str]] = [
        (
            "in the producer's queue", client.queue_mean_ns, client.queue_max_ns,
            queued,
        ),
        (
            "from there to the socket", client.send_mean_ns, client.send_max_ns,
            "the request before, mostly",
        ),
        (
            "produce request → answer", client.ack_mean_ns, client.ack_max_ns,
            "network, broker, replicas",
        ),
        (
            "fetch request → answer", client.fetch_mean_ns, None,
            "mostly waiting for data to come",
        ),
    ]  # fmt: skip
    if client.throttle_max_ns:
        throttled = (client.throttle_mean_ns, client.throttle_max_ns)
        stations.insert(3, ("throttled", *throttled, "what the broker said to wait"))
    columns = [
        text_column("", [ink.text(name) for name, *_ in stations]),
        Column("mean", [latency_spans(mean, LATENCY_WIDTH, "", ink) for _, mean, *_ in stations]),
        Column("max", [_max(most, mean, ink) for _, mean, most, _ in stations]),
        text_column("", [words for *_, words in stations], "dim", worth=1),
    ]
    title = "Where T3 goes (mock)" if config.is_embedded else "Where T3 goes"
    lines: list[Line] = [
        [(title, "bold"), ("  by librdkafka's count; times overlap", "dim")],
        *draw_grid(columns, width, ink),
    ]
    if batches := _batches(client):
        lines += fields([("batches", batches)], width, ink)
    return lines


def _max(most_ns: float | None, mean_ns: float | None, ink: Ink) -> Line:
    if most_ns is None and mean_ns is not None:
        return [(" " * (LATENCY_WIDTH - 1) + ink.text("–"), "dim")]
    return latency_spans(most_ns, LATENCY_WIDTH, "", ink)


def _batches(client: ClientFigures) -> str:
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
