"""Runs the CLI as a user does, and watches its processes through `/proc`.

Every process started here carries a mark in its environment, which its children inherit: whatever
still has the mark after a command has ended was left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import pytest

from latbench.cli import run_cli

LATBENCH: Final = (sys.executable, "-m", "latbench")
SHORT: Final = ("--duration", "1", "--warmup", "0.2", "--drain-timeout", "2s")
COMMAND_TIMEOUT_S: Final = 60.0
POLL_S: Final = 0.01

_MARK: Final = "LATBENCH_TEST_MARK"
_OPTIONS_OF_ENVIRONMENT: Final = (
    "TICK_RATE",
    "DURATION",
    "SYMBOLS",
    "WEBSOCKET_HOST",
    "WEBSOCKET_PORT",
    "KAFKA_BOOTSTRAP_SERVERS",
    "KAFKA_TOPIC",
    "SUBSCRIBERS",
    "WEBSOCKET_URL",
    "LATBENCH_TOKEN",
)

Value = TypeVar("Value")


def wait_until(condition: Callable[[], Value], timeout_s: float = 10.0, what: str = "") -> Value:
    """Poll until `condition` gives something true, and give that; fail after `timeout_s`."""
    deadline_s = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline_s, f"not within {timeout_s:g} s: {what or condition}"
        time.sleep(POLL_S)
    return value


async def until(condition: Callable[[], Value], timeout_s: float = 10.0, what: str = "") -> Value:
    """The same on an event loop."""
    deadline_s = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline_s, f"not within {timeout_s:g} s: {what or condition}"
        await asyncio.sleep(POLL_S / 10)
    return value


def is_gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet has."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(b")")[2].split()[0] in {b"Z", b"X"}


def cmdline(pid: int) -> str:
    """The command line as `ps` shows it."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()


def _marked(mark: str) -> list[int]:
    """The living processes whose environment has the mark."""
    wanted = f"{_MARK}={mark}".encode()
    pids = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            environment = (directory / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if wanted in environment and not is_gone(int(directory.name)):
            pids.append(int(directory.name))
    return pids


@dataclasses.dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str
    mark: str

    @property
    def result(self) -> Any:
        """What `--json` printed: stdout is that and nothing else."""
        return json.loads(self.stdout)

    @property
    def findings(self) -> dict[str, Any]:
        """The findings of `--json` by code."""
        return {finding["code"]: finding for finding in self.result["findings"]}

    @property
    def talk(self) -> str:
        """All of both streams, for an assertion's message."""
        return f"exit {self.code}\n{self.stdout}\n{self.stderr}"


def no_latbench_processes_left(run: Finished, timeout_s: float = 1.0) -> None:
    """Fail when a process of a command is still there."""
    wait_until(lambda: not _marked(run.mark), timeout_s, f"the end of {_marked(run.mark)}")


def _content(file: IO[bytes]) -> str:
    """All of a file, without moving the place where its writer is."""
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode()


class Background:
    """A command that goes on."""

    def __init__(
        self,
        arguments: tuple[str, ...],
        cwd: Path,
        environment: Mapping[str, str],
        stdout: IO[bytes],
        stderr: IO[bytes],
    ) -> None:
        self.mark = uuid.uuid4().hex
        kept = {k: v for k, v in os.environ.items() if k not in _OPTIONS_OF_ENVIRONMENT}
        self._stdout, self._stderr = stdout, stderr
        self.process = subprocess.Popen(
            [*LATBENCH, *arguments],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env={**kept, **environment, _MARK: self.mark},
        )

    @property
    def pid(self) -> int:
        """The supervisor's."""
        return self.process.pid

    def stages(self) -> dict[str, int]:
        """The stages' processes now, by name; empty until all that there will be are there."""
        children = f"/proc/{self.pid}/task/{self.pid}/children"
        found: dict[str, int] = {}
        for pid in map(int, Path(children).read_text().split()):
            with contextlib.suppress(OSError):
                program, _, stage = cmdline(pid).rpartition(" ")
                if program.endswith("latbench"):
                    found[stage] = pid
        return found

    def stdout(self) -> str:
        """What it has written to stdout so far."""
        return _content(self._stdout)

    def stderr(self) -> str:
        """What it has written to stderr so far."""
        return _content(self._stderr)

    def wait_for_phase(self, phase: str, timeout_s: float = 20.0) -> None:
        """Until the lines on stderr tell that the run is in `phase`."""

        def reached() -> bool:
            assert self.process.poll() is None, self.stderr()
            return any(line.startswith(phase) for line in self.stderr().splitlines())

        wait_until(reached, timeout_s, phase)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def finish(self, timeout_s: float = COMMAND_TIMEOUT_S) -> Finished:
        """Wait for its end, and see that nothing of it is left."""
        code = self.process.wait(timeout_s)
        finished = Finished(code, _content(self._stdout), self.stderr(), self.mark)
        no_latbench_processes_left(finished)
        return finished

    def close(self) -> None:
        """Leave nothing behind, whatever the test came to."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in _marked(self.mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def start_latbench(
    *arguments: object, cwd: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Background]:
    """A command that goes on within the `with`."""
    texts = tuple(map(str, arguments))
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        background = Background(texts, cwd, environment or {}, stdout, stderr)
        try:
            yield background
        finally:
            background.close()


def run_latbench(
    *arguments: object,
    cwd: Path,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = COMMAND_TIMEOUT_S,
) -> Finished:
    """A command from its beginning to its end, after which nothing of it may be left."""
    with start_latbench(*arguments, cwd=cwd, environment=environment) as background:
        return background.finish(timeout_s)


def report(*arguments: object, cwd: Path) -> Finished:
    """`latbench report` within this process: it starts no other, and loading it takes longest.

    That it does as well in a process of its own is seen in `test_run_embedded`.
    """
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="") for _ in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        patch.setattr(sys, "argv", ["latbench", "report", *map(str, arguments)])
        for name, stream in zip(("stdout", "stderr"), streams, strict=True):
            patch.setattr(sys, name, stream)
        with pytest.raises(SystemExit) as ended:
            run_cli()
    assert isinstance(ended.value.code, int)
    texts = []
    for stream in streams:
        stream.seek(0)
        texts.append(stream.read())
    return Finished(ended.value.code, *texts, mark="")


class Caller:
    """Runs commands within this process, a hundred times as fast; for those that start nothing.

    An exception that the command line lets through fails the test.
    """

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        for name in _OPTIONS_OF_ENVIRONMENT:
            monkeypatch.delenv(name, raising=False)

    def __call__(self, *arguments: object, cwd: Path) -> Finished:
        """The command from its beginning to its end."""
        self._monkeypatch.chdir(cwd)
        self._monkeypatch.setattr(sys, "argv", ["latbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            run_cli()
        streams = self._capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Finished(ended.value.code, streams.out, streams.err, mark="")
