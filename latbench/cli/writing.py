"""Where an export goes: a file that appears whole or not at all, or stdout."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

from latbench.endings import ASKING_TO_END
from latbench.errors import LatbenchError, UsageError, reason

Write = Callable[[IO[bytes]], None]
"""Writes all of an export into a stream."""


def choose_output(
    path: Path, inputs: Sequence[Path], *, overwrite: bool, option: str = "--output"
) -> None:
    """See that a file may be made at `path`, which `option` named; else raises `UsageError`.

    That is: for a directory, for a file that is there unless it may be replaced, and for one of the
    `inputs` even then.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a directory", "name a file in it")
    if not path.exists():
        return
    if not overwrite:
        raise UsageError(f"{path} is there already", f"add --overwrite, or another {option}")
    if any(each.exists() and path.samefile(each) for each in inputs):
        raise UsageError(f"{path} is a result that is read", f"choose another {option}")


def write_file(path: Path, write: Write) -> None:
    """Make a file, whole or not at all; raises `LatbenchError` where that can't be."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _gone_at_a_signal(temporary):
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


@contextlib.contextmanager
def _gone_at_a_signal(temporary: Path) -> Iterator[None]:
    """A signal that ends this process removes the file first; one that is ignored stays so."""

    def end(number: int, frame: FrameType | None) -> None:
        del frame
        with contextlib.suppress(OSError):
            temporary.unlink()
        os._exit(128 + number)

    before = {number: signal.getsignal(number) for number in ASKING_TO_END}
    taken = {number: old for number, old in before.items() if old is not signal.SIG_IGN}
    for number in taken:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, old in taken.items():
            signal.signal(number, old)


def append_file(path: Path, content: bytes, variable: str) -> None:
    """Add to the end of a file that the environment variable `variable` names."""
    try:
        with path.open("ab") as file:
            file.write(content)
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
