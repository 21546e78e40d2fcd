"""Secrets of the command line, blotted out where other users see them: `ps`, `/proc/PID/cmdline`.

A secret belongs into a variable or a file. Who gives one as an option all the same has it shown for
as long as it takes to get here, about 0.1 s, and not for the rest of a relay's life.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Final

from latbench.config import secrets_among

_ARG_START, _ARG_END = 48, 49
"""Fields of `/proc/self/stat`, from 1 (proc(5)): where the kernel finds the words."""
_BLOT: Final = b"*"


def blot_secrets() -> None:
    """Overwrite the secrets in this process's own words; where that can't be, leave them."""
    secrets = [secret for secret in secrets_among(sys.argv[1:]) if secret]
    if not secrets:
        return
    try:
        # behind the name, which is in parentheses and may hold anything
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        begin, end = (int(fields[number - 3]) for number in (_ARG_START, _ARG_END))
    except (OSError, ValueError, IndexError):
        return
    if not 0 < begin < end:
        return
    text = ctypes.string_at(begin, end - begin)
    for secret in secrets:
        data = secret.encode(errors="surrogateescape")
        text = text.replace(data + b"\0", _BLOT * len(data) + b"\0")
    ctypes.memmove(begin, text, len(text))
