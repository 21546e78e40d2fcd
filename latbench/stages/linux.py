"""What a stage asks of the Linux kernel: an exact timer, small timer slack, an end with its parent.

Python 3.11 has no binding for these, so they are called through ctypes (`timerfd_create` came with
Python 3.13).
"""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Final

from latbench.clock import NS_PER_S

_libc = ctypes.CDLL(None, use_errno=True)

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15
_PR_SET_TIMERSLACK: Final = 29
_FIFO_PRIORITY: Final = 1
_MCL_CURRENT: Final = 1
_MCL_FUTURE: Final = 2
_CLOCK_MONOTONIC: Final = 1
_TFD_TIMER_ABSTIME: Final = 1
_TFD_NONBLOCK: Final = os.O_NONBLOCK
_TFD_CLOEXEC: Final = os.O_CLOEXEC


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("it_interval", _Timespec), ("it_value", _Timespec))


def name_process(name: str) -> None:
    """What `ps -o comm` and `top` show of this process (15 bytes of it)."""
    _libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def end_with_parent(parent_pid: int) -> None:
    """Be killed by the kernel when the parent ends, however that happens."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # it ended before the line above
        os._exit(1)


def minimise_timer_slack() -> None:
    """Wake when asked, not up to 50 µs later (the kernel's default slack)."""
    _libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)


def request_realtime() -> list[str]:
    """Ask for `SCHED_FIFO` and for memory that stays in RAM; what was refused, and why.

    Of this thread, and so of those that it starts from now on. Priority 1: ahead of everything that
    has none, behind the kernel's own threads (sched(7)).
    """
    refused = []
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_FIFO_PRIORITY))
    except OSError as error:
        refused.append(f"SCHED_FIFO: {os.strerror(error.errno or 0)}")
    if _libc.mlockall(_MCL_CURRENT | _MCL_FUTURE):
        refused.append(f"mlockall: {os.strerror(ctypes.get_errno())}")
    return refused


class AbsoluteTimer:
    """A file descriptor that becomes readable at a moment on the monotonic clock (`timerfd(2)`).

    An event loop's own timers come in whole milliseconds.
    """

    def __init__(self) -> None:
        self._fd: int = _libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self._spec = _Itimerspec()
        self._spec_pointer = ctypes.byref(self._spec)
        self._value = self._spec.it_value
        self._settime = _libc.timerfd_settime

    def fileno(self) -> int:
        """The descriptor, for `loop.add_reader`."""
        return self._fd

    def arm(self, due_ns: int) -> None:
        """Become readable at `due_ns`; at once when that has passed."""
        value = self._value
        value.tv_sec, value.tv_nsec = divmod(max(due_ns, 1), NS_PER_S)  # 0 would disarm it
        self._settime(self._fd, _TFD_TIMER_ABSTIME, self._spec_pointer, None)

    def clear(self) -> None:
        """Stop being readable after an expiry."""
        try:
            os.read(self._fd, 8)
        except BlockingIOError:  # armed anew since
            return

    def close(self) -> None:
        """Free the descriptor."""
        os.close(self._fd)
