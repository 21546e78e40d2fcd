"""Where a latbench process begins: as a stage when the supervisor started it, else as the CLI."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run this process and exit."""
    # each side imports only its own: a stage needs no typer (70 ms), the CLI no uvloop; and a
    # Ctrl-C while they are imported (half a second) ends the process as quietly as later
    try:
        if "LATBENCH_STAGE_FD" in os.environ:  # control.STAGE_FD_VARIABLE
            from latbench.stages.entry import run_stage  # noqa: PLC0415

            run_stage()
        else:
            from latbench.cli import run_cli  # noqa: PLC0415

            run_cli()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
