"""What anyone who can reach the relay's socket may do to a run on a real Kafka."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from latbench.clock import NS_PER_S, monotonic_ns
from latbench.config import WS_ENGINES
from latbench.recording import ACKS, CONSUMER, GENERATOR, RELAY
from tests.accounts import check_accounts, check_verdict
from tests.attacks import KINDS, WILD, Attack, forged_tick
from tests.cli import Background, is_gone, start_latbench, wait_until
from tests.kafka import KafkaServer, free_port
from tests.runs import read_topic, recorded
from tests.websocket_client import PING, TEXT, RawClient, frame

each_engine = pytest.mark.parametrize("engine", WS_ENGINES)
MIB = 1 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The result file of the test's run, in a directory of its own."""
    (tmp_path / "results").mkdir()
    return tmp_path / "results" / "run.parquet"


def run_id(path: Path) -> str:
    """Of the run that goes on; anyone on the machine can read it."""
    preface = path.with_name(path.name + ".partial") / "run.json"
    return str(json.loads(preface.read_bytes())["run_id"])


@contextlib.contextmanager
def running(
    server: KafkaServer, topic: str, path: Path, engine: str, *options: object
) -> Iterator[tuple[Background, int]]:
    """A run in its middle, and the relay's port."""
    port = free_port()
    where = ("--broker", server.bootstrap, "--topic", topic, "--ws-engine", engine)
    more = ("--ws-port", port, "--warmup", "0.2", "--output", path, "--json", *options)
    with start_latbench("run", *where, *more, cwd=path.parent) as background:
        background.wait_for_phase("measuring")
        yield background, port


def resident_bytes(pid: int) -> int:
    """Physical memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@each_engine
def test_a_client_that_never_reads_its_answers_disturbs_nothing(
    kafka: KafkaServer, kafka_topic: str, path: Path, engine: str
) -> None:
    pings, refused = frame(PING, b"x" * 125) * 500, 0
    with running(kafka, kafka_topic, path, engine, "--duration", "4") as (background, port):
        relay = background.stages()["relay"]
        before_bytes = resident_bytes(relay)
        client, left = RawClient.upgraded(port), pings

        def is_held_up() -> bool:
            nonlocal left, refused
            taken = client.send_without_waiting(left)
            left = left[taken:] or pings
            refused = 0 if taken else refused + 1
            return refused > 50

        wait_until(is_held_up, 20, "the relay to read no more of it")
        assert resident_bytes(relay) - before_bytes < 50 * MIB
        run = background.finish()  # while the connection stays, full in both directions
        client.close()
    result = check_verdict(run, path, 0, "complete")
    accounts = check_accounts(result, path, read_topic(kafka.bootstrap, kafka_topic))
    assert len(accounts.on_topic) == len(accounts.rows) == 4200
    assert accounts.lost == []
    assert accounts.counts["malformed"] == accounts.counts["unknown"] == 0


def each_of(kind: st.SearchStrategy[Attack], throw: Callable[[Attack], None]) -> None:
    """A dozen of a kind."""
    thorough = settings(
        max_examples=12,
        phases=[Phase.generate],  # the run that an attack broke can't be broken again
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    thorough(given(kind)(throw))()  # type: ignore[call-arg]


@each_engine
def test_two_hundred_attacks_on_the_relay_lose_nothing_and_are_counted(
    kafka: KafkaServer, kafka_topic: str, path: Path, engine: str
) -> None:
    thrown: list[Attack] = []
    kept: list[RawClient] = []
    with running(kafka, kafka_topic, path, engine, "--duration", "120") as (background, port):
        stages = background.stages()

        def throw(one: Attack) -> None:
            thrown.append(one)
            client = one.throw(port)
            if client is not None:
                kept.append(client)
            assert background.process.poll() is None, background.stderr()

        for kind in KINDS:  # each for itself: drawn from all of them, some would not come at all
            each_of(kind, throw)
        assert len(thrown) >= 200
        assert background.stages() == stages
        background.signal(signal.SIGINT)
        run = background.finish(20)
        for client in kept:
            client.close()
    result = check_verdict(run, path, 130, "interrupted")
    records = read_topic(kafka.bootstrap, kafka_topic)
    accounts = check_accounts(result, path, records)
    assert accounts.lost == []
    assert len(accounts.on_topic) == len(accounts.rows) > 200
    names = Counter(one.name for one in thrown)
    sure, perhaps = sum(one.malformed for one in thrown), sum(one.perhaps for one in thrown)
    assert sure <= accounts.counts["malformed"] <= sure + perhaps, names
    foreign = len(records) - len(accounts.on_topic)
    assert accounts.counts["unknown"] == foreign == sum(one.relayed for one in thrown), names
    assert run.findings["malformed-messages"]["severity"] == "warning"
    assert run.findings["unknown-messages"]["severity"] == "warning"


@each_engine
def test_forged_ticks_of_a_wild_seq_are_no_ticks_of_the_run(
    kafka: KafkaServer, kafka_topic: str, path: Path, engine: str
) -> None:
    with running(kafka, kafka_topic, path, engine, "--duration", "3") as (background, port):
        forger = RawClient.upgraded(port)
        for seq in WILD:
            forger.send(frame(TEXT, forged_tick(run_id(path), seq)))
        assert forger.was_heard()
        forger.close()
        run = background.finish(20)
    result = check_verdict(run, path, 0, "complete")
    records = read_topic(kafka.bootstrap, kafka_topic)
    accounts = check_accounts(result, path, records)
    assert len(accounts.rows) == 3200
    assert accounts.lost == []
    assert sorted(accounts.on_topic) == sorted([*range(3200), *WILD])
    assert accounts.counts["unknown"] == len(WILD)
    assert run.findings["unknown-messages"]["values"]["count"] == len(WILD)


def test_forged_ticks_of_a_run_that_was_killed_are_read_in_bounded_time(
    kafka: KafkaServer, kafka_topic: str, path: Path
) -> None:
    with running(kafka, kafka_topic, path, "picows", "--duration", "60") as (background, port):
        forger = RawClient.upgraded(port)
        for seq in WILD:
            forger.send(frame(TEXT, forged_tick(run_id(path), seq)))
        assert forger.was_heard()
        sent = recorded(path, CONSUMER)
        wait_until(lambda: recorded(path, CONSUMER) > sent + 300)
        background.signal(signal.SIGKILL)
        background.process.wait(5)
        background.finish()
        forger.close()
    partial = path.with_name(path.name + ".partial")
    with start_latbench("report", partial, "--save", "--json", cwd=path.parent) as reporting:
        saved = reporting.finish(20)
    result = check_verdict(saved, path, 0, "recovered")
    assert result["counts"]["consumed"] > 300


def test_ticks_on_their_way_are_waited_for_however_many_were_forged(
    kafka: KafkaServer, kafka_topic: str, path: Path
) -> None:
    forged = [2**40 + number for number in range(3000)]
    options = ("--duration", "8", "--drain-timeout", "20s")
    with running(kafka, kafka_topic, path, "picows", *options) as (background, port):
        forger = RawClient.upgraded(port)
        for seq in forged:
            forger.send(frame(TEXT, forged_tick(run_id(path), seq)))
        assert forger.was_heard()
        forger.close()
        wait_until(lambda: recorded(path, CONSUMER) > len(forged))
        stages = background.stages()
        os.kill(stages["consumer"], signal.SIGSTOP)
        wait_until(lambda: recorded(path, GENERATOR) == 8200)
        wait_until(lambda: recorded(path, ACKS) == recorded(path, RELAY) == 8200 + len(forged))
        deadline_ns = monotonic_ns() + 2 * NS_PER_S
        wait_until(lambda: is_gone(stages["generator"]) or monotonic_ns() > deadline_ns)
        has_waited = not is_gone(stages["generator"])  # it is ended when all have arrived
        os.kill(stages["consumer"], signal.SIGCONT)
        run = background.finish(40)
    assert has_waited
    result = check_verdict(run, path, 0, "complete")
    accounts = check_accounts(result, path, read_topic(kafka.bootstrap, kafka_topic))
    assert accounts.lost == []
