"""An A/B session's report against `tests/golden/`: whole, calibrated, ended early, in words."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from latbench.ab import conclude
from latbench.ab_result import AbResult, AbStatus, Phase, Variant
from latbench.render.ab import AbReport
from latbench.render.ab_words import NOTHING, label_of, ratios_of, told_session
from tests.ab import make_plan, make_session
from tests.rendering import assert_golden, printed, widest

FILES = ("bench-results/session.parquet", "bench-results/session.runs")


def with_noise(session: AbResult, **noise: float) -> AbResult:
    """As if A against A had differed by these shares, by the gates' statistics."""
    plan = msgspec.structs.replace(session.plan, calibrate=True)
    by_subject = {f"end_to_end.{name}": share for name, share in noise.items()}
    return conclude(msgspec.structs.replace(session, plan=plan, noise=by_subject))


def ended(session: AbResult, runs: int, status: AbStatus, failure: str = "") -> AbResult:
    """As if it had ended after so many runs."""
    return conclude(
        msgspec.structs.replace(session, runs=session.runs[:runs], status=status, failure=failure)
    )


def made() -> Iterator[tuple[str, AbResult]]:
    """A session of every kind."""
    yield "regression", make_session(by_us={"kafka": 400.0})
    yield "pass", make_session(seed=2)
    yield "calibrated", with_noise(make_session(times=1.06), p50=0.011, p99=0.164)
    yield "interrupted", ended(make_session(), 9, AbStatus.INTERRUPTED)
    yield "failed", ended(make_session(), 12, AbStatus.FAILED, "the relay died")
    yield "nothing", ended(make_session(), 2, AbStatus.INTERRUPTED)


MADE = dict(made())


@pytest.mark.parametrize("width", [50, 80, 140])
@pytest.mark.parametrize("name", MADE)
def test_a_session_is_reported_whole(name: str, width: int) -> None:
    text = printed(AbReport(MADE[name], FILES), width)
    assert widest(text) <= width
    assert_golden(f"ab-{name}-{width}", text)


def test_an_ascii_terminal_gets_ascii() -> None:
    text = printed(AbReport(MADE["calibrated"], FILES), 80, {"LC_ALL": "C"})
    assert text.isascii()
    assert_golden("ab-ascii-80", text)


def test_a_calibration_that_widens_a_gate_says_what_it_was() -> None:
    told = told_session(MADE["calibrated"])
    assert told is not None
    assert told.notes[-2:] == (
        "A against A may differ by 1.1 % at end_to_end.p50.",
        "A against A may differ by 16.4 % at end_to_end.p99: so much is allowed, not 10 %.",
    )


def test_a_calibration_that_came_to_nothing_is_told() -> None:
    plan = make_plan(calibrate=True)
    told = told_session(msgspec.structs.replace(MADE["pass"], plan=plan))
    assert told is not None
    assert told.open_ends == (
        "The calibration did not come to its end: what is allowed is not widened.",
    )


def test_a_session_that_could_not_decide_says_what_would_help() -> None:
    told = told_session(MADE["calibrated"])
    assert told is not None
    assert told.open_ends == (
        "Longer runs (--duration), more pairs (--pairs) and a quieter machine narrow the "
        "intervals.",
    )


def test_a_session_without_a_pair_has_nothing_to_compare() -> None:
    assert {run.phase for run in MADE["nothing"].runs} == {Phase.DISCARDED}
    assert told_session(MADE["nothing"]) is None
    assert NOTHING in printed(AbReport(MADE["nothing"]), 80)


def test_each_pair_has_its_ratio() -> None:
    session = MADE["regression"]
    ratios = ratios_of(session, session.plan.gates[0])
    assert len(ratios) == session.plan.pairs
    assert all(ratio > 1 for ratio in ratios)


def test_a_side_is_called_what_was_written() -> None:
    assert label_of(Variant(command=(), options=())) == "latbench run"
    words = Variant(command=("/old/bin/latbench",), options=("--name", "a b"))
    assert label_of(words) == "/old/bin/latbench --name 'a b'"
