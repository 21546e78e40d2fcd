"""What is measured is true: delays and stalls that the tests make come out as arithmetic says.

The proxy is the tests' own and knows nothing of Kafka: the broker has a listener for each client
whose advertised port is the proxy's.
"""

from __future__ import annotations

import itertools
import os
import signal
import statistics
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import pytest

from latbench.assignment import assign
from latbench.clock import NS_PER_MS, NS_PER_S, monotonic_ns
from latbench.config import RunConfig
from latbench.result import RunStatus, Snapshot
from latbench.supervisor import run
from tests.cli import wait_until
from tests.kafka import HOST, WARM_SHORT, KafkaServer, warm
from tests.proxy import DelayingProxy, Detour
from tests.runs import Row, check_whole

HOPS = {
    "schedule": ("due_ns", "sent_ns"),
    "websocket": ("sent_ns", "relay_in_ns"),
    "relay": ("relay_in_ns", "relay_out_ns"),
    "kafka": ("relay_out_ns", "consumed_ns"),
    "ack": ("relay_out_ns", "acked_ns"),
    "end_to_end": ("due_ns", "consumed_ns"),
    "service": ("sent_ns", "consumed_ns"),
}
DELAY_MS = 20
QUIET = RunConfig(tick_rate_hz=25, duration_ns=16 * NS_PER_S, warmup_ns=2 * NS_PER_S)
"""40 ms apart: with one request out at a time, a tick within 20 ms of the one before would wait for
that as well, and its hop grow by more than the delay."""


def latencies_ms(rows: list[Row], hop: str) -> list[float]:
    start, end = HOPS[hop]
    return [(row[end] - row[start]) / NS_PER_MS for row in rows]


class Turns:
    """Delays one connection after the other, half a second each, round by round, and keeps when.

    Within one run and not in one run each: a Kafka's latency falls by milliseconds while it warms.
    """

    def __init__(self, proxies: Mapping[str, DelayingProxy]) -> None:
        self._proxies = proxies
        self._order = itertools.cycle(["none", *proxies])
        self._calls = 0
        self._current, self._since_ns = "", 0
        self.spans: list[tuple[str, int, int]] = []

    def observe(self, snapshot: Snapshot) -> None:
        """Go on to the next with every second call: there are four a second."""
        self._calls += 1
        if snapshot.phase != "measuring" or self._calls % 2:
            return
        now_ns = monotonic_ns()
        if self._current:
            self.spans.append((self._current, self._since_ns, now_ns))
        self._current = next(self._order)
        for name, proxy in self._proxies.items():
            proxy.delay_s = DELAY_MS / 1000 if name == self._current else 0.0
        self._since_ns = monotonic_ns()

    def medians_ms(self, rows: list[Row], delayed: str) -> dict[str, float]:
        """Each hop's median over the ticks due in these turns, but for their first and last 50 ms,
        and for those that a stall of the machine has touched."""
        margin_ns = 50 * NS_PER_MS
        within = [
            row
            for name, begin_ns, end_ns in self.spans
            for row in rows
            if name == delayed
            and begin_ns + margin_ns <= row["due_ns"] < end_ns - margin_ns
            and not row["stall"]
        ]
        assert len(within) > 20, f"{len(within)} ticks with a delay in {delayed}"
        return {hop: statistics.median(latencies_ms(within, hop)) for hop in HOPS}


GROWING = {
    "relay": {"websocket", "end_to_end", "service"},
    "produce": {"kafka", "ack", "end_to_end", "service"},
    "fetch": {"kafka", "end_to_end", "service"},
}
"""By the connection that is delayed."""


@pytest.fixture(scope="module")
def producer_proxy() -> Iterator[DelayingProxy]:
    with DelayingProxy(towards=True) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def consumer_proxy() -> Iterator[DelayingProxy]:
    with DelayingProxy(towards=False) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def broker(producer_proxy: DelayingProxy, consumer_proxy: DelayingProxy) -> Iterator[KafkaServer]:
    advertised = {"PRODUCE": producer_proxy.port, "CONSUME": consumer_proxy.port}
    server = KafkaServer(advertised=advertised)
    producer_proxy.upstream = (HOST, server.ports["PRODUCE"])
    consumer_proxy.upstream = (HOST, server.ports["CONSUME"])
    with server:
        warm(server.bootstrap, WARM_SHORT)
        yield server


def test_a_delay_shifts_the_hop_that_it_is_in_and_no_other(
    broker: KafkaServer,
    producer_proxy: DelayingProxy,
    consumer_proxy: DelayingProxy,
    kafka_topic: str,
    tmp_path: Path,
) -> None:
    config = msgspec.structs.replace(QUIET, broker=broker.bootstrap, topic=kafka_topic)
    path = tmp_path / "run.parquet"
    with DelayingProxy(towards=True) as relay_proxy:
        detour = Detour(
            relay=relay_proxy,
            producer=f"{HOST}:{producer_proxy.port}",
            consumer=f"{HOST}:{consumer_proxy.port}",
        )
        turns = Turns({"relay": relay_proxy, "produce": producer_proxy, "fetch": consumer_proxy})
        outcome = run(assign(config, path), turns.observe, detour)
    assert outcome.result.status is RunStatus.COMPLETE
    rows = check_whole(path)
    before = turns.medians_ms(rows, "none")
    for delayed, growing in GROWING.items():
        after = turns.medians_ms(rows, delayed)
        for hop in HOPS:
            expected_ms = DELAY_MS if hop in growing else 0
            # 2 ms: by so much do medians differ on a machine that runs other tests meanwhile
            shift_ms = after[hop] - before[hop]
            assert shift_ms == pytest.approx(expected_ms, abs=2), (delayed, hop, before, after)


STALL_S = 0.5
RATE_HZ = 1_000
SECONDS = 5
BUSY = RunConfig(tick_rate_hz=RATE_HZ, duration_ns=SECONDS * NS_PER_S, warmup_ns=NS_PER_S)


class Stop:
    """Stops one of a run's processes for a while, in the middle of it."""

    def __init__(self, stage: str) -> None:
        self.began_ns = self.ended_ns = 0
        self._stage = stage
        self._pid = 0
        self._thread = threading.Thread(target=self._stop)

    def observe(self, snapshot: Snapshot) -> None:
        """Begin once two seconds of the run are over."""
        if not self._pid and snapshot.phase == "measuring" and snapshot.elapsed_ns > 2 * NS_PER_S:
            self._pid = next(each.pid for each in snapshot.stages if each.stage == self._stage)
            self._thread.start()

    def _stop(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)
        try:
            state = Path(f"/proc/{self._pid}/stat")
            wait_until(lambda: b") T " in state.read_bytes(), what="the process to stand still")
            self.began_ns = monotonic_ns()
            time.sleep(STALL_S)
        finally:
            self.ended_ns = monotonic_ns()
            os.kill(self._pid, signal.SIGCONT)

    def join(self) -> None:
        self._thread.join()


def percentile(values: list[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]


def stalled_run(stage: str, path: Path) -> tuple[list[Row], Stop]:
    stop = Stop(stage)
    outcome = run(assign(BUSY, path), stop.observe)
    stop.join()
    assert outcome.result.status is RunStatus.COMPLETE
    rows = [row for row in check_whole(path) if not row["warmup"]]
    assert len(rows) == RATE_HZ * SECONDS
    return rows, stop


def check_stall_in(rows: list[Row], stop: Stop) -> None:
    """Every tick due in the stall took what was left of it, and p99 says so.

    A tick arrives when the stall has ended at the earliest. How much later it may be is the time
    that the pipeline takes for the backlog: 500 ticks, some tens of milliseconds.
    """
    due_within = [row for row in rows if stop.began_ns <= row["due_ns"] < stop.ended_ns]
    stall_ms = (stop.ended_ns - stop.began_ns) / NS_PER_MS
    assert len(due_within) == pytest.approx(stall_ms * RATE_HZ / 1000, abs=1.5)
    backlog_ms = [(row["consumed_ns"] - stop.ended_ns) / NS_PER_MS for row in due_within]
    assert min(backlog_ms) >= 0
    assert statistics.median(backlog_ms) < 100
    # the ticks due in the stall are the slowest of the run: its distribution is known from the
    # length of the stall alone, each tick waiting a millisecond less than the one before
    waits_ms = [(stop.ended_ns - row["due_ns"]) / NS_PER_MS for row in due_within]
    predicted_ms = [0.0] * (len(rows) - len(waits_ms)) + waits_ms
    end_to_end = latencies_ms(rows, "end_to_end")
    for percent in (91, 93, 95, 97, 98, 99, 99.5, 99.9):
        predicted = percentile(predicted_ms, percent)
        assert predicted <= percentile(end_to_end, percent) < predicted + 100, percent
    assert statistics.median(end_to_end) < 50


def test_ticks_due_while_the_relay_stands_still_take_as_long_as_arithmetic_says(
    tmp_path: Path,
) -> None:
    rows, stop = stalled_run("relay", tmp_path / "run.parquet")
    check_stall_in(rows, stop)
    # the generator went on sending into the socket: the wait is behind it, and service shows it
    waiting = [row for row in rows if stop.began_ns <= row["due_ns"] < stop.ended_ns]
    assert max(latencies_ms(rows, "service")) > 0.9 * STALL_S * 1000
    late_ms = statistics.median((row["sent_ns"] - row["due_ns"]) / NS_PER_MS for row in waiting)
    assert late_ms < 20


def test_ticks_due_while_the_generator_stands_still_take_as_long_and_service_hides_it(
    tmp_path: Path,
) -> None:
    rows, stop = stalled_run("generator", tmp_path / "run.parquet")
    check_stall_in(rows, stop)
    # what a tool without a schedule would have shown: nothing of half a second
    end_to_end, service = latencies_ms(rows, "end_to_end"), latencies_ms(rows, "service")
    assert percentile(end_to_end, 99) > 300
    assert percentile(service, 99) < percentile(end_to_end, 99) / 2
    schedule = latencies_ms(rows, "schedule")
    assert percentile(schedule, 99) > 0.9 * (percentile(end_to_end, 99) - 100)
