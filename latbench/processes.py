"""Starting a stage as a process of its own, hearing from it, and making sure it ends."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from latbench.clock import NS_PER_S, monotonic_ns
from latbench.control import (
    STAGE_FD_VARIABLE,
    Done,
    Failed,
    Found,
    FromStage,
    Measured,
    Ready,
    Start,
    Stop,
    SupervisorEnd,
    ToStage,
    Work,
)
from latbench.errors import ExitCode, LatbenchError
from latbench.units import format_duration

LOG_TAIL_LINES: Final = 5
READY_TIMEOUT_NS: Final = 30 * NS_PER_S
_HEAR_S: Final = 0.05
_END_TIMEOUT_S: Final = 5.0


class Spare:
    """A stage's process that has no run yet: it imports its libraries and waits.

    What it writes meanwhile goes to a file without a name.
    """

    def __init__(self, stage: str) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.control = SupervisorEnd(ours)
        self.log = os.fdopen(os.memfd_create("latbench-log"), "rb")
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "latbench", stage],
                stdin=subprocess.DEVNULL,
                stdout=self.log,
                stderr=self.log,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env={
                    **os.environ,
                    STAGE_FD_VARIABLE: str(theirs.fileno()),
                    "LATBENCH_PARENT": str(os.getpid()),
                },
            )

    def dismiss(self) -> None:
        """End it; it has begun nothing."""
        self.process.kill()
        self.process.wait()
        self.control.sock.close()
        self.log.close()


class StageProcess:
    """One stage, seen from the supervisor; a `Spare` becomes one when it gets its rings.

    It runs in a session of its own, so that a Ctrl-C at the terminal reaches the supervisor alone,
    which then ends the run in order. It ends by itself when the supervisor does: it sees its
    control channel close, and the kernel kills it besides (`PR_SET_PDEATHSIG`).
    """

    def __init__(
        self,
        stage: str,
        ring_descriptors: list[int],
        log_path: Path,
        spare: Spare | None = None,
    ) -> None:
        self.stage = stage
        self.log_path = log_path
        self.state = "starting"
        self.ready: Ready | None = None
        self.done: Done | None = None
        self.failed: Failed | None = None
        self.said: list[str] = []
        self.measured: dict[str, list[int]] = {}
        self.found = ""
        """The run that a stage without one of its own takes part in."""
        self._stop_sent = False
        with log_path.open("wb") as log:
            spare = spare or Spare(stage)
            self.process, self.control, self._early_log = spare.process, spare.control, spare.log
            self.control.send_descriptors([log.fileno(), *ring_descriptors])

    @property
    def pid(self) -> int:
        """Of the process, also after its end."""
        return self.process.pid

    @property
    def ended(self) -> bool:
        """Whether the process is no more."""
        return self.process.poll() is not None

    def send(self, message: ToStage) -> None:
        """Say something to the stage; `Stop` only once."""
        if isinstance(message, Stop):
            if self._stop_sent:
                return
            self._stop_sent = True
        elif isinstance(message, Start):
            self.state = "running"
        elif isinstance(message, Work):
            self.state = "preparing"
        self.control.send(message)

    def listen(self) -> None:
        """Take what the stage has said; updates `state`, `ready`, `done`, `failed`, `said`."""
        ended = self.ended  # before reading: what it said last must not be missed
        for message in self.control.receive():
            self._take(message)
        if ended and self.state not in {"done", "failed"}:
            self.state = "died"

    def _take(self, message: FromStage) -> None:
        match message:
            case Ready():
                self.ready, self.state = message, "ready"
            case Done():
                self.done, self.state = message, "done"
            case Failed():
                self.failed, self.state = message, "failed"
            case Found():
                self.found = message.run_id
            case Measured():
                self.measured[message.probe] = message.values_ns
            case _:
                self.said.append(message.text)

    @property
    def broken(self) -> bool:
        """Whether it failed or ended before it was done."""
        return self.state in {"failed", "died"}

    def describe_end(self) -> str:
        """How the process ended: `killed by SIGKILL`, `exit code 1`."""
        code = self.process.poll()
        if code is None:
            return "still running"
        if code >= 0:
            return f"exit code {code}"
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:  # a real-time signal has no name
            return f"killed by signal {-code}"

    def log_tail(self) -> list[str]:
        """The last lines that the stage wrote to its log, or before it had one."""
        try:
            text = self._early() + self.log_path.read_text(errors="replace")
        except OSError:
            return []
        return [line for line in text.splitlines() if line.strip()][-LOG_TAIL_LINES:]

    def _early(self) -> str:
        if self._early_log.closed:
            return ""
        size = os.fstat(self._early_log.fileno()).st_size
        return os.pread(self._early_log.fileno(), size, 0).decode(errors="replace")

    def end(self, timeout_s: float = _END_TIMEOUT_S) -> None:
        """Ask it to stop, wait, and kill it when it takes longer; always leaves it ended."""
        self.send(Stop())
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
        self.listen()
        self.close()

    def close(self) -> None:
        """Give back what it takes here; it has ended."""
        self.control.sock.close()
        self._early_log.close()

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()


def wait_for_words(processes: list[StageProcess], timeout_s: float) -> None:
    """Sleep up to `timeout_s`, less when a stage says something."""
    poller = select.poll()
    for process in processes:
        # an ended one's socket is always readable: it would turn waiting into spinning
        if not process.ended:
            poller.register(process.control.sock, select.POLLIN)
    poller.poll(timeout_s * 1000)


class Crew:
    """All processes of a run."""

    def __init__(self) -> None:
        self.members: dict[str, StageProcess] = {}
        self._spares: dict[str, Spare] = {}

    def prepare(self, *stages: str) -> None:
        """Start processes ahead, for stages that are likely to be hired."""
        for stage in stages:
            self._spares[stage] = Spare(stage)

    def hire(self, stage: str, ring_descriptors: list[int], log_path: Path) -> None:
        """Take a stage's process, started ahead or now; it waits for its work."""
        spare = self._spares.pop(stage, None)
        self.members[stage] = StageProcess(stage, ring_descriptors, log_path, spare)

    def dismiss_spares(self) -> None:
        """End the processes that were started ahead and not hired."""
        while self._spares:
            _, spare = self._spares.popitem()
            spare.dismiss()

    def __getitem__(self, stage: str) -> StageProcess:
        return self.members[stage]

    def listen(self, timeout_s: float = 0.0) -> list[str]:
        """Take what the stages have said, waiting up to `timeout_s` for the first word.

        Gives what they want their user to see.
        """
        wait_for_words(list(self.members.values()), timeout_s)
        said: list[str] = []
        for member in self.members.values():
            member.listen()
            said += member.said
            member.said.clear()
        return said

    @property
    def broken(self) -> list[StageProcess]:
        """Those that failed or died, the likely cause first.

        A stage that died took the others' connections with it, so their complaints come second;
        and the one nearer to the broker first.
        """
        order = {"broker": 0, "relay": 1, "consumer": 2, "generator": 3, "subscriber": 4}
        broken = [member for member in self.members.values() if member.broken]
        return sorted(broken, key=lambda member: (member.failed is not None, order[member.stage]))

    def failure(self) -> LatbenchError | None:
        """Why a stage broke, None when all is well."""
        broken = self.broken
        if not broken:
            return None
        first = broken[0]
        if first.failed is not None:
            error = LatbenchError(first.failed.message, first.failed.hint)
            error.exit_code = ExitCode(first.failed.exit_code)
            return error
        return LatbenchError(
            f"the {first.stage} died ({first.describe_end()})", "the end of its log is above"
        )

    def check(self) -> None:
        """Raise why a stage broke, if one did; a log that nobody will find later is quoted."""
        failure = self.failure()
        if failure is None:
            return
        first = self.broken[0]
        if first.failed is None:
            failure.hint = "its log ends: " + ("; ".join(first.log_tail()) or "(empty)")
        raise failure

    def wait_ready(self, name: str, hear: Callable[[float], None]) -> Ready:
        """Wait until a stage is ready; `hear` takes what all of them say, up to so many seconds."""
        stage = self.members[name]
        deadline_ns = monotonic_ns() + READY_TIMEOUT_NS
        while stage.ready is None:
            hear(_HEAR_S)
            self.check()
            if monotonic_ns() > deadline_ns:
                raise LatbenchError(
                    f"the {name} is not ready after {format_duration(READY_TIMEOUT_NS)}",
                    "; ".join(stage.log_tail()) or "its log is empty",
                )
        return stage.ready

    def end(self) -> None:
        """End all of them, the source of work first; leaves none running."""
        self.dismiss_spares()
        for stage in ("generator", "subscriber", "relay", "consumer", "broker"):
            if stage in self.members:
                self.members[stage].end()
