"""The embedded broker: librdkafka's mock cluster in a process of its own.

It speaks the Kafka protocol but is no Kafka: nothing is written to a disk, a partition keeps the
last 5 MiB or 100,000 messages, and a waiting fetch is not woken when data arrives. Its figures
test the pipeline and are labelled so.
"""

from __future__ import annotations

from confluent_kafka import Producer

from latbench.broker import EAGER, mock_bootstrap
from latbench.control import Done, Ready
from latbench.plan import StagePlan
from latbench.ring import RingWriter
from latbench.stages.supervised import Supervisor


def run(plan: StagePlan, supervisor: Supervisor, rings: dict[str, RingWriter]) -> None:
    """Serve until told to stop."""
    del plan, rings
    producer = Producer(
        {
            "test.mock.num.brokers": 1,
            "bootstrap.servers": "127.0.0.1:1",
            "log_level": 0,
            **EAGER,
        }
    )
    supervisor.send(Ready(bootstrap=mock_bootstrap(producer)))
    supervisor.stopping.wait()
    supervisor.send(Done())
