"""A real Apache Kafka without Docker: jars from Maven Central, one JVM, data in a temporary place.

`python tests/kafka.py [--port 9092] [--warm]` runs one in the foreground until Ctrl-C and prints
its bootstrap address. Needs a JDK or JRE from 17 on, and Maven the first time.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self
from xml.etree import ElementTree as ET

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

HOST: Final = "127.0.0.1"
POM: Final = Path(__file__).with_name("kafka-pom.xml")
CACHE: Final = Path(__file__).resolve().parent.parent / ".kafka"
START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 10.0
LOG_TAIL_LINES: Final = 20

# With stock G1 the end-to-end median is 20 % and its p99.9 three times as high; short-lived objects
# are most of what a broker makes, so the young generation is large and nothing lingers in it.
JVM_FLAGS: Final = (
    "-Xmx1g",
    "-Xms1g",
    "-XX:+UseParallelGC",
    "-XX:ParallelGCThreads=2",
    "-Xmn640m",
    "-XX:MaxTenuringThreshold=1",
    "-XX:+AlwaysPreTouch",
)
# The format tool lives for a second: the optimising compiler would only cost it time.
TOOL_FLAGS: Final = ("-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")

# PR_SET_PDEATHSIG (1) survives an exec, so the child asks for SIGKILL (9) at its parent's death and
# then becomes the JVM, with the same pid. As a program of its own rather than a `preexec_fn`, which
# may deadlock where the parent has threads. The parent may have died before the call was made.
DIE_WITH_PARENT: Final = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9)\n"
    "if os.getppid() == int(sys.argv[1]): os.execv(sys.argv[2], sys.argv[2:])"
)

LOG4J: Final = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d] %p %m (%c)%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
"""

# The session time-out is how long a broker that was killed waits, once it is back, for its former
# self to be given up: 9 s by default. One that is frozen for 3 s has to outlive it.
SERVER_PROPERTIES: Final = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}{more_listeners}
advertised.listeners=PLAINTEXT://{host}:{port}{more_advertised}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{more_protocols}
log.dirs={data}
broker.session.timeout.ms=5000
broker.heartbeat.interval.ms=500
num.network.threads=2
num.io.threads=2
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
"""


class KafkaError(RuntimeError):
    """Kafka could not be fetched, started or reached; the text says which, and what to do."""


def kafka_version() -> str:
    """The version that the pom asks for."""
    found = ET.parse(POM).findtext(".//{*}kafka.version")
    assert found is not None
    return found


def _program(name: str, advice: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise KafkaError(f"{name} is not on the PATH: {advice}")
    return path


def resolve_libs(cache: Path = CACHE) -> Path:
    """The directory of Kafka's jars, fetched by Maven (about 25 s, 55 MB) when not there yet.

    A lock keeps a second process from fetching the same (Maven's own repository is not safe for
    two), and the rename makes the directory appear whole or not at all.
    """
    libs = cache / "libs"
    wanted = libs / f"kafka_2.13-{kafka_version()}.jar"
    if wanted.exists():
        return libs
    mvn = _program("mvn", "install Maven (apt-get install maven); it fetches Kafka once")
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if wanted.exists():
            return libs
        with tempfile.TemporaryDirectory(prefix="libs-", dir=cache) as scratch:
            fresh = Path(scratch) / "libs"
            arguments = ["-q", "-B", "-f", str(POM), f"-DoutputDirectory={fresh}"]
            fetched = subprocess.run(
                [mvn, *arguments, "dependency:copy-dependencies"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            if fetched.returncode or not (fresh / wanted.name).exists():
                raise KafkaError(f"mvn could not fetch Kafka:\n{_tail(fetched.stdout)}")
            if libs.exists():  # of another version
                shutil.rmtree(libs)
            fresh.rename(libs)
    return libs


def _tail(text: str) -> str:
    return "\n".join(text.splitlines()[-LOG_TAIL_LINES:])


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on.

    Below Linux's ephemeral range (from 32768): there, a client that keeps connecting to a stopped
    broker's port may be given that very port as its own and so connect to itself, and the broker
    could not have it back.
    """
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise KafkaError(f"no port of 100 between 20000 and 32000 is free on {HOST}")


class KafkaServer:
    """One broker that is its own controller, on loopback, its data gone with `close()`.

    `stop()` and `kill()` keep the data, `start()` then continues on it and on the same port. Start
    it from the main thread: the kernel ends the JVM when the thread that started it ends.
    """

    def __init__(
        self,
        port: int | None = None,
        *,
        jvm_flags: Sequence[str] = JVM_FLAGS,
        advertised: Mapping[str, int] | None = None,
    ) -> None:
        """`advertised`: more listeners by name, each with the port that it sends clients to."""
        self.port = free_port() if port is None else port
        self.ports = {name: free_port() for name in advertised or {}}
        """Where the listeners of `advertised` really are."""
        self._advertised = dict(advertised or {})
        self.cluster_id = _random_cluster_id()
        self._controller_port = free_port()
        self._jvm_flags = tuple(jvm_flags)
        self._process: subprocess.Popen[bytes] | None = None
        self._directory: tempfile.TemporaryDirectory[str] | None = None

    @property
    def bootstrap(self) -> str:
        """`host:port`, as `bootstrap.servers` wants it."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """Of the JVM, while there is one."""
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def log_path(self) -> Path:
        """Where Kafka logs (warnings and worse)."""
        assert self._directory is not None, "not started"
        return Path(self._directory.name) / "kafka.log"

    def start(self) -> Self:
        """Start, and return when a client gets metadata; `KafkaError` with the log after 60 s."""
        if self._process is not None:
            return self
        if threading.current_thread() is not threading.main_thread():
            raise KafkaError("start Kafka from the main thread: it dies with the thread it is from")
        java = _program("java", "install a JDK from 17 on (apt-get install openjdk-17-jre)")
        classpath = f"{resolve_libs()}/*"
        if self._directory is None:
            self._format(java, classpath)
        assert self._directory is not None
        directory = Path(self._directory.name)
        command = [
            java,
            *self._jvm_flags,
            f"-Dlog4j2.configurationFile={directory}/log4j2.properties",
        ]
        command += ["-cp", classpath, "kafka.Kafka", str(directory / "server.properties")]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-ISc", DIE_WITH_PARENT, str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=directory,
                close_fds=True,
                start_new_session=True,  # a Ctrl-C at the terminal is for us to act on
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def _format(self, java: str, classpath: str) -> None:
        made = tempfile.TemporaryDirectory(prefix="latbench-kafka-")
        directory = Path(made.name)
        (directory / "log4j2.properties").write_text(LOG4J)
        properties = directory / "server.properties"
        properties.write_text(
            SERVER_PROPERTIES.format(
                host=HOST,
                port=self.port,
                controller_port=self._controller_port,
                data=directory / "data",
                more_listeners=_joined("{}://" + HOST + ":{}", self.ports),
                more_advertised=_joined("{}://" + HOST + ":{}", self._advertised),
                more_protocols=_joined("{}:PLAINTEXT", self.ports),
            )
        )
        command = [java, *TOOL_FLAGS, f"-Dlog4j2.configurationFile={directory}/log4j2.properties"]
        command += ["-cp", classpath, "kafka.tools.StorageTool", "format"]
        formatted = subprocess.run(
            [*command, "--cluster-id", self.cluster_id, "--config", str(properties)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if formatted.returncode:
            made.cleanup()
            raise KafkaError(f"Kafka's storage could not be formatted:\n{_tail(formatted.stdout)}")
        self._directory = made

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            if self._process.poll() is not None:
                why = f"Kafka ended with {self._process.returncode} while starting"
                break
            if time.monotonic() > deadline:
                why = f"Kafka at {self.bootstrap} did not answer within {START_TIMEOUT_S:.0f} s"
                break
            # a closed port costs librdkafka a growing back-off: knock by hand first
            with contextlib.suppress(OSError):
                socket.create_connection((HOST, self.port), timeout=1).close()
                if _answers(self.bootstrap):
                    return
            time.sleep(0.05)
        raise KafkaError(f"{why}; its log ends:\n{_tail(self.log_path.read_text())}")

    def stop(self) -> None:
        """End it in good order; by force when it takes longer than 10 s. Twice is fine."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        process.send_signal(signal.SIGCONT)  # a paused one would not see the other
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def restart(self) -> Self:
        """Stop and start on the same port and data."""
        self.stop()
        return self.start()

    def pause(self) -> None:
        """Freeze it where it is: connections stay open and nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused one go on."""
        os.kill(self.pid, signal.SIGCONT)

    def wait(self) -> int:
        """Wait until it ends by itself; its exit code."""
        assert self._process is not None, "not started"
        return self._process.wait()

    def close(self) -> None:
        """Stop, and remove the data. Twice is fine."""
        self.stop()
        directory, self._directory = self._directory, None
        if directory is not None:
            directory.cleanup()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()


def _joined(pattern: str, ports: Mapping[str, int]) -> str:
    """More items of a list that has some already."""
    return "".join("," + pattern.format(name, port) for name, port in ports.items())


def _random_cluster_id() -> str:
    # 16 bytes in URL-safe base64; a leading '-' would look like an option to the format tool
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith(
        "-"
    ):
        pass
    return text


def _quiet_client(bootstrap: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})


def _answers(bootstrap: str) -> bool:
    try:
        return bool(_quiet_client(bootstrap).list_topics(timeout=2).brokers)
    except KafkaException:
        return False


class WarmPhase(NamedTuple):
    """A steady load on the broker."""

    rate_hz: int
    seconds: float
    linger_ms: int


WARM: Final = (WarmPhase(10_000, 12.0, 1), WarmPhase(2_000, 15.0, 0))
"""What brought a fresh JVM to its steady latency here; before it, medians were up to seconds."""
WARM_SHORT: Final = (WarmPhase(10_000, 2.0, 1), WarmPhase(2_000, 1.0, 0))
"""Takes the worst off, for tests that look at latencies at all."""


def warm(bootstrap: str, phases: Sequence[WarmPhase] = WARM) -> int:
    """Produce 160-byte messages to a topic of its own and consume them; how many were consumed."""
    topic = f"latbench-warm-{uuid.uuid4().hex[:8]}"
    admin = _quiet_client(bootstrap)
    admin.create_topics([NewTopic(topic, num_partitions=1)])[topic].result(30)
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": topic, "enable.auto.commit": False}
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    consumed = 0
    done = threading.Event()

    def consume() -> None:
        nonlocal consumed
        while not done.is_set():
            if consumer.poll(0.1) is not None:
                consumed += 1 + len(consumer.consume(1000, 0))

    reader = threading.Thread(target=consume)
    reader.start()
    try:
        for phase in phases:
            _load(bootstrap, topic, phase)
        time.sleep(0.5)
    finally:
        done.set()
        reader.join()
        consumer.close()
        admin.delete_topics([topic])[topic].result(30)
    return consumed


def _load(bootstrap: str, topic: str, phase: WarmPhase) -> None:
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "linger.ms": phase.linger_ms,
            "max.in.flight.requests.per.connection": 1,
            "socket.nagle.disable": True,
        }
    )
    payload = b"x" * 160
    start = time.monotonic()
    sent, total = 0, int(phase.rate_hz * phase.seconds)
    while sent < total:
        due = min(total, int((time.monotonic() - start) * phase.rate_hz))
        for _ in range(sent, due):
            producer.produce(topic, payload)
        sent = due
        producer.poll(0)
        time.sleep(0.0005)
    producer.flush(30)
    producer.close()


def main() -> None:
    """Run a Kafka in the foreground."""
    parser = argparse.ArgumentParser(description="Run Apache Kafka until Ctrl-C.")
    parser.add_argument("--port", type=int, default=9092)
    parser.add_argument("--warm", action="store_true", help="warm it up first (27 s)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with contextlib.suppress(KeyboardInterrupt), KafkaServer(options.port) as server:
            _serve(server, warm_up=options.warm)
    except KafkaError as error:
        sys.exit(str(error))


def _serve(server: KafkaServer, *, warm_up: bool) -> None:
    if warm_up:
        print("warming", file=sys.stderr)  # noqa: T201
        warm(server.bootstrap)
    print(server.bootstrap, flush=True)  # noqa: T201
    print(f"pid {server.pid}, log {server.log_path}; Ctrl-C ends it", file=sys.stderr)  # noqa: T201
    code = server.wait()
    raise KafkaError(f"Kafka ended with {code}:\n{_tail(server.log_path.read_text())}")


if __name__ == "__main__":
    main()
