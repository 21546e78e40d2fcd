"""All run results of folders: read from their metadata alone, without a row; the rest is told."""

from __future__ import annotations

import enum
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from latbench.errors import LatbenchError
from latbench.spool import SUFFIX
from latbench.store import is_foreign, read_result
from latbench.stored import Stored
from latbench.summary_kinds import SummaryKind, summary_kind

_EXTENSION: Final = ".parquet"


class Kind(enum.StrEnum):
    """What something is that was passed over."""

    SWEEP = "sweep"
    SESSION = "session"
    """Of `latbench ab`: both of its sides are no trend."""
    FOREIGN = "foreign"
    """Parquet, but nothing of latbench's."""
    UNREADABLE = "unreadable"
    UNFINISHED = "unfinished"
    """The directory that a run is until its end, or that a killed one left."""
    COPY = "copy"
    """Of a result that was read from another file."""


class Skipped(msgspec.Struct, frozen=True, kw_only=True):
    """A file that no run was read from."""

    file: str
    kind: Kind
    why: str


_KINDS: Final = {SummaryKind.SWEEP: Kind.SWEEP, SummaryKind.SESSION: Kind.SESSION}


def read_folders(paths: Sequence[Path]) -> tuple[list[Stored], list[Skipped]]:
    """The results in these folders, their subfolders, and these files; and what was passed over.

    Links to folders are not followed. Raises `LatbenchError` for a path that is not there.
    """
    stored: list[Stored] = []
    skipped: list[Skipped] = []
    seen: dict[tuple[str, int], str] = {}
    for path in _files(paths, skipped):
        if path.exists() and not path.is_file():  # opening a pipe would wait for its other end
            why = f"{path} is no regular file"
            skipped.append(Skipped(file=str(path), kind=Kind.UNREADABLE, why=why))
            continue
        try:
            result = read_result(path)
        except LatbenchError as error:
            skipped.append(_passed_over(path, error))
            continue
        same = (result.run_id, result.started_unix_ns)
        if same in seen:
            skipped.append(Skipped(file=str(path), kind=Kind.COPY, why=f"as {seen[same]}"))
            continue
        seen[same] = str(path)
        stored.append(Stored(str(path), result))
    return stored, skipped


def _files(paths: Sequence[Path], skipped: list[Skipped]) -> Iterator[Path]:
    """Every file once, in order of names; adds directories that can't be looked into."""
    met: set[Path] = set()
    for path in paths:
        if not path.exists():
            raise LatbenchError(f"{path} does not exist", "results lie in bench-results/")
        for file in _walk(path, skipped) if path.is_dir() else [path]:
            real = file.resolve()
            if real not in met:
                met.add(real)
                yield file


def _walk(folder: Path, skipped: list[Skipped]) -> Iterator[Path]:
    def closed(error: OSError) -> None:
        why = os.strerror(error.errno).lower() if error.errno else str(error)
        file = str(error.filename or folder)
        skipped.append(Skipped(file=file, kind=Kind.UNREADABLE, why=f"{file} can't be read: {why}"))

    if folder.name.endswith(SUFFIX):
        skipped.append(_unfinished(folder))
        return
    for place, folders, names in os.walk(folder, onerror=closed):
        here = Path(place)
        skipped += [_unfinished(here / name) for name in sorted(folders) if name.endswith(SUFFIX)]
        folders[:] = sorted(name for name in folders if not name.endswith(SUFFIX))
        for name in sorted(names):
            if name.endswith(_EXTENSION):
                yield here / name


def _unfinished(path: Path) -> Skipped:
    return Skipped(
        file=str(path), kind=Kind.UNFINISHED, why=f"latbench report {path} --save makes a result"
    )


def _passed_over(path: Path, error: LatbenchError) -> Skipped:
    kind = Kind.UNREADABLE
    if of := summary_kind(path):
        kind = _KINDS[of]
    elif is_foreign(path):
        kind = Kind.FOREIGN
    return Skipped(file=str(path), kind=kind, why=error.message)
