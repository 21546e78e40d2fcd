"""`latbench` with a known delay in one hop: a variant for `latbench ab` to find.

    python benchmarks/delayed.py websocket 150 run --tick-rate 4000 …

The first word is the hop (`websocket`, `kafka`), the second the delay in microseconds; 0 is a run
without any, marked alike as one with delays. `stage_delay` has how it is put in.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

HOPS = ("websocket", "kafka")


def main() -> None:
    hop, delay_us = sys.argv[1], float(sys.argv[2])
    assert hop in HOPS, hop
    sys.argv = ["latbench", *sys.argv[3:]]
    paths = [str(Path(__file__).parent / "stage_delay"), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    os.environ["LATBENCH_DELAY"] = f"{hop}:{round(delay_us * 1000)}"
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from latbench.cli import conduct, run_cli  # noqa: PLC0415 (after the environment is set)

    supervise: Callable[..., Any] = conduct.supervise

    def marked(assignment: Any, *arguments: Any, **named: Any) -> Any:
        config = msgspec.structs.replace(assignment.config, delays_injected=True)
        return supervise(msgspec.structs.replace(assignment, config=config), *arguments, **named)

    conduct.supervise = marked
    run_cli()


if __name__ == "__main__":
    main()
