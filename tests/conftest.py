"""Fixtures that more than one test module uses."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.cli import Caller
from tests.kafka import KafkaServer

# Machines stall for 50 to 130 ms now and then: a deadline for each example, or a limit of the time
# that making them takes, would fail by luck.
settings.register_profile("latbench", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("latbench")

# A shell without job control starts what it puts in the background with Ctrl-C ignored, and what
# that starts inherits it: the tests that press Ctrl-C would press in vain.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaServer]:
    """A real Kafka for the whole session; fails, rather than skips, where Java is missing."""
    with KafkaServer() as server:
        yield server


@pytest.fixture
def kafka_topic() -> str:
    """A topic name that no other test uses; the topic is not made."""
    return f"ticks-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def call_latbench(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Caller:
    """Runs the command line within this process."""
    return Caller(capsys, monkeypatch)
