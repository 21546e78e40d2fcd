"""What makes runs comparable, option by option, and which runs are not to be taken for normal."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from latbench.config import RunConfig
from latbench.findings import SEVERITY, Code, is_valid
from latbench.result import Environment, Finding, RunStatus
from latbench.trend_key import SeriesKey, Unused, series_key, unused_because
from tests.results import (
    SCHEMA_1,
    make_broker,
    make_config,
    make_environment,
    make_floor,
    make_result,
)

MATTERS: dict[str, Any] = {
    "tick_rate_hz": 4000, "symbols": ("TCS",), "ws_host": "127.0.0.2", "ws_engine": "websockets",
    "kafka_client": "confluent-kafka", "acks": "1", "linger_ms": 5.0, "compression": "lz4",
    "producer": {"batch.size": "100000"}, "consumer": {"fetch.min.bytes": "1"},
    "source": "ticks.parquet", "arrivals": "poisson", "pin": (0, 1), "name": "nightly",
    "hiccups": False, "coalesce_ns": 500_000, "spin": True, "compiled": False, "realtime": True,
    "subscribers": 100,
    "consumer_alone": True,
}  # fmt: skip
"""Options that change a latency on purpose, and another value of each."""
DIFFERS: dict[str, Any] = {
    "duration_ns": 10**9, "warmup_ns": 0, "warmup_auto": True, "topic": "other", "ws_port": 8765,
    "seed": 2, "loop": True, "drain_timeout_ns": 1, "allow": ("ticks-lost",), "floor": True,
    "publish_stats": True,
    "delays_injected": True,  # not used at all
    "subscriber_queue": 7, "slow_client": "disconnect",  # without subscribers, see below
}  # fmt: skip
"""Options that may differ between two measurements of the same thing."""
TOLD_BY_THE_BROKER = {"broker", "partitions"}
OF_A_REPLAY = {"speed"}


def key(**changes: Any) -> SeriesKey:
    return series_key(make_result(**changes))


def test_of_every_option_it_is_known_whether_it_matters() -> None:
    options = {field.name for field in msgspec.structs.fields(RunConfig)}
    assert options == MATTERS.keys() | DIFFERS.keys() | TOLD_BY_THE_BROKER | OF_A_REPLAY


@pytest.mark.parametrize("option", MATTERS)
def test_what_changes_a_latency_on_purpose_is_another_scenario(option: str) -> None:
    other = key(config=make_config(**{option: MATTERS[option]}))
    assert other != key()
    assert other.scenario_id != key().scenario_id


@pytest.mark.parametrize("option", ["subscriber_queue", "slow_client"])
def test_how_subscribers_are_treated_matters_where_there_are_some(option: str) -> None:
    with_some = make_config(subscribers=100)
    other = make_config(subscribers=100, **{option: DIFFERS[option]})
    assert key(config=other) != key(config=with_some)


@pytest.mark.parametrize("option", DIFFERS)
def test_what_two_measurements_of_the_same_may_differ_in_is_not(option: str) -> None:
    assert key(config=make_config(**{option: DIFFERS[option]})) == key()


def test_a_property_that_an_option_sets_as_well_is_the_same_thing() -> None:
    config = make_config(
        producer={"linger.ms": "5", "compression.codec": "lz4", "request.required.acks": "-1"}
    )
    assert key(config=config) == key(config=make_config(linger_ms=5.0, compression="lz4"))
    refused = make_config(producer={"linger.ms": "soon"})
    assert key(config=refused) == key()


def test_a_replay_is_its_file_and_its_speed_whatever_the_simulation_would_be() -> None:
    def replay(**changes: Any) -> SeriesKey:
        return key(config=make_config(**{"source": "a/ticks.parquet"} | changes))

    assert replay(tick_rate_hz=7, symbols=("X",), arrivals="burst") == replay()
    assert replay(source="b/c/ticks.parquet") == replay()
    assert replay(speed=2.0) != replay()
    assert replay(speed=0.0) != replay(speed=1.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "embedded"}, {"version": "4.4.0"}, {"partitions": 2},
        {"bootstrap": "elsewhere:9092"},
    ],
)  # fmt: skip
def test_another_broker_is_another_scenario(changes: dict[str, Any]) -> None:
    assert key(broker=make_broker(**changes)) != key()


def test_a_brokers_ports_and_the_order_of_its_hosts_do_not_count() -> None:
    one = key(broker=make_broker(bootstrap="b:1,a:2", cluster_id="x"))
    assert one == key(broker=make_broker(bootstrap="a:9, b:8"))
    assert one.broker_hosts == ("a", "b")


def test_the_embedded_brokers_version_is_that_of_a_library() -> None:
    versions = [
        key(broker=make_broker(embedded=True, version=version)) for version in ("2.12.2", "2.13.0")
    ]
    assert versions[0] == versions[1]


@pytest.mark.parametrize("changes", [{"cpu_model": "Xeon"}, {"cpus": 4}, {"hostname": "bench-2"}])
def test_another_machine_is_another_scenario(changes: dict[str, Any]) -> None:
    assert key(environment=make_environment(**changes)) != key()


def test_what_a_trend_is_there_to_show_is_in_no_key() -> None:
    shown = {
        "governor": "powersave", "kernel": "7.0", "memory_bytes": 1, "python": "3.13.0",
        "libraries": {"picows": "9"}, "git_revision": "cafe", "boot_id": "x",
    }  # fmt: skip
    fields = {field.name for field in msgspec.structs.fields(Environment)}
    assert fields == shown.keys() | {"cpu_model", "cpus", "hostname"}
    assert key(environment=make_environment(**shown), latbench="9.9") == key()
    assert key(**SCHEMA_1) == key(floor=make_floor())


def test_any_host_leaves_out_the_hosts_name_alone() -> None:
    one, other = (
        series_key(make_result(environment=make_environment(**changes)), any_host=True)
        for changes in ({"hostname": "runner-1"}, {"hostname": "runner-2"})
    )
    assert one == other
    more = make_result(environment=make_environment(cpus=4))
    assert series_key(more, any_host=True) != one


# --- not to be taken for normal -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"status": RunStatus.FAILED, "failure": "it died"}, (Unused.FAILED, "it died")),
        ({"status": RunStatus.INTERRUPTED}, (Unused.INTERRUPTED, "")),
        ({"status": RunStatus.RECOVERED}, (Unused.RECOVERED, "")),
        ({"status": RunStatus.RUNNING}, (Unused.RUNNING, "")),
        ({"config": make_config(delays_injected=True)}, (Unused.DELAYS_INJECTED, "")),
        (
            {"findings": (Finding(code="ticks-lost"), Finding(code="ring-overrun"))},
            (Unused.INVALID, "ticks-lost, ring-overrun"),
        ),
        ({"findings": (Finding(code="ticks-lost", allowed=True),)}, None),
        ({"findings": (Finding(code="hiccups"), Finding(code="of-a-later-version"))}, None),
        ({}, None),
    ],
)
def test_bad_runs_are_told_from_good_ones(
    changes: dict[str, Any], why: tuple[Unused, str] | None
) -> None:
    assert unused_because(make_result(**changes)) == why


@pytest.mark.parametrize("code", Code)
@pytest.mark.parametrize("allowed", [False, True])
def test_a_run_is_used_when_it_is_valid(code: Code, allowed: bool) -> None:
    result = make_result(findings=(Finding(code=code, allowed=allowed),))
    assert (unused_because(result) is None) == is_valid(result), SEVERITY[code]
