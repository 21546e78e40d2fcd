from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench import advice
from latbench.advice import SATURATED, SLOW_NS, WORTH_SAYING, Advice, advise, describe
from latbench.clock import NS_PER_S
from latbench.config import MAX_SPEED, RunConfig
from latbench.result import ClientFigures, Finding, HopSummary, MachineFigures
from latbench.tick import HOPS
from tests.results import make_config, make_counts, make_hop, make_process, make_processes

EMBEDDED = make_config(broker="embedded")
BUSY = MachineFigures(busy=0.86, steal=0.0, iowait=0.0)
MS = 1_000_000


def make_means(rate_hz: int | None = None, **means_ms: float) -> tuple[HopSummary, ...]:
    """Hops with these means, 0.01 ms where none is given; the four parts add up."""
    parts = {name: means_ms.get(name, 0.01) for name in ("schedule", "websocket", "relay", "kafka")}
    means = {**dict.fromkeys((hop.name for hop in HOPS), 0.01), **parts}
    means["end_to_end"] = sum(parts.values())
    rate = {} if rate_hz is None else {"rate_hz": float(rate_hz)}
    return tuple(make_hop(name, mean_ns=mean * MS, **rate) for name, mean in means.items())


def make_client(**changes: Any) -> ClientFigures:
    """A producer that nothing waits in, at a broker that answers within 0.3 ms."""
    client = ClientFigures(
        queue_mean_ns=20_000.0, queue_max_ns=900_000, send_mean_ns=15_000.0, send_max_ns=800_000,
        ack_mean_ns=300_000.0, ack_max_ns=4_000_000, throttle_mean_ns=0.0, throttle_max_ns=0,
        batches=1000, batch_messages=1.2, batch_bytes=420.0, fetch_mean_ns=2_000_000.0,
    )  # fmt: skip
    return msgspec.structs.replace(client, **changes)


def advised(**changes: Any) -> dict[str, dict[str, Any]]:
    """The values of each piece by code, in order; a run well set up but for `changes`."""
    given: dict[str, Any] = {
        "config": make_config(),
        "hops": make_means(kafka=0.4),
        "client": make_client(),
        "processes": make_processes(),
        "machine": MachineFigures(busy=0.4, steal=0.0, iowait=0.0),
        "counts": make_counts(),
    }
    pieces = advise(**{**given, **changes})
    assert len({(piece.code, piece.values.get("process")) for piece in pieces}) == len(pieces)
    return {piece.code: piece.values for piece in pieces}


CAUSES: dict[Advice, tuple[dict[str, Any], dict[str, Any], str]] = {
    # what is changed of a run well set up, the values and a part of what is then told
    Advice.LINGER: (
        {
            "config": make_config(linger_ms=5.0),
            "hops": make_means(kafka=4.0),
            "client": make_client(queue_mean_ns=3.0 * MS),
        },
        {"linger_ms": 5.0, "held": 3.0 * MS, "hop": "kafka", "mean": 4.0 * MS},
        "linger (5 ms) holds each tick 3.00 ms of the kafka hop's 4.00 ms",
    ),
    Advice.QUEUE: (
        {
            "hops": make_means(kafka=9.0),
            "client": make_client(
                queue_mean_ns=2.0 * MS, send_mean_ns=0.5 * MS, ack_mean_ns=1.7 * MS
            ),
        },
        {"held": 2.5 * MS, "hop": "kafka", "mean": 9.0 * MS, "ack": 1.7 * MS},
        "waits 2.50 ms of the kafka hop's 9.00 ms in the producer, until requests before it are "
        "answered (1.70 ms each): --linger 1 makes fewer",
    ),
    Advice.QUEUE_WITH_LINGER: (
        {
            "config": make_config(linger_ms=1.0),
            "hops": make_means(kafka=30.0),
            "client": make_client(
                queue_mean_ns=9.0 * MS, send_mean_ns=0.5 * MS, ack_mean_ns=1.7 * MS
            ),
        },
        {"held": 8.5 * MS, "hop": "kafka", "mean": 30.0 * MS, "ack": 1.7 * MS},
        "waits 8.50 ms of the kafka hop's 30.0 ms in the producer beyond its linger",
    ),
    Advice.BROKER: (
        {"hops": make_means(kafka=9.0), "client": make_client(ack_mean_ns=7.0 * MS)},
        {"held": 7.0 * MS, "hop": "kafka", "mean": 9.0 * MS},
        "takes 7.00 ms to answer a produce request, of the kafka hop's 9.00 ms",
    ),
    Advice.BROKER_WRITES: (
        {
            "hops": make_means(kafka=9.0),
            "client": make_client(ack_mean_ns=7.0 * MS, batches=300_000, batch_bytes=70_000.0),
        },
        {"held": 7.0 * MS, "hop": "kafka", "mean": 9.0 * MS, "megabytes": 70.0},
        "of the kafka hop's 9.00 ms, and has 70 MB/s to write: --compression lz4",
    ),
    Advice.THROTTLE: (
        {"client": make_client(throttle_mean_ns=1.5 * MS)},
        {"held": 1.5 * MS},
        "throttles the producer by 1.50 ms a request",
    ),
    Advice.SATURATED: (
        {"processes": (make_process("relay", cpu_ns=972 * MS, span_ns=1000 * MS),)},
        {"process": "relay", "percent": 97.2},
        "the relay's threads use 97 % of a CPU",
    ),
    Advice.WAKING: (
        {"hops": make_means(rate_hz=10_000, kafka=0.7), "machine": BUSY},
        {"percent": 86.0},
        "all CPUs are 86 % busy, much of it with waking up for single ticks: --coalesce 0.5",
    ),
    Advice.MOCK_BATCHES: (
        {
            "config": EMBEDDED,
            "hops": make_means(websocket=3.0),
            "processes": (make_process("broker", cpu_ns=531 * MS, span_ns=1000 * MS),),
        },
        {"percent": 53.1},
        "the mock broker uses 53 % of a CPU: for each fetch it goes through all batches that it "
        "keeps. --coalesce 0.5 (as in --profile latency) sends together",
    ),
    Advice.GENERATOR: (
        {"hops": make_means(schedule=3.0, kafka=0.48)},
        {"held": 3.0 * MS, "mean": 3.5 * MS},
        "3.00 ms of the total's 3.50 ms is the generator being late",
    ),
    Advice.MOCK_FETCH: (
        {"config": EMBEDDED, "hops": make_means(kafka=1.035)},
        {"held": 1.0 * MS, "mean": 1.065 * MS},
        "1.00 ms of the total's 1.06 ms is the mock broker, whose fetch cycle alone",
    ),
}


def test_a_run_well_set_up_gets_no_advice() -> None:
    assert advised() == {}


def test_every_piece_of_advice_has_a_cause_and_a_prose() -> None:
    assert set(CAUSES) == set(advice._PROSE) == set(Advice)


@pytest.mark.parametrize("code", Advice)
def test_each_cause_is_advised_on_and_on_nothing_else(code: Advice) -> None:
    changes, values, _ = CAUSES[code]
    found = advised(**changes)
    assert list(found) == [code]
    assert found[code] == pytest.approx(values)


@pytest.mark.parametrize("code", Advice)
def test_each_piece_is_told_on_one_line_with_its_values(code: Advice) -> None:
    _, values, text = CAUSES[code]
    told = describe(Finding(code=code, values=values))
    assert text in told
    assert not re.search(r"[{}\n]|None", told)
    assert told == told.strip().rstrip(".")


@pytest.mark.parametrize(
    "piece",
    [
        Finding(code="buy-a-computer", values={"held": 7}),
        Finding(code=Advice.QUEUE, values={}),
        Finding(code=Advice.LINGER, values={"held": "long", "mean": "short"}),
        Finding(code=Advice.SATURATED, values={"process": "relay", "percent": "all"}),
    ],
)
def test_advice_of_another_version_is_told_as_it_is(piece: Finding) -> None:
    assert describe(piece) == f"{piece.code}: {piece.values}"


def test_without_a_tick_that_arrived_there_is_no_advice() -> None:
    changes = CAUSES[Advice.SATURATED][0]
    nothing = tuple(make_hop(hop.name, count=0, mean_ns=0.0) for hop in HOPS)
    assert advised(**changes, hops=nothing) == {}


def test_without_the_clients_figures_their_advice_is_not_given() -> None:
    for code in (Advice.LINGER, Advice.QUEUE, Advice.BROKER, Advice.THROTTLE):
        assert advised(**{**CAUSES[code][0], "client": None}) == {}
    unknown = make_client(**dict.fromkeys(("queue_mean_ns", "send_mean_ns", "ack_mean_ns")))
    assert advised(hops=make_means(kafka=9.0), client=unknown) == {}


# --- thresholds -------------------------------------------------------------------------------


@pytest.mark.parametrize(("cpu_ms", "told"), [(850, False), (851, True), (2400, True)])
def test_a_process_is_saturated_above_its_share_of_a_cpu(cpu_ms: int, told: bool) -> None:
    process = make_process("consumer", cpu_ns=cpu_ms * MS, span_ns=1000 * MS)
    assert SATURATED == 0.85
    assert (Advice.SATURATED in advised(processes=(process,))) is told


@pytest.mark.parametrize(
    ("rate_hz", "busy", "told"),
    [(5000, 0.8, True), (4999, 0.8, False), (5000, 0.799, False), (5000, None, False)],
)
def test_sending_together_is_advised_where_many_ticks_keep_all_cpus_busy(
    rate_hz: int, busy: float | None, told: bool
) -> None:
    machine = None if busy is None else msgspec.structs.replace(BUSY, busy=busy)
    found = advised(hops=make_means(rate_hz=rate_hz), machine=machine)
    assert (Advice.WAKING in found) is told


@pytest.mark.parametrize(
    "options",
    [
        {"coalesce_ns": 1},
        {"spin": True},
        {"linger_ms": 1.0},
        {"producer": {"linger.ms": "1"}},
        {"source": "feed.ws", "speed": MAX_SPEED},
    ],
)
def test_sending_together_is_not_advised_where_nobody_wakes_for_single_ticks(
    options: dict[str, Any],
) -> None:
    hops = make_means(rate_hz=10_000)
    assert Advice.WAKING not in advised(config=make_config(**options), hops=hops, machine=BUSY)


@pytest.mark.parametrize(
    ("config", "cpu_ms", "busy", "told"),
    [
        (EMBEDDED, 400, 0.7, True),
        (EMBEDDED, 399, 0.7, False),
        (EMBEDDED, 950, 0.85, False),  # it is said of all CPUs then
        (msgspec.structs.replace(EMBEDDED, coalesce_ns=500_000), 400, 0.7, False),
        (msgspec.structs.replace(EMBEDDED, linger_ms=1.0), 400, 0.7, False),
        (make_config(), 400, 0.7, False),
    ],
)
def test_fewer_batches_are_advised_where_the_mock_broker_is_busy_with_them(
    config: RunConfig, cpu_ms: int, busy: float, told: bool
) -> None:
    found = advised(
        config=config,
        hops=make_means(rate_hz=10_000),
        processes=(make_process("broker", cpu_ns=cpu_ms * MS, span_ns=1000 * MS),),
        machine=msgspec.structs.replace(BUSY, busy=busy),
    )
    assert (Advice.MOCK_BATCHES in found) is told


@pytest.mark.parametrize(("queue_ms", "told"), [(0.8, False), (0.81, True)])
def test_linger_is_told_from_a_fifth_of_the_hop_on(queue_ms: float, told: bool) -> None:
    assert WORTH_SAYING == 0.2
    found = advised(
        config=make_config(linger_ms=5.0),
        hops=make_means(kafka=4.0),
        client=make_client(queue_mean_ns=queue_ms * MS),
    )
    assert (Advice.LINGER in found) is told


@pytest.mark.parametrize(
    ("kafka_ms", "ack_ms", "told"),
    [(9.0, 1.8, False), (9.0, 1.81, True), (2.0, 1.0, False), (2.0, 1.001, True)],
)
def test_a_broker_is_slow_above_a_fifth_of_the_hop_and_a_millisecond(
    kafka_ms: float, ack_ms: float, told: bool
) -> None:
    assert SLOW_NS == MS
    client = make_client(ack_mean_ns=ack_ms * MS)
    assert (Advice.BROKER in advised(hops=make_means(kafka=kafka_ms), client=client)) is told
    # of the mock cluster's own time it is not said
    embedded = advised(config=EMBEDDED, hops=make_means(kafka=kafka_ms), client=client)
    assert Advice.BROKER not in embedded


@pytest.mark.parametrize(
    ("compression", "batch_bytes", "told"),
    [
        ("none", 20_000.0, Advice.BROKER_WRITES),
        ("none", 19_999.0, Advice.BROKER),
        ("none", None, Advice.BROKER),
        ("lz4", 70_000.0, Advice.BROKER),
    ],
)
def test_compression_is_advised_where_it_is_off_and_there_is_much_to_write(
    compression: str, batch_bytes: float | None, told: Advice
) -> None:
    client = make_client(ack_mean_ns=7.0 * MS, batches=300_000, batch_bytes=batch_bytes)
    config = make_config(compression=compression)
    found = advised(config=config, hops=make_means(kafka=9.0), client=client)
    assert list(found) == [told]


@pytest.mark.parametrize("name", ["compression.type", "compression.codec"])
def test_compression_that_a_property_of_the_producer_sets_is_not_advised(name: str) -> None:
    client = make_client(ack_mean_ns=7.0 * MS, batches=300_000, batch_bytes=70_000.0)
    hops = make_means(kafka=9.0)
    on = make_config(producer={name: "lz4"})
    assert list(advised(config=on, hops=hops, client=client)) == [Advice.BROKER]
    off = make_config(compression="lz4", producer={name: "none"})
    assert list(advised(config=off, hops=hops, client=client)) == [Advice.BROKER_WRITES]


@pytest.mark.parametrize(("schedule", "told"), [(0.104, False), (0.107, True)])
def test_a_generator_is_told_to_be_late_only_where_that_is_the_largest_part(
    schedule: float, told: bool
) -> None:
    others = {"websocket": 0.105, "relay": 0.105, "kafka": 0.105}
    assert (Advice.GENERATOR in advised(hops=make_means(schedule=schedule, **others))) is told


# --- which linger, whose time -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("linger_ms", "producer", "told_ms"),
    [
        (5.0, {}, 5.0),
        (0.0, {"linger.ms": "5"}, 5.0),
        (0.0, {"queue.buffering.max.ms": "2.5"}, 2.5),
        (5.0, {"linger.ms": "0"}, None),
        (0.0, {}, None),
    ],
)
def test_linger_is_what_the_producer_was_given_in_the_end(
    linger_ms: float, producer: dict[str, str], told_ms: float | None
) -> None:
    found = advised(
        config=make_config(linger_ms=linger_ms, producer=producer),
        hops=make_means(kafka=4.0),
        client=make_client(queue_mean_ns=3.0 * MS),
    )
    # what is not linger is the request before
    assert found.get(Advice.LINGER, {}).get("linger_ms") == told_ms
    assert (Advice.QUEUE in found) is (told_ms is None)


def test_what_waits_in_the_producer_is_not_the_mock_brokers() -> None:
    client = make_client(queue_mean_ns=10.0 * MS, send_mean_ns=0.0)
    lingering = make_config(broker="embedded", linger_ms=20.0)
    found = advised(config=lingering, hops=make_means(kafka=11.0), client=client)
    assert set(found) == {Advice.LINGER}
    found = advised(config=lingering, hops=make_means(kafka=20.0), client=client)
    assert found[Advice.MOCK_FETCH]["held"] == pytest.approx(10.0 * MS)
    # without the client's figures all of the hop is the broker's as far as anyone knows
    found = advised(config=EMBEDDED, hops=make_means(kafka=11.0), client=None)
    assert found[Advice.MOCK_FETCH]["held"] == pytest.approx(11.0 * MS)


times_ms = st.floats(0, 500)


@given(
    linger_ms=times_ms, kafka_ms=times_ms, schedule_ms=times_ms, queue_ms=times_ms,
    send_ms=times_ms, ack_ms=times_ms, embedded=st.booleans(),
)  # fmt: skip
def test_nothing_is_said_to_hold_more_than_was_measured_and_the_largest_comes_first(
    linger_ms: float,
    kafka_ms: float,
    schedule_ms: float,
    queue_ms: float,
    send_ms: float,
    ack_ms: float,
    embedded: bool,
) -> None:
    found = advised(
        config=make_config(linger_ms=linger_ms, broker="embedded" if embedded else "k:1"),
        hops=make_means(kafka=kafka_ms, schedule=schedule_ms),
        client=make_client(
            queue_mean_ns=queue_ms * MS, send_mean_ns=send_ms * MS, ack_mean_ns=ack_ms * MS
        ),
        processes=(make_process("relay", cpu_ns=9, span_ns=10),),
    )
    assert next(iter(found)) == Advice.SATURATED
    held = [values["held"] for values in found.values() if "held" in values]
    assert held == sorted(held, reverse=True)
    nearly = 1 + 1e-9
    if Advice.LINGER in found:
        assert found[Advice.LINGER]["held"] <= min(linger_ms, queue_ms) * MS * nearly
    if Advice.QUEUE in found:
        assert found[Advice.QUEUE]["held"] <= (queue_ms + send_ms) * MS * nearly
    if Advice.MOCK_FETCH in found:
        assert embedded
        assert found[Advice.MOCK_FETCH]["held"] <= kafka_ms * MS * nearly
    if {Advice.LINGER, Advice.QUEUE} <= set(found):
        both = found[Advice.LINGER]["held"] + found[Advice.QUEUE]["held"]
        assert both <= (queue_ms + send_ms) * MS * nearly


def test_at_full_speed_no_generator_is_late() -> None:
    replay = make_config(source="feed.ws", speed=MAX_SPEED)
    assert advised(config=replay, hops=make_means(schedule=0.0, kafka=0.4)) == {}


def test_what_can_not_be_pinned_is_not_told_to_be() -> None:
    busy = tuple(
        make_process(process=name, span_ns=NS_PER_S, cpu_ns=NS_PER_S)
        for name in ("supervisor", "broker")
    )
    assert Advice.SATURATED not in advised(processes=busy)


def test_a_generator_that_the_relay_held_up_is_not_blamed() -> None:
    late = {"hops": make_means(schedule=3.0, kafka=0.48)}
    held_up = make_counts(generator_backpressure=3, generator_backpressure_ns=2_000_000_000)
    assert list(advised(**late)) == [Advice.GENERATOR]
    assert advised(**late, counts=held_up) == {}


def test_nothing_is_advised_about_delays_that_latbench_put_in_itself() -> None:
    config = make_config(broker="embedded", delays_injected=True)
    assert advised(config=config, hops=make_means(kafka=25.0)) == {}
