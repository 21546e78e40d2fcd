from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from latbench import sampler
from latbench.clock import NS_PER_MS, NS_PER_S
from latbench.procfs import MachineTime, Usage
from latbench.recording import MACHINE, PROCESSES, USAGE
from latbench.sampler import INTERVAL_NS, Sampler
from latbench.spool import ROW_FILES, SpoolReader, SpoolWriter
from tests.rows import START_NS, make_preface

CPU = ROW_FILES[USAGE].index("cpu_ns")
IDLE = Usage(0, 0, 0, 0, 0, 0, 0, 0)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[SpoolWriter]:
    spool = SpoolWriter(tmp_path / "run.partial")
    spool.write_preface(make_preface())
    yield spool
    spool.remove()


def rows(spool: SpoolWriter, name: str) -> list[list[int]]:
    found: list[list[int]] = SpoolReader(spool.path).rows()[name][:].tolist()
    return found


class Scripted:
    """What processes by id use, and the machine, instead of `/proc`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.usage: dict[int, Usage] = {}
        self.machine: MachineTime | None = MachineTime(1, 2, 3, 4)
        monkeypatch.setattr(sampler, "read_usage", self.usage.get)
        monkeypatch.setattr(sampler, "read_machine", lambda: self.machine)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    return Scripted(monkeypatch)


def test_each_process_has_a_row_a_second_with_its_number(
    spool: SpoolWriter, scripted: Scripted
) -> None:
    scripted.usage |= {10 + number: Usage(*range(number, number + 8)) for number in range(5)}
    sample = Sampler(spool)
    pids = {process: 10 + number for number, process in enumerate(PROCESSES)}
    for wake in range(61):  # three seconds, twenty times each
        sample.sample(START_NS + wake * NS_PER_S // 20, pids)
    seconds = [START_NS + second * NS_PER_S for second in range(4)]
    assert rows(spool, USAGE) == [
        [at_ns, number, *range(number, number + 8)] for at_ns in seconds for number in range(5)
    ]
    assert rows(spool, MACHINE) == [[at_ns, 1, 2, 3, 4] for at_ns in seconds]


def test_a_sample_that_is_wanted_at_once_does_not_wait_and_puts_the_next_off(
    spool: SpoolWriter, scripted: Scripted
) -> None:
    sample = Sampler(spool)
    for at_ms, at_once in [(0, False), (400, True), (1000, False), (1399, False), (1400, False)]:
        sample.sample(START_NS + at_ms * NS_PER_MS, {}, at_once=at_once)
    taken = [(row[0] - START_NS) // NS_PER_MS for row in rows(spool, MACHINE)]
    assert taken == [0, 400, 1400]
    assert INTERVAL_NS == NS_PER_S


def test_what_is_not_there_has_no_row(spool: SpoolWriter, scripted: Scripted) -> None:
    scripted.usage[7] = IDLE
    scripted.machine = None
    sample = Sampler(spool)
    sample.sample(START_NS, {"supervisor": 7, "relay": 8})
    assert [row[:2] for row in rows(spool, USAGE)] == [[START_NS, 0]]
    assert rows(spool, MACHINE) == []
    sample.sample(START_NS + NS_PER_S, {"relay": 8})
    assert len(rows(spool, USAGE)) == 1


def test_the_share_of_a_cpu_is_of_the_last_second_and_memory_as_it_was_last(
    spool: SpoolWriter, scripted: Scripted
) -> None:
    sample = Sampler(spool)
    assert (sample.cpu_share("relay"), sample.rss_bytes("relay")) == (None, 0)
    shares = []
    for second, cpu_ms in enumerate([100, 350, 1350, 1350]):
        scripted.usage[7] = IDLE._replace(cpu_ns=cpu_ms * NS_PER_MS, rss_bytes=second)
        sample.sample(START_NS + second * NS_PER_S, {"relay": 7})
        shares.append(sample.cpu_share("relay"))
        assert sample.rss_bytes("relay") == second
    assert shares == [None, 0.25, 1.0, 0.0]
    assert sample.cpu_share("consumer") is None


def test_two_samples_of_the_same_moment_divide_by_no_zero(
    spool: SpoolWriter, scripted: Scripted
) -> None:
    scripted.usage[7] = IDLE
    sample = Sampler(spool)
    for _ in range(2):
        sample.sample(START_NS, {"relay": 7}, at_once=True)
    assert sample.cpu_share("relay") == 0


def test_real_processes_are_sampled_until_they_end(spool: SpoolWriter) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    sample, pids = Sampler(spool), {"supervisor": os.getpid(), "generator": child.pid}
    sample.sample(START_NS, pids)
    child.communicate(b"\n")
    sample.sample(START_NS + NS_PER_S, pids)
    assert [row[1] for row in rows(spool, USAGE)] == [0, 1, 0]
    assert sample.rss_bytes("supervisor") > 1 << 20
    cpu_ns = [row[CPU] for row in rows(spool, USAGE) if row[1] == 0]
    assert 0 < cpu_ns[0] <= cpu_ns[1]
    ((_, *before), (_, *after)) = rows(spool, MACHINE)
    assert all(now >= then for now, then in zip(after[:2], before[:2], strict=True))


def test_totals_stay_where_a_thread_ends_and_the_kernels_count_wavers(
    spool: SpoolWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    usages = iter(
        [
            IDLE._replace(voluntary_switches=50, involuntary_switches=9, peak_rss_bytes=900),
            IDLE._replace(voluntary_switches=40, involuntary_switches=12, peak_rss_bytes=800),
        ]
    )
    monkeypatch.setattr(sampler, "read_usage", lambda _pid: next(usages))
    samples = Sampler(spool)
    samples.sample(0, {"relay": 1}, at_once=True)
    samples.sample(1, {"relay": 1}, at_once=True)
    rows = SpoolReader(spool.path).rows()[USAGE][:]
    names = ("voluntary_switches", "involuntary_switches", "peak_rss_bytes")
    columns = [ROW_FILES[USAGE].index(name) for name in names]
    assert rows[:, columns].tolist() == [[50, 9, 900], [50, 12, 900]]
