"""Options about Kafka that several commands have: each declared once, as those in `options`."""

from __future__ import annotations

from typing import Annotated, Final, TypedDict

import typer

from latbench import config as configuration

KAFKA: Final = "Kafka"

KafkaClient = Annotated[
    str,
    typer.Option(
        metavar="|".join(configuration.KAFKA_CLIENTS),
        help="librdkafka called directly, or through confluent-kafka's classes.",
        rich_help_panel=KAFKA,
    ),
]
Broker = Annotated[
    str,
    typer.Option(
        "--broker",
        "--bootstrap",
        envvar="KAFKA_BOOTSTRAP_SERVERS",
        metavar="embedded|HOST:PORT,…",
        help="librdkafka's mock cluster (nothing to install; not Kafka's figures; "
        "embedded@HOST:PORT: one that is there), or a Kafka.",
        rich_help_panel=KAFKA,
    ),
]
Topic = Annotated[
    str,
    typer.Option(
        envvar="KAFKA_TOPIC", metavar="NAME", help="Made when missing.", rich_help_panel=KAFKA
    ),
]
Partitions = Annotated[
    str | None,
    typer.Option(
        metavar="N",
        help="Of the topic (default: 1, or as many as it has).",
        rich_help_panel=KAFKA,
        show_default=False,
    ),
]
Acks = Annotated[
    str,
    typer.Option(
        metavar="0|1|all",
        help="Replicas that must have a tick before it is acknowledged.",
        rich_help_panel=KAFKA,
    ),
]
Linger = Annotated[
    str,
    typer.Option(
        metavar="MS",
        help="How long the producer waits for more ticks to send together.",
        rich_help_panel=KAFKA,
    ),
]
Compression = Annotated[
    str,
    typer.Option(
        metavar="|".join(configuration.COMPRESSIONS),
        help="Of the producer's batches.",
        rich_help_panel=KAFKA,
    ),
]
Producer = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="Any librdkafka property of the producer; repeatable; wins over other options.",
        rich_help_panel=KAFKA,
        show_default=False,
    ),
]
Consumer = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="Any librdkafka property of the consumer; repeatable.",
        rich_help_panel=KAFKA,
        show_default=False,
    ),
]
Kafka = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE|FILE",
        help="Any librdkafka property of both clients, such as security.protocol=SASL_SSL, or a "
        "file of such lines; repeatable; --producer and --consumer win over it.",
        rich_help_panel=KAFKA,
        show_default=False,
    ),
]
DrainTimeout = Annotated[
    str,
    typer.Option(
        metavar="TIME",
        help="Give up on ticks still on their way when nothing has arrived for so long.",
        rich_help_panel=KAFKA,
    ),
]


def parse_partitions(text: str | None) -> int | None:
    """A topic's partitions; None where the option was not given."""
    if text is None:
        return None
    return configuration.parse_whole(text, "--partitions", 1, configuration.MAX_PARTITIONS)


class Producing(TypedDict):
    """Of a `RunConfig`: how ticks are produced."""

    acks: str
    linger_ms: float
    compression: str


def parse_producing(acks: str, linger: str, compression: str) -> Producing:
    """The options that set a producer's properties."""
    return {
        "acks": configuration.parse_choice(acks, "--acks", configuration.ACKS),
        "linger_ms": configuration.parse_linger_ms(linger),
        "compression": configuration.parse_choice(
            compression, "--compression", configuration.COMPRESSIONS
        ),
    }


def parse_clients(
    kafka: list[str] | None, producer: list[str] | None, consumer: list[str] | None
) -> tuple[dict[str, str], dict[str, str]]:
    """Properties of the producer and of the consumer: those of both, then each one's own."""
    both = configuration.parse_properties(configuration.read_properties(kafka or []), "kafka")
    own = [
        configuration.parse_properties(items or [], which)
        for items, which in ((producer, "producer"), (consumer, "consumer"))
    ]
    return {**both, **own[0]}, {**both, **own[1]}
