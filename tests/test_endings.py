"""Signals that ask a session to end: heard between runs, and passed on while one goes on."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from latbench.clock import NS_PER_MS, NS_PER_S, monotonic_ns
from latbench.endings import Endings

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def endings() -> Iterator[Endings]:
    with Endings() as endings:
        yield endings


def shell(script: str) -> subprocess.Popen[bytes]:
    """A process that knows its parent as `$PPID`."""
    return subprocess.Popen(["sh", "-c", script], start_new_session=True)


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_ends_a_rest_and_is_told(number: signal.Signals, endings: Endings) -> None:
    begun_ns = monotonic_ns()
    with shell(f"kill -{number} $PPID"):
        assert endings.rest(60 * NS_PER_S) == number
    assert monotonic_ns() - begun_ns < 30 * NS_PER_S


def test_a_signal_that_came_before_the_rest_is_not_lost(endings: Endings) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    assert endings.rest(60 * NS_PER_S) == signal.SIGTERM
    assert endings.rest(0) == 0  # told once


def test_a_rest_without_a_signal_is_as_long_as_was_asked(endings: Endings) -> None:
    begun_ns = monotonic_ns()
    assert endings.rest(20 * NS_PER_MS) == 0
    assert 20 * NS_PER_MS <= monotonic_ns() - begun_ns < 10 * NS_PER_S


def test_of_several_signals_the_first_is_told(endings: Endings) -> None:
    for number in (signal.SIGHUP, signal.SIGINT):
        os.kill(os.getpid(), number)
    assert endings.rest(NS_PER_S) == signal.SIGHUP


def test_other_signals_end_nothing(endings: Endings) -> None:
    before = signal.signal(signal.SIGUSR1, lambda number, frame: None)
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert endings.rest(20 * NS_PER_MS) == 0
        os.kill(os.getpid(), signal.SIGUSR1)
        with shell("exit 3") as process:
            assert endings.await_end(process) == 0
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_afterwards_signals_are_handled_as_before() -> None:
    before = [signal.getsignal(number) for number in ENDING]
    with Endings():
        assert all(signal.getsignal(number) not in before for number in ENDING)
    assert [signal.getsignal(number) for number in ENDING] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_the_end_of_a_process_is_waited_for(endings: Endings) -> None:
    with shell("exit 3") as process:
        assert endings.await_end(process) == 0
        assert process.returncode == 3


def test_one_that_has_ended_already_is_no_wait(endings: Endings) -> None:
    with shell("exit 0") as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has, and nobody took it
        assert endings.await_end(process) == 0


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_is_passed_on_to_the_process_that_is_waited_for(
    number: signal.Signals, endings: Endings
) -> None:
    with shell(f"kill -{number} $PPID; exec sleep 60") as process:
        assert endings.await_end(process) == number
        assert process.returncode == -number


def test_a_signal_from_before_the_wait_is_passed_on(endings: Endings) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        os.kill(os.getpid(), signal.SIGTERM)
        assert endings.await_end(process) == signal.SIGTERM
        assert process.returncode == -signal.SIGTERM


def test_every_signal_is_passed_on_once_and_the_first_is_told(
    tmp_path: Path, endings: Endings
) -> None:
    log = tmp_path / "log"
    script = f"""
        trap 'echo INT >> {log}; kill -TERM $PPID' INT
        trap 'echo TERM >> {log}; kill $child; exit 7' TERM
        sleep 60 & child=$!
        kill -INT $PPID
        while :; do wait $child; done
    """
    with shell(script) as process:
        assert endings.await_end(process) == signal.SIGINT
        assert process.returncode == 7
    assert log.read_text().split() == ["INT", "TERM"]
