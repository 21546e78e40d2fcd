"""Which result files are on which side of a comparison, and the results in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from latbench.errors import LatbenchError, UsageError, reason
from latbench.rank_sum import MAX_VALUES
from latbench.store import read_result
from latbench.stored import Stored
from latbench.summary_kinds import SummaryKind, summary_kind

BETWEEN: Final = "vs"
_HINT: Final = f"write the word {BETWEEN} between them: latbench compare base/* {BETWEEN} new/*"

_SIDES: Final = ("base", "new")

Skip = Callable[[str], None]
"""Told of each file that is passed over, in a line."""


class Side(NamedTuple):
    """One side: how to call it, and its results."""

    label: str
    stored: tuple[Stored, ...]


def split(arguments: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """The paths of A and of B; `UsageError` where it can't be told which is which.

    By the word `vs` between them; or two paths; or files of just two directories, the first one's
    being the base.
    """
    words = arguments.count(BETWEEN)
    if words > 1:
        raise UsageError(f"the word {BETWEEN} stands {words} times", _HINT)
    if words:
        place = arguments.index(BETWEEN)
        sides = arguments[:place], arguments[place + 1 :]
        for name, side in zip(_SIDES, sides, strict=True):
            if not side:
                raise UsageError(f"there is no {name} beside the word {BETWEEN}", _HINT)
        return [Path(each) for each in sides[0]], [Path(each) for each in sides[1]]
    paths = [Path(each) for each in arguments]
    if len(paths) == 2:
        return paths[:1], paths[1:]
    if len(paths) < 2:
        told = f"{paths[0]} has nothing to be compared with" if paths else "no files to compare"
        raise UsageError(told, "name two results, or two directories of them")
    if inner := next((path for path in paths if path.is_dir()), None):
        raise UsageError(f"{inner} is a directory among {len(paths)} paths", _HINT)
    parents = list(dict.fromkeys(path.parent for path in paths))
    if len(parents) != 2:
        many = "one directory" if len(parents) == 1 else f"{len(parents)} directories"
        raise UsageError(f"{len(paths)} files of {many} don't tell which are the base", _HINT)
    first = [path for path in paths if path.parent == parents[0]]
    return first, [path for path in paths if path.parent == parents[1]]


def read_side(paths: Sequence[Path], skip: Skip) -> Side:
    """The results of one side: files, and all that lie in directories."""
    stored = []
    for path in paths:
        stored += read_directory(path, skip) if path.is_dir() else [_read(path)]
    if len(stored) > MAX_VALUES:
        raise UsageError(
            f"{label(paths)} has {len(stored):,} results, more than {MAX_VALUES:,}", "name fewer"
        )
    return Side(label(paths), tuple(stored))


def label(paths: Sequence[Path]) -> str:
    """How to call a side: its file, its directory, else how many paths it has."""
    if len(paths) == 1:
        return f"{paths[0]}/" if paths[0].is_dir() else str(paths[0])
    parents = {path.parent for path in paths}
    return f"{parents.pop()}/" if len(parents) == 1 else f"{len(paths)} paths"


def _read(path: Path) -> Stored:
    if kind := summary_kind(path):
        parts = "its points are no runs" if kind is SummaryKind.SWEEP else "it is no run"
        raise UsageError(f"{path} is of {kind.words}: {parts}", "name results of runs")
    return Stored(path=str(path), result=read_result(path))


def read_directory(directory: Path, skip: Skip) -> list[Stored]:
    """The results of runs in a directory by name; none of others: `UsageError`."""
    try:
        files = sorted(path for path in directory.iterdir() if path.is_file())
    except OSError as error:
        raise LatbenchError(
            f"{directory} can't be read: {reason(error)}", "name a directory that you may look into"
        ) from None
    stored: list[Stored] = []
    for path in files:
        if path.suffix != ".parquet":
            continue
        if kind := summary_kind(path):
            skip(f"skipped {path}: it is of {kind.words}")
            continue
        try:
            stored.append(Stored(path=str(path), result=read_result(path)))
        except LatbenchError as error:
            skip(f"skipped {path}: {error.message.removeprefix(f'{path} ')}")
    if not stored:
        raise UsageError(
            f"{directory} holds no results of runs", "results are what `latbench run` writes"
        )
    return stored


def check_apart(base: Side, new: Side) -> None:
    """Raise `UsageError` where a run is there twice."""
    seen: dict[object, tuple[str, str]] = {}
    for name, side in zip(_SIDES, (base, new), strict=True):
        for each in side.stored:
            result = each.result
            keys = (Path(each.path).resolve(), (result.run_id, result.started_unix_ns))
            before = next((seen[key] for key in keys if key in seen), None)
            if before is not None:
                _refuse(before, name, each.path)
            seen |= dict.fromkeys(keys, (name, each.path))


def _refuse(before: tuple[str, str], side: str, path: str) -> None:
    first_side, first = before
    where = "on both sides" if first_side != side else f"twice in the {side}"
    if Path(first).resolve() == Path(path).resolve():
        raise UsageError(f"{path} is {where}", "name it once")
    raise UsageError(f"{first} and {path} hold the same run, which is {where}", "leave one out")
