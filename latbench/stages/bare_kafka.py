"""One message at a time through the broker: the floors of the hops `kafka` and `ack`.

Producer and consumer have the run's own properties and live in one process: a thread that
produces, one that polls for the broker's answers, one that consumes.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from latbench.clock import NS_PER_S, monotonic_ns
from latbench.errors import LatbenchError
from latbench.plan import ProbePlan
from latbench.stages.metronome import Metronome

_BYTES: Final = 330
"""As long as a simulated tick with all its stamps."""
_PARTITION: Final = 0
_POLL_S: Final = 0.1
_PATIENCE_NS: Final = 10 * NS_PER_S
_LONGEST: Final = 1.5
_LONGEST_AT_LEAST_NS: Final = 5 * NS_PER_S // 2
"""How long it goes on with a broker that is slower than its pace, as a multiple of what the samples
would take: it then gets fewer, and with them fewer percentiles. The embedded broker, 1.3 ms for a
message, gets 1,600 in 2.5 s."""


class KafkaPing:
    """Produces one message at each deadline, never with another one on its way.

    A deadline that passes before the last message is acknowledged and back is passed over.
    """

    def __init__(self, plan: ProbePlan, stopping: Callable[[], bool]) -> None:
        self.acks_ns: list[int] = []
        """From before `produce` until the delivery callback is called, by a thread that polls."""
        self.consumes_ns: list[int] = []
        """From before `produce` until `poll` returns it in the consumer's thread."""
        self._plan = plan
        self._stopping = stopping
        self._marker = plan.run_id.encode()
        self._head = struct.Struct(f"={len(self._marker)}sq")
        self._padding = b"x" * (_BYTES - self._head.size)
        self._answered = 0
        self._error: KafkaError | None = None
        self._ended = threading.Event()

    def run(self) -> None:
        """Fill `acks_ns` and `consumes_ns`; raises `LatbenchError` when the broker won't."""
        plan = self._plan
        # librdkafka's threads and ours stay where the thread is that makes them
        _pin(plan.consumer_cpu)
        consumer = Consumer(dict(plan.consumer))
        consumer.assign([self._end_of_topic(consumer)])
        with contextlib.closing(consumer), self._thread(lambda: self._consume(consumer)):
            _pin(plan.producer_cpu)
            producer = Producer(dict(plan.producer))
            with self._thread(lambda: self._poll(producer)):
                self._produce(producer)

    def _end_of_topic(self, consumer: Consumer) -> TopicPartition:
        topic = self._plan.topic
        try:
            _, end = consumer.get_watermark_offsets(TopicPartition(topic, _PARTITION), timeout=10.0)
        except KafkaException as error:
            raise LatbenchError(
                f"the end of topic {topic} can't be read: {error.args[0].str()}",
                "its partition has no leader, or this user may not read it",
            ) from None
        return TopicPartition(topic, _PARTITION, end)

    @contextlib.contextmanager
    def _thread(self, target: Callable[[], None]) -> Iterator[None]:
        thread = threading.Thread(target=target, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def _produce(self, producer: Producer) -> None:
        plan, metronome = self._plan, Metronome(self._plan.interval_ns)
        produce, on_delivery, pack = producer.produce, self._on_delivery, self._head.pack
        topic, marker, padding = plan.topic, self._marker, self._padding
        begun_ns = moved_ns = monotonic_ns()
        longest_ns = max(int(_LONGEST * plan.samples * plan.interval_ns), _LONGEST_AT_LEAST_NS)
        sent = 0
        while not self._stopping():
            metronome.wait()
            if self._answered < sent or len(self.consumes_ns) < sent:
                self._check(monotonic_ns() - moved_ns)
                continue
            moved_ns = monotonic_ns()
            if sent >= plan.samples or moved_ns - begun_ns > longest_ns:
                return
            sent += 1
            try:
                value = pack(marker, monotonic_ns()) + padding
                produce(topic, value, None, _PARTITION, on_delivery=on_delivery)
            except KafkaException as error:
                self._error = error.args[0]
                self._check(0)

    def _check(self, waited_ns: int) -> None:
        """Raise what keeps a message from coming back."""
        if self._error is not None:
            raise LatbenchError(
                f"the broker does not take the floor's messages: {self._error.str()}",
                f"they go to topic {self._plan.topic}",
            )
        if waited_ns > _PATIENCE_NS:
            raise LatbenchError(
                f"a message of the floor has not come back within {_PATIENCE_NS // NS_PER_S} s",
                f"they go to topic {self._plan.topic}: look at the broker",
            )

    def _poll(self, producer: Producer) -> None:
        poll, ended = producer.poll, self._ended.is_set
        while not ended():
            poll(_POLL_S)

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:  # hot path
        acked_ns = monotonic_ns()
        if error is not None:
            self._error = error
            return
        value = message.value()
        if message.offset() is not None and isinstance(value, bytes):  # None: acks=0, no answer
            self.acks_ns.append(acked_ns - self._head.unpack_from(value)[1])
        self._answered += 1

    def _consume(self, consumer: Consumer) -> None:
        poll, ended, marker = consumer.poll, self._ended.is_set, self._marker
        unpack, size, take = self._head.unpack_from, self._head.size, self.consumes_ns.append
        while not ended():  # hot path
            message = poll(_POLL_S)
            consumed_ns = monotonic_ns()
            if message is None or message.error() is not None:
                continue
            value = message.value()
            if isinstance(value, bytes) and len(value) >= size and value.startswith(marker):
                take(consumed_ns - unpack(value)[1])


def _pin(cpu: int | None) -> None:
    """Keep this thread, and those it makes, on a CPU."""
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
