from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from latbench.clock import NS_PER_S
from latbench.stages.message_rate import LimitedTaker


class Counting:
    """A taker that counts."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.texts = 0

    def on_message(self, relay_in_ns: int, message: bytes) -> None:
        self.messages.append(message)

    def on_messages(self, relay_in_ns: int, messages: Sequence[bytes]) -> None:
        self.messages += messages

    def on_texts(self, relay_in_ns: int, count: int) -> None:
        self.texts += count


class Bench:
    def __init__(self, rate_hz: int) -> None:
        self.counting = Counting()
        self.stops = 0
        self.taker = LimitedTaker(self.counting, rate_hz, self._stop)

    def _stop(self) -> None:
        self.stops += 1


def test_a_seconds_worth_may_come_at_once_and_what_is_beyond_ends_it() -> None:
    bench = Bench(10)
    bench.taker.on_messages(NS_PER_S, [b"x"] * 10)
    assert (len(bench.counting.messages), bench.stops) == (10, 0)
    bench.taker.on_message(NS_PER_S, b"one more")
    assert (len(bench.counting.messages), bench.stops) == (10, 1)
    bench.taker.on_message(100 * NS_PER_S, b"later")
    bench.taker.on_texts(100 * NS_PER_S, 1)
    bench.taker.on_messages(100 * NS_PER_S, [b"x"])
    assert (len(bench.counting.messages), bench.counting.texts, bench.stops) == (10, 0, 1)


def test_what_fits_of_many_is_passed_on() -> None:
    bench = Bench(10)
    bench.taker.on_texts(NS_PER_S, 25)
    assert (bench.counting.texts, bench.stops) == (10, 1)


@given(st.integers(1, 5000), st.integers(1, 10))
def test_who_keeps_to_the_rate_is_never_stopped(rate_hz: int, seconds: int) -> None:
    bench = Bench(rate_hz)
    step_ns = -(-NS_PER_S // rate_hz)
    sent = min(rate_hz * seconds, 3000)
    for number in range(sent):
        bench.taker.on_message(NS_PER_S + number * step_ns, b"")
    assert (len(bench.counting.messages), bench.stops) == (sent, 0)
