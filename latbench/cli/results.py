"""Where a run's result file goes."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Final

from latbench.errors import UsageError
from latbench.spool import spool_path

DIRECTORY: Final = Path("bench-results")


def choose_path(given: Path | None, name: str, *, overwrite: bool) -> Path:
    """The path asked for, else one in `bench-results/` that is free, named by time and run.

    Raises `UsageError` for a directory, and for a file that is there and may not be replaced.
    """
    if given is None:
        return _free_path(name)
    if given.is_dir():
        raise UsageError(f"{given} is a directory", f"write --output {given / 'run.parquet'}")
    if given.exists() and not overwrite:
        raise UsageError(f"{given} is there already", "add --overwrite, or another --output")
    return given


def _free_path(name: str) -> Path:
    stem = datetime.datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    stem = f"{stem}-{name}" if name else stem
    path, number = DIRECTORY / f"{stem}.parquet", 2
    while path.exists() or spool_path(path).exists():
        path, number = DIRECTORY / f"{stem}-{number}.parquet", number + 1
    return path
