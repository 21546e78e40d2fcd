"""The supervisor as a stage sees it: words come by a thread of their own, at any time."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from latbench.clock import WallAnchor
from latbench.control import StageEnd, Start, Stop, SupervisorEnd, ToStage, Until
from latbench.stages.supervised import Supervisor

START = Start(start_ns=7, anchor=WallAnchor(monotonic_ns=1, unix_ns=2))
TIMEOUT_S = 10.0


class Rig:
    """A stage's supervisor, and the other end of its channel."""

    def __init__(self, heard: tuple[ToStage, ...] = ()) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.control, self._theirs = SupervisorEnd(ours), theirs
        self.supervisor = Supervisor(StageEnd(theirs), heard)

    def close(self) -> None:
        self.control.sock.close()
        for thread in threading.enumerate():
            if thread.name == "control":  # it ends the process: not after the test
                thread.join(TIMEOUT_S)
                assert not thread.is_alive()
        self._theirs.close()


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set instead of ending this process, as a stage does when its supervisor has gone."""
    ended = threading.Event()

    def end(code: int) -> None:
        ended.set()

    monkeypatch.setattr("os._exit", end)
    return ended


@pytest.fixture
def rig(ended: threading.Event) -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()


class Callback:
    """Waits to be called."""

    def __init__(self) -> None:
        self.values: list[int] = []
        self._called = threading.Event()

    def __call__(self, *values: int) -> None:
        self.values += values
        self._called.set()

    def wait(self) -> list[int]:
        assert self._called.wait(TIMEOUT_S)
        return self.values


def test_an_end_is_told_to_who_asked_for_it_before(rig: Rig) -> None:
    first, second = Callback(), Callback()
    rig.supervisor.on_until(first)
    rig.supervisor.on_until(second)
    rig.supervisor.watch()
    rig.control.send(Until(due_ns=4711))
    assert first.wait() == second.wait() == [4711]


def test_an_end_is_told_to_who_asks_for_it_after(rig: Rig) -> None:
    early, late = Callback(), Callback()
    rig.supervisor.on_until(early)
    rig.supervisor.watch()
    rig.control.send(Until(due_ns=4711))
    early.wait()
    rig.supervisor.on_until(late)
    assert late.values == [4711]  # at once, by the thread that asks
    assert early.values == [4711]


def test_what_came_with_the_work_is_heard_as_well(ended: threading.Event) -> None:
    rig = Rig((START, Until(due_ns=12)))
    called = Callback()
    rig.supervisor.on_until(called)
    rig.supervisor.watch()
    assert called.wait() == [12]
    assert rig.supervisor.wait_start() == START
    rig.close()
    assert ended.wait(TIMEOUT_S)


def test_a_stop_ends_the_wait_for_a_start_and_is_told_to_all(rig: Rig) -> None:
    early, late = Callback(), Callback()
    rig.supervisor.on_stop(early)
    rig.supervisor.watch()
    rig.control.send(Stop())
    early.wait()
    assert rig.supervisor.wait_start() is None
    assert rig.supervisor.stopping.is_set()
    rig.supervisor.on_stop(late)
    late.wait()


def test_a_stage_ends_when_its_supervisor_has_gone(rig: Rig, ended: threading.Event) -> None:
    rig.supervisor.watch()
    assert not ended.is_set()
    rig.close()
    assert ended.wait(TIMEOUT_S)
