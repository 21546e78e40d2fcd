"""Broker properties, addresses and errors, without a broker."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import confluent_kafka
import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]
from hypothesis import given
from hypothesis import strategies as st

from latbench.broker import (
    check_properties,
    consumer_properties,
    mock_bootstrap,
    parse_bootstrap,
    prepare_topic,
    producer_properties,
)
from latbench.config import RunConfig
from latbench.errors import LatbenchError, UsageError
from latbench.result import BrokerFacts
from tests.kafka import kafka_version

KAFKA = RunConfig(broker="localhost:9092")
HOSTS = st.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True) | st.ip_addresses(v=6).map(str)


def check(producer: dict[str, str] | None = None, consumer: dict[str, str] | None = None) -> None:
    config = RunConfig(broker="localhost:9092", producer=producer or {}, consumer=consumer or {})
    check_properties(producer_properties(config, "x:1"), consumer_properties(config, "x:1"))


@given(st.lists(st.tuples(HOSTS, st.integers(1, 65_535)), min_size=1, max_size=4))
def test_bootstrap_gives_every_host_and_port(addresses: list[tuple[str, int]]) -> None:
    text = ",".join(
        f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in addresses
    )
    assert parse_bootstrap(text) == tuple(addresses)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost",
        ":9092",
        "host:port:x",
        "host:",
        "host:9 ",
        "a:1,",
        "a:1, b:2",
        "a:+1",
        "a:\u0661",
        "::1:9092",
        "[::1:9092",
        "[x]:9092",
        "[]:1",
        "http://host:9092",
    ],
)
def test_what_is_not_host_and_port_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not host:port") as caught:
        parse_bootstrap(text)
    assert caught.value.message == f"broker {text!r} is not host:port"
    assert caught.value.hint == "write --broker localhost:9092"


@pytest.mark.parametrize("port", [0, 65_536, 999_999_999])
def test_a_port_out_of_range_is_refused(port: int) -> None:
    with pytest.raises(UsageError) as caught:
        parse_bootstrap(f"a:1,host:{port}")
    expected = f"port {port} of broker 'a:1,host:{port}' is not between 1 and 65535"
    assert caught.value.message == expected


@given(st.text(max_size=30))
def test_any_text_is_addresses_or_a_usage_error(text: str) -> None:
    try:
        addresses = parse_bootstrap(text)
    except UsageError:
        return
    assert all(host and 1 <= port <= 65_535 for host, port in addresses)


def test_options_reach_the_producer() -> None:
    config = RunConfig(broker="h:1", acks="1", linger_ms=0.5, compression="zstd")
    properties = producer_properties(config, "h:1")
    assert properties["bootstrap.servers"] == "h:1"
    assert properties["acks"] == "1"
    assert properties["linger.ms"] == 0.5
    assert properties["compression.type"] == "zstd"


def test_the_users_properties_win_over_options_and_defaults() -> None:
    config = RunConfig(
        producer={"linger.ms": "7", "max.in.flight.requests.per.connection": "5"},
        consumer={"enable.auto.commit": "true", "group.id": "mine"},
    )
    producer = producer_properties(config, "h:1")
    assert producer["linger.ms"] == "7"
    assert producer["max.in.flight.requests.per.connection"] == "5"
    consumer = consumer_properties(config, "h:1")
    assert consumer["enable.auto.commit"] == "true"
    assert consumer["group.id"] == "mine"


def test_the_users_property_by_another_name_replaces_ours() -> None:
    config = RunConfig(producer={"queue.buffering.max.ms": "7", "request.required.acks": "1"})
    properties = producer_properties(config, "h:1")
    assert properties["queue.buffering.max.ms"] == "7"
    assert "linger.ms" not in properties
    assert "acks" not in properties


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("bootstrap.servers", "use --broker host:port"),
        ("metadata.broker.list", "use --broker host:port"),
        ("test.mock.num.brokers", "use --broker embedded"),
    ],
)
def test_what_both_clients_must_agree_on_is_not_for_one(key: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        producer_properties(RunConfig(producer={key: "1"}), "h:1")
    assert caught.value.message == f"producer property {key}=1 has an option of its own"
    assert caught.value.hint == hint
    with pytest.raises(UsageError, match="consumer property"):
        consumer_properties(RunConfig(consumer={key: "1"}), "h:1")


def test_every_consumer_has_a_group_of_its_own() -> None:
    groups = {consumer_properties(KAFKA, "h:1")["group.id"] for _ in range(3)}
    assert len(groups) == 3


def test_a_fetch_waits_long_at_a_broker_that_wakes_it_and_hardly_at_the_mock() -> None:
    assert consumer_properties(KAFKA, "h:1")["fetch.wait.max.ms"] == 500
    assert consumer_properties(RunConfig(), "h:1")["fetch.wait.max.ms"] == 1


@pytest.mark.parametrize("acks", ["0", "1", "all"])
@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_librdkafka_takes_our_properties(acks: str, compression: str) -> None:
    for config in (
        RunConfig(acks=acks, compression=compression),
        RunConfig(broker="h:1", acks=acks, compression=compression),
    ):
        check_properties(producer_properties(config, "h:1"), consumer_properties(config, "h:1"))


@pytest.mark.parametrize(
    ("which", "properties", "message"),
    [
        ("producer", {"nope": "1"}, "no producer property is called 'nope'"),
        ("consumer", {"on_delivery": "f"}, "consumer property on_delivery takes Python code"),
        ("producer", {"logger": "x"}, "producer property logger takes Python code, not text"),
        ("producer", {"error_cb": "x"}, "producer property error_cb takes Python code, not text"),
        ("producer", {"linger.ms": "soon"}, "producer property linger.ms can't be 'soon': "),
        ("producer", {"linger.ms": "-1"}, "producer property linger.ms can't be '-1': "),
        ("producer", {"linger.ms": ""}, "producer property linger.ms can't be '': "),
        ("producer", {"opaque": "x"}, "producer property opaque can't be 'x': "),
        ("producer", {"fetch.min.bytes": "1"}, "fetch.min.bytes is a consumer property, not a pr"),
        ("consumer", {"linger.ms": "1"}, "linger.ms is a producer property, not a consumer one"),
        (
            "consumer",
            {"queue.buffering.max.ms": "1"},
            "queue.buffering.max.ms is a producer property, not a consumer one",
        ),
        ("consumer", {"auto.offset.reset": "x"}, "consumer property auto.offset.reset can't be 'x"),
        ("consumer", {"group.id": ""}, "consumer property group.id is empty"),
        (
            "producer",
            {"enable.idempotence": "true", "acks": "1"},
            "producer properties don't fit: Failed to create producer: `acks` must be set to `all`",
        ),
    ],
)
def test_what_librdkafka_refuses_or_ignores_is_a_usage_error(
    which: str, properties: dict[str, str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError) as caught:
        check(**{which: properties})
    assert caught.value.message.startswith(message)
    assert "\n" not in caught.value.message
    assert caught.value.hint
    assert capfd.readouterr() == ("", "")


def test_an_unknown_property_is_named_with_the_way_out() -> None:
    with pytest.raises(UsageError) as caught:
        check(producer={"lingerms": "1"})
    assert caught.value.message == "no producer property is called 'lingerms'"
    assert caught.value.hint == "librdkafka's CONFIGURATION.md lists them"


def test_checking_leaves_neither_threads_nor_noise(capfd: pytest.CaptureFixture[str]) -> None:
    check()
    before = len(os.listdir("/proc/self/task"))  # noqa: PTH208
    for _ in range(3):
        check(producer={"debug": "all"}, consumer={"debug": "all"})
    assert len(os.listdir("/proc/self/task")) <= before  # noqa: PTH208
    assert capfd.readouterr() == ("", "")


def test_nobody_at_the_address_is_told_in_one_line_in_time(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    start_s = time.monotonic()
    with pytest.raises(LatbenchError) as caught:
        prepare_topic(RunConfig(broker="x:1"), f"localhost:{port}", timeout_s=0.5)
    assert time.monotonic() - start_s < 3
    assert caught.value.message == f"no broker answers at localhost:{port} after 0.5 s"
    assert (
        caught.value.hint
        == "docker compose up -d kafka starts one at localhost:9092; --broker embedded needs none"
    )
    assert not isinstance(caught.value, UsageError)
    assert capfd.readouterr() == ("", "")


def test_a_listener_that_says_nothing_is_no_broker() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        start_s = time.monotonic()
        with pytest.raises(LatbenchError, match="no broker answers at"):
            prepare_topic(RunConfig(broker="x:1"), f"127.0.0.1:{port}", timeout_s=0.5)
        assert time.monotonic() - start_s < 3


def test_a_host_without_an_address_is_told_as_such() -> None:
    with pytest.raises(LatbenchError) as caught:
        prepare_topic(RunConfig(broker="x:1"), "no-such-host.invalid:9092", timeout_s=0.5)
    expected = "no broker answers at no-such-host.invalid:9092 after 0.5 s: Failed to resolve "
    assert caught.value.message.startswith(expected)
    assert "(after" not in caught.value.message


def test_a_malformed_address_is_refused_before_connecting() -> None:
    with pytest.raises(UsageError, match="is not host:port"):
        prepare_topic(RunConfig(broker="localhost"), "localhost")


def test_the_embedded_broker_is_found_and_described() -> None:
    producer = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "x:1", "log_level": 0})
    bootstrap = mock_bootstrap(producer)
    assert bootstrap.startswith("127.0.0.1:")
    facts = prepare_topic(RunConfig(partitions=2), bootstrap)
    assert (facts.kind, facts.partitions, facts.bootstrap) == ("embedded", 2, bootstrap)
    assert facts.version == confluent_kafka.libversion()[0]
    assert prepare_topic(RunConfig(), bootstrap).partitions == 1
    producer.close()


def test_the_embedded_broker_has_no_more_than_four_partitions() -> None:
    with pytest.raises(UsageError) as caught:
        prepare_topic(RunConfig(partitions=5), "127.0.0.1:1")
    assert caught.value.message == "the embedded broker has 4 partitions, not 5"


def test_an_embedded_broker_that_did_not_start_is_an_error() -> None:
    producer = Producer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})
    with pytest.raises(LatbenchError, match="the embedded broker did not start: "):
        mock_bootstrap(producer, timeout_s=0.2)
    producer.close()


class ScriptedAdmin:
    """Stands in for confluent-kafka's client: a broker whose topics come and go as a test says."""

    def __init__(self, topics: list[dict[str, list[int]]], created: KafkaError | None) -> None:
        self.topics = topics
        self.created: Future[None] = Future()
        if created is not None:
            self.created.set_exception(KafkaException(created))

    def list_topics(self, _topic: str = "", timeout: float = 0) -> SimpleNamespace:
        now = self.topics.pop(0) if len(self.topics) > 1 else self.topics[0]
        if "gone" in now:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        topics = {
            name: SimpleNamespace(
                error=None,
                partitions={i: SimpleNamespace(leader=leader) for i, leader in enumerate(leaders)},
            )
            for name, leaders in now.items()
        }
        return SimpleNamespace(topics=topics, cluster_id=None)

    def create_topics(
        self, topics: list[NewTopic], request_timeout: float
    ) -> dict[str, Future[None]]:
        return {topics[0].topic: self.created}


def prepare_scripted(
    monkeypatch: pytest.MonkeyPatch,
    topics: list[dict[str, list[int]]],
    created: KafkaError | None = None,
) -> BrokerFacts:
    admin = ScriptedAdmin(topics, created)
    monkeypatch.setattr("latbench.broker.AdminClient", lambda _: admin)
    monkeypatch.setattr("latbench.kafka_version.broker_version", lambda _: "unknown")
    return prepare_topic(RunConfig(broker="x:1", topic="t"), "x:1", timeout_s=0.2)


def test_a_topic_that_somebody_makes_meanwhile_is_adopted(monkeypatch: pytest.MonkeyPatch) -> None:
    exists = KafkaError(KafkaError.TOPIC_ALREADY_EXISTS)
    facts = prepare_scripted(monkeypatch, [{}, {"t": [1, 1, 1]}], exists)
    assert facts.partitions == 3
    assert facts.cluster_id == ""


def test_a_topic_is_waited_for_until_each_partition_has_a_leader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    topics: list[dict[str, list[int]]] = [{"t": []}, {"gone": []}, {"t": []}, {"t": [-1, 1]}]
    assert prepare_scripted(monkeypatch, [*topics, {"t": [1, 1]}]).partitions == 2


def test_a_topic_without_a_leader_is_an_error_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LatbenchError) as caught:
        prepare_scripted(monkeypatch, [{"t": [1, -1]}])
    assert caught.value.message == "topic t at x:1 has no leader after 0.2 s"


def test_a_topic_that_is_never_made_is_an_error_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LatbenchError) as caught:
        prepare_scripted(monkeypatch, [{}])
    assert caught.value.message == "topic t can't be made at x:1: no answer after 0.2 s"


def test_no_message_shows_a_secret() -> None:
    with pytest.raises(UsageError) as caught:
        check(producer={"security.protocol": "ssl", "ssl.key.pem": "hush"})
    assert "hush" not in caught.value.message


def test_compose_runs_the_kafka_that_the_tests_run() -> None:
    compose = Path(__file__).parents[1] / "docker-compose.yml"
    assert f"image: apache/kafka:{kafka_version()}\n" in compose.read_text()


def test_without_java_the_test_kafka_says_what_to_install(tmp_path: Path) -> None:
    tried = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("kafka.py"))],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert tried.returncode == 1
    assert tried.stderr.startswith("java is not on the PATH: install a JDK")
