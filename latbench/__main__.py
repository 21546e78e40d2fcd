"""Where a latbench process begins: as a stage when the supervisor started it, else as the CLI."""

from __future__ import annotations

import os

from latbench.control import STAGE_FD_VARIABLE


def main() -> None:
    """Run this process and exit."""
    # each side imports only its own: a stage needs no typer (70 ms), the CLI no uvloop
    if STAGE_FD_VARIABLE in os.environ:
        from latbench.stages.entry import run_stage  # noqa: PLC0415

        run_stage()
    else:
        from latbench.cli import run_cli  # noqa: PLC0415

        run_cli()


if __name__ == "__main__":
    main()
