"""The generator's sender: what it sends, in which order, when, and what it says about that."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Generator, Iterator
from typing import cast
from unittest import mock

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from latbench.clock import NS_PER_MS, NS_PER_S, monotonic_ns
from latbench.errors import LatbenchError
from latbench.recording import GENERATOR, GeneratorCounter
from latbench.source import Prefetcher, TickBlock
from latbench.stages import generator
from latbench.stages.framing import framed
from latbench.stages.generator import Sender
from latbench.stages.linux import AbsoluteTimer
from latbench.tick import decode_sent
from tests.stages import RUN_ID, TwoEndedRing

LEAD_NS = 5 * NS_PER_MS
TIMEOUT_S = 20.0


def block(due_ns: list[int], first: int = 0) -> TickBlock:
    """Ticks whose documents tell their number; symbol ids go round from 0 to 2."""
    documents = [b'{"n":%5d,"text":"\xe2\x82\xac}"' % (first + i) for i in range(len(due_ns))]
    return TickBlock(
        due_ns=due_ns,
        symbol_ids=[(first + i) % 3 for i in range(len(due_ns))],
        blob=b"".join(documents),
        bounds=[0, *itertools.accumulate(map(len, documents))],
    )


def blocks_of(due_ns: list[int], size: int) -> Iterator[TickBlock]:
    """The same ticks in blocks of `size`."""
    return (block(due_ns[i : i + size], i) for i in range(0, len(due_ns), size))


class ScriptedBlocks:
    """A prefetcher whose blocks are there at once; an exception among them is raised."""

    def __init__(self, blocks: Iterator[TickBlock | Exception]) -> None:
        self._blocks = blocks

    def next_block(self) -> TickBlock | None:
        item = next(self._blocks, None)
        if isinstance(item, Exception):
            raise item
        return item


def unmasked(frames: bytes) -> Iterator[bytes]:
    """The texts of masked frames (RFC 6455, 5.2)."""
    while frames:
        assert frames[0] == 0x81  # a whole message of text
        assert frames[1] & 0x80  # masked
        begin, chars = 2, frames[1] & 0x7F
        if chars == 126:
            begin, chars = 4, int.from_bytes(frames[2:4], "big")
        mask, text = frames[begin : begin + 4], frames[begin + 4 : begin + 4 + chars]
        assert len(text) == chars
        yield bytes(a ^ b for a, b in zip(text, itertools.cycle(mask), strict=False))
        frames = frames[begin + 4 + chars :]


class FakeLink:
    """Keeps what is sent. `on_send` sees how many have been, after each."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.backlogs: Iterator[int] = iter(())
        self.closed = False
        self.on_send: Callable[[int], object] = lambda _sent: None

    def send(self, message: bytes) -> None:
        self.messages.append(message)
        self.on_send(len(self.messages))

    def write_frames(self, frames: memoryview) -> None:
        for message in unmasked(bytes(frames)):
            self.send(message)

    def backlog_bytes(self) -> int:
        return next(self.backlogs, 0)

    async def close(self) -> None:
        raise AssertionError("the link is not the sender's to close")


class Bench:
    """A sender between scripted blocks and a fake link."""

    def __init__(
        self,
        blocks: Iterator[TickBlock | Exception],
        *,
        frames: bool = False,
        spin: bool = False,
        coalesce_ns: int = 0,
    ) -> None:
        if frames:
            blocks = framed(cast("Generator[TickBlock]", (each for each in blocks)), RUN_ID)
        self.blocks = ScriptedBlocks(blocks)
        self.spin = spin
        self.coalesce_ns = coalesce_ns
        self.link = FakeLink()
        self.ring = TwoEndedRing(GENERATOR)
        self.sent = 0
        self.sender: Sender | None = None

    def run(
        self, *, unpaced: bool = False, ends_ns: int | None = None, until_ns: int | None = None
    ) -> list[dict[str, int]]:
        """Let it send until it ends; the rows that it wrote, checked against what it sent.

        With `until_ns` it is told of that end before it begins.
        """

        async def send() -> None:
            blocks = cast("Prefetcher", self.blocks)
            writer = self.ring.writer
            sender = Sender(
                RUN_ID,
                self.link,
                writer,
                blocks,
                unpaced=unpaced,
                ends_ns=ends_ns,
                coalesce_ns=self.coalesce_ns,
                spin=self.spin,
            )
            self.sender = sender
            if until_ns is not None:
                sender.end_at(until_ns)
            try:
                await asyncio.wait_for(sender.run(), TIMEOUT_S)
            finally:
                sender.close()
                self.sent = sender.sent

        try:
            uvloop.run(send())
        finally:
            rows = self.ring.rows()
            self._check(rows)
        return rows

    def _check(self, rows: list[dict[str, int]]) -> None:
        """Every message has a row with the same stamps, no tick is missing and none comes twice."""
        assert [row["seq"] for row in rows] == list(range(self.sent))
        assert len(self.link.messages) == self.sent
        for row, message in zip(rows, self.link.messages, strict=True):
            stamps = decode_sent(message).latbench
            assert (stamps.run, stamps.seq) == (RUN_ID, row["seq"])
            assert (stamps.due_ns, stamps.sent_ns) == (row["due_ns"], row["sent_ns"])
            assert row["sent_ns"] >= row["due_ns"]
            assert message.startswith(b'{"n":%5d,"text":"\xe2\x82\xac}","latbench":{' % row["seq"])
            assert row["symbol_id"] == row["seq"] % 3
        assert all(a["sent_ns"] <= b["sent_ns"] for a, b in itertools.pairwise(rows))


def steady(count: int, gap_ns: int, first_ns: int | None = None) -> list[int]:
    first_ns = monotonic_ns() + LEAD_NS if first_ns is None else first_ns
    return [first_ns + i * gap_ns for i in range(count)]


WAYS: dict[str, dict[str, bool]] = {
    "each": {},
    "frames": {"frames": True},
    "spinning": {"spin": True},
    "spinning, frames": {"spin": True, "frames": True},
}
every_way = pytest.mark.parametrize("way", WAYS)


def burst(way: str) -> int:
    """So many ticks are sent in one turn."""
    return generator._FRAMES_AT_ONCE if "frames" in way else generator._BURST


@every_way
@given(
    gaps_ns=st.lists(st.integers(0, 300_000), min_size=1, max_size=150),
    size=st.integers(1, 160),
    lead_ns=st.integers(-20 * NS_PER_MS, 5 * NS_PER_MS),
)
@settings(max_examples=25)
def test_every_tick_is_sent_once_in_order_and_not_before_it_is_due(
    way: str, gaps_ns: list[int], size: int, lead_ns: int
) -> None:
    due_ns = list(itertools.accumulate(gaps_ns, initial=monotonic_ns() + lead_ns))
    bench = Bench(blocks_of(due_ns, size), **WAYS[way])
    rows = bench.run()
    assert [row["due_ns"] for row in rows] == due_ns
    assert not any(bench.ring.counts())


def test_a_stall_delays_ticks_and_skips_none_and_the_schedule_shows_it() -> None:
    due_ns = steady(200, 500_000)
    bench = Bench(blocks_of(due_ns, 64))
    stall_ends_ns = 0

    def stall_the_event_loop(sent: int) -> None:
        nonlocal stall_ends_ns
        if sent == 50:
            stall_ends_ns = monotonic_ns() + 50 * NS_PER_MS
            while monotonic_ns() < stall_ends_ns:
                pass

    bench.link.on_send = stall_the_event_loop
    rows = bench.run()
    assert [row["due_ns"] for row in rows] == due_ns
    held_up = [row for row in rows[50:] if row["due_ns"] < stall_ends_ns]
    assert len(held_up) >= 95
    assert all(row["sent_ns"] >= stall_ends_ns for row in held_up)
    assert held_up[0]["sent_ns"] - held_up[0]["due_ns"] >= 49 * NS_PER_MS
    # the last one was due when the stall was nearly over: all were sent one after the other
    assert held_up[-1]["sent_ns"] - held_up[-1]["due_ns"] < 49 * NS_PER_MS


def test_the_event_loop_gets_its_turn_while_late_ticks_are_sent() -> None:
    bench = Bench(blocks_of(steady(1000, 0, monotonic_ns() - NS_PER_S), 700))
    turns, turn_of_tick = 0, []

    def count_turns() -> None:
        nonlocal turns
        turns += 1
        asyncio.get_running_loop().call_soon(count_turns)

    def note(sent: int) -> None:
        if sent == 1:
            count_turns()
        turn_of_tick.append(turns)

    bench.link.on_send = note
    bench.run()
    in_a_row = [len(list(group)) for _, group in itertools.groupby(turn_of_tick)]
    assert sum(in_a_row) == 1000
    assert max(in_a_row) <= generator._BURST


def full_for(polls: int, above: int = 1) -> Iterator[int]:
    return itertools.repeat(generator._BACKLOG_LIMIT_BYTES + above, polls)


@every_way
def test_a_full_socket_holds_ticks_up_and_loses_none(way: str) -> None:
    bench = Bench(blocks_of(steady(300, 100_000), 50), **WAYS[way])
    spell_began_ns = spell_ended_ns = 0

    def polled() -> Iterator[int]:
        nonlocal spell_began_ns, spell_ended_ns
        spell_began_ns = monotonic_ns()
        while monotonic_ns() < spell_began_ns + 10 * generator._BACKLOG_POLL_NS:
            yield generator._BACKLOG_LIMIT_BYTES + 1
        spell_ended_ns = monotonic_ns()
        yield 0

    def fill_up(sent: int) -> None:
        if sent == 100:
            bench.link.backlogs = polled()

    bench.link.on_send = fill_up
    rows = bench.run()
    assert len(rows) == 300
    assert bench.ring.count(GeneratorCounter.BACKPRESSURE) == 1
    waited_ns = bench.ring.count(GeneratorCounter.BACKPRESSURE_NS)
    # ten times 200 µs, as near as the calls around it can tell
    assert waited_ns >= 9 * generator._BACKLOG_POLL_NS
    assert abs(waited_ns - (spell_ended_ns - spell_began_ns)) < 50 * NS_PER_MS
    assert not any(spell_began_ns < row["sent_ns"] < spell_ended_ns for row in rows)


def test_each_time_the_socket_is_full_counts() -> None:
    bench = Bench(blocks_of(steady(300, 100_000), 300))
    spells = {100: full_for(3), 200: full_for(2)}

    def fill_up(sent: int) -> None:
        bench.link.backlogs = spells.get(sent, bench.link.backlogs)

    bench.link.on_send = fill_up
    assert len(bench.run()) == 300
    assert bench.ring.count(GeneratorCounter.BACKPRESSURE) == 2


def test_a_backlog_at_the_limit_holds_nothing_up() -> None:
    bench = Bench(blocks_of(steady(100, 10_000), 100))
    bench.link.backlogs = full_for(1000, above=0)
    assert len(bench.run()) == 100
    assert not any(bench.ring.counts())


@every_way
def test_stopping_ends_the_sending_within_a_burst(way: str) -> None:
    bench = Bench(blocks_of(steady(5000, 10_000), 512), **WAYS[way])

    def stop(sent: int) -> None:
        if sent == 1000:
            assert bench.sender is not None
            bench.sender.stop()
            bench.sender.stop()

    bench.link.on_send = stop
    assert 1000 <= len(bench.run()) < 1000 + burst(way)


@every_way
@given(
    gaps_ns=st.lists(st.integers(0, 200_000), min_size=1, max_size=200),
    size=st.integers(1, 160),
    place=st.floats(0, 1.2),
)
@settings(max_examples=25)
def test_told_of_an_end_it_sends_exactly_the_ticks_due_before(
    way: str, gaps_ns: list[int], size: int, place: float
) -> None:
    due_ns = list(itertools.accumulate(gaps_ns, initial=monotonic_ns() + NS_PER_MS))
    until_ns = due_ns[0] + int((due_ns[-1] - due_ns[0]) * place)
    rows = Bench(blocks_of(due_ns, size), **WAYS[way]).run(until_ns=until_ns)
    assert [row["due_ns"] for row in rows] == [each for each in due_ns if each < until_ns]


def tell_after(bench: Bench, sent: int, until_ns: int) -> None:
    """Tell of an end once so many ticks are sent; as the control thread does, by the event loop."""

    def tell(so_far: int) -> None:
        if so_far == sent:
            assert bench.sender is not None
            asyncio.get_running_loop().call_soon(bench.sender.end_at, until_ns)

    bench.link.on_send = tell


@every_way
@pytest.mark.parametrize("until", [1501, 2048, 2049, 9999])
def test_an_end_told_in_the_middle_of_late_ticks_is_kept_to_the_tick(way: str, until: int) -> None:
    first_ns = monotonic_ns() - 100 * NS_PER_MS  # all of them are due at once
    bench = Bench(blocks_of(steady(5000, 10_000, first_ns), 512), **WAYS[way])
    tell_after(bench, 1000, first_ns + until * 10_000)
    assert len(bench.run()) == min(until, 5000)


@every_way
def test_an_end_that_has_passed_ends_the_sending_at_the_next_turn(way: str) -> None:
    first_ns = monotonic_ns() - 100 * NS_PER_MS
    bench = Bench(blocks_of(steady(5000, 10_000, first_ns), 512), **WAYS[way])
    tell_after(bench, 1000, first_ns)
    assert 1000 <= len(bench.run()) < 1000 + burst(way)


@every_way
def test_an_end_is_not_waited_beyond_where_ticks_are_rare(way: str) -> None:
    first_ns = monotonic_ns() + LEAD_NS
    # the third would be due after this test's time-out
    blocks = blocks_of([first_ns, first_ns, first_ns + 3600 * NS_PER_S], 100)
    bench = Bench(blocks, **WAYS[way])
    tell_after(bench, 2, first_ns + NS_PER_S)
    assert len(bench.run()) == 2


@every_way
def test_an_end_holds_while_the_socket_is_full(way: str) -> None:
    first_ns = monotonic_ns() - 100 * NS_PER_MS
    bench = Bench(blocks_of(steady(500, 10_000, first_ns), 100), **WAYS[way])
    bench.link.backlogs = full_for(20)
    assert len(bench.run(until_ns=first_ns + 250 * 10_000)) == 250


def test_unpaced_an_end_that_is_told_ends_the_sending() -> None:
    blocks = (block([1] * 90, i * 90) for i in itertools.count())
    bench = Bench(blocks)
    bench.ring = TwoEndedRing(GENERATOR, 1 << 18)
    until_ns = monotonic_ns() + 25 * NS_PER_MS
    tell_after(bench, 100, until_ns)
    rows = bench.run(unpaced=True, ends_ns=until_ns + 3600 * NS_PER_S)
    late = [row for row in rows if row["sent_ns"] >= until_ns]
    assert len(rows) > len(late)
    assert len(late) <= generator._BURST


@every_way
def test_a_closed_link_ends_the_run_and_tells_how_far_it_came(way: str) -> None:
    bench = Bench(blocks_of(steady(1000, 50_000), 256), **WAYS[way])

    def close(sent: int) -> None:
        bench.link.closed = sent >= 300

    bench.link.on_send = close
    with pytest.raises(LatbenchError) as caught:
        bench.run()
    assert caught.value.message == f"the relay closed the connection after {bench.sent:,} ticks"
    assert 300 <= bench.sent < 300 + burst(way)


@every_way
def test_what_a_link_raises_reaches_who_awaits_the_run(way: str) -> None:
    bench = Bench(blocks_of(steady(10, 0), 10), **WAYS[way])

    def fail(sent: int) -> None:
        if sent == 1:
            raise ConnectionResetError("gone")

    bench.link.on_send = fail
    bench._check = lambda rows: None  # type: ignore[method-assign]  # one was sent, none recorded
    with pytest.raises(ConnectionResetError, match="gone"):
        bench.run()


@pytest.mark.parametrize("spin", [False, True])
@pytest.mark.parametrize("good_blocks", [0, 1, 3])
def test_what_a_source_raises_reaches_who_awaits_the_run(good_blocks: int, spin: bool) -> None:
    due_ns = steady(good_blocks * 10, 10_000)
    failing: list[TickBlock | Exception] = [
        *blocks_of(due_ns, 10),
        LatbenchError("the file is gone"),
    ]
    with pytest.raises(LatbenchError, match="the file is gone"):
        Bench(iter(failing), spin=spin).run()


@every_way
def test_a_source_without_ticks_ends_at_once(way: str) -> None:
    assert Bench(iter(()), **WAYS[way]).run() == []


@pytest.mark.parametrize("spin", [False, True])
def test_unpaced_every_tick_is_due_when_it_is_sent(spin: bool) -> None:
    start_ns = monotonic_ns() + LEAD_NS
    bench = Bench(blocks_of([start_ns] * 2000, 256), spin=spin)
    rows = bench.run(unpaced=True)
    assert len(rows) == 2000
    assert all(row["due_ns"] == row["sent_ns"] for row in rows)
    assert rows[0]["sent_ns"] >= start_ns


@pytest.mark.parametrize("spin", [False, True])
def test_unpaced_the_sending_ends_at_its_end(spin: bool) -> None:
    blocks = (block([1] * 90, i * 90) for i in itertools.count())
    bench = Bench(blocks, spin=spin)
    bench.ring = TwoEndedRing(GENERATOR, 1 << 18)
    ends_ns = monotonic_ns() + 25 * NS_PER_MS
    rows = bench.run(unpaced=True, ends_ns=ends_ns)
    late = [row for row in rows if row["sent_ns"] >= ends_ns]
    assert len(rows) > len(late)
    assert len(late) <= generator._BURST


# --- on a clock that a script sets -------------------------------------------------------------


class ScriptedTime:
    """A clock that stands still but for the timer's being waited for, and that timer.

    Whatever the sender does takes no time, so that the moment of each tick is exact.
    """

    def __init__(self, now_ns: int) -> None:
        self.now_ns = now_ns
        self.armed_ns: list[int] = []

    def clock(self) -> int:
        return self.now_ns

    def wait(self, until_ns: int) -> int:
        self.now_ns = max(self.now_ns, until_ns)
        return self.now_ns

    def timer(self) -> AbsoluteTimer:
        time = self

        class Timer(AbsoluteTimer):
            def arm(self, due_ns: int) -> None:
                time.armed_ns.append(due_ns)
                time.now_ns = max(time.now_ns, due_ns)
                super().arm(1)

        return Timer()


def run_on_script(
    bench: Bench, now_ns: int, until_ns: int | None = None, time: ScriptedTime | None = None
) -> list[int]:
    """The moment of each tick, the clock beginning at `now_ns`."""
    time = time or ScriptedTime(now_ns)
    with (
        mock.patch.object(generator, "monotonic_ns", time.clock),
        mock.patch.object(generator, "wait_awake", time.wait),
        mock.patch.object(generator, "AbsoluteTimer", time.timer),
    ):
        return [row["sent_ns"] for row in bench.run(until_ns=until_ns)]


def expected_moments(
    due_ns: list[int], size: int, coalesce_ns: int, now_ns: int, at_once: int
) -> list[int]:
    """By the rule: when it is due, but so long after the write before, and with all that are due.

    Where a write is cut off, by its size or a block's end, the next one does not wait.
    """
    sent_ns: list[int] = []
    next_ns = now_ns
    while len(sent_ns) < len(due_ns):
        first = len(sent_ns)
        now_ns = max(now_ns, due_ns[first], next_ns)
        last = min(first + at_once, (first // size + 1) * size)
        together = [now_ns for each in due_ns[first:last] if each <= now_ns]
        sent_ns += together
        if len(sent_ns) < last:
            next_ns = now_ns + coalesce_ns
    return sent_ns


@pytest.mark.parametrize("frames", [False, True])
@given(
    gaps_ns=st.lists(st.integers(0, 300_000), max_size=200),
    size=st.integers(1, 160),
    coalesce_ns=st.just(0) | st.integers(1, 2 * NS_PER_MS),
    late_ns=st.just(0) | st.integers(0, 2 * NS_PER_S),
    place=st.none() | st.floats(0, 1.2),
)
def test_each_tick_is_sent_at_the_exact_moment(
    frames: bool,
    gaps_ns: list[int],
    size: int,
    coalesce_ns: int,
    late_ns: int,
    place: float | None,
) -> None:
    first_ns = 10**15
    due_ns = list(itertools.accumulate(gaps_ns, initial=first_ns))
    until_ns = None if place is None else first_ns + int((due_ns[-1] - first_ns) * place)
    bench = Bench(blocks_of(due_ns, size), frames=frames, coalesce_ns=coalesce_ns)
    now_ns = first_ns - NS_PER_S + late_ns
    moments = run_on_script(bench, now_ns, until_ns)
    at_once = burst("frames" if frames else "each")
    kept = [each for each in due_ns if until_ns is None or each < until_ns]
    assert moments == expected_moments(kept, size, coalesce_ns, now_ns, at_once)
    for each, moment in zip(kept, moments, strict=True):
        assert each <= moment <= max(each + coalesce_ns, now_ns)


def test_it_wakes_before_a_tick_is_due_and_sends_it_when_it_is() -> None:
    first_ns = 10**15
    due_ns = [first_ns + i * NS_PER_MS for i in range(50)]
    time = ScriptedTime(first_ns - NS_PER_S)
    bench = Bench(blocks_of(due_ns, 20))
    sent_by_then: list[int] = []

    # and whoever it wakes by that gets its CPU
    def note() -> None:
        sent_by_then.append(len(bench.link.messages))

    with mock.patch("os.sched_yield", note):
        assert run_on_script(bench, 0, time=time) == due_ns
    assert sent_by_then == list(range(1, 51))
    early_ns = [due - armed for due, armed in zip(due_ns, time.armed_ns, strict=True)]
    assert early_ns[0] == 50_000
    # the script is ready at once each time, so it has less and less to wait for
    assert early_ns == sorted(early_ns, reverse=True)
    assert early_ns[-1] > 0


def test_where_ticks_are_collected_it_wakes_when_they_are_due() -> None:
    first_ns = 10**15
    due_ns = [first_ns + i * NS_PER_MS for i in range(50)]
    time = ScriptedTime(first_ns - NS_PER_S)
    run_on_script(Bench(blocks_of(due_ns, 20), coalesce_ns=100_000), 0, time=time)
    assert time.armed_ns == due_ns


def test_a_socket_that_is_full_before_a_tick_is_due_holds_nothing_up() -> None:
    first_ns = 10**15
    due_ns = [first_ns + i * NS_PER_MS for i in range(10)]
    time = ScriptedTime(first_ns - NS_PER_S)
    bench = Bench(blocks_of(due_ns, 10))
    bench.link.backlogs = full_for(1)
    assert run_on_script(bench, 0, time=time) == due_ns
    assert time.armed_ns[:2] == [first_ns - 50_000, first_ns]
    assert not any(bench.ring.counts())


@given(
    gaps_ns=st.lists(st.integers(0, 100_000), max_size=150),
    size=st.integers(1, 160),
    coalesce_ns=st.just(0) | st.integers(1, 2 * NS_PER_MS),
)
def test_frames_carry_what_is_sent_one_by_one(
    gaps_ns: list[int], size: int, coalesce_ns: int
) -> None:
    first_ns = 10**15
    due_ns = list(itertools.accumulate(gaps_ns, initial=first_ns))
    each = Bench(blocks_of(due_ns, size), coalesce_ns=coalesce_ns)
    frames = Bench(blocks_of(due_ns, size), coalesce_ns=coalesce_ns, frames=True)
    with mock.patch.object(generator, "_BURST", generator._FRAMES_AT_ONCE):
        assert run_on_script(each, 0) == run_on_script(frames, 0)
    assert each.link.messages == frames.link.messages
    assert each.ring.counts() == frames.ring.counts()


def test_documents_that_differ_in_length_are_sent_one_by_one_among_frames() -> None:
    first_ns = 10**15
    numbers = [0, 100_000, 200_000]  # the last documents are longer by a character
    blocks = [block([first_ns + i * 1000] * 50, number) for i, number in enumerate(numbers)]
    blocks[1] = block([first_ns + 1000] * 50, 99_975)
    writes: list[int] = []
    bench = Bench(iter(blocks), frames=True)
    bench._check = lambda rows: None  # type: ignore[method-assign]  # they have numbers of their own
    write = bench.link.write_frames

    def note(frames: memoryview) -> None:
        writes.append(len(bench.link.messages))
        write(frames)

    bench.link.write_frames = note  # type: ignore[method-assign]
    moments = run_on_script(bench, first_ns)
    assert writes == [0, 100]
    assert moments == [first_ns] * 50 + [first_ns + 1000] * 50 + [first_ns + 2000] * 50
    stamps = [decode_sent(message).latbench for message in bench.link.messages]
    assert [each.seq for each in stamps] == list(range(150))
    assert [each.sent_ns for each in stamps] == moments


def test_spinning_lets_the_event_loop_look_at_its_sockets() -> None:
    bench = Bench(blocks_of(steady(20, NS_PER_MS), 20), spin=True)
    turns: list[int] = []

    def look(sent: int) -> None:
        if sent == 1:

            def come_again() -> None:
                turns.append(monotonic_ns())
                asyncio.get_running_loop().call_soon(come_again)

            come_again()

    bench.link.on_send = look
    rows = bench.run()
    assert len(turns) > 20
    # between two ticks the loop has had many turns
    between = [turn for turn in turns if rows[5]["sent_ns"] < turn < rows[15]["sent_ns"]]
    assert len(between) > 10
