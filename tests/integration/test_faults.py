"""What breaks around a run while it goes on, on a real Kafka: no hang, a clear end, true accounts.

The faults that come in at the relay's socket have a module of their own.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from latbench.clock import NS_PER_S, monotonic_ns
from latbench.recording import ACKS, CONSUMER, GENERATOR
from tests.accounts import check_accounts, check_verdict
from tests.cli import Background, Finished, is_gone, report, start_latbench, wait_until
from tests.kafka import KafkaServer
from tests.runs import read_topic, recorded

PATIENT = ("--warmup", "0.2", "--drain-timeout", "60s")
HASTY = ("--warmup", "0.2", "--drain-timeout", "2s")
SAFE = ("--acks", "all", "--producer", "enable.idempotence=true")
HARD_DEADLINE_S = 90.0


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaServer]:
    """A Kafka to stop and kill: the session's has to stay."""
    with KafkaServer() as server:
        yield server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The result file of the test's run, in a directory of its own."""
    (tmp_path / "results").mkdir()
    return tmp_path / "results" / "run.parquet"


def partial(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


@contextlib.contextmanager
def running(
    server: KafkaServer, topic: str, path: Path, *options: object
) -> Iterator[tuple[Background, dict[str, int]]]:
    """A run in its middle, a few hundred ticks having gone all the way; its stages' processes."""
    arguments = ("run", *options, "--broker", server.bootstrap, "--topic", topic, "--json")
    with start_latbench(*arguments, "--output", path, cwd=path.parent) as background:
        background.wait_for_phase("measuring")
        wait_until(lambda: recorded(path, CONSUMER) > 400, what="400 ticks")
        yield background, background.stages()


@pytest.mark.parametrize(
    ("options", "how"),
    [
        pytest.param((), signal.SIGTERM, id="stopped"),
        pytest.param(SAFE, signal.SIGTERM, id="stopped, all acknowledged"),
        pytest.param(SAFE, signal.SIGKILL, id="killed, all acknowledged"),
    ],
)
def test_a_broker_that_ends_and_comes_back_loses_nothing(
    broker: KafkaServer, kafka_topic: str, path: Path, options: tuple[str, ...], how: signal.Signals
) -> None:
    more = ("--duration", "7", *PATIENT, *options)
    with running(broker, kafka_topic, path, *more) as (background, _):
        if how is signal.SIGKILL:
            broker.kill()
        else:
            broker.stop()
        broker.start()
        run = background.finish(HARD_DEADLINE_S)
    result = check_verdict(run, path, 0, "complete")
    records = read_topic(broker.bootstrap, kafka_topic)
    accounts = check_accounts(result, path, records)
    assert accounts.acked <= set(accounts.on_topic)
    assert accounts.lost == []
    assert set(accounts.on_topic) == {row["seq"] for row in accounts.rows}
    assert len(accounts.rows) == 7200
    again = len(accounts.on_topic) - len(accounts.rows)  # an answer that was lost with the broker
    assert accounts.counts["duplicates"] == again
    assert not (options and again)
    assert accounts.slowest_ns > NS_PER_S  # the outage is in the figures


def test_a_broker_that_is_frozen_for_three_seconds_loses_nothing(
    broker: KafkaServer, kafka_topic: str, path: Path
) -> None:
    with running(broker, kafka_topic, path, "--duration", "5", *PATIENT) as (background, _):
        broker.pause()
        try:
            until_ns = monotonic_ns() + 3 * NS_PER_S
            wait_until(lambda: monotonic_ns() > until_ns)
        finally:
            broker.resume()
        run = background.finish(HARD_DEADLINE_S)
    result = check_verdict(run, path, 0, "complete")
    accounts = check_accounts(result, path, read_topic(broker.bootstrap, kafka_topic))
    assert accounts.lost == []
    assert len(accounts.on_topic) == len(accounts.rows) == 5200
    waited_ns = [row["consumed_ns"] - row["due_ns"] for row in accounts.rows]
    assert max(waited_ns) > 2 * NS_PER_S
    # the schedule did not wait with the broker: each tick that was due meanwhile waited its share
    assert sum(waited > NS_PER_S for waited in waited_ns) > 1000


@pytest.mark.parametrize("stage", ["relay", "consumer"])
def test_a_stage_that_is_killed_ends_the_run_and_its_ticks_are_named(
    kafka: KafkaServer, kafka_topic: str, path: Path, stage: str
) -> None:
    with running(kafka, kafka_topic, path, "--duration", "60", *HASTY) as (background, stages):
        os.kill(stages[stage], signal.SIGKILL)
        run = background.finish(20)
    result = check_verdict(run, path, 1, "failed")
    assert f"error: the {stage} died (killed by SIGKILL)" in run.stderr
    assert result["failure"] == f"the {stage} died (killed by SIGKILL)"
    accounts = check_accounts(result, path, read_topic(kafka.bootstrap, kafka_topic))
    if stage == "relay":  # what it had not handed to the broker is lost, all else has arrived
        assert set(accounts.lost) == set(range(len(accounts.rows))) - set(accounts.on_topic)
    else:  # all is on the topic, and the last of it was not consumed
        assert set(accounts.on_topic) == set(range(len(accounts.rows)))
        assert accounts.lost
        assert accounts.lost[0] > 400


def test_a_topic_that_is_deleted_is_told_and_the_rest_of_the_ticks_is_lost(
    kafka: KafkaServer, kafka_topic: str, path: Path
) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    soon = ("--producer", "topic.metadata.propagation.max.ms=1000")  # 5 s by latbench's own will
    more = ("--duration", "3", "--warmup", "0.2", "--drain-timeout", "5s", *soon)
    with running(kafka, kafka_topic, path, *more) as (background, _):
        admin.delete_topics([kafka_topic])[kafka_topic].result(10)
        run = background.finish(HARD_DEADLINE_S)
    result = check_verdict(run, path, 4, "complete")
    accounts = check_accounts(result, path)
    assert len(accounts.rows) == 3200
    assert accounts.lost
    assert accounts.lost[0] > 400
    assert accounts.counts["delivery_errors"] == len(accounts.rows) - len(accounts.acked)
    assert run.findings["ticks-lost"]["severity"] == "invalid"
    assert run.findings["delivery-errors"]["values"]["count"] > 0
    assert any(line.startswith("tick ") and "not delivered" in line for line in result["said"])


def test_a_killed_supervisor_leaves_accounts_that_add_up(
    kafka: KafkaServer, kafka_topic: str, path: Path
) -> None:
    with running(kafka, kafka_topic, path, "--duration", "60", *HASTY) as (background, stages):
        background.signal(signal.SIGKILL)
        assert background.process.wait(5) == -signal.SIGKILL
        for stage, pid in stages.items():
            wait_until(lambda pid=pid: is_gone(pid), 2.0, f"the end of the {stage}")
        background.finish()
    assert [left.name for left in path.parent.iterdir()] == [partial(path).name]
    saved = report(partial(path), "--save", "--json", cwd=path.parent)
    result = check_verdict(saved, path, 0, "recovered")
    accounts = check_accounts(result, path, read_topic(kafka.bootstrap, kafka_topic))
    assert accounts.counts["consumed"] > 400
    # the topic holds more than was recorded: the stages outlive the supervisor by a moment
    assert set(range(len(accounts.rows))) - set(accounts.lost) <= set(accounts.on_topic)
    assert ("cut-off" in saved.findings) == bool(accounts.lost)


class SmallDisk:
    """A filesystem of 16 MB; where none may be mounted, the kernel's next best refusals.

    `/dev/full` refuses every write as a full disk does, and a limit on the size of files refuses
    to let them grow.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._ballast = directory / "ballast"
        mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "latbench-tests", str(directory)]
        self.is_real = subprocess.run(mount, capture_output=True, check=False).returncode == 0
        self.why = "no space left on device" if self.is_real else "file too large"

    def close(self) -> None:
        if self.is_real:
            subprocess.run(["umount", "-l", str(self.directory)], check=True)

    def fill(self, left_bytes: int) -> None:
        """Leave room for so much, in whole pages."""
        disk = os.statvfs(self.directory)
        ballast = disk.f_bavail * disk.f_bsize - left_bytes
        with self._ballast.open("ab") as file:
            file.write(b"x" * max(ballast, 0))

    def leave_no_room_for_rows(self, background: Background, path: Path) -> None:
        if self.is_real:
            self.fill(100_000)
            return
        limit = (partial(path) / "consumer.rows").stat().st_size + 60_000
        resource.prlimit(background.pid, resource.RLIMIT_FSIZE, (limit, limit))

    def leave_no_room_for_result(self, path: Path) -> None:
        """For a run elsewhere: what room its rows still need is not known, they may be packed."""
        full = Path("/dev/full")
        if self.is_real:  # it fills up while the result, of 100 KB and more, is written
            full = self.directory / "result.parquet"
            self.fill(40_000)
        (partial(path) / "result.parquet").symlink_to(full)
        self.why = "no space left on device"

    def make_room(self) -> None:
        self._ballast.unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    directory = tmp_path / "disk"
    directory.mkdir()
    small = SmallDisk(directory)
    try:
        yield small
    finally:
        small.close()


def check_says_no_room(run: Finished, error: str) -> None:
    assert run.code == 1, run.talk
    assert "Traceback" not in run.stderr
    assert [line for line in run.stderr.splitlines() if line.startswith("error: ")] == [error]
    assert sum(line.startswith("hint: ") for line in run.stderr.splitlines()) == 1


def test_a_disk_that_is_full_while_rows_are_spooled_ends_the_run_and_keeps_them(
    kafka: KafkaServer, kafka_topic: str, disk: SmallDisk
) -> None:
    path = disk.directory / "run.parquet"
    with running(kafka, kafka_topic, path, "--duration", "60", *HASTY) as (background, _):
        disk.leave_no_room_for_rows(background, path)
        run = background.finish(30)
    check_says_no_room(run, f"error: can't write to {partial(path)}: {disk.why}")
    assert not path.exists()
    if disk.is_real:  # nor is there room for a result file, and saying so destroys nothing
        disk.fill(0)
        saved = report(partial(path), "--save", cwd=path.parent)
        check_says_no_room(
            saved, f"error: can't write {partial(path) / 'result.parquet'}: {disk.why}"
        )
    disk.make_room()
    saved = report(partial(path), "--save", "--json", cwd=path.parent)
    result = check_verdict(saved, path, 0, "recovered")
    accounts = check_accounts(result, path, read_topic(kafka.bootstrap, kafka_topic))
    assert accounts.counts["consumed"] > 400


def test_a_disk_that_is_full_when_the_result_is_written_loses_nothing(
    kafka: KafkaServer, kafka_topic: str, disk: SmallDisk, tmp_path: Path
) -> None:
    path = tmp_path / "results" / "run.parquet"
    path.parent.mkdir()
    more = ("--duration", "2", "--tick-rate", "10000", "--no-hiccups", *PATIENT)
    with running(kafka, kafka_topic, path, *more) as (background, stages):
        os.kill(stages["consumer"], signal.SIGSTOP)
        wait_until(lambda: recorded(path, GENERATOR) == recorded(path, ACKS) == 22_000, 30)
        disk.leave_no_room_for_result(path)  # the run can't end before the consumer goes on
        os.kill(stages["consumer"], signal.SIGCONT)
        run = background.finish(30)
    check_says_no_room(run, f"error: can't write {partial(path) / 'result.parquet'}: {disk.why}")
    assert f"hint: what was measured is kept: latbench report {partial(path)}" in run.stderr
    assert not path.exists()
    disk.make_room()
    saved = report(partial(path), "--save", "--json", cwd=path.parent)
    result = check_verdict(saved, path, 0, "recovered")
    accounts = check_accounts(result, path, read_topic(kafka.bootstrap, kafka_topic))
    assert len(accounts.on_topic) == len(accounts.rows) == 22_000
    assert accounts.lost == []
