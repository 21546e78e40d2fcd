"""What each process of a run needs to know: plain values that travel as JSON.

A stage gets its plan over its control channel and nothing else; a stage on another host would get
the same bytes.
"""

from __future__ import annotations

from typing import Final

import msgspec

from latbench.arrivals import Arrivals
from latbench.config import DEFAULT_SUBSCRIBER_QUEUE, DROP_OLDEST

MAX_MESSAGE_BYTES: Final = 64 * 1024
"""The largest message that a relay takes: a tick has 360 bytes."""
MAX_REPLAYED_BYTES: Final = 16 * 1024 * 1024
"""The same for a replay: order book snapshots of a busy exchange reach a few megabytes."""


class SimulatedSource(msgspec.Struct, frozen=True, tag="sim"):
    """Ticks of a simulated market."""

    symbols: tuple[str, ...]
    rate_hz: int
    arrivals: Arrivals
    seed: int


class ReplaySource(msgspec.Struct, frozen=True, tag="replay"):
    """Ticks of a file."""

    path: str
    symbols: tuple[str, ...]
    """All that occur in the file, in order of first occurrence."""
    speed: float
    loop: bool


class _StagePlan(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    run_id: str
    """"" where a stage is on its own: a relay takes the ticks of any run, a consumer and
    subscribers those of the first that comes."""
    cpu: int | None = None
    """Pinned to this CPU; None: wherever the scheduler likes."""
    hiccups: bool = True
    """Whether it has a hiccup meter."""
    spin: bool = False
    """Looks for work again and again and never sleeps: a CPU of its own, and no wake-up."""
    realtime: bool = False
    """Asks for `SCHED_FIFO` and locked memory."""
    compiled: bool = False
    """Handles many ticks at once by compiled code (`latbench.batch`), where they come so."""


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """What a client of a relay needs besides its address."""

    token: str = ""
    tls_ca: str = ""
    """A file of certificates to trust; "": the system's."""


class GeneratorPlan(_StagePlan, frozen=True, kw_only=True, tag="generator"):
    """Sends the source's ticks to a relay."""

    url: str
    ws_engine: str
    source: SimulatedSource | ReplaySource
    horizon_ns: int | None
    """Ticks due this long after the start or later are not sent; None: all of the source."""
    coalesce_ns: int = 0
    """At least so long between two writes: ticks that fall due meanwhile go together."""
    connection: Connection = Connection()


class SubscriberPlan(_StagePlan, frozen=True, kw_only=True, tag="subscriber"):
    """Takes ticks from a relay, as so many clients."""

    url: str
    clients: int
    connection: Connection = Connection()


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the relay's clients may do."""

    max_message_bytes: int = MAX_MESSAGE_BYTES
    max_clients: int = 10_000
    client_rate_hz: int = 0
    """Messages a second that one may send; 0: any number."""
    subscriber_queue: int = DEFAULT_SUBSCRIBER_QUEUE
    """Ticks that a subscriber may be behind."""
    slow_client: str = DROP_OLDEST
    """What becomes of one that is further behind; or `disconnect`."""
    ping_after_s: float = 5.0
    """Of silence."""
    ping_timeout_s: float = 4.0
    """For any sign of life after that: half-open connections are found within 10 s."""
    deflate: bool = False
    """Whether permessage-deflate (RFC 7692) may be agreed on."""
    token: str = ""
    """Without it no ticks are taken; "": from anyone."""
    origins: tuple[str, ...] = ()
    """Whose pages may connect, besides the relay's own."""
    tls_cert: str = ""
    tls_key: str = ""
    """Files; "": no TLS."""


class RelayPlan(_StagePlan, frozen=True, kw_only=True, tag="relay"):
    """Takes ticks from WebSocket clients and produces each to Kafka."""

    host: str
    port: int
    ws_engine: str
    kafka_client: str
    topic: str
    producer: dict[str, str | int | float | bool]
    """librdkafka's properties, complete."""
    partitions: int | None = None
    """Spread keys over the first so many partitions itself; None: the producer's partitioner."""
    server: ServerSettings = ServerSettings()


class ConsumerPlan(_StagePlan, frozen=True, kw_only=True, tag="consumer"):
    """Takes ticks off the topic."""

    kafka_client: str
    topic: str
    partitions: int
    consumer: dict[str, str | int | float | bool]
    """librdkafka's properties, complete."""


class BrokerPlan(_StagePlan, frozen=True, kw_only=True, tag="broker"):
    """librdkafka's mock cluster."""


class DelayStep(msgspec.Struct, frozen=True):
    """What a proxy does from one moment on, until the next step's."""

    offset_ns: int
    """After the run's start."""
    delay_ns: int


class ProxyPlan(_StagePlan, frozen=True, kw_only=True, tag="proxy"):
    """Stands between two ends and holds back what goes in one of the two directions."""

    host: str
    """Listens here, on a free port for each upstream."""
    upstreams: tuple[tuple[str, int], ...]
    steps: tuple[DelayStep, ...]
    """In order; before the first nothing is held back."""
    towards_upstream: bool
    """Which direction is held back; the other one passes at once."""
    is_kafka: bool
    """Upstreams are brokers: the proxy's addresses take the place of theirs in what they say."""
    passing_bytes: int = 0
    """Of a broker's answers, those of fewer bytes pass at once."""


class EchoPlan(_StagePlan, frozen=True, kw_only=True, tag="echo"):
    """Sends back what it is sent: the other end of the floor's probes."""

    ws_engine: str


class ProbePlan(_StagePlan, frozen=True, kw_only=True, tag="probe"):
    """Measures the floor: of the way to an `EchoPlan`'s process and back, and of a broker."""

    tcp_address: tuple[str, int]
    ws_address: tuple[str, int]
    ws_engine: str
    topic: str
    producer: dict[str, str | int | float | bool]
    consumer: dict[str, str | int | float | bool]
    """librdkafka's properties, complete."""
    producer_cpu: int | None = None
    consumer_cpu: int | None = None
    """Where the Kafka clients are pinned, as those of a run are."""
    samples: int
    """Of each probe, warm-up included."""
    interval_ns: int


StagePlan = (
    GeneratorPlan
    | RelayPlan
    | ConsumerPlan
    | SubscriberPlan
    | BrokerPlan
    | ProxyPlan
    | EchoPlan
    | ProbePlan
)
