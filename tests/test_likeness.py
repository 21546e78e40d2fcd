"""Whether two runs measured the same thing, and what is different about them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from latbench.arrivals import Arrivals
from latbench.clock import NS_PER_S
from latbench.config import MAX_SPEED, RunConfig
from latbench.findings import Code, Severity, severity
from latbench.likeness import (
    differences,
    differing,
    fingerprint,
    load_differences,
    mismatches,
    option_of,
    setting,
    unfit,
)
from latbench.result import Finding, RunResult, RunStatus
from tests.results import make_broker, make_config, make_environment, make_result

REPLAY = {"source": "feed.ws", "duration_ns": None}


def with_config(**changes: Any) -> RunResult:
    return make_result(config=make_config(**changes))


def told(base: RunResult, new: RunResult) -> list[tuple[str, str, str]]:
    return [(each.name, each.base, each.new) for each in mismatches([base], [new])]


def told_settings(base: RunResult, new: RunResult) -> list[tuple[str, str, str]]:
    return [(each.name, each.base, each.new) for each in differences([base], [new])]


def test_a_run_is_like_itself() -> None:
    assert told(make_result(), make_result()) == []
    assert told_settings(make_result(), make_result()) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"cpu_model": "Xeon"}, ("cpu", "AMD EPYC 7B13", "Xeon")),
        ({"cpus": 8}, ("cpus", "2", "8")),
        ({"governor": "powersave"}, ("governor", "performance", "powersave")),
        ({"governor": ""}, ("governor", "performance", "unknown")),
        ({"kernel": "6.2.0"}, ("kernel", "6.1.0-25-cloud-amd64", "6.2.0")),
        ({"memory_bytes": 16 << 30}, ("memory", "8 GiB", "16 GiB")),
    ],
)
def test_another_machine_is_a_mismatch(
    changes: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    other = make_result(environment=make_environment(**changes))
    assert told(make_result(), other) == [expected]
    assert told_settings(make_result(), other) == []


def test_memory_that_a_kernel_reserves_is_none() -> None:
    environment = make_environment(memory_bytes=make_environment().memory_bytes - (100 << 20))
    assert told(make_result(), make_result(environment=environment)) == []


def test_a_name_of_the_machine_or_another_boot_is_none() -> None:
    environment = make_environment(hostname="bench-2", boot_id="another")
    assert told(make_result(), make_result(environment=environment)) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"kind": "embedded"}, ("broker", "kafka", "embedded")),
        ({"version": "3.9.0"}, ("broker version", "4.3.1", "3.9.0")),
    ],
)
def test_another_broker_is_a_mismatch(
    changes: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    assert told(make_result(), make_result(broker=make_broker(**changes))) == [expected]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"tick_rate_hz": 1000}, ("tick-rate", "5,000/s", "1,000/s")),
        ({"duration_ns": 3 * NS_PER_S}, ("duration", "5 min", "3 s")),
        ({"warmup_ns": NS_PER_S}, ("warmup", "2 s", "1 s")),
        ({"warmup_auto": True}, ("warmup-auto", "off", "on")),
        ({"symbols": ("A", "B")}, ("symbols", "NIFTY,BANKNIFTY,RELIANCE,TCS", "A,B")),
        ({"arrivals": Arrivals.POISSON}, ("arrivals", "constant", "poisson")),
        ({"seed": 2}, ("seed", "1", "2")),
        ({"hiccups": False}, ("hiccups", "on", "off")),
        ({"delays_injected": True}, ("delays-injected", "off", "on")),
    ],
)
def test_another_load_is_a_mismatch_known_beforehand(
    changes: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    other = with_config(**changes)
    assert told(make_result(), other) == [expected]
    (before,) = load_differences(make_config(), make_config(**changes))
    assert (before.name, before.base, before.new) == expected
    assert told_settings(make_result(), other) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"speed": 2.0}, ("speed", "1.0", "2.0")),
        ({"speed": MAX_SPEED}, ("speed", "1.0", "max")),
        ({"source": "other.ws"}, ("source", "feed.ws", "other.ws")),
        ({"duration_ns": NS_PER_S}, ("duration", "all of it", "1 s")),
    ],
)
def test_another_replay_is_a_mismatch(
    changes: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    assert told(with_config(**REPLAY), with_config(**REPLAY | changes)) == [expected]


def test_a_replay_that_begins_again_is_another_load() -> None:
    other = with_config(**REPLAY, loop=True)
    assert [name for name, *_ in told(with_config(**REPLAY), other)] == ["duration", "loop"]


def test_a_replay_has_nothing_of_the_simulated_market() -> None:
    other = {"tick_rate_hz": 1, "symbols": ("A",), "arrivals": Arrivals.BURST, "seed": 9}
    assert told(with_config(**REPLAY), with_config(**REPLAY | other)) == []


def test_a_replay_is_no_simulation() -> None:
    names = [name for name, *_ in told(make_result(), with_config(**REPLAY))]
    assert "source" in names


def test_a_duration_that_was_not_given_is_the_minute_that_it_stands_for() -> None:
    assert load_differences(RunConfig(), RunConfig(duration_ns=60 * NS_PER_S)) == ()
    (other,) = load_differences(RunConfig(), RunConfig(duration_ns=30 * NS_PER_S))
    assert (other.base, other.new) == ("60 s", "30 s")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"ws_engine": "websockets"}, ("ws-engine", "picows", "websockets")),
        (
            {"kafka_client": "confluent-kafka"},
            ("kafka-client", "librdkafka", "confluent-kafka"),
        ),
        ({"acks": "1"}, ("acks", "all", "1")),
        ({"linger_ms": 5.0}, ("linger", "0 ms", "5 ms")),
        ({"compression": "lz4"}, ("compression", "none", "lz4")),
        ({"partitions": 4}, ("partitions", "default", "4")),
        ({"producer": {"b": "2", "a": "1"}}, ("producer", "none", "a=1, b=2")),
        ({"consumer": {"a": "1"}}, ("consumer", "none", "a=1")),
        ({"coalesce_ns": 500_000}, ("coalesce", "0 ns", "500 µs")),
        ({"spin": True}, ("spin", "off", "on")),
        ({"realtime": True}, ("realtime", "off", "on")),
        ({"compiled": False}, ("compiled", "on", "off")),
        ({"pin": (0, 1)}, ("pin", "none", "0,1")),
    ],
)
def test_a_setting_may_differ_and_is_told(
    changes: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    other = with_config(**changes)
    assert told(make_result(), other) == []
    assert told_settings(make_result(), other) == [expected]


def test_software_may_differ_and_is_told() -> None:
    libraries = {**make_environment().libraries, "librdkafka": "2.13.0", "new": "1"}
    del libraries["uvloop"]
    environment = make_environment(libraries=libraries, python="3.12.1", git_revision="")
    other = make_result(environment=environment, latbench="0.2.0")
    assert told(make_result(), other) == []
    assert told_settings(make_result(), other) == [
        ("latbench", "0.1.0", "0.2.0"),
        ("git revision", "2419d19", "none"),
        ("python", "3.11.9", "3.12.1"),
        ("librdkafka", "2.12.2", "2.13.0"),
        ("uvloop", "0.22.1", "none"),
        ("new", "none", "1"),
    ]


def test_every_part_of_a_configuration_is_load_or_setting_or_matters_to_neither() -> None:
    """A field that is added to `RunConfig` has to be thought of here."""
    said = {*fingerprint(make_result()), *setting(make_result())}
    # where it ran, what it is called, how its end is waited for, what is forgiven
    neither = {
        "broker", "topic", "ws-host", "ws-port", "drain-timeout", "name", "allow", "floor"
    }  # fmt: skip
    fields = {option_of(field) for field in RunConfig.__struct_fields__} - {"broker"}
    assert fields - said == neither - {"broker"}


def test_of_several_runs_on_a_side_all_values_are_told() -> None:
    kernels = [make_result(environment=make_environment(kernel=f"6.{n}")) for n in (2, 1, 1)]
    (found,) = mismatches(kernels, [kernels[0]])
    assert (found.name, found.base, found.new) == ("kernel", "6.1 / 6.2", "6.2")
    (again,) = mismatches(kernels, kernels)  # not one thing, on either side
    assert (again.base, again.new) == ("6.1 / 6.2", "6.1 / 6.2")
    assert differing([], []) == ()


def test_a_password_is_nowhere_in_what_is_told_of_a_result() -> None:
    secret = {"sasl.password": "hunter2", "ssl.key.pem": "hunter2"}
    config = make_config(producer=secret, consumer=secret).without_secrets()  # as a file has it
    found = differences([make_result()], [make_result(config=config)])
    assert [each.name for each in found] == ["producer", "consumer"]
    assert "hunter2" not in msgspec.json.encode(found).decode()
    assert "sasl.password=[secret]" in found[0].new
    # the configuration that is to be run has it still
    assert load_differences(make_config(), make_config(producer=secret)) == ()


# --- runs whose figures can't be compared


def test_a_whole_run_with_nothing_grave_to_say_is_fit() -> None:
    harmless = tuple(
        Finding(code=code, values=VALUES) for code in Code if severity_of(code) != Severity.INVALID
    )
    assert unfit(make_result(findings=harmless), "run 3", "A") is None


VALUES: dict[str, int | float | str] = {
    "lost": 3,
    "sent": 1000,
    "rows": 5,
    "hop": "ack",
    "count": 1,
}


def severity_of(code: Code) -> Severity:
    return severity(Finding(code=code))


@pytest.mark.parametrize("code", [each for each in Code if severity_of(each) is Severity.INVALID])
def test_a_run_that_can_not_be_believed_is_unfit_unless_that_was_allowed(code: Code) -> None:
    finding = Finding(code=code, values=VALUES)
    found = unfit(make_result(findings=(finding,)), "run 3", "B")
    assert found is not None
    assert (found.run, found.side) == ("run 3", "B")
    assert found.why
    allowed = msgspec.structs.replace(finding, allowed=True)
    assert unfit(make_result(findings=(allowed,)), "run 3", "B") is None


def test_a_loss_is_told_in_words() -> None:
    finding = Finding(code=Code.TICKS_LOST, values=VALUES)
    found = unfit(make_result(findings=(finding,)), "run 3", "B")
    assert found is not None
    assert found.why.startswith("3 of 1,000 ticks never reached the consumer")


@pytest.mark.parametrize(
    ("status", "failure", "why"),
    [
        (RunStatus.INTERRUPTED, "", "it is interrupted"),
        (RunStatus.RECOVERED, "", "it is recovered"),
        (RunStatus.FAILED, "the relay died", "it is failed: the relay died"),
    ],
)
def test_a_run_that_is_not_complete_is_unfit(status: RunStatus, failure: str, why: str) -> None:
    found = unfit(make_result(status=status, failure=failure), "a.parquet", "A")
    assert found is not None
    assert found.why == why
