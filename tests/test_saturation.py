"""Who is at its limit first, by the points of a sweep."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from latbench.result import MachineFigures
from latbench.saturation import advise, describe, find_saturation, headline
from latbench.sweep_result import Saturation, SweepPoint
from tests.results import make_client, make_config, make_hop, make_hops
from tests.sweeps import queue_point

CALM = msgspec.structs.replace(
    queue_point(1000), hops=make_hops(), cpu_shares={"relay": 0.1}, holds=True
)
IDLE = MachineFigures(busy=0.3, steal=0.0, iowait=0.0)
BUSY = MachineFigures(busy=0.97, steal=0.0, iowait=0.0)


def failing(rate_hz: int = 20_000, **changes: Any) -> SweepPoint:
    """A point in which nothing is at its limit, but for the changes."""
    given = {"rate_hz": rate_hz, "holds": False, "machine": IDLE}
    return msgspec.structs.replace(CALM, **given | changes)


def found(*points: SweepPoint, answer_hz: int | None = 1000) -> Saturation:
    saturation = find_saturation([CALM, *points], answer_hz)
    assert saturation is not None
    return saturation


def slower(scale: float, *hops: str) -> Any:
    """All hops, those named slower; the total grows by as much as they do."""
    summaries = {summary.hop: summary for summary in make_hops()}
    growth = sum(summaries[hop].mean_ns * (scale - 1) for hop in hops)
    total = summaries["end_to_end"]
    changed = {hop: make_hop(hop, scale=scale) for hop in hops}
    changed["end_to_end"] = msgspec.structs.replace(total, mean_ns=total.mean_ns + growth)
    return tuple((summaries | changed).values())


@pytest.mark.parametrize("process", ["generator", "relay", "consumer", "broker"])
def test_a_process_with_a_whole_cpu_is_at_its_limit(process: str) -> None:
    saturation = found(failing(cpu_shares={"relay": 0.3, process: 0.96}))
    assert saturation.stage == process
    assert describe(saturation.evidence[0]) == f"the {process} uses 96 % of a CPU"
    assert headline(saturation) == f"the {process}, at 20,000/s"


def test_busy_cpus_are_at_their_limit_where_no_process_is() -> None:
    shares = {"generator": 0.5, "relay": 0.7}
    saturation = found(failing(machine=BUSY, cpu_shares=shares))
    assert saturation.stage == "machine"
    assert describe(saturation.evidence[0]).startswith(
        "all CPUs are 97 % busy (generator 50 %, relay 70 %)"
    )


def test_back_pressure_names_who_does_not_take() -> None:
    socket = found(failing(generator_backpressure_ns=3_000_000_000))
    assert (socket.stage, socket.evidence[0].code) == ("relay", "socket-full")
    assert describe(socket.evidence[0]) == "the socket to the relay was full for 30 % of the time"
    queue = found(failing(relay_backpressure_ns=3_000_000_000))
    assert (queue.stage, queue.evidence[0].code) == ("broker", "producer-full")
    assert found(failing(relay_backpressure_ns=1_000_000)).stage == ""


@pytest.mark.parametrize(
    ("hop", "stage"), [("schedule", "generator"), ("websocket", "relay"), ("relay", "relay")]
)
def test_a_queue_names_who_empties_it(hop: str, stage: str) -> None:
    saturation = found(failing(hops=slower(1000.0, hop)))
    assert saturation.stage == stage
    assert describe(saturation.evidence[0]).startswith(f"ticks queue in {hop}: its mean went from ")


def test_waits_in_kafka_are_the_brokers_when_the_producer_waits_for_answers() -> None:
    client = make_client(ack_mean_ns=50e6)
    saturation = found(failing(hops=slower(100.0, "kafka"), client=client))
    assert (saturation.stage, saturation.evidence[0].code) == ("broker", "slow-answers")


def test_waits_in_kafka_are_a_busy_consumers_when_the_producer_does_not_wait() -> None:
    slow = slower(100.0, "kafka")
    busy = failing(hops=slow, client=make_client(), cpu_shares={"consumer": 0.6})
    saturation = found(busy)
    assert (saturation.stage, saturation.evidence[0].code) == ("consumer", "queue")


@pytest.mark.parametrize(("busy", "stage"), [(0.88, "machine"), (0.4, "broker")])
def test_waits_in_kafka_are_not_a_consumers_that_has_time_to_spare(busy: float, stage: str) -> None:
    point = failing(
        hops=slower(100.0, "kafka"), client=make_client(), cpu_shares={"consumer": 0.29},
        machine=MachineFigures(busy=busy, steal=0.0, iowait=0.0),
    )  # fmt: skip
    saturation = found(point)
    assert saturation.stage == stage
    assert "queue" in [sign.code for sign in saturation.evidence]


def test_a_broker_elsewhere_that_answers_slowly_is_not_taken_for_cpus_that_are_busy_here() -> None:
    point = failing(
        hops=slower(100.0, "kafka"), client=make_client(ack_mean_ns=50e6),
        cpu_shares={"relay": 0.6, "consumer": 0.3},
        machine=MachineFigures(busy=0.8, steal=0.0, iowait=0.0),
    )  # fmt: skip
    assert found(point).stage == "broker"


def test_waits_in_kafka_without_statistics_are_the_brokers() -> None:
    assert found(failing(hops=slower(100.0, "kafka"), client=None)).stage == "broker"


def test_queues_before_several_processes_on_busy_cpus_are_the_machines() -> None:
    hops = slower(200.0, "schedule", "websocket")
    busy = MachineFigures(busy=0.8, steal=0.0, iowait=0.0)
    assert found(failing(hops=hops, machine=busy)).stage == "machine"
    assert found(failing(hops=hops, machine=IDLE)).stage in {"generator", "relay"}


def test_the_lowest_rate_that_tells_counts() -> None:
    points = [
        failing(8_000),
        failing(32_000, cpu_shares={"consumer": 0.99}),
        failing(16_000, cpu_shares={"relay": 0.9}),
    ]
    saturation = found(*points)
    assert (saturation.stage, saturation.rate_hz) == ("relay", 16_000)


def test_failures_below_the_answer_are_bad_luck() -> None:
    unlucky = failing(500, cpu_shares={"relay": 0.99})
    assert find_saturation([CALM, unlucky], 1000) is None


def test_a_tail_without_a_limit_is_called_that() -> None:
    saturation = found(failing(hops=make_hops(scale=1.2)))
    assert (saturation.stage, saturation.evidence) == ("", ())
    assert headline(saturation).startswith("nothing shows a limit at 20,000/s")
    assert advise(saturation, make_config()) == []


def test_ticks_that_pile_up_without_a_sign_are_called_that() -> None:
    piled = failing(
        64_000, overloaded=True, hops=(), machine=None, backlog_growth_ns=3_100_000_000,
        cpu_shares={"relay": 0.64, "generator": 0.2},
    )  # fmt: skip
    saturation = found(failing(hops=make_hops(scale=1.2)), piled)
    assert (saturation.stage, saturation.rate_hz) == ("", 64_000)
    assert headline(saturation) == "ticks pile up at 64,000/s, and no process shows a limit"
    assert describe(saturation.evidence[0]) == (
        "ticks were 3.10 s behind when the point was ended; the relay (64 %) used most CPU"
    )


def test_where_everything_holds_nothing_is_at_its_limit() -> None:
    assert find_saturation([CALM], 1000) is None
    assert find_saturation([], None) is None


@pytest.mark.parametrize("stage", ["relay", "broker", "machine"])
def test_what_sends_more_at_once_is_advised_where_nothing_does(stage: str) -> None:
    def leads(rate_hz: int, **options: Any) -> list[str]:
        saturation = Saturation(stage=stage, rate_hz=rate_hz, evidence=())
        told = advise(saturation, make_config(**options))
        return [" ".join(text.split()[:2]) for text in told[:-1]]

    assert leads(10_000) == ["--coalesce 0.5", "--linger 1"]
    assert leads(10_000, coalesce_ns=1) == leads(10_000, spin=True) == ["--linger 1"]
    assert leads(4_000) == ["--linger 1"]  # so few a second are not due together
    assert leads(10_000, linger_ms=1.0) == []


def test_what_the_generator_can_not_send_is_no_limit_of_the_pipeline() -> None:
    (told,) = advise(Saturation(stage="generator", rate_hz=1, evidence=()), make_config())
    assert "the pipeline may hold more" in told
