"""How many connections this process may have."""

from __future__ import annotations

import resource
from typing import Final

from latbench.errors import LatbenchError

_BESIDES: Final = 64


def allow_descriptors(clients: int) -> None:
    """Let this process have so many connections; raises `LatbenchError` if it may not.

    1,024 are allowed where nobody has said otherwise (the soft limit); up to the hard one anybody
    may have more (getrlimit(2)).
    """
    needed = clients + _BESIDES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise LatbenchError(
            f"{clients:,} clients need {needed:,} open files, this user may have {hard:,}",
            "fewer clients, or a higher hard limit (limits.conf, or docker run --ulimit nofile)",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
