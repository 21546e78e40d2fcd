"""The broker module against a real Kafka."""

from __future__ import annotations

import re
import time

import pytest
from confluent_kafka.admin import AdminClient

from latbench.broker import (
    check_properties,
    consumer_properties,
    prepare_topic,
    producer_properties,
)
from latbench.config import RunConfig
from latbench.errors import LatbenchError, UsageError
from tests.kafka import WARM_SHORT, KafkaServer, kafka_version, warm


def config(server: KafkaServer, topic: str, partitions: int | None = None) -> RunConfig:
    return RunConfig(broker=server.bootstrap, topic=topic, partitions=partitions)


def test_a_topic_is_made_with_the_partitions_asked_for(
    kafka: KafkaServer, kafka_topic: str
) -> None:
    facts = prepare_topic(config(kafka, kafka_topic, 3), kafka.bootstrap)
    assert facts.partitions == 3
    assert facts.kind == "kafka"
    assert facts.bootstrap == kafka.bootstrap
    assert facts.cluster_id == kafka.cluster_id
    topics = AdminClient({"bootstrap.servers": kafka.bootstrap}).list_topics(timeout=5).topics
    assert len(topics[kafka_topic].partitions) == 3


def test_a_topic_is_made_with_one_partition_unless_told(
    kafka: KafkaServer, kafka_topic: str
) -> None:
    assert prepare_topic(config(kafka, kafka_topic), kafka.bootstrap).partitions == 1


def test_a_topic_that_exists_is_adopted(kafka: KafkaServer, kafka_topic: str) -> None:
    prepare_topic(config(kafka, kafka_topic, 4), kafka.bootstrap)
    assert prepare_topic(config(kafka, kafka_topic), kafka.bootstrap).partitions == 4
    assert prepare_topic(config(kafka, kafka_topic, 4), kafka.bootstrap).partitions == 4


def test_a_topic_of_other_partitions_is_refused(kafka: KafkaServer, kafka_topic: str) -> None:
    prepare_topic(config(kafka, kafka_topic, 4), kafka.bootstrap)
    with pytest.raises(UsageError) as caught:
        prepare_topic(config(kafka, kafka_topic, 2), kafka.bootstrap)
    assert caught.value.message == f"topic {kafka_topic} has 4 partitions, not 2"
    assert "--partitions 4" in caught.value.hint


def test_a_topic_that_cannot_be_made_is_told_with_the_brokers_words(kafka: KafkaServer) -> None:
    with pytest.raises(LatbenchError) as caught:
        prepare_topic(config(kafka, "no topic"), kafka.bootstrap)
    assert caught.value.message.startswith(f"topic no topic can't be made at {kafka.bootstrap}: ")
    assert "\n" not in caught.value.message


def test_the_release_is_recognised(kafka: KafkaServer, kafka_topic: str) -> None:
    told = prepare_topic(config(kafka, kafka_topic), kafka.bootstrap).version
    major_minor = ".".join(kafka_version().split(".")[:2])
    pattern = rf"{major_minor} \(metadata\.version {major_minor}-IV\d, level \d+\)"
    assert re.fullmatch(pattern, told)


def test_a_failing_login_is_told_as_such(kafka: KafkaServer, kafka_topic: str) -> None:
    login = {"security.protocol": "sasl_plaintext", "sasl.mechanism": "PLAIN"}
    login |= {"sasl.username": "me", "sasl.password": "guess"}
    run = RunConfig(broker=kafka.bootstrap, topic=kafka_topic, producer=login, consumer=login)
    check_properties(
        producer_properties(run, kafka.bootstrap), consumer_properties(run, kafka.bootstrap)
    )
    with pytest.raises(LatbenchError, match=r"after 1 s: SASL PLAIN mechanism handshake failed"):
        prepare_topic(run, kafka.bootstrap, timeout_s=1)


def test_a_paused_broker_does_not_answer(kafka: KafkaServer, kafka_topic: str) -> None:
    kafka.pause()
    try:
        start_s = time.monotonic()
        with pytest.raises(LatbenchError, match="no broker answers at"):
            prepare_topic(config(kafka, kafka_topic), kafka.bootstrap, timeout_s=0.5)
        assert time.monotonic() - start_s < 3
    finally:
        kafka.resume()


def test_topics_outlive_a_restart_on_the_same_address(kafka: KafkaServer, kafka_topic: str) -> None:
    prepare_topic(config(kafka, kafka_topic, 2), kafka.bootstrap)
    before = kafka.bootstrap
    kafka.restart()
    assert kafka.bootstrap == before
    assert prepare_topic(config(kafka, kafka_topic), before).partitions == 2


def test_warming_produces_and_consumes(kafka: KafkaServer) -> None:
    sent = sum(int(phase.rate_hz * phase.seconds) for phase in WARM_SHORT)
    assert warm(kafka.bootstrap, WARM_SHORT) == sent
