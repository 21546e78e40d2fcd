"""Where a latbench process begins: as a stage when the supervisor started it, else as the CLI."""

from __future__ import annotations

import gc
import os
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latbench.processes import Crew


def main() -> None:
    """Run this process and exit."""
    # numpy's BLAS starts a thread for each CPU that spins for 100 ms, in every process of a run;
    # nothing here multiplies matrices. Stages inherit it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.disable()  # while libraries are imported: 10 ms for next to nothing to free
    # each side imports only its own: a stage needs no typer (70 ms), the CLI no uvloop
    if "LATBENCH_STAGE_FD" in os.environ:  # control.STAGE_FD_VARIABLE
        from latbench.stages.entry import run_stage  # noqa: PLC0415

        run_stage()
    # A KeyboardInterrupt shows a traceback while libraries are imported, and raised within a
    # callback of the interpreter it is lost (both seen). Until a run takes the signals over,
    # nothing is begun that would have to be put right, so just end. A shell that started this in
    # the background has Ctrl-C ignored, which stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _quit)
    crew = _start_ahead(sys.argv[1:])
    from latbench.cli import run_cli  # noqa: PLC0415

    gc.enable()
    run_cli(crew)


def _start_ahead(words: list[str]) -> Crew | None:
    """For a run: its processes import their libraries while this one imports its own.

    That is most of the time until the first tick. A guess from the words alone: which of them are
    not wanted after all is seen once the options are read, and those are ended.
    """
    if words[:1] != ["run"] or {"-h", "--help"} & set(words) or sys.platform != "linux":
        return None
    from latbench.processes import Crew  # noqa: PLC0415

    crew = Crew()
    named = any(word.startswith("--broker") for word in words)
    if not named and not os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        crew.prepare("broker")
    crew.prepare("relay", "consumer", "generator")
    return crew


def _quit(number: int, frame: FrameType | None) -> None:
    del frame
    os._exit(128 + number)


if __name__ == "__main__":
    main()
