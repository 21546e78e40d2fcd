"""What a selftest plans and how it judges, without a run."""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latbench.clock import NS_PER_MS, NS_PER_S, NS_PER_US
from latbench.config import RunConfig
from latbench.errors import UsageError
from latbench.render.console import open_console
from latbench.render.selftest import SelftestProgress, SelftestReport
from latbench.result import BrokerFacts, Snapshot
from latbench.selftest import selftest_config
from latbench.selftest_result import (
    ALLOWED_NS,
    Columns,
    SelftestResult,
    Shift,
    Verdict,
    allowed_ns,
    judge,
)
from latbench.selftest_turns import (
    DEFAULT_STEP_NS,
    DELAYS_NS,
    MAX_STEP_NS,
    MIN_STEP_NS,
    PLACES,
    TICK_RATE_HZ,
    Turn,
    make_turns,
    steps_at,
)
from latbench.stages.proxy import Delays
from latbench.tick import HOPS
from tests.cli import Caller

START_NS = 77 * NS_PER_S
STEPS = st.integers(MIN_STEP_NS, 20 * NS_PER_S)


# --- the timetable ----------------------------------------------------------------------------


@given(STEPS)
def test_turns_follow_each_other_and_share_the_time_alike(step_ns: int) -> None:
    turns = make_turns(step_ns)
    assert all(a.ends_ns == b.begins_ns for a, b in itertools.pairwise(turns))
    for place, delay_ns in itertools.product(PLACES, DELAYS_NS):
        own = [t for t in turns if (t.place, t.delay_ns) == (place.name, delay_ns)]
        assert len(own) >= 6
        total_ns = sum(turn.ends_ns - turn.begins_ns for turn in own)
        assert step_ns - len(own) < total_ns <= step_ns


def test_by_default_it_takes_about_a_minute() -> None:
    assert make_turns(DEFAULT_STEP_NS)[-1].ends_ns <= 62 * NS_PER_S


def test_the_longest_delay_is_over_before_the_next_tick() -> None:
    assert max(DELAYS_NS) + 10 * NS_PER_MS <= NS_PER_S // TICK_RATE_HZ


@pytest.mark.parametrize("step_ns", [0, MIN_STEP_NS - 1, MAX_STEP_NS + 1])
def test_a_step_out_of_bounds_is_refused(step_ns: int) -> None:
    with pytest.raises(UsageError, match="is not between 2 s and 10 min"):
        make_turns(step_ns)


@given(STEPS, st.integers(0, 300 * NS_PER_S))
def test_at_any_moment_one_place_at_most_is_delayed_and_by_its_turn(
    step_ns: int, offset_ns: int
) -> None:
    turns = make_turns(step_ns)
    now = next((t for t in turns if t.begins_ns <= offset_ns < t.ends_ns), None)
    for place in PLACES:
        delays = Delays(steps_at(place.name, turns))
        delays.begin(START_NS)
        own = now is not None and now.place == place.name
        assert delays.at(START_NS + offset_ns) == (now.delay_ns if own and now else 0)


def test_the_run_is_as_long_as_its_turns() -> None:
    turns = make_turns(DEFAULT_STEP_NS)
    config = selftest_config(RunConfig(ws_engine="websockets"), turns)
    assert config.warmup_ns == turns[0].begins_ns
    assert config.duration_ns is not None
    assert config.warmup_ns + config.duration_ns == turns[-1].ends_ns
    assert config.ws_engine == "websockets"


@pytest.mark.parametrize("which", ["producer", "consumer"])
@pytest.mark.parametrize("protocol", ["ssl", "SASL_SSL", "sasl_plaintext"])
def test_a_broker_whose_talk_can_not_be_read_is_refused(which: str, protocol: str) -> None:
    properties = {"security.protocol": protocol}
    config = msgspec.structs.replace(RunConfig(), **{which: properties})
    with pytest.raises(UsageError, match=protocol):
        selftest_config(config, make_turns(DEFAULT_STEP_NS))


# --- judging ----------------------------------------------------------------------------------

TURNS = make_turns(MIN_STEP_NS)
BASE_NS = {"sent": 100, "relay_in": 150, "relay_out": 20, "acked": 300, "consumed": 1400}
"""Microseconds of each part without a delay."""


def made_columns(
    turns: tuple[Turn, ...] = TURNS,
    *,
    factor: float = 1.0,
    extra_us: dict[str, int] | None = None,
    seed: int = 1,
    noise_us: float = 20.0,
) -> Columns:
    """Ticks of a pipeline that is delayed as the turns say, `factor` times; noise is on top."""
    random = np.random.default_rng(seed)
    count = turns[-1].ends_ns * TICK_RATE_HZ // NS_PER_S
    due = START_NS + np.arange(count) * (NS_PER_S // TICK_RATE_HZ)
    delays = {place.name: np.zeros(count, dtype=np.int64) for place in PLACES}
    for turn in turns:
        now = (due >= START_NS + turn.begins_ns) & (due < START_NS + turn.ends_ns)
        delays[turn.place][now] = round(turn.delay_ns * factor)
    delayed = delays["websocket"] + delays["produce"] + delays["fetch"] > 0

    def part(name: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        noise = np.abs(random.normal(0, noise_us * NS_PER_US, count)).astype(np.int64)
        extra = np.where(delayed, (extra_us or {}).get(name, 0) * NS_PER_US, 0)
        return BASE_NS[name] * NS_PER_US + noise + extra

    sent = due + part("sent")
    relay_in = sent + part("relay_in") + delays["websocket"]
    relay_out = relay_in + part("relay_out")
    return {
        "due_ns": due,
        "sent_ns": sent,
        "relay_in_ns": relay_in,
        "relay_out_ns": relay_out,
        "acked_ns": relay_out + part("acked") + delays["produce"],
        "consumed_ns": relay_out + part("consumed") + delays["produce"] + delays["fetch"],
        "stall": np.zeros(count, dtype=np.int64),
    }


def shift_of(shifts: tuple[Shift, ...], place: str, delay_ms: int, hop: str) -> Shift:
    return next(
        s for s in shifts if (s.place, s.delay_ns, s.hop) == (place, delay_ms * NS_PER_MS, hop)
    )


@given(st.integers(0, 1 << 32))
@settings(max_examples=20)
def test_true_delays_agree_everywhere(seed: int) -> None:
    shifts = judge(made_columns(seed=seed), START_NS, TURNS)
    assert len(shifts) == len(PLACES) * len(DELAYS_NS) * len(HOPS)
    assert {shift.verdict for shift in shifts} == {Verdict.OK}
    assert all(abs(shift.error_ns or 0) < 60 * NS_PER_US for shift in shifts)


@given(st.sampled_from([0.5, 0.9, 1.1, 1.5, 2.0]), st.integers(0, 1 << 32))
@settings(max_examples=20)
def test_delays_other_than_said_are_off_where_they_were_put_in(factor: float, seed: int) -> None:
    shifts = judge(made_columns(factor=factor, seed=seed), START_NS, TURNS)
    for place in PLACES:
        for hop in place.hops:
            shift = shift_of(shifts, place.name, 25, hop)
            assert shift.verdict is Verdict.OFF
            assert shift.error_ns == pytest.approx((factor - 1) * 25e6, abs=6e4)
    elsewhere = [s for s in shifts if not s.injected_ns]
    assert {shift.verdict for shift in elsewhere} == {Verdict.OK}


@pytest.mark.parametrize(("part", "hop"), [("sent", "schedule"), ("relay_out", "relay")])
def test_a_hop_that_grows_although_nothing_was_put_into_it_is_off(part: str, hop: str) -> None:
    shifts = judge(made_columns(extra_us={part: 400}), START_NS, TURNS)
    shift = shift_of(shifts, "websocket", 1, hop)
    assert shift.injected_ns == 0
    assert shift.verdict is Verdict.OFF
    assert shift_of(shifts, "websocket", 1, "websocket").verdict is Verdict.OK


def test_which_hops_have_to_grow() -> None:
    shifts = judge(made_columns(), START_NS, TURNS)
    growing = {
        place.name: {s.hop for s in shifts if s.place == place.name and s.injected_ns}
        for place in PLACES
    }
    totals = {"end_to_end", "service"}
    assert growing == {
        "websocket": {"websocket", *totals},
        "produce": {"kafka", "ack", *totals},
        "fetch": {"kafka", *totals},
    }


def test_ticks_that_a_stall_has_touched_are_left_out() -> None:
    columns = dict(made_columns())
    stalled = np.arange(len(columns["due_ns"])) % 3 == 0
    columns["stall"] = stalled.astype(np.int64)
    columns["consumed_ns"] = columns["consumed_ns"] + np.where(stalled, 80 * NS_PER_MS, 0)
    shifts = judge(columns, START_NS, TURNS)
    assert {shift.verdict for shift in shifts} == {Verdict.OK}
    whole = judge(made_columns(), START_NS, TURNS)
    assert sum(s.ticks for s in shifts) < 0.75 * sum(s.ticks for s in whole)


def test_ticks_at_the_edges_of_turns_are_left_out() -> None:
    columns = dict(made_columns())
    offsets = columns["due_ns"] - START_NS
    edge = np.zeros(len(offsets), dtype=np.bool_)
    for turn in TURNS:
        edge |= (offsets >= turn.begins_ns) & (offsets < turn.begins_ns + 50 * NS_PER_MS)
        edge |= (offsets >= turn.ends_ns - 25 * NS_PER_MS) & (offsets < turn.ends_ns)
    columns["consumed_ns"] = columns["consumed_ns"] + np.where(edge, NS_PER_S, 0)
    shifts = judge(columns, START_NS, TURNS)
    assert {shift.verdict for shift in shifts} == {Verdict.OK}


def test_drift_of_the_whole_machine_cancels() -> None:
    columns = dict(made_columns())
    drift = np.linspace(0, 400 * NS_PER_US, len(columns["due_ns"])).astype(np.int64)
    columns["consumed_ns"] = columns["consumed_ns"] + drift
    shifts = judge(columns, START_NS, TURNS)
    assert {shift.verdict for shift in shifts} == {Verdict.OK}


def test_noise_is_no_proof_against_the_figures() -> None:
    random = np.random.default_rng(3)
    columns = dict(made_columns())
    offsets = columns["due_ns"] - START_NS
    noise = np.zeros(len(offsets), dtype=np.int64)
    for turn in TURNS:  # as a neighbour that takes the CPU for a whole turn now and then
        now = (offsets >= turn.begins_ns) & (offsets < turn.ends_ns)
        noise[now] = int(random.uniform(0, 2 * NS_PER_MS))
    columns["consumed_ns"] = columns["consumed_ns"] + noise
    verdicts = {shift.verdict for shift in judge(columns, START_NS, TURNS)}
    assert Verdict.NOISY in verdicts
    assert Verdict.OFF not in verdicts


def test_noise_between_turns_puts_hardly_any_shift_of_a_true_pipeline_beyond_its_bound() -> None:
    """All 84 together, not each: a bound for each alone is exceeded in most selftests."""
    false_alarms = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        columns = dict(made_columns(seed=seed))
        offsets = columns["due_ns"] - START_NS
        noise = np.zeros(len(offsets), dtype=np.int64)
        for turn in TURNS:
            now = (offsets >= turn.begins_ns) & (offsets < turn.ends_ns)
            noise[now] = int(abs(random.normal(2 * NS_PER_MS, 400 * NS_PER_US)))
        columns["consumed_ns"] = columns["consumed_ns"] + noise
        shifts = judge(columns, START_NS, TURNS)
        false_alarms += any(
            abs(s.error_ns) > s.uncertainty_ns
            for s in shifts
            if s.error_ns is not None and s.uncertainty_ns is not None
        )
    assert false_alarms <= 3


def test_without_acknowledgements_all_else_is_judged() -> None:
    columns = dict(made_columns())
    columns["acked_ns"] = np.full_like(columns["acked_ns"], -1)
    shifts = judge(columns, START_NS, TURNS)
    assert {shift.hop for shift in shifts} == {hop.name for hop in HOPS} - {"ack"}
    assert {shift.verdict for shift in shifts} == {Verdict.OK}


def test_what_no_tick_tells_does_not_agree() -> None:
    columns = dict(made_columns())
    offsets = columns["due_ns"] - START_NS
    for turn in TURNS:
        if (turn.place, turn.delay_ns) == ("fetch", 5 * NS_PER_MS):
            lost = (offsets >= turn.begins_ns) & (offsets < turn.ends_ns)
            columns["consumed_ns"] = np.where(lost, -1, columns["consumed_ns"])
    shift = shift_of(judge(columns, START_NS, TURNS), "fetch", 5, "kafka")
    assert (shift.measured_ns, shift.error_ns, shift.ticks) == (None, None, 0)
    assert shift.verdict is Verdict.NOISY


def a_shift(error_us: float, uncertainty_us: int | None = 50, delay_ms: int = 1) -> Shift:
    delay_ns = delay_ms * NS_PER_MS
    return Shift(
        place="websocket",
        delay_ns=delay_ns,
        hop="websocket",
        injected_ns=delay_ns,
        measured_ns=delay_ns + round(error_us * NS_PER_US),
        uncertainty_ns=None if uncertainty_us is None else uncertainty_us * NS_PER_US,
        ticks=80,
    )


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("error_us", "delay_ms", "verdict"),
    [
        (200, 1, Verdict.OK),
        (200.001, 1, Verdict.NOISY),
        (250, 1, Verdict.NOISY),
        (250.001, 1, Verdict.OFF),
        (250, 5, Verdict.OK),
        (1250, 25, Verdict.OK),
        (1301, 25, Verdict.OFF),
        (200, 0, Verdict.OK),
        (260, 0, Verdict.OFF),
    ],
)
def test_a_verdict_at_both_sides_of_what_is_allowed(
    sign: int, error_us: float, delay_ms: int, verdict: Verdict
) -> None:
    assert a_shift(sign * error_us, delay_ms=delay_ms).verdict is verdict


def test_what_is_allowed_is_a_share_of_the_delay_and_never_less_than_a_floor() -> None:
    assert [allowed_ns(delay_ns) for delay_ns in DELAYS_NS] == [
        ALLOWED_NS,
        ALLOWED_NS,
        250 * NS_PER_US,
        1250 * NS_PER_US,
    ]


# --- shown ------------------------------------------------------------------------------------


def a_result(columns: Columns | None = None, problems: tuple[str, ...] = ()) -> SelftestResult:
    return SelftestResult(
        broker=BrokerFacts(kind="embedded", version="2.12.1", bootstrap="b:1", partitions=1),
        ws_engine="picows",
        step_ns=DEFAULT_STEP_NS,
        shifts=judge(made_columns() if columns is None else columns, START_NS, TURNS),
        problems=problems,
    )


def shown(result: SelftestResult, **environ: str) -> list[str]:
    stream = io.StringIO()
    open_console(stream, {"COLUMNS": "80", **environ}).print(SelftestReport(result))
    return stream.getvalue().splitlines()


def test_a_report_has_a_row_for_each_hop_that_a_delay_lies_in() -> None:
    lines = shown(a_result())
    rows = [line.split() for line in lines if "±" in line and " ms " in line]
    assert len(rows) == 16
    assert {(row[0], row[1]) for row in rows} == {
        ("websocket", "websocket"),
        ("produce", "kafka"),
        ("produce", "ack"),
        ("fetch", "kafka"),
    }
    assert lines[-1] == "All 16 rows agree: what goes in comes out."
    assert max(map(len, lines)) <= 80


def test_a_report_of_what_is_off_names_it() -> None:
    result = a_result(made_columns(factor=2.0))
    assert not result.agrees
    text = " ".join(shown(result))
    assert "30 of 84 shifts are off: websocket with 1 ms at websocket (+" in text
    assert "Run it again" in text


def test_a_report_tells_noise_apart() -> None:
    result = msgspec.structs.replace(a_result(), shifts=(a_shift(230), *a_result().shifts[1:]))
    assert not result.agrees
    text = " ".join(shown(result))
    assert "1 of 84 shifts can't be told from this machine's noise" in text
    assert "shifts are off" not in text


@pytest.mark.parametrize(("uncertainty_us", "agrees"), [(50, True), (10, False)])
def test_another_hop_is_against_it_only_beyond_doubt(uncertainty_us: int, agrees: bool) -> None:
    shifts = [
        msgspec.structs.replace(
            shift,
            measured_ns=shift.injected_ns + 220 * NS_PER_US,
            uncertainty_ns=uncertainty_us * NS_PER_US,
        )
        if (shift.place, shift.hop, shift.delay_ns) == ("fetch", "end_to_end", NS_PER_MS)
        else shift
        for shift in a_result().shifts
    ]
    result = msgspec.structs.replace(a_result(), shifts=tuple(shifts))
    assert result.agrees is agrees
    assert ("All 16 rows agree" in " ".join(shown(result))) is agrees


def test_a_run_that_is_no_measurement_does_not_agree() -> None:
    result = a_result(problems=("ticks were lost",))
    assert not result.agrees
    assert "ticks were lost" in " ".join(shown(result))


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_a_report_can_be_drawn_in_ascii(factor: float) -> None:
    lines = shown(a_result(made_columns(factor=factor)), LC_ALL="C")
    assert all(line.isascii() for line in lines)
    assert max(map(len, lines)) <= 80


def snapshot(phase: str, elapsed_ms: int) -> Snapshot:
    return Snapshot(
        phase=phase,
        elapsed_ns=elapsed_ms * NS_PER_MS,
        total_ns=None,
        hops=(),
        e2e_p99_per_second_ns=(),
        rate_sent_hz=0.0,
        rate_consumed_hz=0.0,
        sent=0,
        consumed=0,
        in_flight=0,
        lost=0,
        duplicates=0,
        reordered=0,
        errors=0,
        stages=(),
    )


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_progress_is_one_line_that_goes_away() -> None:
    terminal = Terminal()
    console = open_console(terminal, {"TERM": "xterm", "COLUMNS": "80"})
    progress = SelftestProgress(console, make_turns(DEFAULT_STEP_NS))
    for phase, elapsed_ms in (("starting", 0), ("warm-up", 500), ("measuring", 2600)):
        progress.update(snapshot(phase, elapsed_ms))
    progress.stop()
    written = terminal.getvalue()
    assert "\n" not in written
    assert "warm-up" in written
    assert "websocket 1 ms" in written
    assert "60 s left" in written
    assert written.endswith("\r\x1b[K")


def test_without_a_terminal_progress_is_a_line_now_and_then() -> None:
    stream = io.StringIO()
    progress = SelftestProgress(open_console(stream, {}), make_turns(DEFAULT_STEP_NS))
    for elapsed_ms in range(2000, 3000, 50):
        progress.update(snapshot("measuring", elapsed_ms))
    progress.stop()
    assert len(stream.getvalue().splitlines()) == 1


# --- the command ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--step", "1s"), "step of 1 s is not between 2 s and 10 min"),
        (("--step", "soon"), "step 'soon' is not a time"),
        (("--broker", "nowhere"), "broker 'nowhere' is not host:port"),
        (("--ws-engine", "curl"), "--ws-engine 'curl' is not there"),
        (("--topic", "a b"), "topic 'a b' is not a Kafka topic name"),
        (("--producer", "nonsense=1"), "no producer property is called 'nonsense'"),
        (
            ("--consumer", "security.protocol=ssl"),
            "the consumer's security.protocol ssl can't be led through a proxy",
        ),
    ],
)
def test_a_bad_option_is_told_in_an_error_and_a_hint(
    call_latbench: Caller, tmp_path: Path, options: tuple[str, ...], told: str
) -> None:
    run = call_latbench("selftest", *options, cwd=tmp_path)
    assert run.code == 2
    assert run.stdout == ""
    error, hint = run.stderr.splitlines()
    assert error == f"error: {told}"
    assert hint.startswith("hint: ")


def test_a_result_file_that_is_there_is_not_replaced(call_latbench: Caller, tmp_path: Path) -> None:
    path = tmp_path / "kept.parquet"
    path.write_text("mine")
    run = call_latbench("selftest", "--output", path, cwd=tmp_path)
    assert run.code == 2
    assert "is there already" in run.stderr
    assert path.read_text() == "mine"


def test_the_shifts_survive_json() -> None:
    shifts = json.loads(msgspec.json.encode(a_result()))["shifts"]
    assert len(shifts) == 84
    assert {"place", "hop", "delay_ns", "injected_ns", "measured_ns"} <= shifts[0].keys()
