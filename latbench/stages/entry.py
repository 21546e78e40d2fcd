"""The beginning of every stage process: take up the plan, set the process up, run the stage."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Final

from latbench.control import (
    STAGE_FD_VARIABLE,
    Failed,
    Said,
    StageEnd,
    ToStage,
    Work,
)
from latbench.errors import ExitCode, LatbenchError
from latbench.plan import StagePlan
from latbench.recording import COLUMNS, HICCUPS, RINGS_OF_STAGE
from latbench.ring import RingWriter
from latbench.stages.hiccup import HiccupMeter
from latbench.stages.linux import (
    end_with_parent,
    minimise_timer_slack,
    name_process,
    request_realtime,
)
from latbench.stages.supervised import Supervisor

_SWITCH_INTERVAL_S: Final = 100e-6
"""A thread that waits for the interpreter gets it within 100 µs. Python's default is 5 ms: so long
would the relay's socket thread wait while the other handles a batch of acknowledgements."""


def run_stage() -> None:
    """Be the stage that the supervisor started this process for; never returns."""
    descriptor = int(os.environ.pop(STAGE_FD_VARIABLE))
    name_process(f"latbench {sys.argv[1]}")
    end_with_parent(int(os.environ.pop("LATBENCH_PARENT")))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor ends a run, in order
    minimise_timer_slack()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    end = StageEnd(socket.socket(fileno=descriptor))
    run = _import_stage(sys.argv[1])
    ring_descriptors = _take_descriptors(end)
    work, *later = _first_words(end)
    if not isinstance(work, Work):  # told to stop before there was anything to do
        os._exit(ExitCode.OK)
    supervisor = Supervisor(end, later)
    rings = {
        name: RingWriter(fd, len(COLUMNS[name]))
        for name, fd in zip(RINGS_OF_STAGE.get(sys.argv[1], ()), ring_descriptors, strict=True)
    }
    if work.plan.cpu is not None:
        os.sched_setaffinity(0, {work.plan.cpu})
    if work.plan.realtime:
        for what in request_realtime():
            supervisor.send(Said(f"{sys.argv[1]} runs without {what}"))
    threading.excepthook = _end_with_thread
    supervisor.watch()
    for name, ring in rings.items():
        if name in HICCUPS.values() and work.plan.hiccups:
            HiccupMeter(ring).start()
    # A collection walks every object: milliseconds on the hot path, for cycles that are not made.
    # It has been off since the process began; one now would take 10 ms to free 700 objects.
    gc.freeze()
    gc.disable()
    try:
        run(work.plan, supervisor, rings)
    except LatbenchError as error:
        supervisor.send(Failed(error.message, error.hint, error.exit_code))
        os._exit(error.exit_code)
    except BaseException:  # noqa: BLE001 (told through the log, whatever it was)
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(ExitCode.FAILURE)
    sys.stderr.flush()
    # not sys.exit: a client's background threads and a queue of undelivered messages must not
    # hold up the end of a run
    os._exit(ExitCode.OK)


def _take_descriptors(end: StageEnd) -> list[int]:
    """Those of the rings; from now on stdout and stderr are the run's log."""
    descriptors = end.receive_descriptors()
    if descriptors is None:
        os._exit(ExitCode.FAILURE)
    log, *rings = descriptors
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    os.close(log)
    return rings


def _first_words(end: StageEnd) -> list[ToStage]:
    """What the supervisor says first, at least one message; a long plan comes in parts."""
    while not (messages := end.receive()):
        if messages is None:
            os._exit(ExitCode.FAILURE)
    return messages


def _end_with_thread(failed: threading.ExceptHookArgs) -> None:
    """A thread that ends by an exception ends the stage: without it nothing it did is true."""
    traceback.print_exception(failed.exc_type, failed.exc_value, failed.exc_traceback)
    sys.stderr.flush()
    os._exit(ExitCode.FAILURE)


StageFunction = Callable[[StagePlan, Supervisor, dict[str, RingWriter]], None]


_MODULES: Final = {
    "generator": "generator",
    "relay": "relay",
    "consumer": "consumer",
    "subscriber": "subscriber",
    "broker": "mock_broker",
    "proxy": "proxy",
    "echo": "echo",
    "probe": "probe",
}
"""By stage, the module that has its `run`."""


def _import_stage(stage: str) -> StageFunction:
    """The function of a stage; only that stage's libraries are imported (numpy alone is 60 ms).

    The WebSocket library is the default one: which is wanted, its plan tells only later.
    """
    # 30 ms: now, for who needs them will be waited for
    if stage in {"generator", "relay"}:
        importlib.import_module("latbench.stages.websocket_picows")
    run: StageFunction = importlib.import_module(f"latbench.stages.{_MODULES[stage]}").run
    return run
