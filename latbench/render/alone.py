"""A stage on its own: a line while it works, and what it did in the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from rich.console import Console

from latbench.clock import monotonic_ns
from latbench.recording import (
    ACKS,
    GENERATOR,
    RELAY,
    SUBSCRIBER,
    AckCounter,
    GeneratorCounter,
    RelayCounter,
    SubscriberCounter,
)
from latbench.render.hops import HopTable
from latbench.render.ink import Drawn, Ink, Line, paragraph
from latbench.render.lines import EVERY_NS
from latbench.render.scenario import whole_s
from latbench.standalone import StageFigures
from latbench.units import format_clock, format_count, format_duration, format_rate


class Words(Protocol):
    """What is told of one kind of stage."""

    def now(self, figures: StageFigures) -> Sequence[str]:
        """What it is doing, in the fields of a line; none: nothing that is worth one."""

    def done(self, figures: StageFigures) -> Sequence[str]:
        """What it has done, in sentences."""


class StageLines:
    """A line every 5 s, and whatever is to be said."""

    def __init__(
        self, console: Console, words: Words, *, clock: Callable[[], int] = monotonic_ns
    ) -> None:
        self._console = console
        self._words = words
        self._clock = clock
        self._next_ns = 0

    def say(self, text: str) -> None:
        """Print a line, if there is one."""
        if text:
            shown = Ink(self._console.options.ascii_only).text(text)
            self._console.print(shown.rstrip(), soft_wrap=True, markup=False, highlight=False)

    def update(self, figures: StageFigures) -> None:
        """Print what it is doing when it is time for that."""
        now_ns = self._clock()
        if now_ns >= self._next_ns:
            first, self._next_ns = not self._next_ns, now_ns + EVERY_NS
            fields = self._words.now(figures)
            if fields and not first:  # nothing has happened yet
                clock = f"{format_clock(figures.elapsed_ns):>7}"
                self.say("  ".join([clock, *fields]))


class StageReport(Drawn):
    """What it has done: sentences, and the hops that it saw."""

    def __init__(self, figures: StageFigures, words: Words) -> None:
        self._figures = figures
        self._words = words

    def draw(self, width: int, ink: Ink) -> list[Line]:
        """Sentences, then a table."""
        lines: list[Line] = []
        for sentence in self._words.done(self._figures):
            lines += paragraph(sentence, width, ink, style="")
        if self._figures.hops:
            table = HopTable(self._figures.hops, embedded=False, notes=False, only_measured=True)
            lines += [[], *table.draw(width, ink)]
        if self._figures.overruns:
            text = (
                f"{format_count(self._figures.overruns)} rows found no room: they are in no figure"
            )
            lines += [[], *paragraph(text, width, ink, style="yellow")]
        return lines


def _time(figures: StageFigures) -> str:
    return format_duration(whole_s(figures.elapsed_ns))


class GeneratorWords:
    """Of `generate`."""

    def now(self, figures: StageFigures) -> Sequence[str]:
        """See `Words`."""
        waited = figures.counters[GENERATOR][GeneratorCounter.BACKPRESSURE]
        return [
            f"{format_rate(figures.rates_hz[GENERATOR]):>9}",
            f"sent {format_count(figures.rows[GENERATOR])}",
            *([f"waited for the relay {format_count(waited)} times"] if waited else []),
        ]

    def done(self, figures: StageFigures) -> Sequence[str]:
        """See `Words`."""
        counters = figures.counters[GENERATOR]
        waited, waited_ns = (
            counters[GeneratorCounter.BACKPRESSURE],
            counters[GeneratorCounter.BACKPRESSURE_NS],
        )
        told = [f"sent {format_count(figures.rows[GENERATOR])} ticks in {_time(figures)}"]
        if waited:
            told.append(
                f"the socket to the relay was full {format_count(waited)} times, "
                f"{format_duration(waited_ns)} in all: ticks waited, which counts as schedule"
            )
        return told


class RelayWords:
    """Of `relay`."""

    def now(self, figures: StageFigures) -> Sequence[str]:
        """See `Words`."""
        relay, acks = figures.counters[RELAY], figures.counters[ACKS]
        amiss = (
            relay[RelayCounter.MALFORMED]
            + relay[RelayCounter.REFUSED]
            + acks[AckCounter.DELIVERY_ERRORS]
        )
        return [
            f"{format_rate(figures.rates_hz[RELAY]):>9}",
            f"relayed {format_count(figures.rows[RELAY])}",
            f"acked {format_count(figures.rows[ACKS])}",
            f"clients {format_count(relay[RelayCounter.CLIENTS])}",
            f"subscribers {format_count(relay[RelayCounter.SUBSCRIBERS])}",
            f"dropped {format_count(relay[RelayCounter.SUBSCRIBER_DROPS])}",
            f"errors {format_count(amiss)}",
        ]

    def done(self, figures: StageFigures) -> Sequence[str]:
        """See `Words`."""
        relay, acks = figures.counters[RELAY], figures.counters[ACKS]
        relayed, acked = figures.rows[RELAY], figures.rows[ACKS]
        given_up = acks[AckCounter.DELIVERY_ERRORS] + relay[RelayCounter.REFUSED]
        unasked = acks[AckCounter.UNANSWERED]
        told = [
            f"relayed {format_count(relayed)} ticks in {_time(figures)}: "
            f"{format_count(acked)} acknowledged by the broker, {format_count(given_up)} given up"
            + (f", {format_count(unasked)} that no answer was asked for" if unasked else "")
        ]
        open_ones = relayed - acked - given_up - unasked
        if open_ones > 0:
            told.append(
                f"{format_count(open_ones)} had no answer yet: whether they arrived is unknown"
            )
        for count, text in (
            (relay[RelayCounter.MALFORMED], "messages were no ticks and went nowhere"),
            (relay[RelayCounter.SUBSCRIBER_DROPS], "ticks were dropped for slow subscribers"),
            (relay[RelayCounter.SLOW_DISCONNECTED], "slow subscribers were disconnected"),
            (relay[RelayCounter.TIMED_OUT], "clients did not answer a ping"),
            (relay[RelayCounter.REFUSED_CLIENTS], "clients sent what they may not"),
            (relay[RelayCounter.BACKPRESSURE], "times the producer's queue was full"),
        ):
            if count:
                told.append(f"{format_count(count)} {text}")
        return told


class SubscriberWords:
    """Of `subscribe`."""

    def now(self, figures: StageFigures) -> Sequence[str]:
        """See `Words`."""
        counters = figures.counters[SUBSCRIBER]
        here = counters[SubscriberCounter.CONNECTED] - counters[SubscriberCounter.ENDED]
        return [
            f"{format_rate(figures.rates_hz[SUBSCRIBER]):>9}",
            f"received {format_count(figures.rows[SUBSCRIBER])}",
            f"subscribers {format_count(here)}",
            f"no ticks {format_count(counters[SubscriberCounter.UNKNOWN])}",
        ]

    def done(self, figures: StageFigures) -> Sequence[str]:
        """See `Words`."""
        counters = figures.counters[SUBSCRIBER]
        received = figures.rows[SUBSCRIBER]
        connected = counters[SubscriberCounter.CONNECTED]
        told = [
            f"{format_count(connected)} subscribers received {format_count(received)} ticks in "
            f"{_time(figures)}"
        ]
        if counters[SubscriberCounter.ENDED]:
            ended = format_count(counters[SubscriberCounter.ENDED])
            told.append(f"the relay sent {ended} of them away")
        if counters[SubscriberCounter.UNKNOWN]:
            unknown = format_count(counters[SubscriberCounter.UNKNOWN])
            told.append(f"{unknown} messages were no ticks of the run that came first")
        return told


class BrokerWords:
    """Of `broker`, of which nothing is known but that it is there."""

    def now(self, figures: StageFigures) -> Sequence[str]:
        """See `Words`."""
        del figures
        return []

    def done(self, figures: StageFigures) -> Sequence[str]:
        """See `Words`."""
        return [f"served for {_time(figures)}; what was on it is gone"]
