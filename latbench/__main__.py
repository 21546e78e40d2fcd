"""Where a latbench process begins: as a stage when the supervisor started it, else as the CLI."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def main() -> None:
    """Run this process and exit."""
    # each side imports only its own: a stage needs no typer (70 ms), the CLI no uvloop
    if "LATBENCH_STAGE_FD" in os.environ:  # control.STAGE_FD_VARIABLE
        from latbench.stages.entry import run_stage  # noqa: PLC0415

        run_stage()
    # Half a second of imports, in which a KeyboardInterrupt shows a traceback or, raised within a
    # callback of the interpreter, is lost (seen once in CI); nothing is begun yet, so just end.
    # A shell that started this in the background has Ctrl-C ignored, which stays so.
    by_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if by_default:
        signal.signal(signal.SIGINT, _quit)
    from latbench.cli import run_cli  # noqa: PLC0415

    if by_default:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run_cli()
    except KeyboardInterrupt:
        sys.exit(130)


def _quit(number: int, frame: FrameType | None) -> None:
    del frame
    os._exit(128 + number)


if __name__ == "__main__":
    main()
