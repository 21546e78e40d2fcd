"""Proving a pipeline's figures: known delays go in, hop by hop, and must come out again.

One ordinary run whose connections lead through proxies. Each of three places is delayed in turn by
each of four times, in turns of half a second that come round again and again: what the machine
does meanwhile then hits all of them alike. Compared are medians of the rows in the result file.
"""

from __future__ import annotations

import enum
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from latbench import broker
from latbench.clock import NS_PER_MS, NS_PER_S, NS_PER_US, WallAnchor, monotonic_ns
from latbench.config import RunConfig
from latbench.control import Start, Work
from latbench.errors import LatbenchError, UsageError
from latbench.plan import DelayStep, ProxyPlan
from latbench.processes import StageProcess, wait_for_words
from latbench.result import BrokerFacts
from latbench.store import read_ticks
from latbench.tick import HOPS, STAMPS, Hop
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

SETTLING_NS: Final = 50 * NS_PER_MS
"""A tick due so soon after a turn's begin may meet the delay of the turn before."""
LEAVING_NS: Final = 25 * NS_PER_MS
"""One due so late in a turn may reach the place when the next has begun."""

ALLOWED_SHARE: Final = 0.05
ALLOWED_NS: Final = 200 * NS_PER_US
"""Or so much, where that is more. Two medians of 80 ticks without any delay are up to 100 µs apart
on a virtual machine whose two CPUs have other things to do."""

SURE: Final = 4.0
"""So many standard errors of the shift make its uncertainty (99 % with 6 rounds)."""

_EMPTY_ANSWER_BYTES: Final = 160
"""An answer to a fetch without ticks has 90 bytes and the topic's name, one with a tick at least
200 more. The embedded broker gives one after each millisecond; held back, it would keep the next
fetch from being asked, and ticks would wait for that as well: half a delay more on average."""

_READY_TIMEOUT_S: Final = 30.0
_HOST: Final = "127.0.0.1"


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


def selftest_config(config: RunConfig, turns: Sequence[Turn]) -> RunConfig:
    """The run to make, of a configuration that tells the pipeline; `UsageError` where none can."""
    for which, properties in (("producer", config.producer), ("consumer", config.consumer)):
        protocol = properties.get("security.protocol", "plaintext")
        if protocol.lower() != "plaintext":
            raise UsageError(
                f"the {which}'s security.protocol {protocol} can't be led through a proxy",
                "selftest needs a listener in plain text, or --broker embedded",
            )
    return msgspec.structs.replace(
        config,
        tick_rate_hz=TICK_RATE_HZ,
        warmup_ns=turns[0].begins_ns,
        duration_ns=turns[-1].ends_ns - turns[0].begins_ns,
        name="selftest",
        delays_injected=True,
    )


# --- the proxies ------------------------------------------------------------------------------


class Proxies:
    """The `launch.Detour` that leads every connection through a proxy process of its own place.

    The processes are started when they are first needed and end with `close`; like a run's stages
    they end with this process, however it ends.
    """

    def __init__(self, config: RunConfig, turns: Sequence[Turn], log_directory: Path) -> None:
        self._config = config
        self._turns = turns
        self._log_directory = log_directory
        self._processes: dict[str, StageProcess] = {}

    def relay(self, host: str, port: int) -> tuple[str, int]:
        """The proxy before the relay."""
        (address,) = self._open(WEBSOCKET, ((host, port),), towards_upstream=True)
        return address

    def producer(self, bootstrap: str) -> str:
        """The proxies between relay and brokers."""
        return self._open_kafka(PRODUCE, bootstrap, towards_upstream=True)

    def consumer(self, bootstrap: str) -> str:
        """The proxies between brokers and consumer."""
        passing_bytes = _EMPTY_ANSWER_BYTES + len(self._config.topic)
        return self._open_kafka(FETCH, bootstrap, passing_bytes=passing_bytes)

    def begin(self, start_ns: int) -> None:
        """Let the turns begin."""
        anchor = WallAnchor.take()
        for process in self._processes.values():
            process.send(Start(start_ns=start_ns, anchor=anchor))

    def close(self) -> None:
        """End all of them."""
        for process in self._processes.values():
            process.end()

    def failure(self) -> LatbenchError | None:
        """Why a proxy has broken; None when all are well."""
        for place, process in self._processes.items():
            process.listen()
            if process.failed is not None:
                return LatbenchError(process.failed.message, process.failed.hint)
            if process.broken:
                tail = "; ".join(process.log_tail()) or "(empty)"
                return LatbenchError(
                    f"the proxy at {place} died ({process.describe_end()})", f"its log ends: {tail}"
                )
        return None

    def _open_kafka(
        self,
        place: Place,
        bootstrap: str,
        *,
        towards_upstream: bool = False,
        passing_bytes: int = 0,
    ) -> str:
        addresses = self._open(
            place,
            broker.broker_addresses(self._config, bootstrap),
            towards_upstream=towards_upstream,
            is_kafka=True,
            passing_bytes=passing_bytes,
        )
        return ",".join(f"{host}:{port}" for host, port in addresses)

    def _open(
        self,
        place: Place,
        upstreams: tuple[tuple[str, int], ...],
        *,
        towards_upstream: bool,
        is_kafka: bool = False,
        passing_bytes: int = 0,
    ) -> tuple[tuple[str, int], ...]:
        """Give a proxy its work, and wait until it listens."""
        if not self._processes:  # all at once: each takes 150 ms to import its libraries
            for each in PLACES:
                log_path = self._log_directory / f"proxy-{each.name}.log"
                self._processes[each.name] = StageProcess("proxy", [], log_path)
        process = self._processes[place.name]
        plan = ProxyPlan(
            run_id="",
            host=_HOST,
            upstreams=upstreams,
            steps=steps_at(place.name, self._turns),
            towards_upstream=towards_upstream,
            is_kafka=is_kafka,
            passing_bytes=passing_bytes,
        )
        process.send(Work(plan))
        deadline_ns = monotonic_ns() + int(_READY_TIMEOUT_S * NS_PER_S)
        while process.ready is None:
            wait_for_words([process], 0.05)
            process.listen()
            if failure := self.failure():
                raise failure
            if monotonic_ns() > deadline_ns:
                raise LatbenchError(
                    f"the proxy at {place.name} is not ready after {_READY_TIMEOUT_S:g} s",
                    "; ".join(process.log_tail()) or "its log is empty",
                )
        return broker.parse_bootstrap(process.ready.bootstrap)


# --- judging ----------------------------------------------------------------------------------


class Verdict(enum.StrEnum):
    """What a shift says."""

    OK = "ok"
    """As injected, within what is allowed."""
    OFF = "off"
    """Not as injected, beyond what is allowed and beyond doubt."""
    NOISY = "noisy"
    """Beyond what is allowed, but by less than it is uncertain: this machine can't tell now."""


class Shift(msgspec.Struct, frozen=True, kw_only=True):
    """By how much one hop's p50 grew while one place was delayed."""

    place: str
    delay_ns: int
    hop: str
    injected_ns: int
    """What it should have grown by: the delay, or 0 for a hop that the place is not in."""
    measured_ns: int | None
    """What it did grow by; None: no tick to tell."""
    uncertainty_ns: int | None
    """What the machine may have made of it, by the spread between turns; None: not known."""
    ticks: int

    @property
    def error_ns(self) -> int | None:
        """Measured less injected."""
        return None if self.measured_ns is None else self.measured_ns - self.injected_ns

    @property
    def verdict(self) -> Verdict:
        """Whether that is what was injected."""
        if self.error_ns is None or self.uncertainty_ns is None:
            return Verdict.NOISY
        beyond_ns = abs(self.error_ns) - allowed_ns(self.delay_ns)
        if beyond_ns <= 0:
            return Verdict.OK
        return Verdict.OFF if beyond_ns > self.uncertainty_ns else Verdict.NOISY


def allowed_ns(delay_ns: int) -> int:
    """How far a shift may be from what was injected."""
    return max(int(delay_ns * ALLOWED_SHARE), ALLOWED_NS)


Values = npt.NDArray[np.int64]
Columns = Mapping[str, Values]


def read_columns(path: Path) -> Columns:
    """All stamps of a result file, and `stall`, column by column; negative where missing."""
    names = [*(f"{stamp}_ns" for stamp in STAMPS), "stall"]
    tables = list(read_ticks(path, names))
    return {name: np.concatenate([table.columns[name] for table in tables]) for name in names}


def judge(columns: Columns, start_ns: int, turns: Sequence[Turn]) -> tuple[Shift, ...]:
    """Every hop's shift at every place and delay.

    A hop's p50 in a place's turns of one delay, less its p50 in the turns without delay of the
    *other* places: those lie around and between, and a place's own turns without delay are so
    judged like all others. Ticks that a stall of the machine has touched, as the file marks them,
    are left out on both sides. A hop that no tick has (`ack` with `acks=0`) is left out.
    """
    offsets_ns = columns["due_ns"] - start_ns
    smooth = columns["stall"] == 0
    ticks_of = {turn: smooth & _is_within(offsets_ns, turn) for turn in turns}
    shifts: list[Shift] = []
    for hop in HOPS:
        latencies = _latencies(columns, hop)
        if (latencies < 0).all():
            continue
        samples = {turn: _known(latencies[ticks]) for turn, ticks in ticks_of.items()}
        for place, delay_ns in itertools.product(PLACES, DELAYS_NS):
            own = [t for t in turns if (t.place, t.delay_ns) == (place.name, delay_ns)]
            others = [t for t in turns if t.place != place.name and not t.delay_ns]
            now, before = _P50([samples[t] for t in own]), _P50([samples[t] for t in others])
            shifts.append(
                Shift(
                    place=place.name,
                    delay_ns=delay_ns,
                    hop=hop.name,
                    injected_ns=delay_ns if hop.name in place.hops else 0,
                    measured_ns=round(now.ns - before.ns) if now.count and before.count else None,
                    uncertainty_ns=now.uncertainty_with(before),
                    ticks=now.count,
                )
            )
    return tuple(shifts)


def _latencies(columns: Columns, hop: Hop) -> Values:
    """By tick; -1 where one of the two stamps is missing."""
    start, end = columns[hop.start_column], columns[hop.end_column]
    return np.where((start >= 0) & (end >= 0), end - start, -1)


def _known(latencies: Values) -> Values:
    return latencies[latencies >= 0]


def _is_within(offsets_ns: Values, turn: Turn) -> npt.NDArray[np.bool_]:
    """Which ticks were due in the turn, and met its delay and no other for certain."""
    begins_ns, ends_ns = turn.begins_ns + SETTLING_NS, turn.ends_ns - LEAVING_NS
    return (offsets_ns >= begins_ns) & (offsets_ns < ends_ns)


class _P50:
    """The median over some turns, and how sure it is by the medians of each."""

    def __init__(self, samples: Sequence[Values]) -> None:
        everything = np.concatenate(samples)
        self.count = len(everything)
        self.ns = float(np.median(everything)) if self.count else 0.0
        by_turn = [float(np.median(sample)) for sample in samples if len(sample)]
        self._turns = len(by_turn)
        self._variance = float(np.var(by_turn, ddof=1)) / self._turns if self._turns > 1 else 0.0

    def uncertainty_with(self, other: _P50) -> int | None:
        """Of the difference; None with too few turns that have a tick."""
        if min(self._turns, other._turns) < MIN_ROUNDS // 2:
            return None
        return round(SURE * math.sqrt(self._variance + other._variance))


class SelftestResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a selftest came to."""

    broker: BrokerFacts
    ws_engine: str
    step_ns: int
    shifts: tuple[Shift, ...]
    """Every hop at every place and delay, those that must not grow as well."""
    problems: tuple[str, ...] = ()
    """Why the run itself is no valid measurement."""

    def of_verdict(self, verdict: Verdict) -> tuple[Shift, ...]:
        """The shifts that say so."""
        return tuple(shift for shift in self.shifts if shift.verdict is verdict)

    @property
    def rows(self) -> tuple[Shift, ...]:
        """The shifts of the hops that each delay lies in."""
        own = {(place.name, hop) for place in PLACES for hop in place.own_hops}
        return tuple(shift for shift in self.shifts if (shift.place, shift.hop) in own)

    @property
    def agrees(self) -> bool:
        """Whether a valid run has measured what was injected.

        Each hop that a delay lies in must be within what is allowed. Of all others none may be off
        beyond doubt: those are 68 shifts, of totals that add up their parts' noise for the most
        part, of which on a busy machine one or two are 10 µs beyond the allowed ones.
        """
        known = all(shift.verdict is Verdict.OK for shift in self.rows)
        return known and not self.problems and not self.of_verdict(Verdict.OFF)
