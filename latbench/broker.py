"""The broker of a run: its properties, whether it answers, its topic, and what it is."""

from __future__ import annotations

import ipaddress
import logging
import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import confluent_kafka
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # NewTopic: not in its __all__
    AdminClient,
    ClusterMetadata,
    NewTopic,
    TopicMetadata,
)

from latbench import client_statistics, kafka_version
from latbench.config import EMBEDDED_PARTITIONS, RunConfig, is_secret
from latbench.errors import LatbenchError, UsageError
from latbench.result import BrokerFacts

Properties = dict[str, str | int | float | bool]
"""librdkafka's properties, as `RelayPlan` and `ConsumerPlan` carry them."""

_CATALOGUE: Final = "librdkafka's CONFIGURATION.md lists them"
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+")
_MAX_PORT: Final = 65_535
_POLL_S: Final = 0.005
"""Nobody is told that a new topic's leader is there; asking takes half a millisecond."""
EAGER: Final[Mapping[str, bool]] = {"enable.sparse.connections": False}
"""For clients of the embedded broker that make a run wait: after the bootstrap connection each
connects again to the same broker under its number, which librdkafka puts off for 50 ms."""

_ALIASES: Final = {
    "acks": "request.required.acks",
    "compression.type": "compression.codec",
    "delivery.timeout.ms": "message.timeout.ms",
    "linger.ms": "queue.buffering.max.ms",
    "max.in.flight.requests.per.connection": "max.in.flight",
}
"""Second names of properties that have a default here: the user's one replaces ours."""

_OPTION_OF: Final = {
    "bootstrap.servers": "--broker host:port",
    "metadata.broker.list": "--broker host:port",
    # in a client of its own this would be a cluster of its own
    "test.mock.num.brokers": "--broker embedded",
}
"""Properties that one client can't differ in from the other, and what sets them for both."""

_PYTHON_ONLY: Final = frozenset(
    {
        "default.topic.config",
        "delivery.report.only.error",
        "error_cb",
        "logger",
        "oauth_cb",
        "on_commit",
        "on_delivery",
        "stats_cb",
        "throttle_cb",
    }
)
"""Properties of confluent-kafka that take an object; text for one raises four different types."""

_IGNORED: Final = re.compile(
    r"Configuration property (?P<name>\S+) is a (?P<other>producer|consumer) property"
)


def parse_bootstrap(text: str) -> tuple[tuple[str, int], ...]:
    """Hosts and ports of `host:port[,host:port…]`; an IPv6 address stands in brackets."""
    return tuple(_parse_address(address, text) for address in text.split(","))


def _parse_address(address: str, text: str) -> tuple[str, int]:
    hint = "write --broker localhost:9092"
    host, colon, port_text = address.rpartition(":")
    if not colon or not _is_host(host) or not re.fullmatch(r"[0-9]{1,9}", port_text):
        raise UsageError(f"broker {text!r} is not host:port", hint)
    port = int(port_text)
    if not 1 <= port <= _MAX_PORT:
        raise UsageError(f"port {port} of broker {text!r} is not between 1 and 65535", hint)
    return host.removeprefix("[").removesuffix("]"), port


def _is_host(host: str) -> bool:
    if host.startswith("[") and host.endswith("]"):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            return False
        return True
    return _HOST.fullmatch(host) is not None


def producer_properties(config: RunConfig, bootstrap: str) -> Properties:
    """Everything for the relay's producer: our defaults, then the options, then `--producer`."""
    ours: Properties = {
        "bootstrap.servers": bootstrap,
        "acks": config.acks,
        "linger.ms": config.linger_ms,
        "compression.type": config.compression,
        "socket.nagle.disable": True,
        # With linger 0 every message would be a request of its own and the broker drown in them;
        # with one in flight, what comes meanwhile makes the next batch. A retry can't reorder.
        "max.in.flight.requests.per.connection": 1,
        # Room for seconds of a stalled broker: it should show as latency, not as back-pressure.
        "queue.buffering.max.messages": 1_000_000,
        "queue.buffering.max.kbytes": 1_048_576,
        # A tick that is late is a result, one given up is not: as long as Java's default, which is
        # beyond any wait for the last ticks of a run.
        "delivery.timeout.ms": 120_000,
        # A broker that comes back is found within a second; librdkafka would take up to ten.
        "reconnect.backoff.max.ms": 1_000,
        # The topic was there when the run began: once it is gone, say so, rather than hold ticks
        # for half a minute in the hope that it is yet to appear.
        "topic.metadata.propagation.max.ms": 5_000,
        # Where its time goes, once a second: 45 µs in the relay's other thread.
        "statistics.interval.ms": client_statistics.INTERVAL_MS,
    }
    return _with_users(ours, config.producer, "producer")


def consumer_properties(config: RunConfig, bootstrap: str) -> Properties:
    """Everything for the consumer: our defaults, then `--consumer`; each call has its own group."""
    ours: Properties = {
        "bootstrap.servers": bootstrap,
        # Never another run's offsets, nor a share of its partitions.
        "group.id": f"latbench-{uuid.uuid4().hex}",
        "enable.auto.commit": False,
        # A tick produced before the consumer's first fetch counts as well.
        "auto.offset.reset": "earliest",
        "socket.nagle.disable": True,
        "fetch.min.bytes": 1,
        # A broker wakes a waiting fetch when data comes, so a long wait costs nothing and saves
        # requests. librdkafka's mock doesn't: there the wait is the latency's floor, and 0 a busy
        # core.
        "fetch.wait.max.ms": 1 if config.is_embedded else 500,
        # Both are pauses in which nothing is fetched: after an error (500 ms by default) and when
        # the local queue is full (1 s).
        "fetch.error.backoff.ms": 10,
        "fetch.queue.backoff.ms": 1,
        "reconnect.backoff.max.ms": 1_000,
        "statistics.interval.ms": client_statistics.INTERVAL_MS,
        # As librdkafka has them; said here because a figure would mean something else otherwise.
        "check.crcs": False,
        "enable.partition.eof": False,
    }
    return _with_users(ours, config.consumer, "consumer")


def _with_users(ours: Properties, users: Mapping[str, str], which: str) -> Properties:
    for key, option in _OPTION_OF.items():
        if key in users:
            raise UsageError(
                f"{which} property {key}={users[key]} has an option of its own", f"use {option}"
            )
    kept = {key: value for key, value in ours.items() if _ALIASES.get(key) not in users}
    return {**kept, **users}


def check_options(config: RunConfig) -> None:
    """Raise `UsageError` for an address or a property that can't be; connects nowhere."""
    if config.kept_broker or not config.is_embedded:
        parse_bootstrap(config.kept_broker or config.broker)
    bootstrap = "127.0.0.1:1" if config.is_embedded else config.broker
    check_properties(producer_properties(config, bootstrap), consumer_properties(config, bootstrap))


def check_properties(producer: Mapping[str, Any], consumer: Mapping[str, Any]) -> None:
    """Raise `UsageError` for a property that librdkafka would refuse or ignore; connects nowhere.

    Takes complete properties, as `producer_properties` and `consumer_properties` make them, since
    some clash only together; `bootstrap.servers` is left out of the trial. Takes a few ms.
    """
    _check(Producer, producer, "producer")
    _check(Consumer, {"group.id": "latbench", **consumer}, "consumer")


def _check(
    client: type[Producer] | type[Consumer], properties: Mapping[str, Any], which: str
) -> None:
    for key in _PYTHON_ONLY & properties.keys():
        raise UsageError(f"{which} property {key} takes Python code, not text", "leave it out")
    if not properties.get("group.id", "latbench"):
        # confluent-kafka 2.16 aborts the whole process on it
        raise UsageError(f"{which} property group.id is empty", "leave it out: latbench makes one")
    refusal = _refusal(client, properties)
    if refusal is None:
        return
    if ignored := _IGNORED.search(refusal):
        other, name = ignored["other"], ignored["name"]
        if name not in properties:  # it was given by the name that it has here
            name = next((key for key, first in _ALIASES.items() if first == name), name)
        raise UsageError(f"{name} is a {other} property, not a {which} one", f"use --{other}")
    if unknown := re.search(r'No such configuration property: "(.*)"', refusal):
        raise UsageError(f"no {which} property is called {unknown[1]!r}", _CATALOGUE)
    # librdkafka names a property by its first name and often leaves the value out
    for key, value in properties.items():
        if key != "group.id" and _refusal(client, {"group.id": "latbench", key: value}) == refusal:
            shown = "what it is" if is_secret(key) else repr(value)
            raise UsageError(f"{which} property {key} can't be {shown}: {refusal}", _CATALOGUE)
    raise UsageError(f"{which} properties don't fit: {refusal}", _CATALOGUE)


def _refusal(client: type[Producer] | type[Consumer], properties: Mapping[str, Any]) -> str | None:
    """What librdkafka says against the properties, in one line; None: nothing."""
    heard = _Heard()
    # Without an address it connects nowhere. Its log goes to `heard`: stderr belongs to the user,
    # and a property of the other side is only logged.
    trial = {key: value for key, value in properties.items() if key != "bootstrap.servers"}
    try:
        made = client({**trial, "logger": heard.logger})
    except (KafkaException, TypeError, ValueError) as error:
        return _one_line(error)
    try:
        made.poll(0)  # hands over what was logged
    finally:
        made.close()
    return next((line for line in heard.lines if _IGNORED.search(line)), None)


class _Heard(logging.Handler):
    """Keeps what a client logs."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.logger = logging.Logger("librdkafka")  # outside the tree: no other handlers
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def _one_line(error: BaseException) -> str:
    cause = error.args[0] if error.args else error
    text = cause.str() if isinstance(cause, KafkaError) else str(cause)
    return " ".join(text.split())


def prepare_topic(config: RunConfig, bootstrap: str, *, timeout_s: float = 5.0) -> BrokerFacts:
    """Connect, make or adopt the topic, wait until it can be written to, and tell of the broker.

    A topic that exists is taken as it is unless `config.partitions` says otherwise. The mock
    cluster makes topics of four partitions when asked about them; there, fewer is for the relay
    to keep to. `timeout_s` bounds each of: connecting, making, waiting for leaders.
    """
    addresses = parse_bootstrap(bootstrap)
    if config.is_embedded:
        _check_embedded_partitions(config)
    properties = producer_properties(config, bootstrap)
    client = _Admin(
        {**properties, **EAGER} if config.is_embedded else properties, bootstrap, timeout_s
    )
    cluster = client.connect()
    if config.is_embedded:
        client.wait_for_leaders(config.topic, EMBEDDED_PARTITIONS)
        return BrokerFacts(
            kind="embedded",
            version=confluent_kafka.libversion()[0],
            bootstrap=bootstrap,
            partitions=config.partitions or 1,
            cluster_id=cluster.cluster_id or "",
        )
    partitions = _make_or_adopt(client, cluster, config)
    plain = config.producer.get("security.protocol", "plaintext").lower() == "plaintext"
    return BrokerFacts(
        kind="kafka",
        version=kafka_version.broker_version(addresses) if plain else kafka_version.UNKNOWN,
        bootstrap=bootstrap,
        partitions=partitions,
        cluster_id=cluster.cluster_id or "",
    )


def prepare_topics(
    config: RunConfig, bootstrap: str, topics: Iterable[str], *, timeout_s: float = 5.0
) -> None:
    """Make other topics than the ticks', with one partition, where they are missing."""
    properties = producer_properties(config, bootstrap)
    client = _Admin(
        {**properties, **EAGER} if config.is_embedded else properties, bootstrap, timeout_s
    )
    there = client.connect().topics
    for topic in topics:
        if topic not in there and not config.is_embedded:
            client.create(topic, 1)
        client.wait_for_leaders(topic)


def _check_embedded_partitions(config: RunConfig) -> None:
    if config.partitions is not None and config.partitions > EMBEDDED_PARTITIONS:
        raise UsageError(
            f"the embedded broker has {EMBEDDED_PARTITIONS} partitions, not {config.partitions}",
            f"write --partitions {EMBEDDED_PARTITIONS}, or --broker host:port",
        )


def _make_or_adopt(client: _Admin, cluster: ClusterMetadata, config: RunConfig) -> int:
    topic, wanted = config.topic, config.partitions
    if topic not in cluster.topics and client.create(topic, wanted or 1):
        client.wait_for_leaders(topic, wanted or 1)
        return wanted or 1
    there = client.wait_for_leaders(topic)
    if wanted not in {None, there}:
        raise UsageError(
            f"topic {topic} has {_partitions(there)}, not {wanted}",
            f"leave --partitions out, write --partitions {there}, or name another --topic",
        )
    return there


def _partitions(count: int) -> str:
    return "1 partition" if count == 1 else f"{count} partitions"


class _Admin:
    """An admin client that keeps quiet, and turns what fails into errors with the address."""

    def __init__(self, properties: Properties, bootstrap: str, timeout_s: float) -> None:
        self._causes: list[KafkaError] = []
        # An admin client is a producer inside, so the producer's security settings serve. Its log
        # would go to stderr, line upon line for a broker that isn't there.
        settings: dict[str, Any] = {**properties, "log_level": 0, "error_cb": self._causes.append}
        self._client = AdminClient(settings)
        self._bootstrap = bootstrap
        self._timeout_s = timeout_s

    def connect(self) -> ClusterMetadata:
        """Metadata of all topics; asking about one would make it where brokers do that."""
        try:
            return self._client.list_topics(timeout=self._timeout_s)
        except KafkaException:
            pass
        raise LatbenchError(
            f"no broker answers at {self._bootstrap} after {self._timeout_s:g} s{self._cause()}",
            "docker compose up -d kafka starts one at localhost:9092; --broker embedded needs none",
        )

    def _cause(self) -> str:
        """Why, where it isn't just that nobody answers: ends the message."""
        self._client.poll(0)
        telling = {KafkaError._RESOLVE, KafkaError._AUTHENTICATION, KafkaError._SSL}
        for error in self._causes:
            if error.code() in telling:
                # without the address before it and the client's state after it
                return ": " + re.sub(r"^\S+: | \(after .*", "", error.str())
        return ""

    def create(self, topic: str, partitions: int) -> bool:
        """Make the topic with the broker's replication factor; False: somebody else just did."""
        made = self._client.create_topics(
            [NewTopic(topic, num_partitions=partitions, replication_factor=-1)],
            request_timeout=self._timeout_s,
        )[topic]
        try:
            error = made.exception(self._timeout_s + 1)
        except TimeoutError:
            error = TimeoutError(f"no answer after {self._timeout_s:g} s")
        if error is None:
            return True
        cause = error.args[0]
        if isinstance(cause, KafkaError) and cause.code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        raise LatbenchError(
            f"topic {topic} can't be made at {self._bootstrap}: {_one_line(error)}",
            "make it yourself, or name one that exists with --topic",
        )

    def wait_for_leaders(self, topic: str, partitions: int | None = None) -> int:
        """Wait until each partition (of as many as given) can be written to; how many there are."""

        def ready(found: TopicMetadata) -> bool:
            if found.error is not None or not found.partitions:
                return False
            if partitions is not None and len(found.partitions) != partitions:
                return False
            return all(part.leader >= 0 for part in found.partitions.values())

        found = self._poll(topic, ready)
        if found is None:
            raise LatbenchError(
                f"topic {topic} at {self._bootstrap} has no leader after {self._timeout_s:g} s",
                "look into the broker's log",
            )
        return len(found.partitions)

    def _poll(self, topic: str, ready: Callable[[TopicMetadata], bool]) -> TopicMetadata | None:
        deadline_s = time.monotonic() + self._timeout_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            try:
                found = self._client.list_topics(topic, timeout=left_s).topics.get(topic)
            except KafkaException:
                found = None
            if found is not None and ready(found):
                return found
            time.sleep(_POLL_S)
        return None


def broker_addresses(
    config: RunConfig, bootstrap: str, *, timeout_s: float = 5.0
) -> tuple[tuple[str, int], ...]:
    """Where the cluster's brokers say that they are to be reached."""
    client = _Admin(producer_properties(config, bootstrap), bootstrap, timeout_s)
    return tuple((str(broker.host), broker.port) for broker in client.connect().brokers.values())


def mock_bootstrap(producer: Producer, timeout_s: float = 5.0) -> str:
    """Where the mock cluster inside a producer with `test.mock.num.brokers` listens."""
    try:
        brokers = producer.list_topics(timeout=timeout_s).brokers
    except KafkaException as error:
        raise LatbenchError(f"the embedded broker did not start: {_one_line(error)}") from None
    return ",".join(f"{broker.host}:{broker.port}" for broker in brokers.values())
