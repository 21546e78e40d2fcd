"""`latbench selftest`, whole: on the embedded broker, on a real Kafka, and made to disagree."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from latbench import selftest
from latbench.cli import selftest as command
from latbench.clock import NS_PER_MS
from latbench.plan import DelayStep
from latbench.selftest_result import SelftestResult
from latbench.store import read_result
from tests.cli import Caller, Finished, run_latbench, start_latbench, wait_until
from tests.kafka import WARM_SHORT, KafkaServer, warm
from tests.runs import check_whole

SHORT = ("--step", "2s", "--json")


def shifts_of(run: Finished) -> list[dict[str, Any]]:
    shifts = run.result["shifts"]
    assert isinstance(shifts, list)
    return shifts


def check_agrees(run: Finished) -> None:
    """Nothing is off; and if a machine that is busy with other tests leaves a doubt, that is said.

    An error that is no noise is off and fails here, on a busy machine as well.
    """
    shifts = shifts_of(run)
    assert len(shifts) == 84
    assert [shift for shift in shifts if shift["verdict"] == "off"] == []
    assert run.result["problems"] == []
    own = {"websocket": {"websocket"}, "produce": {"kafka", "ack"}, "fetch": {"kafka"}}
    rows = [shift for shift in shifts if shift["hop"] in own[shift["place"]]]
    assert len(rows) == 16
    agrees = all(shift["verdict"] == "ok" for shift in rows)
    assert run.result["agrees"] is agrees
    assert run.code == (0 if agrees else 4), run.talk
    for shift in shifts:
        if shift["verdict"] == "ok":
            assert abs(shift["error_ns"]) <= max(shift["delay_ns"] * 0.05, 200_000)
        if shift["injected_ns"] == 25 * NS_PER_MS:  # whatever the machine does meanwhile
            assert shift["measured_ns"] == pytest.approx(shift["injected_ns"], rel=0.25)


def test_on_the_embedded_broker_what_goes_in_comes_out(tmp_path: Path) -> None:
    run = run_latbench("selftest", *SHORT, "--ws-engine", "picows", cwd=tmp_path)
    check_agrees(run)
    assert list(tmp_path.iterdir()) == []


def test_on_a_kafka_and_with_the_other_engine_what_goes_in_comes_out(
    kafka: KafkaServer, kafka_topic: str, tmp_path: Path
) -> None:
    warm(kafka.bootstrap, WARM_SHORT)
    path = tmp_path / "kept.parquet"
    broker = ("--broker", kafka.bootstrap, "--topic", kafka_topic)
    engine = ("--ws-engine", "websockets")
    run = run_latbench("selftest", *SHORT, *broker, *engine, "--output", path, cwd=tmp_path)
    check_agrees(run)
    assert run.result["broker"]["kind"] == "kafka"
    # the file is one like any other
    check_whole(path)
    assert read_result(path).config.name == "selftest"
    assert [each.name for each in tmp_path.iterdir()] == ["kept.parquet"]


def test_a_lie_about_the_delay_is_found_out_and_told_in_json_as_in_words(
    call_latbench: Caller, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    honest = selftest.steps_at

    def doubled(place: str, turns: Any) -> tuple[DelayStep, ...]:
        factor = 2 if place == "fetch" else 1
        return tuple(
            DelayStep(step.offset_ns, step.delay_ns * (factor if step.delay_ns < 6e6 else 1))
            for step in honest(place, turns)
        )

    made: list[SelftestResult] = []
    make = command._run

    def make_once(*arguments: Any) -> SelftestResult:
        if not made:
            made.append(make(*arguments))
        return made[0]

    monkeypatch.setattr(selftest, "steps_at", doubled)
    monkeypatch.setattr(command, "_run", make_once)
    run = call_latbench("selftest", *SHORT, cwd=tmp_path)
    assert run.code == 4, run.talk
    assert run.result["agrees"] is False
    off = {
        (shift["place"], shift["delay_ns"] // NS_PER_MS, shift["hop"])
        for shift in shifts_of(run)
        if shift["verdict"] == "off"
    }
    assert ("fetch", 5, "kafka") in off
    assert {place for place, _, _ in off} == {"fetch"}
    assert {delay_ms for _, delay_ms, _ in off} <= {1, 5}

    monkeypatch.setenv("COLUMNS", "80")
    told = call_latbench("selftest", "--step", "2s", cwd=tmp_path)  # of the same run
    assert told.code == 4, told.talk
    lines = told.stdout.splitlines()
    assert lines[0] == "latbench selftest · the embedded broker · picows · 2 s a step"
    assert max(map(len, lines)) <= 80
    assert any("kafka" in line and "off" in line for line in lines)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_in_order(number: signal.Signals, code: int, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    options = ("--step", "60s")
    environment = {"TMPDIR": str(scratch)}
    with start_latbench("selftest", *options, cwd=tmp_path, environment=environment) as background:
        background.wait_for_phase("selftest  w")  # warm-up or websocket: ticks are on their way
        assert len(background.stages()) == 5  # the three proxies have one name
        background.signal(number)
        run = background.finish(15)
    assert run.code == code, run.talk
    assert run.stdout == ""
    told = run.stderr.splitlines()[-1]
    assert told == "interrupted: a selftest is judged whole or not at all"
    assert list(scratch.iterdir()) == []
    assert list(tmp_path.iterdir()) == [scratch]


def test_a_proxy_that_dies_fails_it(tmp_path: Path) -> None:
    with start_latbench("selftest", "--step", "60s", cwd=tmp_path) as background:
        background.wait_for_phase("selftest  w")
        proxy = wait_until(lambda: background.stages().get("proxy"))
        assert proxy is not None
        os.kill(proxy, signal.SIGKILL)
        run = background.finish(40)
    assert run.code == 1, run.talk
    assert run.stdout == ""
    assert "error: the proxy at " in run.stderr
    assert "died (killed by SIGKILL)" in run.stderr


def test_a_broker_that_does_not_answer_is_told_in_an_error_and_a_hint(tmp_path: Path) -> None:
    run = run_latbench("selftest", "--broker", "127.0.0.1:1", cwd=tmp_path)
    assert run.code == 1
    error, hint = run.stderr.splitlines()[-2:]
    assert error.startswith("error: no broker answers at 127.0.0.1:1")
    assert hint.startswith("hint: ")
