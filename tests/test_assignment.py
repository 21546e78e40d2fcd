from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench.arrivals import Arrivals
from latbench.assignment import Assignment, assign
from latbench.clock import NS_PER_S
from latbench.config import DEFAULT_DURATION_NS, MAX_SPEED, RunConfig
from latbench.errors import UsageError
from latbench.plan import ReplaySource, SimulatedSource
from tests.captures import STAMPS_NS, SYMBOLS, write_capture

OUTPUT = Path("run.parquet")
SPAN_NS = STAMPS_NS[-1] - STAMPS_NS[0]  # six messages in 0.94 s


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    return write_capture(tmp_path / "feed.ws")


def replayed(capture: Path, **changes: Any) -> Assignment:
    return assign(RunConfig(source=str(capture), **{"warmup_ns": 0, **changes}), OUTPUT)


@given(
    st.integers(1, 10**6),
    st.none() | st.integers(1, 10**14),
    st.integers(0, 10**12),
    st.sampled_from(Arrivals),
    st.integers(0, 2**32),
)
def test_a_simulation_sends_for_its_warm_up_and_its_duration(
    rate_hz: int, duration_ns: int | None, warmup_ns: int, arrivals: Arrivals, seed: int
) -> None:
    config = RunConfig(
        tick_rate_hz=rate_hz,
        duration_ns=duration_ns,
        warmup_ns=warmup_ns,
        arrivals=arrivals,
        seed=seed,
        symbols=("A", "B"),
    )
    assigned = assign(config, OUTPUT)
    total_ns = warmup_ns + (duration_ns or DEFAULT_DURATION_NS)
    assert assigned.horizon_ns == assigned.expected_ns == total_ns
    assert assigned.source == SimulatedSource(("A", "B"), rate_hz, arrivals, seed)
    assert (assigned.config, assigned.output, assigned.source_skipped) == (config, OUTPUT, 0)


@pytest.mark.parametrize(
    ("arrivals", "factor"), [(Arrivals.CONSTANT, 1), (Arrivals.POISSON, 2), (Arrivals.BURST, 5)]
)
def test_rings_are_sized_for_the_peaks_of_the_schedule(arrivals: Arrivals, factor: int) -> None:
    assigned = assign(RunConfig(tick_rate_hz=1000, arrivals=arrivals), OUTPUT)
    assert assigned.peak_rate_hz == 1000 * factor


def test_a_replay_runs_to_its_files_end(capture: Path) -> None:
    assigned = replayed(capture)
    assert assigned.horizon_ns is None
    assert assigned.expected_ns == SPAN_NS
    symbols = tuple(dict.fromkeys(SYMBOLS))
    assert assigned.source == ReplaySource(str(capture), symbols, speed=1.0, loop=False)
    assert assigned.source_skipped == 4  # two headers, two blank lines
    assert assigned.peak_rate_hz == pytest.approx(6 * NS_PER_S / SPAN_NS * 20)


@pytest.mark.parametrize("speed", [0.5, 4.0])
def test_a_replays_speed_divides_its_time_and_multiplies_its_rate(
    capture: Path, speed: float
) -> None:
    assigned = replayed(capture, speed=speed)
    assert assigned.expected_ns == int(SPAN_NS / speed)
    assert assigned.peak_rate_hz == pytest.approx(6 * NS_PER_S / SPAN_NS * 20 * speed)
    assert isinstance(assigned.source, ReplaySource)
    assert assigned.source.speed == speed


@pytest.mark.parametrize(
    ("duration_ns", "expected_ns"), [(NS_PER_S // 2, NS_PER_S // 2), (60 * NS_PER_S, SPAN_NS)]
)
def test_a_replay_with_a_duration_ends_with_whichever_comes_first(
    capture: Path, duration_ns: int, expected_ns: int
) -> None:
    assigned = replayed(capture, duration_ns=duration_ns)
    assert (assigned.horizon_ns, assigned.expected_ns) == (duration_ns, expected_ns)


@pytest.mark.parametrize("speed", [1.0, MAX_SPEED])
def test_a_looped_replay_runs_for_its_duration(capture: Path, speed: float) -> None:
    timed = replayed(capture, loop=True, duration_ns=7 * NS_PER_S, warmup_ns=NS_PER_S, speed=speed)
    assert timed.horizon_ns == timed.expected_ns == 8 * NS_PER_S
    assert isinstance(timed.source, ReplaySource)
    assert timed.source.loop
    untimed = replayed(capture, loop=True, speed=speed)
    assert untimed.horizon_ns == untimed.expected_ns == DEFAULT_DURATION_NS


def test_at_full_speed_only_the_pipeline_can_tell_how_long_it_takes(capture: Path) -> None:
    assigned = replayed(capture, speed=MAX_SPEED, warmup_ns=2 * NS_PER_S)
    assert assigned.horizon_ns is None
    assert assigned.expected_ns is None
    assert assigned.peak_rate_hz == 300_000


def test_no_peak_is_above_what_a_generator_can_send(capture: Path) -> None:
    assert replayed(capture, speed=1e6).peak_rate_hz == 300_000


def test_a_replay_that_would_end_in_its_warm_up_is_a_usage_error(capture: Path) -> None:
    replayed(capture, warmup_ns=SPAN_NS)
    with pytest.raises(UsageError) as caught:
        replayed(capture, warmup_ns=SPAN_NS + 1)
    assert caught.value.message == "the replay ends after 0.938 s, within the warm-up"
    assert "--warmup 0" in caught.value.hint
    replayed(capture, warmup_ns=2 * NS_PER_S, loop=True)


def test_a_file_that_can_not_be_replayed_is_a_usage_error(tmp_path: Path) -> None:
    for content, says in ((None, "none.ws"), (b"", "is empty"), (b"\n\n", "holds no message")):
        path = tmp_path / "none.ws"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UsageError, match=says):
            replayed(path)
