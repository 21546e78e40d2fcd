"""Signals that ask a session of several runs to end, heard between runs and while one goes on."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
from types import FrameType
from typing import Final

from latbench.clock import NS_PER_S, monotonic_ns

ASKING_TO_END: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What ends a command in order: Ctrl-C, an operator's kill, a terminal that is gone."""


class Endings:
    """Signals that ask for an end, whoever hears them: between runs, or while one is concluded.

    The interpreter writes the number of each signal that has a handler to a descriptor.
    """

    def __enter__(self) -> Endings:
        self._told, self._writes = socket.socketpair()
        for end in (self._told, self._writes):
            end.setblocking(False)
        self._before = {number: signal.getsignal(number) for number in ASKING_TO_END}
        for number in ASKING_TO_END:
            signal.signal(number, _hear)
        self._fd_before = signal.set_wakeup_fd(self._writes.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(self, *exc: object) -> None:
        signal.set_wakeup_fd(self._fd_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._told.close()
        self._writes.close()

    def rest(self, rest_ns: int) -> int:
        """Wait; the number of a signal that has come since the session began, else 0."""
        ends_ns = monotonic_ns() + rest_ns
        while True:
            left_s = max(ends_ns - monotonic_ns(), 0) / NS_PER_S
            readable, _, _ = select.select([self._told], [], [], left_s)
            if not readable:
                return 0
            if signum := self._heard():
                return signum

    def await_end(self, process: subprocess.Popen[bytes]) -> int:
        """Wait until a process has ended, and pass on to it each signal that comes meanwhile.

        The number of the first of them; 0: none came.
        """
        first = 0
        pidfd = os.pidfd_open(process.pid)
        try:
            while process.poll() is None:
                readable, _, _ = select.select([self._told.fileno(), pidfd], [], [])
                if self._told.fileno() in readable and (signum := self._heard()):
                    first = first or signum
                    with contextlib.suppress(ProcessLookupError):
                        process.send_signal(signum)
        finally:
            os.close(pidfd)
        return first

    def _heard(self) -> int:
        """The first signal out of what the descriptor holds that asks for an end."""
        return next((number for number in self._told.recv(64) if number in ASKING_TO_END), 0)


def _hear(number: int, frame: FrameType | None) -> None:
    """That a handler is there is enough."""
    del number, frame
