"""What the stages ask of the kernel."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latbench.clock import NS_PER_MS, NS_PER_S, monotonic_ns
from latbench.stages.linux import AbsoluteTimer
from tests.cli import is_gone, wait_until

HOUR_NS = 3600 * NS_PER_S


@pytest.fixture
def timer() -> Iterator[AbsoluteTimer]:
    timer = AbsoluteTimer()
    yield timer
    timer.close()


def fires_within(timer: AbsoluteTimer, timeout_s: float) -> bool:
    return bool(select.select([timer], [], [], timeout_s)[0])


@given(st.integers(0, 3 * NS_PER_MS))
@settings(max_examples=40)
def test_the_timer_fires_and_never_before_its_moment(delay_ns: int) -> None:
    timer = AbsoluteTimer()
    try:
        due_ns = monotonic_ns() + delay_ns
        timer.arm(due_ns)
        assert fires_within(timer, 5)
        assert monotonic_ns() >= due_ns
    finally:
        timer.close()


@pytest.mark.parametrize("due_ns", [1, 0, -1, -HOUR_NS])
def test_the_timer_fires_at_once_for_a_moment_that_has_passed(
    timer: AbsoluteTimer, due_ns: int
) -> None:
    timer.arm(due_ns)
    assert fires_within(timer, 1)


def test_a_timer_that_was_never_armed_does_not_fire(timer: AbsoluteTimer) -> None:
    assert not fires_within(timer, 0.02)


def test_arming_anew_brings_the_moment_forward(timer: AbsoluteTimer) -> None:
    timer.arm(monotonic_ns() + HOUR_NS)
    due_ns = monotonic_ns() + NS_PER_MS
    timer.arm(due_ns)
    assert fires_within(timer, 5)
    assert monotonic_ns() >= due_ns


def test_arming_anew_puts_the_moment_off(timer: AbsoluteTimer) -> None:
    timer.arm(monotonic_ns() + 5 * NS_PER_MS)
    timer.arm(monotonic_ns() + HOUR_NS)
    assert not fires_within(timer, 0.03)


def test_an_expiry_lasts_until_it_is_cleared(timer: AbsoluteTimer) -> None:
    timer.arm(1)
    assert fires_within(timer, 1)
    assert fires_within(timer, 1)
    timer.clear()
    assert not fires_within(timer, 0)


def test_clearing_without_an_expiry_leaves_the_timer_armed(timer: AbsoluteTimer) -> None:
    timer.clear()
    timer.arm(monotonic_ns() + 10 * NS_PER_MS)
    timer.clear()
    assert fires_within(timer, 5)


def test_closing_frees_the_descriptor() -> None:
    timer = AbsoluteTimer()
    descriptor = timer.fileno()
    timer.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_the_descriptor_is_not_handed_to_other_programs(timer: AbsoluteTimer) -> None:
    assert not os.get_inheritable(timer.fileno())


GRANDCHILD = """\
import os, signal
from latbench.stages.linux import end_with_parent
end_with_parent(os.getppid())
os.write(1, b"%d\\n" % os.getpid())
signal.pause()
"""
CHILD = """\
import signal, subprocess, sys
subprocess.Popen([sys.executable, "-c", sys.argv[1]])
signal.pause()
"""


def test_a_bound_process_is_killed_when_its_parent_is() -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD, GRANDCHILD], stdout=subprocess.PIPE)
    assert child.stdout is not None
    with child.stdout:
        grandchild = int(child.stdout.readline())
    try:
        assert not is_gone(grandchild)
        child.kill()
        child.wait()
        wait_until(lambda: is_gone(grandchild), 1.0, "the grandchild's end")
    finally:
        if not is_gone(grandchild):
            os.kill(grandchild, signal.SIGKILL)


def test_a_process_whose_parent_has_already_gone_ends_at_once() -> None:
    not_its_parent = os.getppid()
    code = f"from latbench.stages.linux import end_with_parent; end_with_parent({not_its_parent})"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 1


def test_a_process_is_named_and_its_timer_slack_is_the_least() -> None:
    code = (
        "from latbench.stages.linux import minimise_timer_slack, name_process\n"
        "name_process('latbench relay and more')\nminimise_timer_slack()\n"
        "print(open('/proc/self/comm').read().strip(), open('/proc/self/timerslack_ns').read())"
    )
    told = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE)
    assert told.stdout.split(b" ")[-1].strip() == b"1"
    assert told.stdout.startswith(b"latbench relay ")


NOBODY = 65_534
REALTIME = """\
import json, os, resource, sys, threading
from latbench.stages.linux import request_realtime
if sys.argv[1] == "nobody":
    # both are counted for a user without privilege only
    resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
    os.setgroups([])
    os.setgid(int(sys.argv[2]))
    os.setuid(int(sys.argv[2]))
refused = request_realtime()
policies = [os.sched_getscheduler(0)]
thread = threading.Thread(target=lambda: policies.append(os.sched_getscheduler(0)))
thread.start()
thread.join()
locked = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmLck")]
priority = os.sched_getparam(0).sched_priority
print(json.dumps([refused, policies, priority, int(locked[0]) > 0]))
"""


def realtime(as_whom: str) -> Any:
    """Refusals, policies of the asking thread and of one it started, priority, locked memory."""
    command = [sys.executable, "-c", REALTIME, as_whom, str(NOBODY)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def test_realtime_is_granted_to_the_privileged() -> None:
    refused, policies, priority, locked = realtime("root")
    assert refused == []
    assert policies == [os.SCHED_FIFO, os.SCHED_FIFO]
    assert priority == 1
    assert locked


def test_realtime_is_refused_to_others_who_are_told_what() -> None:
    refused, policies, priority, locked = realtime("nobody")
    assert refused == ["SCHED_FIFO: Operation not permitted", "mlockall: Operation not permitted"]
    assert policies == [os.SCHED_OTHER, os.SCHED_OTHER]
    assert priority == 0
    assert not locked
