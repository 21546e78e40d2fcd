"""The runs that a command is given as files."""

from __future__ import annotations

from pathlib import Path

from latbench.errors import LatbenchError
from latbench.result import RunResult
from latbench.spool import SUFFIX, spool_path
from latbench.store import read_result
from latbench.summary_kinds import summary_kind


def read_run(path: Path, command: str) -> RunResult:
    """The result in a file; raises `LatbenchError` where it is none, and says what it is."""
    if path.name.endswith(SUFFIX) and path.is_dir():
        raise LatbenchError(
            f"{path} is what a run has recorded, and no result file yet",
            f"latbench report {path} --save makes one of it",
        )
    if not path.exists() and spool_path(path).is_dir():
        raise LatbenchError(
            f"{path} is not there, but what its run has recorded is",
            f"latbench report {spool_path(path)} --save makes a result file of it",
        )
    if kind := summary_kind(path):
        raise LatbenchError(
            f"{path} is of {kind.words}: {command} takes runs",
            f"latbench report {path} --json, or keep the runs with latbench {kind.command} "
            "--keep-runs",
        )
    return read_result(path)
