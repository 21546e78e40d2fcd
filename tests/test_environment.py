from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

import msgspec
import pytest

from latbench import environment
from latbench.result import Environment


def test_a_machine_is_described_by_what_it_tells_of_itself() -> None:
    described = environment.describe()
    assert described.cpus == len(os.sched_getaffinity(0))
    assert described.kernel == f"Linux {platform.release()}"
    assert described.memory_bytes > 100 * 2**20
    assert described.python == platform.python_version()
    assert described.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert described.hostname == platform.node()
    assert described.cpu_model
    assert {"confluent-kafka", "librdkafka", "picows", "uvloop"} <= set(described.libraries)
    assert all(re.match(r"\d+\.\d+", version) for version in described.libraries.values())
    assert msgspec.json.decode(msgspec.json.encode(described), type=Environment) == described


def test_what_a_machine_does_not_tell_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_read", lambda path: "")
    described = environment.describe()
    assert described.governor == ""
    assert described.boot_id == ""
    assert described.cpu_model == platform.machine()


def test_a_file_that_is_not_there_reads_as_nothing(tmp_path: Path) -> None:
    assert environment._read(str(tmp_path / "none")) == ""
    (tmp_path / "some").write_text(" performance\n")
    assert environment._read(str(tmp_path / "some")) == "performance"


@pytest.mark.parametrize(
    ("cpuinfo", "model"),
    [
        ("processor\t: 0\nmodel name\t: AMD EPYC 7B13\nflags\t: a b\n", "AMD EPYC 7B13"),
        ("processor\t: 0\nBogoMIPS\t: 243.75\n\nModel\t\t: Raspberry Pi 5: rev 1\n",
         "Raspberry Pi 5: rev 1"),
        ("processor\t: 0\n", platform.machine()),
    ],
)  # fmt: skip
def test_the_cpus_model_is_found_under_its_architectures_name(
    monkeypatch: pytest.MonkeyPatch, cpuinfo: str, model: str
) -> None:
    monkeypatch.setattr(environment, "_read", lambda path: cpuinfo)
    assert environment._cpu_model() == model


def test_the_revision_is_that_of_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "Tester")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "tester@example.org")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert environment._git_revision() == ""  # no checkout
    subprocess.run(["git", "init", "-q"], check=True)
    assert environment._git_revision() == ""  # no commit
    (tmp_path / "file").write_text("one")
    subprocess.run(["git", "add", "file"], check=True)
    subprocess.run(["git", "commit", "-qm", "first"], check=True)
    subprocess.run(["git", "tag", "v1"], check=True)
    clean = environment._git_revision()
    assert re.fullmatch(r"[0-9a-f]{12}", clean)  # not the tag
    (tmp_path / "file").write_text("two")
    assert environment._git_revision() == f"{clean}+"


def test_without_git_there_is_no_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment._git_revision() == ""
