"""What Linux tells of a process and of the machine's CPUs (`proc(5)`); read by the supervisor."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final, NamedTuple

from latbench.clock import NS_PER_S

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
    """The machine's CPU time; None where `/proc/stat` is not to be read."""
    try:
        line = Path("/proc/stat").read_text().split("\n", 1)[0]
        user, nice, system, idle, iowait, irq, softirq, steal = map(int, line.split()[1:9])
    except (OSError, ValueError):
        return None
    ns = _NS_PER_CLOCK_TICK
    busy = user + nice + system + irq + softirq
    return MachineTime(busy * ns, idle * ns, iowait * ns, steal * ns)
