"""A selftest's timetable: which place is delayed, when and by how much.

Each of three places is delayed in turn by each of four times, in turns of half a second that come
round again and again: what the machine does meanwhile then hits all of them alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from latbench.clock import NS_PER_MS, NS_PER_S
from latbench.errors import UsageError
from latbench.plan import DelayStep
from latbench.units import format_duration

DELAYS_NS: Final = (0, NS_PER_MS, 5 * NS_PER_MS, 25 * NS_PER_MS)

TICK_RATE_HZ: Final = 25
"""40 ms apart. One produce request and one fetch are out at a time, and a tick that finds one out
waits for it: its hop would grow by more than the delay. So the longest delay and a round trip (2 ms
on the embedded broker) must be over before the next tick, with room for a machine that stalls."""

DEFAULT_STEP_NS: Final = 5 * NS_PER_S
MIN_STEP_NS: Final = 2 * NS_PER_S
MAX_STEP_NS: Final = 600 * NS_PER_S
TURN_NS: Final = NS_PER_S // 2
MIN_ROUNDS: Final = 6
"""The spread between turns tells how sure a median is; of fewer it would be a guess."""
WARMUP_NS: Final = 2 * NS_PER_S


class Place(msgspec.Struct, frozen=True):
    """Where delays are put in, and which hops have to grow by them."""

    name: str
    label: str
    own_hops: tuple[str, ...]

    @property
    def hops(self) -> tuple[str, ...]:
        """All that grow: a total contains its parts."""
        return (*self.own_hops, "end_to_end", "service")


WEBSOCKET: Final = Place("websocket", "generator → relay", ("websocket",))
PRODUCE: Final = Place("produce", "relay → broker", ("kafka", "ack"))
FETCH: Final = Place("fetch", "broker → consumer", ("kafka",))
PLACES: Final = (WEBSOCKET, PRODUCE, FETCH)


class Turn(msgspec.Struct, frozen=True):
    """A span in which one place is delayed; offsets are from the run's start."""

    place: str
    delay_ns: int
    begins_ns: int
    ends_ns: int


def make_turns(step_ns: int, begins_ns: int = WARMUP_NS) -> tuple[Turn, ...]:
    """Each delay at each place for `step_ns` in all, in turns of about `TURN_NS`, round by round.

    Raises `UsageError` for a step outside its bounds.
    """
    if not MIN_STEP_NS <= step_ns <= MAX_STEP_NS:
        raise UsageError(
            f"step of {format_duration(step_ns)} is not between {format_duration(MIN_STEP_NS)} "
            f"and {format_duration(MAX_STEP_NS)}",
            "write --step 5s",
        )
    rounds = max(step_ns // TURN_NS, MIN_ROUNDS)
    turn_ns = step_ns // rounds
    kinds = [(place.name, delay_ns) for place in PLACES for delay_ns in DELAYS_NS] * rounds
    return tuple(
        Turn(place, delay_ns, begins_ns + number * turn_ns, begins_ns + (number + 1) * turn_ns)
        for number, (place, delay_ns) in enumerate(kinds)
    )


def steps_at(place: str, turns: Sequence[Turn]) -> tuple[DelayStep, ...]:
    """What the proxy at a place has to do: its delays in its own turns, none in others'."""
    own = (turn.delay_ns if turn.place == place else 0 for turn in turns)
    steps = (DelayStep(turn.begins_ns, delay) for turn, delay in zip(turns, own, strict=True))
    return (*steps, DelayStep(turns[-1].ends_ns, 0))
