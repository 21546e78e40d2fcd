"""The stages as commands of their own: together they are what `run` is, on a real broker and on the
embedded one, each with an end in order."""

from __future__ import annotations

import json
import re
import signal
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from latbench.spool import SpoolReader
from latbench.store import read_result
from latbench.tick import decode_relayed
from tests.certificates import make_certificate
from tests.cli import Background, run_latbench, start_latbench, wait_until
from tests.kafka import KafkaServer
from tests.runs import read_rows, read_topic

ADDRESS = re.compile(r"listens at (wss?://\S+?),")


@contextmanager
def a_broker(cwd: Path) -> Iterator[str]:
    """The embedded broker by its own command: its address."""
    with start_latbench("broker", cwd=cwd) as broker:
        wait_until(lambda: broker.stdout().strip(), 20, "the broker's address")
        yield broker.stdout().strip()


@contextmanager
def a_relay(
    cwd: Path, bootstrap: str, topic: str, *options: object
) -> Iterator[tuple[Background, str]]:
    with start_latbench(
        "relay", "--port", 0, "--bootstrap", bootstrap, "--topic", topic, *options, cwd=cwd
    ) as relay:
        wait_until(lambda: ADDRESS.search(relay.stderr()), 20, f"the relay: {relay.stderr()}")
        found = ADDRESS.search(relay.stderr())
        assert found
        yield relay, found[1]


def health(url: str) -> dict[str, object]:
    with urllib.request.urlopen(url.replace("ws://", "http://") + "/healthz", timeout=5) as answer:
        found: dict[str, object] = json.load(answer)
        return found


def ended(process: Background, signum: signal.Signals = signal.SIGINT) -> str:
    """Ask it to end; it does, with 0, and what it printed."""
    process.signal(signum)
    finished = process.finish(15)
    assert finished.code == 0, finished.stderr
    return finished.stdout


@pytest.mark.parametrize("engine", ["picows", "websockets"])
def test_the_stages_apart_are_a_pipeline_and_each_says_what_it_did(
    engine: str, kafka: KafkaServer, kafka_topic: str, tmp_path: Path
) -> None:
    topic = kafka_topic
    with a_relay(tmp_path, kafka.bootstrap, topic, "--ws-engine", engine) as (relay, url):
        with (
            start_latbench(
                "consume", "--bootstrap", kafka.bootstrap, "--topic", topic,
                "--output", "c.parquet", cwd=tmp_path,
            ) as consumer,
            start_latbench(
                "subscribe", "--url", f"{url}/ticks", "--clients", 20, cwd=tmp_path
            ) as subscribers,
        ):  # fmt: skip
            wait_until(lambda: "consuming" in consumer.stderr(), 20, "the consumer")
            wait_until(lambda: "20 subscribers listen" in subscribers.stderr(), 20, "subscribers")
            assert health(url)["subscribers"] == 20
            sent = run_latbench(
                "generate", "--url", url, "--tick-rate", 400, "--symbols", "NIFTY,BANKNIFTY",
                "--duration", 2, "--ws-engine", engine, cwd=tmp_path,
            )  # fmt: skip
            assert sent.code == 0, sent.stderr
            assert "sent 800 ticks in 2 s" in sent.stdout
            assert "schedule" in sent.stdout
            run_id = re.search(r"as run (\w{8})", sent.stderr)
            assert run_id
            wait_until(lambda: recorded(tmp_path / "c.parquet.partial") >= 800, 20, "all ticks")
            told = ended(subscribers, signal.SIGTERM)
            assert "20 subscribers received 16,000 ticks" in told
            assert "fanout" in told
            told = ended(consumer)
            assert "end_to_end" in told
        result = read_result(tmp_path / "c.parquet")
        assert (result.run_id, result.counts.consumed, result.counts.lost) == (run_id[1], 800, 0)
        assert {hop.hop: hop.count for hop in result.hops}["end_to_end"] == 800
        told = ended(relay)
    assert "relayed 800 ticks" in told
    assert "800 acknowledged by the broker, 0 given up" in told
    rows = read_rows(tmp_path / "c.parquet")
    assert [row["seq"] for row in rows] == list(range(800))
    for row in rows:
        parts = [row["due_ns"], row["sent_ns"], row["relay_in_ns"], row["relay_out_ns"]]
        assert parts == sorted(parts)
        assert row["relay_out_ns"] < row["consumed_ns"]
    stamps = [
        decode_relayed(record.value).latbench for record in read_topic(kafka.bootstrap, topic)
    ]
    assert [each.seq for each in stamps] == list(range(800))


def recorded(spool: Path) -> int:
    """How many ticks a consumer has recorded."""
    try:
        return (spool / "consumer.rows").stat().st_size // 64
    except OSError:
        return 0


def test_generators_of_different_runs_share_a_relay_and_a_consumer_measures_the_first(
    tmp_path: Path,
) -> None:
    with (
        a_broker(tmp_path) as bootstrap,
        a_relay(tmp_path, bootstrap, "ticks") as (relay, url),
        start_latbench(
            "consume", "--bootstrap", bootstrap, "--topic", "ticks", "--output", "c.parquet",
            cwd=tmp_path,
        ) as consumer,
    ):  # fmt: skip
        wait_until(lambda: "consuming" in consumer.stderr(), 20, "the consumer")
        first = run_latbench("generate", "--url", url, "--duration", 1, cwd=tmp_path)
        second = run_latbench(
            "generate", "--url", url, "--tick-rate", 100, "--duration", 1, cwd=tmp_path
        )
        assert (first.code, second.code) == (0, 0)
        wait_until(lambda: recorded(tmp_path / "c.parquet.partial") >= 1000, 20, "all ticks")
        wait_until(lambda: unknown(tmp_path / "c.parquet.partial") >= 100, 20, "the other run's")
        consumer.signal(signal.SIGINT)
        finished = consumer.finish(15)
        assert "100 messages on the topic are no ticks of this run" in finished.stdout
        assert read_result(tmp_path / "c.parquet").counts.unknown == 100
        assert "relayed 1,100 ticks" in ended(relay)


def test_a_relay_that_is_killed_ends_its_generator_with_a_reason(tmp_path: Path) -> None:
    with (
        a_broker(tmp_path) as bootstrap,
        a_relay(tmp_path, bootstrap, "ticks") as (relay, url),
        start_latbench("generate", "--url", url, cwd=tmp_path) as generator,
    ):
        wait_until(lambda: "sending" in generator.stderr(), 20)
        wait_until(lambda: health(url)["clients"] == 1, 20)
        relay.process.kill()
        finished = generator.finish(20)
    assert finished.code == 1
    assert "the relay" in finished.stderr
    assert "hint:" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_interrupting_a_generator_is_told_by_its_exit_code(tmp_path: Path) -> None:
    with a_broker(tmp_path) as bootstrap, a_relay(tmp_path, bootstrap, "ticks") as (_, url):
        with start_latbench("generate", "--url", url, "--duration", 60, cwd=tmp_path) as generator:
            wait_until(lambda: "sending" in generator.stderr(), 20)
            wait_until(lambda: health(url)["clients"] == 1, 20)
            generator.signal(signal.SIGINT)
            finished = generator.finish(15)
        assert finished.code == 130
        assert "sent " in finished.stdout


def test_one_subscriber_that_stops_is_dropped_for_and_the_kafka_path_goes_on(
    tmp_path: Path,
) -> None:
    with (
        a_broker(tmp_path) as bootstrap,
        a_relay(
            tmp_path, bootstrap, "ticks", "--subscriber-queue", 200, "--slow-client", "drop-oldest"
        ) as (relay, url),
    ):
        port = int(url.rpartition(":")[2])
        stopped = socket.create_connection(("127.0.0.1", port))
        stopped.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stopped.sendall(
            b"GET /ticks HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert stopped.recv(12) == b"HTTP/1.1 101"
        with start_latbench(
            "subscribe", "--url", f"{url}/ticks", "--clients", 9, cwd=tmp_path
        ) as healthy:
            wait_until(lambda: "9 subscribers listen" in healthy.stderr(), 20)
            sent = run_latbench(
                "generate", "--url", url, "--tick-rate", 2000, "--duration", 3, cwd=tmp_path
            )
            assert sent.code == 0
            wait_until(lambda: health(url)["dropped"], 10, "drops")
            assert "9 subscribers received 54,000 ticks" in ended(healthy)
        stopped.close()
        told = ended(relay)
        assert "relayed 6,000 ticks" in told
        assert "6,000 acknowledged" in told
        assert "ticks were dropped for slow subscribers" in told


def test_a_run_with_subscribers_measures_the_fan_out_of_every_tick(tmp_path: Path) -> None:
    run = run_latbench(
        "run", "--tick-rate", 200, "--warmup", 1, "--duration", 2, "--subscribers", 50,
        "--output", "r.parquet", cwd=tmp_path,
    )  # fmt: skip
    assert run.code == 0, run.stderr
    result = read_result(tmp_path / "r.parquet")
    assert result.fanout is not None
    assert (result.fanout.expected, result.fanout.received, result.fanout.missed) == (
        600 * 50,
        600 * 50,
        0,
    )
    assert result.hop("fanout").count == 400 * 50
    assert result.hop("fanout").min_ns > 0
    assert "fanout" in run.stdout
    assert run_latbench("report", "r.parquet", cwd=tmp_path).stdout == run.stdout
    limits = run_latbench(
        "run", "--tick-rate", 200, "--warmup", 0, "--duration", 1, "--subscribers", 2,
        "--fail-on", "fanout.p50 > 1ns", "--output", "l.parquet", cwd=tmp_path,
    )  # fmt: skip
    assert limits.code == 3


@pytest.mark.parametrize("engine", ["picows", "websockets"])
def test_ticks_need_the_token_and_it_stands_in_no_process_list(engine: str, tmp_path: Path) -> None:
    with (
        a_broker(tmp_path) as bootstrap,
        start_latbench(
            "relay", "--host", "0.0.0.0", "--port", 0, "--bootstrap", bootstrap,
            "--ws-engine", engine, cwd=tmp_path,
            environment={"LATBENCH_TOKEN": "s3cret-7f"},
        ) as relay,
    ):  # fmt: skip
        wait_until(lambda: ADDRESS.search(relay.stderr()), 20, f"the relay: {relay.stderr()}")
        found = ADDRESS.search(relay.stderr())
        assert found
        url = found[1].replace("0.0.0.0", "127.0.0.1")
        arguments = (
            "generate", "--url", f"{url}/ingest", "--duration", 1, "--ws-engine", engine,
        )  # fmt: skip
        refused = run_latbench(*arguments, cwd=tmp_path)
        assert refused.code == 1
        assert "answers 401" in refused.stderr
        assert "hint: give --token, or LATBENCH_TOKEN" in refused.stderr
        wrong = run_latbench(*arguments, cwd=tmp_path, environment={"LATBENCH_TOKEN": "wrong"})
        assert wrong.code == 1
        right = run_latbench(*arguments, cwd=tmp_path, environment={"LATBENCH_TOKEN": "s3cret-7f"})
        assert right.code == 0, right.stderr
        everything = " ".join(
            path.read_bytes().decode(errors="replace")
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if path.exists()
        )
        assert "s3cret-7f" not in everything
        assert "s3cret-7f" not in right.stdout + right.stderr + relay.stderr() + refused.stderr


def unknown(spool: Path) -> int:
    """How many messages of others a consumer has counted, by its last second."""
    return SpoolReader(spool).read_tally().unknown


@pytest.mark.parametrize("engine", ["picows", "websockets"])
def test_with_a_certificate_all_of_it_goes_over_tls(engine: str, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    with (
        a_broker(tmp_path) as bootstrap,
        a_relay(
            tmp_path, bootstrap, "ticks", "--ws-engine", engine,
            "--tls-cert", certificate, "--tls-key", key,
        ) as (relay, url),
    ):  # fmt: skip
        assert url.startswith("wss://")
        trusted = ("--tls-ca", certificate)
        listening = ("subscribe", "--url", f"{url}/ticks", "--clients", 3, *trusted)
        generating = ("generate", "--url", f"{url}/ingest", "--duration", 1, "--ws-engine", engine)
        with start_latbench(*listening, cwd=tmp_path) as subscribers:
            wait_until(lambda: "3 subscribers listen" in subscribers.stderr(), 20)
            sent = run_latbench(*generating, *trusted, cwd=tmp_path)
            assert sent.code == 0, sent.stderr
            assert "3 subscribers received 3,000 ticks" in ended(subscribers)
        stranger = run_latbench(*generating, cwd=tmp_path)
        assert stranger.code == 1
        assert "certificate" in stranger.stderr
        assert "hint:" in stranger.stderr
        assert "Traceback" not in stranger.stderr
        assert "relayed 1,000 ticks" in ended(relay)


def test_a_key_that_is_not_the_certificates_is_told(tmp_path: Path) -> None:
    certificate, _ = make_certificate(tmp_path)
    (tmp_path / "other").mkdir()
    _, key = make_certificate(tmp_path / "other")
    with a_broker(tmp_path) as bootstrap:
        found = run_latbench(
            "relay", "--port", 0, "--bootstrap", bootstrap, "--tls-cert", certificate,
            "--tls-key", key, cwd=tmp_path,
        )  # fmt: skip
    assert found.code == 1
    assert "error: the certificate" in found.stderr
    assert "hint:" in found.stderr


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "message", "hint"),
    [
        (("relay", "--host", "0.0.0.0"), 2, "has no token", "LATBENCH_TOKEN"),
        (("relay", "--bootstrap", "embedded"), 2, "no embedded broker", "latbench broker"),
        (("relay", "--bootstrap", "127.0.0.1:1"), 1, "no broker answers at 127.0.0.1:1", "docker"),
        (("relay", "--slow-client", "wait"), 2, "'wait' is not there", "drop-oldest"),
        (("relay", "--subscriber-queue", "0"), 2, "--subscriber-queue '0'", "--subscriber-queue"),
        (("relay", "--max-clients", "many"), 2, "--max-clients 'many'", "--max-clients"),
        (("relay", "--max-message", "1"), 2, "--max-message '1'", "--max-message"),
        (("relay", "--deflate"), 2, "--deflate is not there", "--ws-engine websockets"),
        (("relay", "--tls-key", "key.pem"), 2, "without --tls-cert", "both"),
        (("relay", "--tls-cert", "no.pem"), 2, "no.pem is no file", "PEM"),
        (("relay", "--port", "70000"), 2, "--ws-port '70000'", "--ws-port"),
        (("generate", "--url", "http://localhost"), 2, "is not ws:// or wss://", "--url ws://"),
        (("generate", "--url", "ws://localhost:99999"), 2, "is no address", "--url ws://"),
        (("generate", "--url", "ws://"), 2, "names no host", "--url ws://"),
        (("generate", "--url", "ws://u:p@localhost"), 2, "a user and a password", "--token"),
        (
            ("generate", "--url", "ws://127.0.0.1:1"),
            1,
            "no relay answers at ws://127.0.0.1:1",
            "latbench relay",
        ),
        (("generate", "--token", "a b"), 2, "--token has a blank", "letters"),
        (("generate", "--tick-rate", "0"), 2, "tick rate '0'", "--tick-rate"),
        (("subscribe", "--clients", "0"), 2, "--clients '0'", "--clients"),
        (("subscribe", "--url", "ws://127.0.0.1:1/ticks"), 1, "0 of 1 subscribers", "relay"),
        (("subscribe", "--tls-ca", "no.pem"), 2, "no.pem is no file", "PEM"),
        (("consume", "--bootstrap", "embedded"), 2, "no embedded broker", "latbench broker"),
        (("consume", "--topic", "a b"), 2, "topic 'a b'", "letters"),
        (("run", "--subscribers", "-1"), 2, "--subscribers '-1'", "--subscribers"),
    ],
)
def test_bad_input_gets_one_line_and_a_hint(
    arguments: tuple[str, ...], code: int, message: str, hint: str, tmp_path: Path
) -> None:
    found = run_latbench(*arguments, cwd=tmp_path)
    assert found.code == code, found.stderr
    errors = [line for line in found.stderr.splitlines() if line.startswith("error:")]
    hints = [line for line in found.stderr.splitlines() if line.startswith("hint:")]
    assert len(errors) == len(hints) == 1, found.stderr
    assert message in errors[0]
    assert hint in hints[0]
    assert "Traceback" not in found.stderr
    assert found.stdout == ""


def test_a_consumer_to_whom_nothing_comes_says_so(tmp_path: Path) -> None:
    with a_broker(tmp_path) as bootstrap:
        found = run_latbench("consume", "--bootstrap", bootstrap, "--duration", 1, cwd=tmp_path)
    assert found.code == 1
    assert "error: no tick came to tick-data at" in found.stderr
    assert "within 1 s" in found.stderr
    assert "hint: latbench generate" in found.stderr
    assert not list(tmp_path.rglob("*.partial"))


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with a_broker(tmp_path) as bootstrap, socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = run_latbench("relay", "--port", port, "--bootstrap", bootstrap, cwd=tmp_path)
    assert found.code == 1
    assert f"can't listen on 127.0.0.1:{port}" in found.stderr
    assert "--ws-port 0 takes a free one" in found.stderr
