from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from latbench import procfs
from latbench.clock import NS_PER_MS, NS_PER_S
from latbench.procfs import MachineTime, Usage, read_machine, read_usage
from latbench.recording import MACHINE, SAMPLED, USAGE
from tests.cli import wait_until

MIB = 1 << 20
CLOCK_TICK_NS = 10 * NS_PER_MS


class Child:
    """A Python process that does what it is told, a line at a time."""

    def __init__(self) -> None:
        program = """
            import ctypes, os, sys, threading, time

            def burn(seconds):
                end = time.process_time() + seconds
                while time.process_time() < end:
                    os.getppid()

            def burn_each(seconds, every, until):
                while (now := time.monotonic()) < until:
                    time.sleep(every - now % every)
                    burn(seconds)

            for line in sys.stdin:
                exec(line)
                print("done", flush=True)
        """
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.tell("pass")

    def tell(self, statement: str) -> None:
        """Have it run a statement, and wait until it is done."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(statement + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    @property
    def usage(self) -> Usage:
        usage = read_usage(self.process.pid)
        assert usage is not None
        return usage

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def child() -> Iterator[Child]:
    child = Child()
    yield child
    child.close()


def test_what_is_read_is_what_is_recorded() -> None:
    assert SAMPLED[USAGE] == ("at_ns", "process", *Usage._fields)
    assert SAMPLED[MACHINE] == ("at_ns", *MachineTime._fields)


def test_cpu_time_is_what_a_process_has_burnt_in_user_and_kernel_mode(child: Child) -> None:
    before = child.usage
    child.tell("burn(0.15)")
    grown_ns = child.usage.cpu_ns - before.cpu_ns
    # two counters, each in steps of a clock tick
    assert 150 * NS_PER_MS - 2 * CLOCK_TICK_NS <= grown_ns < 5 * NS_PER_S
    assert grown_ns % CLOCK_TICK_NS == 0


def test_own_cpu_time_agrees_with_what_the_interpreter_says() -> None:
    usage = read_usage(os.getpid())
    assert usage is not None
    assert abs(usage.cpu_ns - time.process_time_ns()) < NS_PER_S


def test_memory_that_is_touched_is_resident_and_makes_minor_faults(child: Child) -> None:
    before = child.usage
    child.tell("block = bytearray(os.urandom(1)) * (32 << 20)")
    held = child.usage
    assert 31 * MIB <= held.rss_bytes - before.rss_bytes < 48 * MIB
    assert held.peak_rss_bytes >= before.peak_rss_bytes + 31 * MIB
    assert held.minor_faults > before.minor_faults
    child.tell("del block")
    freed = child.usage
    assert freed.rss_bytes <= held.rss_bytes - 31 * MIB
    assert freed.peak_rss_bytes >= held.peak_rss_bytes - MIB  # the kernel counts in batches


def test_memory_shared_with_others_is_not_resident_here_but_in_the_peak(child: Child) -> None:
    before = child.usage
    child.tell(
        "import mmap; fd = os.memfd_create('ring'); os.ftruncate(fd, 32 << 20); "
        "ring = mmap.mmap(fd, 0); ring[:] = bytes(32 << 20)"
    )
    shared = child.usage
    # the zeros that were copied into it may still lie about
    assert shared.peak_rss_bytes - before.peak_rss_bytes >= 32 * MIB
    assert shared.rss_bytes - before.rss_bytes < 8 * MIB


def test_descriptors_are_those_that_are_open(child: Child) -> None:
    before = child.usage.descriptors
    child.tell("pipes = [os.pipe() for _ in range(7)]")
    assert child.usage.descriptors == before + 14


def test_switches_are_those_of_all_threads(child: Child) -> None:
    before = child.usage
    child.tell(
        "thread = threading.Thread(target=lambda: ([time.sleep(0.0001) for _ in range(300)], "
        "time.sleep(60)), daemon=True); thread.start()"
    )
    # the main thread waits in its pipe meanwhile
    wait_until(
        lambda: child.usage.voluntary_switches >= before.voluntary_switches + 300,
        what="300 sleeps of another thread",
    )
    assert child.usage.involuntary_switches >= before.involuntary_switches


def test_a_process_that_is_no_more_has_no_usage(child: Child) -> None:
    pid = child.process.pid
    child.process.kill()
    child.process.wait()
    assert read_usage(pid) is None


def test_a_process_that_has_ended_and_was_not_waited_for_has_no_usage(child: Child) -> None:
    child.process.kill()
    os.waitid(os.P_PID, child.process.pid, os.WEXITED | os.WNOWAIT)
    assert Path(f"/proc/{child.process.pid}").exists()
    assert read_usage(child.process.pid) is None


@pytest.mark.parametrize("name", ["a b", "a) R 1 (", "((", "R", ") Z 0 0"])
def test_a_name_with_blanks_and_brackets_shifts_no_field(child: Child, name: str) -> None:
    before = child.usage
    child.tell(f"ctypes.CDLL(None).prctl(15, {name.encode()!r}, 0, 0, 0)")
    assert Path(f"/proc/{child.process.pid}/comm").read_text() == f"{name}\n"
    named = child.usage
    assert abs(named.cpu_ns - before.cpu_ns) < NS_PER_S
    assert 0 <= named.minor_faults - before.minor_faults < 1000
    assert named.major_faults - before.major_faults < 100


def test_a_thread_that_ends_while_it_is_read_is_passed_over() -> None:
    stopped = threading.Event()

    def start_and_end() -> None:
        while not stopped.is_set():
            thread = threading.Thread(target=int)
            thread.start()
            thread.join()

    busy = threading.Thread(target=start_and_end)
    busy.start()
    try:
        for _ in range(200):
            assert read_usage(os.getpid()) is not None
    finally:
        stopped.set()
        busy.join()


def test_the_machines_time_goes_on_as_fast_as_its_cpus(child: Child) -> None:
    before, begun_ns = read_machine(), time.monotonic_ns()
    assert before is not None
    child.tell("burn(0.3)")
    after, took_ns = read_machine(), time.monotonic_ns() - begun_ns
    assert after is not None
    grown = MachineTime(*(now - then for now, then in zip(after, before, strict=True)))
    assert grown.busy_ns >= 200 * NS_PER_MS
    cpus = os.cpu_count() or 1
    # counters of many CPUs, each brought forward at its own tick
    assert sum(grown) <= (took_ns + 10 * CLOCK_TICK_NS) * cpus


def test_a_process_that_works_between_timer_interrupts_makes_the_machine_busy(child: Child) -> None:
    before, used = read_machine(), child.usage
    assert before is not None
    # 1 of 4 ms, which is the pace of a kernel's timer at 250 Hz: it may never see this process
    child.tell("burn_each(0.001, 0.004, time.monotonic() + 1)")
    after, used_ns = read_machine(), child.usage.cpu_ns - used.cpu_ns
    assert after is not None
    assert used_ns > 100 * NS_PER_MS
    assert after.busy_ns - before.busy_ns >= used_ns - 4 * CLOCK_TICK_NS


@pytest.mark.parametrize(
    "content", ["", "cpu  1 2 3\n", "cpu  1 2 3 4 5 6 7 x\n", "cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 0\n"]
)
def test_a_machine_that_tells_something_else_has_no_time(
    monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda _: content)
    assert read_machine() is None


def test_where_the_machine_tells_nothing_there_is_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> str:
        raise PermissionError

    monkeypatch.setattr(Path, "read_text", refuse)
    assert read_machine() is None


def test_the_machines_time_is_told_in_nanoseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    # user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice (within user, nice)
    lines = "cpu  1 2 4 1000 500 8 16 70 1 2\ncpu0 1 2 4 900\ncpu1 0 0 0 100\nintr 5\n"
    monkeypatch.setattr(Path, "read_text", lambda _: lines)
    monkeypatch.setattr(procfs, "monotonic_ns", lambda: 1001 * CLOCK_TICK_NS)
    # two CPUs have had 1001 ticks each; what is told of user and system is not what counts
    assert read_machine() == (
        432 * CLOCK_TICK_NS, 1000 * CLOCK_TICK_NS, 500 * CLOCK_TICK_NS, 70 * CLOCK_TICK_NS
    )  # fmt: skip
