"""What can go wrong in a way that a user can mend: a fact with its value, and the way out."""

from __future__ import annotations

import enum
import os


class ExitCode(enum.IntEnum):
    """The process exit codes of every latbench command."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    REGRESSION = 3
    INVALID = 4
    INTERRUPTED = 130


class LatbenchError(Exception):
    """A failure told to the user in one line, with a hint on a line of its own.

    `message` states the fact with its value and has no full stop; `hint` is what to do about it.
    Only `cli/` prints one or turns it into an exit code.
    """

    exit_code = ExitCode.FAILURE

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def reason(error: OSError) -> str:
    """Why the system refused, in a few words: `no space left on device`."""
    refusal = getattr(error, "reason", None)
    if isinstance(refusal, str):  # ssl's, whose number is none of the system's
        words = refusal.lower().replace("_", " ")
        verification = getattr(error, "verify_message", "")
        return f"{words}: {verification}" if verification else words
    if error.errno:
        return os.strerror(error.errno).lower()
    return " ".join(str(error).lower().split())  # Arrow's end with a line break


class UsageError(LatbenchError):
    """An option, an environment variable or a configuration file holds a value that can't be."""

    exit_code = ExitCode.USAGE
