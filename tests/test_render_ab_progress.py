"""What an A/B session prints while it goes on, against `tests/golden/`."""

from __future__ import annotations

import io

import msgspec
import pytest

from latbench.ab import compare
from latbench.ab_result import AbPlan, AbResult, AbRun, Phase, Side
from latbench.clock import NS_PER_S
from latbench.comparison import Comparison, Verdict
from latbench.render.ab_progress import AbProgress
from latbench.render.console import open_console
from tests.ab import make_plan, make_run, make_session
from tests.rendering import Terminal, assert_golden, widest
from tests.results import make_hops, make_result

RUN_NS = 5 * NS_PER_S


def open_progress(
    plan: AbPlan, width: int = 80, stream: io.StringIO | None = None, **environ: str
) -> tuple[AbProgress, io.StringIO]:
    stream = stream or io.StringIO()
    console = open_console(stream, {"COLUMNS": str(width), "TERM": "xterm"} | environ)
    return AbProgress(console, plan), stream


def pass_by(progress: AbProgress, runs: tuple[AbRun, ...]) -> None:
    for run in runs:
        progress.begin(run.phase, run.pair, run.side)
        progress.end(run)


def comparison(result: AbResult, verdict: Verdict | None = None) -> Comparison:
    found = compare(result)
    assert found is not None
    return found if verdict is None else msgspec.structs.replace(found, verdict=verdict)


def calibration(plan: AbPlan) -> tuple[AbRun, ...]:
    """Its first two pairs: no side is slower."""
    runs = [run for run in make_session(plan, seed=2).runs if run.phase is Phase.MEASURED]
    return tuple(msgspec.structs.replace(run, phase=Phase.CALIBRATION) for run in runs[:4])


def shown(plan: AbPlan, width: int = 80, **environ: str) -> str:
    """A whole session that is slower by a quarter."""
    result = make_session(plan, times=1.25)
    progress, stream = open_progress(plan, width, **environ)
    progress.start(RUN_NS)
    pass_by(progress, result.runs[:2])
    if plan.calibrate:
        pass_by(progress, calibration(plan))
    pass_by(progress, result.runs[2:])
    progress.look(comparison(result), plan.pairs)
    progress.close()
    return stream.getvalue()


THREE = ("p50=5%", "p99=10%", "kafka.p99.9=15%")


@pytest.mark.parametrize("width", [80, 140])
def test_a_session_is_told_pair_by_pair(width: int) -> None:
    text = shown(make_plan(*THREE, calibrate=True), width)
    assert widest(text) <= width
    assert_golden(f"ab-progress-{width}", text)


def test_ascii_terminals_get_ascii() -> None:
    assert shown(make_plan(), LC_ALL="C").isascii()


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("width", [80, 100, 140])
def test_a_line_has_as_many_gates_as_there_is_room_for(count: int, width: int) -> None:
    gates = ("websocket.p99.99=5%", "p99=10%", "kafka.p50=15%", "relay.mean=5%", "p50=5%")[:count]
    text = shown(make_plan(*gates), width)
    assert widest(text) <= width
    room = {80: 2, 100: 3, 140: 4}[width]
    heads = text.splitlines()[3]
    assert heads.count("B/A") == min(count, room)


@pytest.mark.parametrize(
    ("run_ns", "most_pairs", "told"),
    [
        (RUN_NS, 20, "Pairs of runs, A and B in turn: about 110 s, 3 min 30 s if it is close."),
        (RUN_NS, 10, "Pairs of runs, A and B in turn: about 110 s."),
        (0, 20, "Pairs of runs, A and B in turn."),
    ],
)
def test_how_long_it_takes_is_told_where_it_is_known(
    run_ns: int, most_pairs: int, told: str
) -> None:
    progress, stream = open_progress(make_plan(most_pairs=most_pairs))
    progress.start(run_ns)
    assert stream.getvalue().splitlines()[0] == told


def test_a_calibration_takes_as_long_again() -> None:
    progress, stream = open_progress(make_plan(calibrate=True))
    progress.start(RUN_NS)
    assert "about 3 min 30 s, 5 min 10 s if it is close" in stream.getvalue()


@pytest.mark.parametrize("first", list(Side))
def test_whichever_side_ran_first_a_pair_reads_a_b_and_their_change(first: Side) -> None:
    progress, stream = open_progress(make_plan("p50=5%"))
    runs = {
        side: make_run(make_result(hops=make_hops(scale=scale)), 1, 1, side)
        for side, scale in ((Side.A, 1.0), (Side.B, 1.5))
    }
    pass_by(progress, tuple(sorted(runs.values(), key=lambda run: run.side is not first)))
    assert stream.getvalue().split() == ["1", "581", "µs", "872", "µs", "+50.0", "%"]


def test_a_percentile_that_is_not_known_is_told_so() -> None:
    progress, stream = open_progress(make_plan("p99=5%"))
    few = make_result(hops=make_hops(count=500))
    pass_by(progress, (make_run(few, 1, 1, Side.A), make_run(make_result(), 2, 1, Side.B)))
    assert stream.getvalue().split() == ["1", "n/a", "1.31", "ms", "n/a"]


@pytest.mark.parametrize(
    ("verdict", "pairs", "told"),
    [
        (Verdict.PASS, 10, "After 10 pairs: decided, no gate is broken."),
        (Verdict.REGRESSION, 20, "After 20 pairs: decided, B is worse."),
        (Verdict.INCONCLUSIVE, 10, "After 10 pairs: not decided, up to 20 pairs follow."),
        (Verdict.INCONCLUSIVE, 20, "After 20 pairs: not decided."),
        (
            Verdict.INCOMPARABLE,
            1,
            "After 1 pair: the figures can't be compared, so it ends here.",
        ),
    ],
)
def test_what_a_look_says(verdict: Verdict, pairs: int, told: str) -> None:
    result = make_session()
    progress, stream = open_progress(result.plan)
    progress.look(comparison(result, verdict), pairs)
    assert stream.getvalue() == told + "\n"


def test_a_terminal_shows_the_run_that_goes_on_in_a_line_that_is_written_over() -> None:
    result = make_session(make_plan("p50=5%"))
    progress, stream = open_progress(result.plan, stream=Terminal())
    progress.begin(Phase.DISCARDED, 1, Side.A)
    assert stream.getvalue() == "\rwarm-up     run 1: A …\x1b[K"
    progress.begin(Phase.CALIBRATION, 1, Side.B)
    assert stream.getvalue().endswith("\rA/A 1       run 2: A …\x1b[K")
    progress.begin(Phase.MEASURED, 1, Side.B)
    assert stream.getvalue().endswith("\r1           run 3: B …\x1b[K")
    before = len(stream.getvalue())
    first, second = result.runs[:2]
    progress.end(first)
    progress.end(second)
    line = stream.getvalue()[before:]
    assert line.startswith("\r\x1b[K")
    assert line.endswith(" %\n")
    progress.close()
    assert stream.getvalue().endswith(" %\n\n")


def test_a_narrow_terminal_never_breaks_the_line_that_is_written_over() -> None:
    progress, stream = open_progress(make_plan(), 20, stream=Terminal())
    progress.begin(Phase.CALIBRATION, 10, Side.A)
    (text,) = stream.getvalue().replace("\r", "").split("\x1b[K")[:1]
    assert len(text) < 20


def test_elsewhere_nothing_is_written_over() -> None:
    assert not {"\r", "\x1b"} & set(shown(make_plan()))
