"""A sweep's report, chart, picture and progress, against `tests/golden/` and for any sweep."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench.clock import NS_PER_S
from latbench.config import RunConfig
from latbench.knee import Ending, Knee, Probe, Purpose
from latbench.render.console import open_console
from latbench.render.curve import Scale
from latbench.render.curve_svg import draw_curve_svg
from latbench.render.sweep import SweepReport
from latbench.render.sweep_progress import SweepProgress
from latbench.render.sweep_words import answer, predictions
from latbench.result import Finding
from latbench.sweep import conclude
from latbench.sweep_points import Overloaded, overloaded_point
from latbench.sweep_result import SweepPoint, SweepResult, SweepStatus
from tests.rendering import Terminal, assert_golden, printed, widest
from tests.results import make_broker, make_snapshot
from tests.sweeps import CAPACITY_HZ, make_plan, make_sweep, queue_point

FILES = ("bench-results/20251125-sweep.parquet", "bench-results/20251125-sweep.svg")


def overloaded(rate_hz: int, number: int = 1) -> SweepPoint:
    told = Overloaded(make_snapshot(elapsed_ns=7 * NS_PER_S), 3_100_000_000)
    return overloaded_point(number, Probe(rate_hz, Purpose.STEP), make_plan().slos, told)


def ended(status: SweepStatus, **changes: object) -> SweepResult:
    """The sweep of an ending that is no answer, after its first eight points."""
    whole = make_sweep()
    given_ = {"status": status, "points": whole.points[:8], "knee": None}
    return conclude(msgspec.structs.replace(whole, **given_ | changes))


NONE_HOLDS = ended(
    SweepStatus.NONE_HOLDS,
    points=(
        queue_point(29_000, make_plan(from_hz=29_000)),
        queue_point(29_000, make_plan(from_hz=29_000), 2),
    ),
    plan=make_plan(from_hz=29_000),
    knee=Knee(ending=Ending.NONE_HOLDS, rate_hz=None, fails_hz=29_000),
)
INCONCLUSIVE = ended(
    SweepStatus.INCONCLUSIVE,
    knee=Knee(ending=Ending.INCONCLUSIVE, rate_hz=None, fails_hz=8000, rejected_hz=(16_000, 8000)),
)
INTERRUPTED = ended(SweepStatus.INTERRUPTED)
FAILED = ended(SweepStatus.FAILED, failure="the relay died (killed by SIGKILL)")
WITH_OVERLOAD = ended(
    SweepStatus.INTERRUPTED, points=(*make_sweep().points[:5], overloaded(64_000, 6))
)
RESULTS = {
    "found": make_sweep(),
    "two-slos": make_sweep(make_plan("end_to_end.p99 < 5ms", "kafka.p50 < 1ms")),
    "to": make_sweep(make_plan(to_hz=8000)),
    "none-holds": NONE_HOLDS,
    "inconclusive": INCONCLUSIVE,
    "interrupted": INTERRUPTED,
    "failed": FAILED,
    "overload": WITH_OVERLOAD,
}


@pytest.mark.parametrize("width", [80, 140])
@pytest.mark.parametrize("name", ["found", "two-slos", "none-holds", "overload"])
def test_the_report_is_as_it_was(name: str, width: int) -> None:
    assert_golden(f"sweep-{name}-{width}", printed(SweepReport(RESULTS[name], FILES), width))


def test_an_ascii_terminal_gets_ascii() -> None:
    text = printed(SweepReport(RESULTS["found"], FILES), 80, {"LC_ALL": "C"})
    assert text.isascii()
    assert_golden("sweep-ascii-80", text)


@pytest.mark.parametrize("name", RESULTS)
@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_no_line_is_longer_than_the_terminal_from_eighty_columns_on(name: str, width: int) -> None:
    text = printed(SweepReport(RESULTS[name], FILES), width)
    assert widest(text) <= max(width, 72)


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("found", "21,600 ticks/s hold end_to_end.p99 < 5.00 ms."),
        ("to", "8,000 ticks/s hold end_to_end.p99 < 5.00 ms."),
        ("none-holds", "Not even 29,000 ticks/s, the lowest rate asked for, hold "),
        ("inconclusive", "No answer: each of 2 rates held end_to_end.p99 < 5.00 ms once, and "),
        ("interrupted", "INTERRUPTED before an answer was found."),
        ("failed", "FAILED before an answer was found: the relay died (killed by SIGKILL)."),
    ],
)
def test_the_answer_comes_first(name: str, first: str) -> None:
    assert answer(RESULTS[name])[0].startswith(first)


def test_what_the_points_had_otherwise_than_by_default_is_told() -> None:
    config = RunConfig(
        broker="localhost:9092", compression="lz4", linger_ms=5.0, coalesce_ns=2_000_000
    )
    text = " ".join(printed(SweepReport(make_sweep(config=config)), 80).split())
    assert "picows · linger 5 ms · lz4 · 2.00 ms or more between the generator's writes" in text


def test_an_answer_that_is_the_highest_rate_allowed_is_called_that() -> None:
    assert "That is --to, the highest rate that was allowed" in answer(RESULTS["to"])[1]


def test_an_answer_that_was_rejected_before_is_told() -> None:
    whole = make_sweep()
    assert whole.knee is not None
    knee = msgspec.structs.replace(
        whole.knee, rejected_hz=(22_600,), recovered_hz=(16_000,), held=2
    )
    told = answer(msgspec.structs.replace(whole, knee=knee))
    assert "2 of 3 held" in told[2]
    assert told[3].startswith("16,000 ticks/s failed at first and held when measured again later")
    assert told[4].startswith("22,600 ticks/s held at first and failed when measured again")


def test_what_an_interrupted_sweep_knows_is_told() -> None:
    held = max(point.rate_hz for point in INTERRUPTED.points if point.holds)
    assert answer(INTERRUPTED)[1].startswith(f"So far {held:,} ticks/s held more often than not")


def test_a_rate_that_failed_as_often_as_it_held_has_not_held() -> None:
    lucky = queue_point(20_000)
    unlucky = msgspec.structs.replace(lucky, holds=False)
    result = ended(SweepStatus.INTERRUPTED, points=(queue_point(16_000), lucky, unlucky))
    assert result.highest_held_hz == 16_000


def test_the_embedded_broker_is_a_reason_for_doubt() -> None:
    result = msgspec.structs.replace(make_sweep(), broker=make_broker(embedded=True))
    assert "not about a Kafka" in " ".join(printed(SweepReport(result), 80).split())


def test_warnings_at_the_answer_and_points_that_had_not_settled_are_told() -> None:
    whole = make_sweep()
    warning = Finding(code="few-cpus", values={"cpus": 2, "processes": 4})
    unsettled = Finding(code="warmup-unsettled", values={"waited": 20 * NS_PER_S})
    points = tuple(
        msgspec.structs.replace(point, findings=(warning, unsettled)) for point in whole.points
    )
    result = msgspec.structs.replace(whole, points=points)
    text = " ".join(printed(SweepReport(result), 80).split())
    assert f"{len(points)} of {len(points)} points had not settled" in text
    assert "At the answer: 2 CPUs for 4 processes" in text


def test_rates_near_a_measured_one_are_not_predicted() -> None:
    result = make_sweep()
    measured = {point.rate_hz for point in result.points}
    for rate, _ in predictions(result):
        assert all(abs(rate / other - 1) > 0.05 for other in measured)
    assert predictions(NONE_HOLDS) == []


# --- the chart --------------------------------------------------------------------------------


@given(st.floats(1, 1e9), st.floats(1.01, 1e6), st.floats(0, 1), st.integers(2, 12))
def test_a_scale_goes_both_ways_and_has_round_ticks(
    low: float, span: float, share: float, most: int
) -> None:
    scale = Scale(low, low * span)
    assert scale.share(scale.value(share)) == pytest.approx(share, abs=1e-6)
    ticks = scale.ticks(most)
    assert ticks == sorted(ticks)
    assert all(low * 0.999 <= tick <= low * span * 1.001 for tick in ticks)


@pytest.mark.parametrize("name", RESULTS)
def test_the_picture_is_svg_that_stands_alone(name: str) -> None:
    result = RESULTS[name]
    svg = draw_curve_svg(result, title="a < b & c", subtitle=answer(result)[0])
    root = ET.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "href" not in svg
    titles = [each.text for each in root.iter("{http://www.w3.org/2000/svg}title")]
    assert len(titles) == len(result.points)
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for circle in root.iter("{http://www.w3.org/2000/svg}circle"):
        assert 0 < float(circle.attrib["cx"]) < width
        assert 0 < float(circle.attrib["cy"]) < height


# --- progress ---------------------------------------------------------------------------------


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


def progress(stream: io.StringIO, clock: Clock) -> SweepProgress:
    plan = make_plan("end_to_end.p99 < 5ms", "kafka.p50 < 1ms")
    return SweepProgress(
        open_console(stream, {"COLUMNS": "80", "TERM": "xterm"}), plan, clock=clock
    )


def follow(shown: SweepProgress, clock: Clock) -> None:
    plan = make_plan("end_to_end.p99 < 5ms", "kafka.p50 < 1ms")
    shown.start(35 * NS_PER_S)
    for number, rate in enumerate((1000, 16_000, 29_000), start=1):
        shown.begin(number, Probe(rate, Purpose.STEP))
        for _ in range(8):
            clock.now_ns += 4 * NS_PER_S
            shown.update(make_snapshot(elapsed_ns=clock.now_ns, is_warmup_open=number == 1))
        shown.end(queue_point(rate, plan, number))
    shown.begin(4, Probe(64_000, Purpose.STEP))
    told = Overloaded(make_snapshot(elapsed_ns=7 * NS_PER_S), 3_100_000_000)
    shown.end(overloaded_point(4, Probe(64_000, Purpose.STEP), plan.slos, told))


def test_without_a_terminal_there_is_a_line_a_point_and_one_every_15_seconds() -> None:
    stream, clock = io.StringIO(), Clock()
    shown = progress(stream, clock)
    follow(shown, clock)
    shown.stop()
    assert "\r" not in stream.getvalue()
    assert widest(stream.getvalue()) <= 80
    assert_golden("sweep-progress", stream.getvalue())


def test_on_a_terminal_one_line_is_written_over() -> None:
    stream, clock = Terminal(), Clock()
    shown = progress(stream, clock)
    follow(shown, clock)
    text = stream.getvalue()
    assert text.count("\n") == 7  # two lines of what it is, the heading, four points
    for line in text.split("\r"):
        assert len(line.partition("\n")[0].replace("\x1b[K", "")) < 80
    assert text.count("\r\x1b[K") == 3  # each that goes on is taken away before its point is told


def test_capacity_of_the_made_up_queue_is_seen_in_the_report() -> None:
    curve = make_sweep().fit
    assert curve is not None
    assert curve.curve.capacity_hz == pytest.approx(CAPACITY_HZ, rel=0.05)


def test_doubts_about_a_sweep_without_an_answer_name_the_rate() -> None:
    text = printed(SweepReport(INTERRUPTED), 80)
    assert "At the answer" not in text


def test_a_limit_that_is_far_away_is_called_that() -> None:
    result = make_sweep(make_plan("end_to_end.p99 < 5s", to_hz=4000))
    assert "far below its limit" in " ".join(printed(SweepReport(result), 80).split())


def test_the_report_begins_below_the_progress() -> None:
    stream, clock = Terminal(), Clock()
    shown = progress(stream, clock)
    follow(shown, clock)
    shown.close()
    shown.close()
    assert stream.getvalue().endswith("7 s\n\n")
