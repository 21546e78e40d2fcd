"""`--profile`: settings that go together, as defaults below all that a user gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import typer

from latbench.config import parse_choice

PROFILES: Final[Mapping[str, Mapping[str, Any]]] = {
    # At 10,000/s five ticks go together, so that broker and relay have CPU to spare: p50 0.79 and
    # p99 2.65 ms (0.3: 2.8 and 6.9). At 1,000/s no tick waits. Meters wake each process 1,000 times
    # a second.
    "latency": {"linger": "0", "coalesce": "0.5", "realtime": True, "hiccups": False},
    # Batches of some hundred ticks everywhere: what is done once a batch is shared by so many.
    # 200,000/s are 70 MB/s for the broker to write, lz4 makes 11 of them: when the system wrote
    # those back, ticks waited 0.1 to 0.6 s. It takes 0.3 µs a tick.
    "throughput": {"linger": "5", "coalesce": "2", "compression": "lz4", "hiccups": False},
}
"""Values of the command's options by parameter, as a command line would have them."""

NAMES: Final = tuple(PROFILES)
FILE_VALUES: Final = "latbench.file_values"
"""Where in a context's `meta` the values of a file of `--config` are, once it was read."""


def load(context: typer.Context, name: str | None) -> str | None:
    """Make a profile's values the defaults of the command's options (an eager option's callback).

    A file of `--config` wins over it, whichever of the two was read first; it takes the place of a
    profile named in that file.
    """
    if name is not None:
        values = PROFILES[parse_choice(name, "--profile", NAMES)]
        context.default_map = {**values, **context.meta.get(FILE_VALUES, {})}
    return name
