from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Generator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latbench import pacing, replay
from latbench.arrivals import Arrivals
from latbench.clock import NS_PER_S, WallAnchor
from latbench.config import MAX_SPEED
from latbench.errors import LatbenchError, UsageError
from latbench.plan import ReplaySource, SimulatedSource
from latbench.replay import scan
from latbench.source import PREFETCHED_BLOCKS, Prefetcher, TickBlock, tick_blocks
from latbench.stages.framing import framed
from tests.captures import MESSAGES, STAMPS_NS, SYMBOLS, write_capture

START_NS = 5_000_000_000_000
ANCHOR = WallAnchor(monotonic_ns=1_000_000_000, unix_ns=1732470000_000000000)
LIMIT = 100_000


def simulated(
    rate_hz: int = 1000, arrivals: Arrivals = Arrivals.CONSTANT, seed: int = 1
) -> SimulatedSource:
    return SimulatedSource(("NIFTY", "TCS"), rate_hz, arrivals, seed)


def recorded(path: Path, speed: float = 1.0, *, loop: bool = False) -> ReplaySource:
    return ReplaySource(str(path), scan(path).symbols, speed, loop)


def capture(path: Path, *seconds: str) -> Path:
    return write_capture(
        path, [f'{at}: {{"symbol":"S{i}"}}'.encode() for i, at in enumerate(seconds)]
    )


def blocks_of(
    source: SimulatedSource | ReplaySource, horizon_ns: int | None
) -> Generator[TickBlock]:
    return tick_blocks(source, START_NS, ANCHOR, horizon_ns)


def flat(blocks: Generator[TickBlock]) -> list[tuple[int, int, bytes]]:
    """Due moment, symbol and document of every tick; at most `LIMIT`."""
    ticks = (
        (due_ns, symbol_id, block.blob[block.bounds[i] : block.bounds[i + 1]])
        for block in blocks
        for i, (due_ns, symbol_id) in enumerate(zip(block.due_ns, block.symbol_ids, strict=True))
    )
    return list(itertools.islice(ticks, LIMIT))


def offsets(source: ReplaySource, horizon_ns: int | None = None) -> list[int]:
    return [due_ns - START_NS for due_ns, _, _ in flat(blocks_of(source, horizon_ns))]


# --- simulated


@pytest.mark.parametrize("arrivals", list(Arrivals))
def test_simulated_ticks_are_due_when_the_schedule_says(arrivals: Arrivals) -> None:
    blocks = list(itertools.islice(blocks_of(simulated(3000, arrivals, seed=4), None), 2))
    expected = itertools.islice(pacing.offset_blocks(arrivals, 3000, 4), 2)
    due_ns = [due for block in blocks for due in block.due_ns]
    assert due_ns == (np.concatenate(list(expected)) + START_NS).tolist()
    assert all(type(due) is int for due in due_ns[:3])


@settings(max_examples=40, deadline=None)
@given(
    rate_hz=st.integers(1, 50_000),
    horizon_ns=st.integers(0, NS_PER_S),
    arrivals=st.sampled_from(Arrivals),
)
def test_ticks_due_at_the_horizon_or_later_are_not_sent(
    rate_hz: int, horizon_ns: int, arrivals: Arrivals
) -> None:
    blocks = list(blocks_of(simulated(rate_hz, arrivals), horizon_ns))
    sent = [due_ns - START_NS for block in blocks for due_ns in block.due_ns]
    schedule = itertools.chain.from_iterable(pacing.offset_blocks(arrivals, rate_hz, 1))
    assert sent == list(itertools.takewhile(lambda offset: offset < horizon_ns, schedule))
    for block in blocks:
        assert len(block.due_ns) == len(block.symbol_ids) == len(block.bounds) - 1 > 0
        assert block.bounds[-1] == len(block.blob)


def test_simulated_documents_of_a_block_have_one_length_and_are_framed_by_none_yet() -> None:
    blocks = list(blocks_of(simulated(8192, Arrivals.POISSON), 2 * NS_PER_S))
    for each in blocks:
        assert {end - begin for begin, end in itertools.pairwise(each.bounds)} == {each.bounds[1]}
        assert each.framed is None
    assert len({each.bounds[1] for each in blocks}) == 1


def test_a_constant_second_has_exactly_its_rate_of_ticks() -> None:
    assert len(flat(blocks_of(simulated(1000), NS_PER_S))) == 1000
    assert len(flat(blocks_of(simulated(8192), NS_PER_S))) == 8192


def test_a_simulated_document_tells_its_due_moment_in_wall_clock_time_and_its_symbol() -> None:
    source = simulated(1000)
    for due_ns, symbol_id, document in flat(blocks_of(source, NS_PER_S // 10)):
        tick = msgspec.json.decode(document + b"}")
        seconds, micros = document[13:30].split(b".")
        assert int(seconds + micros) == ANCHOR.to_unix_ns(due_ns) // 1000
        assert tick["symbol"] == source.symbols[symbol_id]


# --- replayed


def test_a_replay_keeps_the_recorded_spacing_from_the_first_message_on(tmp_path: Path) -> None:
    path = write_capture(tmp_path / "feed.ws")
    source = recorded(path)
    ticks = flat(blocks_of(source, None))
    assert [due_ns - START_NS for due_ns, _, _ in ticks] == [at - STAMPS_NS[0] for at in STAMPS_NS]
    assert [document + b"}" for _, _, document in ticks] == list(MESSAGES)
    assert [source.symbols[symbol_id] for _, symbol_id, _ in ticks] == list(SYMBOLS)


@pytest.mark.parametrize(
    ("speed", "expected"),
    [
        (0.1, [0, 100_000_000_000, 100_000_000_010]),
        (0.001, [0, 10_000_000_000_000, 10_000_000_001_000]),
        (2.0, [0, 5_000_000_000, 5_000_000_000]),
        (3.0, [0, 3_333_333_333, 3_333_333_333]),
        (1e6, [0, 10_000, 10_000]),
    ],
)
def test_a_replay_divides_the_spacing_by_its_speed_in_integers(
    tmp_path: Path, speed: float, expected: list[int]
) -> None:
    path = capture(tmp_path / "feed.ws", "5", "15", "15.000000001")
    assert offsets(recorded(path, speed)) == expected


def test_timestamps_that_go_backwards_do_not_take_the_schedule_back(tmp_path: Path) -> None:
    path = capture(tmp_path / "feed.ws", "10", "8", "12", "11", "13")
    assert offsets(recorded(path)) == [at * NS_PER_S for at in (0, 0, 2, 2, 3)]


def test_time_goes_on_over_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "BATCH_TICKS", 2)
    path = capture(tmp_path / "feed.ws", "10", "12", "11", "13", "12.5")
    assert offsets(recorded(path)) == [at * NS_PER_S for at in (0, 2, 2, 3, 3)]


def test_a_loop_begins_its_next_round_a_mean_gap_after_the_last_message(tmp_path: Path) -> None:
    path = capture(tmp_path / "feed.ws", "10", "11", "14")
    source = recorded(path, loop=True)
    assert offsets(source, 12 * NS_PER_S) == [
        at * NS_PER_S for at in (0, 1, 4)
    ] + [6 * NS_PER_S, 7 * NS_PER_S, 10 * NS_PER_S]  # fmt: skip


def test_a_loop_over_a_file_that_spans_no_time_takes_a_second_a_round(tmp_path: Path) -> None:
    path = capture(tmp_path / "feed.ws", "10")
    assert offsets(recorded(path, 2.0, loop=True), 2 * NS_PER_S) == [
        0, NS_PER_S // 2, NS_PER_S, 3 * NS_PER_S // 2
    ]  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    times=st.lists(st.integers(0, 10**12), min_size=1, max_size=12),
    speed=st.sampled_from([0.001, 0.1, 0.3, 1.0, 1.7, 10.0, 1e6]),
    horizon_ns=st.integers(1, 10**6),
    loop=st.booleans(),
)
def test_a_replays_schedule_begins_at_0_never_goes_back_and_ends_before_the_horizon(
    tmp_path: Path, times: list[int], speed: float, horizon_ns: int, loop: bool
) -> None:
    stamps = [f"{at // NS_PER_S}.{at % NS_PER_S:09d}" for at in times]
    sent = offsets(recorded(capture(tmp_path / "feed.ws", *stamps), speed, loop=loop), horizon_ns)
    assert sent[0] == 0
    assert sent == sorted(sent)
    assert sent[-1] < horizon_ns


def test_at_maximum_speed_every_tick_is_due_at_the_start_whatever_the_horizon(
    tmp_path: Path,
) -> None:
    path = write_capture(tmp_path / "feed.ws")
    ticks = flat(blocks_of(recorded(path, MAX_SPEED), 1))
    assert [due_ns for due_ns, _, _ in ticks] == [START_NS] * len(MESSAGES)
    first = next(blocks_of(recorded(path, MAX_SPEED, loop=True), 1))
    assert first.due_ns == [START_NS] * len(MESSAGES)


def test_lines_without_messages_at_the_end_make_no_empty_block(tmp_path: Path) -> None:
    path = tmp_path / "feed.ws"
    path.write_bytes(b'1: {"symbol":"A"}\n' * replay.BATCH_TICKS + b"\n\n")
    assert [len(block.due_ns) for block in blocks_of(recorded(path), None)] == [replay.BATCH_TICKS]


def test_a_file_that_changed_since_it_was_scanned_is_an_error(tmp_path: Path) -> None:
    source = recorded(capture(tmp_path / "feed.ws", "1", "2"))
    capture(tmp_path / "feed.ws", "1", "2", "3")
    with pytest.raises(LatbenchError, match="now holds a symbol 'S2' that is new"):
        flat(blocks_of(source, None))


# --- prefetching


def block(due_ns: int) -> TickBlock:
    return TickBlock(due_ns=[due_ns], symbol_ids=[0], blob=b"{", bounds=[0, 1])


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "prefetch"]


def endless(made: list[int], closed: list[bool]) -> Generator[TickBlock]:
    try:
        for i in itertools.count():
            made.append(i)
            yield block(i)
    finally:
        closed.append(True)


def test_prefetched_blocks_come_in_their_order_and_then_none_for_good() -> None:
    with Prefetcher(block(i) for i in range(20)) as prefetcher:
        assert [prefetcher.next_block() for _ in range(22)] == [
            *(block(i) for i in range(20)), None, None
        ]  # fmt: skip
    assert threads() == []


def test_no_more_than_a_few_blocks_are_made_ahead() -> None:
    made: list[int] = []
    with Prefetcher(endless(made, [])) as prefetcher:
        while len(made) <= PREFETCHED_BLOCKS:
            time.sleep(0.001)
        time.sleep(0.02)
        assert len(made) == PREFETCHED_BLOCKS + 1
        assert prefetcher.next_block() == block(0)


def test_an_exception_in_the_thread_is_raised_after_the_blocks_before_it() -> None:
    def failing() -> Generator[TickBlock]:
        yield block(0)
        raise UsageError("line 2 is broken")

    with Prefetcher(failing()) as prefetcher:
        assert prefetcher.next_block() == block(0)
        for _ in range(2):
            with pytest.raises(UsageError, match="line 2 is broken"):
                prefetcher.next_block()
    assert threads() == []


@pytest.mark.parametrize("taken", [0, 1, PREFETCHED_BLOCKS + 3])
@pytest.mark.parametrize("wait_s", [0, 0.02])
def test_closing_early_ends_the_thread_and_closes_the_blocks(taken: int, wait_s: float) -> None:
    closed: list[bool] = []
    prefetcher = Prefetcher(endless([], closed))
    for i in range(taken):
        assert prefetcher.next_block() == block(i)
    time.sleep(wait_s)
    prefetcher.close()
    assert threads() == []
    assert closed == [True]
    assert prefetcher.next_block() is None
    prefetcher.close()


@pytest.mark.parametrize("taken", [0, 1, PREFETCHED_BLOCKS + 3])
def test_frames_are_made_by_the_thread_and_closed_with_their_blocks(taken: int) -> None:
    closed: list[bool] = []
    with Prefetcher(framed(endless([], closed), "5f1c09ab")) as prefetcher:
        for i in range(taken):
            made = prefetcher.next_block()
            assert made is not None
            assert made.framed is not None
            assert made.framed.rows[:, 0].tolist() == [i]
    assert threads() == []
    assert closed == [True]


def test_a_market_can_be_prefetched() -> None:
    with Prefetcher(blocks_of(simulated(), 20 * NS_PER_S)) as prefetcher:
        counts = []
        while (made := prefetcher.next_block()) is not None:
            counts.append(len(made.due_ns))
    assert counts == [8192, 8192, 20_000 - 2 * 8192]
