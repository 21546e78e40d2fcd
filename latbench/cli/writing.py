"""Where an export goes: a file that appears whole or not at all, or stdout."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

from latbench.errors import LatbenchError, UsageError, reason

Write = Callable[[IO[bytes]], None]
"""Writes all of an export into a stream."""


def choose_output(path: Path, *, overwrite: bool) -> Path:
    """`path`; raises `UsageError` for a directory, or a file that is there and may not go."""
    if path.is_dir():
        raise UsageError(f"{path} is a directory", "name a file in it")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} is there already", "add --overwrite, or another --output")
    return path


def write_file(path: Path, write: Write) -> None:
    """Make a file, whole or not at all; raises `LatbenchError` where that can't be."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            write(file)
        temporary.replace(path)
    except OSError as error:
        raise LatbenchError(
            f"can't write {path}: {reason(error)}", "make room, or choose another --output"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def append_file(path: Path, text: str, variable: str) -> None:
    """Add to the end of a file that the environment variable `variable` names."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise LatbenchError(
            f"can't write {path}: {reason(error)}", f"unset {variable}, or give --output"
        ) from None


def write_stdout(write: Write, *, binary: bool, option: str) -> None:
    """Write to stdout; binary is refused where that is a terminal."""
    if binary and sys.stdout.isatty():
        raise UsageError(f"{option} is binary, and stdout is a terminal", "add --output FILE")
    stream = sys.stdout.buffer
    try:
        write(stream)
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise LatbenchError(
            f"can't write to stdout: {reason(error)}", "add --output FILE"
        ) from None
