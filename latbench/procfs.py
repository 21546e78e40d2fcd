"""What Linux tells of a process and of the machine's CPUs (`proc(5)`); read by the supervisor."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final, NamedTuple

from latbench.clock import NS_PER_S, monotonic_ns

_NS_PER_CLOCK_TICK: Final = NS_PER_S // os.sysconf("SC_CLK_TCK")


class Usage(NamedTuple):
    """What a process has used since it began; fields as in `recording.SAMPLED[USAGE]`."""

    cpu_ns: int
    """In steps of 10 ms."""
    involuntary_switches: int
    voluntary_switches: int
    minor_faults: int
    major_faults: int
    rss_bytes: int
    """Without pages shared with other processes: the rings."""
    peak_rss_bytes: int
    """With them: the kernel keeps no other peak."""
    descriptors: int


class MachineTime(NamedTuple):
    """Time of all CPUs since boot, in ns; fields as in `recording.SAMPLED[MACHINE]`."""

    busy_ns: int
    """What is left of the time that has passed: see `read_machine`."""
    idle_ns: int
    iowait_ns: int
    steal_ns: int


def read_usage(pid: int) -> Usage | None:
    """A process now (0.3 ms for one of eight threads); None when it is no more."""
    root = Path(f"/proc/{pid}")
    try:
        stat = (root / "stat").read_text()
        status = _fields((root / "status").read_text())
        descriptors = len(os.listdir(root / "fd"))  # noqa: PTH208 (half the time of iterdir)
        voluntary, involuntary = _switches(root)
    except (OSError, ValueError):
        return None
    # the command may hold blanks and brackets: fields are counted from the last bracket
    fields = stat[stat.rindex(")") + 2 :].split()
    if fields[0] == "Z":
        return None
    return Usage(
        cpu_ns=(int(fields[11]) + int(fields[12])) * _NS_PER_CLOCK_TICK,
        involuntary_switches=involuntary,
        voluntary_switches=voluntary,
        minor_faults=int(fields[7]),
        major_faults=int(fields[9]),
        rss_bytes=(status.get("VmRSS", 0) - status.get("RssShmem", 0)) * 1024,
        peak_rss_bytes=status.get("VmHWM", 0) * 1024,
        descriptors=descriptors,
    )


def _switches(root: Path) -> tuple[int, int]:
    """Context switches, voluntary and not, of all threads: a process's own file has one's only."""
    voluntary = involuntary = 0
    for task in os.listdir(root / "task"):  # noqa: PTH208
        with contextlib.suppress(OSError):  # a thread that has ended since
            status = _fields((root / "task" / task / "status").read_text())
            voluntary += status.get("voluntary_ctxt_switches", 0)
            involuntary += status.get("nonvoluntary_ctxt_switches", 0)
    return voluntary, involuntary


def _fields(status: str) -> dict[str, int]:
    """The whole numbers of a `status` file by name; memory is in KiB there."""
    found = {}
    for line in status.splitlines():
        name, _, value = line.partition(":")
        number = value.split(None, 1)[:1]
        if number and number[0].isdigit():
            found[name] = int(number[0])
    return found


def read_machine() -> MachineTime | None:
    """The machine's CPU time; None where `/proc/stat` is not to be read, or tells nothing.

    A CPU is busy while it is not idle, and idle time is exact (`NO_HZ` kernels take the moments of
    falling asleep and waking). Its other fields are guessed by what runs at each timer interrupt,
    every 4 ms at 250 Hz: ticks that are due each millisecond always meet it or never do. At 1,000/s
    they told of 2, 3, 8, 9, 12 and 24 % busy, where processes used 24 % and idle was 74.
    """
    try:
        lines = Path("/proc/stat").read_text().splitlines()
        at_ns = monotonic_ns()
        idle, iowait, _, _, steal = (int(each) for each in lines[0].split()[4:9])
    except (OSError, ValueError, IndexError):
        return None
    if not idle:  # a sandbox that only pretends
        return None
    cpus = sum(line.startswith("cpu") for line in lines) - 1
    others_ns = [each * _NS_PER_CLOCK_TICK for each in (idle, iowait, steal)]
    return MachineTime(cpus * at_ns - sum(others_ns), *others_ns)
