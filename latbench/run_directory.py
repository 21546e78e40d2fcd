"""Where the result files of a session's runs lie."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from latbench.errors import LatbenchError, reason


@contextlib.contextmanager
def run_directory(directory: Path, *, keep: bool) -> Iterator[Path]:
    """`directory` itself with `keep`; else one of the session's own beside it, gone at the end.

    What is in `directory` from before stays untouched. Raises `LatbenchError` where none can be
    made.
    """
    made = directory
    try:
        (directory if keep else directory.parent).mkdir(parents=True, exist_ok=True)
        if not keep:
            made = Path(tempfile.mkdtemp(prefix=f"{directory.name}-", dir=directory.parent))
    except OSError as error:
        told = reason(error)
        raise LatbenchError(f"can't write {directory}: {told}", "choose --output") from None
    try:
        yield made
    finally:
        if not keep:
            shutil.rmtree(made, ignore_errors=True)
