"""The machine and the software a run was made on, as facts that explain its figures."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
import subprocess
from pathlib import Path
from typing import Final

import confluent_kafka

from latbench.result import Environment

_LIBRARIES: Final = (
    "confluent-kafka",
    "hdrhistogram",
    "msgspec",
    "numpy",
    "picows",
    "pyarrow",
    "uvloop",
    "websockets",
)


def describe() -> Environment:
    """What is true of this machine and process now; "" or "unknown" where it does not tell."""
    libraries = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    libraries["librdkafka"] = confluent_kafka.libversion()[0]
    return Environment(
        cpu_model=_cpu_model(),
        cpus=len(os.sched_getaffinity(0)),
        governor=_read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        kernel=f"{platform.system()} {platform.release()}",
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        python=platform.python_version(),
        libraries=libraries,
        git_revision=_git_revision(),
        boot_id=_read("/proc/sys/kernel/random/boot_id"),
        hostname=socket.gethostname(),
    )


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _cpu_model() -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"model name", "Model", "cpu model"}:
            return value.strip()
    return platform.machine()


def _git_revision() -> str:
    """The commit of the current directory, `+` behind it with uncommitted changes; else ""."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=2,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
