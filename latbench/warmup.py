"""How long the warm-up is: as long as was asked for, or until the latency has settled."""

from __future__ import annotations

from typing import Final, Protocol

from latbench.clock import NS_PER_MS, NS_PER_S
from latbench.config import RunConfig
from latbench.settling import has_settled

LEAD_NS: Final = 250 * NS_PER_MS
"""From the decision to the first measured tick: its word must reach the generator before it."""

OPEN_NS: Final = 2 * NS_PER_S
"""While nobody knows the end it is no sooner than so long from now: what is known of a run that is
killed is up to a second old by then (`supervisor.TALLY_INTERVAL_NS`)."""


class Seconds(Protocol):
    """What is known of the seconds so far."""

    @property
    def seconds(self) -> int:
        """How many are over."""

    @property
    def p50_per_second(self) -> tuple[int, ...]:
        """End-to-end p50 of the last of them."""


class Warmup:
    """The warm-up of one run."""

    def __init__(self, config: RunConfig) -> None:
        self._limit_ns = config.warmup_ns
        self.ends_after_ns = None if config.warmup_auto else config.warmup_ns
        """After the start; None: not known yet."""
        self.settled = not config.warmup_auto
        """Whether the latency had settled by the end of an automatic warm-up."""
        self._looked_at = 0

    def settle(self, elapsed_ns: int, seconds: Seconds) -> bool:
        """Look at the seconds so far (once for each); whether the end of the warm-up is known."""
        if self.ends_after_ns is not None:
            return True
        if seconds.seconds == self._looked_at:
            return False
        self._looked_at = seconds.seconds
        self.settled = has_settled(seconds.p50_per_second)
        if self.settled or elapsed_ns >= self._limit_ns:
            # whole seconds, so that the figures of each second stay figures of whole seconds
            self.ends_after_ns = -(-(elapsed_ns + LEAD_NS) // NS_PER_S) * NS_PER_S
        return self.ends_after_ns is not None

    def length_ns(self, elapsed_ns: int) -> int:
        """How long it was; while nobody knows, all of the time so far and `OPEN_NS` more."""
        return elapsed_ns + OPEN_NS if self.ends_after_ns is None else self.ends_after_ns
