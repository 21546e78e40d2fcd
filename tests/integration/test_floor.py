"""`latbench floor` and `run --floor`, whole: on the embedded broker and on a real Kafka."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from latbench.config import WS_ENGINES
from latbench.floor import PROBES, run_interval_ns
from latbench.probing import floor_topic
from latbench.store import read_result
from tests.cli import SHORT, Background, Caller, report, run_latbench, start_latbench, wait_until
from tests.kafka import KafkaServer
from tests.runs import check_whole, read_topic

FEW = ("--samples", "1000", "--json")
NAMES = [probe.name for probe in PROBES]


def check_floor(floor: dict[str, Any], samples: int) -> None:
    """Every probe has its samples and is no faster than what it is made of."""
    probes = {probe["hop"]: probe for probe in floor["probes"]}
    assert list(probes) == NAMES
    for name in ("timer", "tcp", "websocket"):
        assert probes[name]["count"] == samples
    for name in NAMES:
        assert probes[name]["min_ns"] > 0
        assert probes[name]["count"] <= samples
        assert probes[name]["negative"] == probes[name]["out_of_range"] == 0
    p50_ns = {name: probe["percentiles_ns"]["p50"] for name, probe in probes.items()}
    assert p50_ns["tcp"] < p50_ns["websocket"] < p50_ns["consume"]
    assert p50_ns["ack"] < p50_ns["consume"]
    floor_ns = floor["floor_ns"]
    assert floor_ns["websocket"] == p50_ns["websocket"] / 2
    assert "schedule" not in floor_ns  # a generator that wakes early need not wait for a timer
    parts = ("websocket", "kafka")
    assert floor_ns["end_to_end"] == pytest.approx(sum(floor_ns[part] for part in parts))


@pytest.mark.parametrize("engine", WS_ENGINES)
def test_the_floor_of_the_embedded_broker(engine: str, tmp_path: Path) -> None:
    run = run_latbench("floor", *FEW, "--ws-engine", engine, cwd=tmp_path)
    assert run.code == 0, run.talk
    check_floor(run.result["floor"], 1000)
    assert run.result["broker"]["kind"] == "embedded"
    assert run.result["config"]["ws_engine"] == engine
    assert run.stderr.splitlines() == [
        f"floor  {what}: 1,000 samples" for what in ("timer and TCP", "WebSocket", "Kafka")
    ]
    assert list(tmp_path.iterdir()) == []


def test_the_floor_of_a_kafka(kafka: KafkaServer, kafka_topic: str, tmp_path: Path) -> None:
    options = ("--broker", kafka.bootstrap, "--topic", kafka_topic, "--pin", "0")
    run = run_latbench("floor", *FEW, *options, cwd=tmp_path)
    assert run.code == 0, run.talk
    check_floor(run.result["floor"], 1000)
    assert run.result["broker"]["kind"] == "kafka"
    records = read_topic(kafka.bootstrap, floor_topic(kafka_topic))
    # a broker that is slower than the pace, as one that was just started, gets fewer
    (count,) = {p["count"] for p in run.result["floor"]["probes"] if p["hop"] == "consume"}
    assert count < len(records) <= 1200
    assert {record.partition for record in records} == {0}
    # again on a topic that is there, without an answer of the broker, at another pace
    pace = ("--interval", "0.5ms")
    more = run_latbench("floor", *FEW, *options, *pace, "--acks", "0", cwd=tmp_path)
    assert more.code == 0, more.talk
    assert run.result["floor"]["interval_ns"] == 1_000_000
    assert more.result["floor"]["interval_ns"] == 500_000
    probes = [probe["hop"] for probe in more.result["floor"]["probes"]]
    assert probes == [name for name in NAMES if name != "ack"]
    assert "ack" not in more.result["floor"]["floor_ns"]


def test_a_run_measures_its_floor_and_is_set_beside_it(
    kafka: KafkaServer, kafka_topic: str, tmp_path: Path
) -> None:
    path = tmp_path / "run.parquet"
    broker = ("--broker", kafka.bootstrap, "--topic", kafka_topic)
    run = run_latbench("run", "--floor", *SHORT, *broker, "--output", path, cwd=tmp_path)
    assert run.code == 0, run.talk
    assert len(check_whole(path)) == 1200
    assert any(line.startswith("floor ") for line in run.stderr.splitlines())
    assert "×floor" in run.stdout
    result = read_result(path)
    assert result.config.floor
    assert result.counts.unknown == 0  # the floor's messages are on a topic of their own
    assert result.floor is not None
    assert result.floor.measured_unix_ns < result.started_unix_ns
    assert report(path, cwd=tmp_path).stdout == run.stdout
    told = report(path, "--json", cwd=tmp_path).result["floor"]
    check_floor(told, 2000)
    assert told["interval_ns"] == run_interval_ns(result.config)
    p50_ns = {hop.hop: hop.percentiles_ns["p50"] for hop in result.hops}
    assert told["times_floor"].keys() == told["floor_ns"].keys()
    for hop, times in told["times_floor"].items():
        assert times * told["floor_ns"][hop] == pytest.approx(p50_ns[hop])


def test_a_run_without_it_has_none(tmp_path: Path) -> None:
    path = tmp_path / "run.parquet"
    run = run_latbench("run", *SHORT, "--json", "--output", path, cwd=tmp_path)
    assert run.code == 0, run.talk
    assert run.result["floor"] is None


def wait_for_probes(background: Background) -> dict[str, int]:
    """Until everything is at work; the processes by name."""
    wait_until(lambda: "floor " in background.stderr(), 20)
    return wait_until(
        lambda: background.stages() if background.stages().keys() >= {"echo", "probe"} else {}
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_in_order(number: signal.Signals, code: int, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    options = ("--samples", "100000")
    environment = {"TMPDIR": str(scratch)}
    with start_latbench("floor", *options, cwd=tmp_path, environment=environment) as background:
        assert wait_for_probes(background).keys() == {"broker", "echo", "probe"}
        background.signal(number)
        run = background.finish(15)
    assert run.code == code, run.talk
    assert run.stdout == ""
    told = run.stderr.splitlines()[-1]
    assert told == "interrupted: the floor is measured whole or not at all"
    assert list(scratch.iterdir()) == []


def test_nothing_outlives_a_kill(tmp_path: Path) -> None:
    environment = {"TMPDIR": str(tmp_path)}
    with start_latbench("floor", cwd=tmp_path, environment=environment) as background:
        wait_for_probes(background)
        background.signal(signal.SIGKILL)
        assert background.finish(15).code == -signal.SIGKILL  # and sees that nothing is left


def test_a_signal_while_a_run_measures_it_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.parquet"
    with start_latbench("run", "--floor", *SHORT, "--output", path, cwd=tmp_path) as background:
        wait_for_probes(background)
        background.signal(signal.SIGINT)
        run = background.finish(15)
    assert run.code == 130, run.talk
    assert run.stderr.splitlines()[-1].startswith("interrupted before the first tick")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stage", ["probe", "broker"])
@pytest.mark.parametrize("command", ["floor", "run"])
def test_a_process_that_dies_fails_it(command: str, stage: str, tmp_path: Path) -> None:
    options = ("--floor", *SHORT) if command == "run" else ("--samples", "100000")
    environment = {"TMPDIR": str(tmp_path)}
    with start_latbench(command, *options, cwd=tmp_path, environment=environment) as background:
        os.kill(wait_for_probes(background)[stage], signal.SIGKILL)
        run = background.finish(20)
    assert run.code == 1, run.talk
    assert run.stdout == ""
    assert f"{stage} died (killed by SIGKILL)" in run.stderr.splitlines()[-2]


def test_a_broker_that_refuses_is_told(
    kafka: KafkaServer, kafka_topic: str, tmp_path: Path
) -> None:
    small = NewTopic(floor_topic(kafka_topic), 1, config={"max.message.bytes": "100"})
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.create_topics([small])[small.topic].result(10)
    options = ("--broker", kafka.bootstrap, "--topic", kafka_topic, "--samples", "1000")
    run = run_latbench("floor", *options, cwd=tmp_path)
    assert run.code == 1, run.talk
    error, hint = run.stderr.splitlines()[-2:]
    assert error.startswith("error: the broker does not take the floor's messages: ")
    assert hint == f"hint: they go to topic {floor_topic(kafka_topic)}"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--samples", "10"), "--samples '10' is not a whole number from 1,000 to 1,000,000"),
        (("--interval", "1us"), "--interval '1us' is not between 50.0 µs and 1.00 s"),
        (("--interval", "2s"), "--interval '2s' is not between 50.0 µs and 1.00 s"),
        (("--interval", "often"), "--interval 'often' is not a time"),
        (("--ws-engine", "other"), "--ws-engine 'other' is not there"),
        (("--producer", "nonsense"), "--producer 'nonsense' is not key=value"),
        (("--producer", "no.such=1"), "no producer property is called 'no.such'"),
        (("--pin", "99999"), "CPU 99999 is not there to pin to"),
    ],
)
def test_what_can_not_be_is_refused_in_one_line(
    options: tuple[str, ...], told: str, call_latbench: Caller, tmp_path: Path
) -> None:
    run = call_latbench("floor", *options, cwd=tmp_path)
    assert run.code == 2
    assert run.stderr.splitlines()[0] == f"error: {told}"
    assert run.stderr.splitlines()[1].startswith("hint: ")
