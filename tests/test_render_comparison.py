"""A comparison's report against `tests/golden/`: every verdict, wide and narrow, in words."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench.cli.comparison_output import worded
from latbench.comparing import StoredComparison, compare
from latbench.comparison import Allowed, Change, Difference, Verdict
from latbench.gates import DEFAULT_GATES, Gate
from latbench.render.comparison_report import ComparisonReport
from latbench.render.comparison_words import (
    Labels,
    Told,
    allowed_percent,
    answer,
    describe_change,
    limits,
    signed_interval,
    signed_latency,
    signed_percent,
    stored_limits,
    stored_notes,
    why_no_verdict,
)
from latbench.result import Finding, RunStatus
from latbench.stored_sides import Side
from latbench.tick import HOPS
from tests.comparisons import make_run, make_side, sides
from tests.rendering import assert_golden, printed, widest
from tests.results import make_config, make_environment, make_hop

FOUR_GATES = (
    *DEFAULT_GATES,
    Gate(hop="websocket", statistic="p99.9", margin=0.25),
    Gate(hop="relay", statistic="p50", margin=0.05),
)
LOST = Finding(code="ticks-lost", values={"lost": 3, "sent": 1_510_000})


def made() -> Iterator[tuple[str, StoredComparison]]:
    """A comparison of every kind."""
    yield "pass", compare(*sides(1.01), DEFAULT_GATES)
    yield "faster", compare(*sides(0.8), DEFAULT_GATES)
    config = make_config(linger_ms=5.0, compression="lz4")
    yield "regression", compare(*sides(5.0, "kafka", config=config), DEFAULT_GATES)
    yield "four-gates", compare(*sides(1.3), FOUR_GATES)
    yield "inconclusive", compare(*sides(1.09), DEFAULT_GATES)
    yield "few", compare(*sides(1.3, counts=(3, 2)), DEFAULT_GATES)
    yield "one-new", compare(*sides(1.3, counts=(12, 1)), DEFAULT_GATES)
    short = tuple(make_hop(hop.name, count=4000) for hop in HOPS)
    yield "unknown", compare(*sides(hops=short), DEFAULT_GATES)
    environment = make_environment(cpus=8, kernel="6.12.1")
    other = sides(1.3, environment=environment)
    yield "incomparable", compare(*other, DEFAULT_GATES)
    yield "forced", compare(*other, DEFAULT_GATES, force=True)
    base, new = sides(counts=(12, 10))
    bad = make_side("c", 10, status=RunStatus.FAILED, failure="the relay died")
    lost = make_side("d", 1, findings=(LOST,))
    yield "left-out", compare((*base, *bad, *lost), new, DEFAULT_GATES)
    yield "none-left", compare(base, bad, DEFAULT_GATES)


MADE = dict(made())
SIDES = Side("base/", ()), Side("new/", ())


def report(name: str) -> ComparisonReport:
    return ComparisonReport(worded(MADE[name], *SIDES))


def within_runs(counts: tuple[int, int]) -> StoredComparison:
    """As of one run a side; the intervals are those of ten."""
    found = MADE["inconclusive"]
    gates = tuple(
        msgspec.structs.replace(each, verdict=Verdict.INCONCLUSIVE)
        for each in found.comparison.gates
    )
    comparison = msgspec.structs.replace(found.comparison, gates=gates, base_runs=1, new_runs=1)
    return msgspec.structs.replace(
        found,
        comparison=comparison,
        dominances=(),
        within_runs=True,
        interval_counts=counts,
        enough_runs=False,
    )


MADE["one-each"] = within_runs((60, 3))


@pytest.mark.parametrize("width", [50, 80])
@pytest.mark.parametrize("name", MADE)
def test_the_report_is_as_it_was(name: str, width: int) -> None:
    assert_golden(f"compare-{name}-{width}", printed(report(name), width))


@pytest.mark.parametrize("name", ["regression", "four-gates"])
def test_with_room_every_statistic_is_told(name: str) -> None:
    text = printed(report(name), 140)
    assert_golden(f"compare-{name}-140", text)
    assert all(f" {statistic} ─" in text for statistic in ("p50", "p90", "p99", "mean"))


def test_an_ascii_terminal_gets_ascii() -> None:
    text = printed(report("regression"), 80, {"LC_ALL": "C"})
    assert text.isascii()
    assert_golden("compare-ascii-80", text)


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("width", [50, 60, 80, 100, 140, 200])
def test_no_line_is_longer_than_the_terminal(name: str, width: int) -> None:
    assert widest(printed(report(name), width)) <= width


def test_every_verdict_is_reached() -> None:
    assert {stored.comparison.verdict for stored in MADE.values()} == set(Verdict)


def flat(name: str) -> str:
    return " ".join(printed(report(name), 80).split())


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("pass", "Pass: end_to_end.p50 changed by +"),
        ("faster", "Pass: end_to_end.p50 is faster by "),
        ("regression", "Regression: end_to_end.p50 is slower by "),
        (
            "inconclusive",
            "(6.0 % to 12.1 %); whether by more than the 8.5 % allowed can't be told.",
        ),
        ("few", "Inconclusive: a verdict takes 10 runs on each side: 7 more of A and 8 more of B."),
        ("one-new", "one new run has a verdict against 79 base runs (2 gates), or 10 new runs"),
        ("unknown", "Inconclusive: end_to_end.p99 is not known."),
        ("incomparable", "did not measure the same thing: cpus is 2 in A and 8 in B, and 1 more."),
        ("forced", "The sides did not measure the same thing, and were compared all the same."),
        ("left-out", "A c/01.parquet: it is failed: the relay died"),
        ("none-left", "Incomparable: no run of B counts; see what is left out."),
        ("one-each", "Inconclusive: one run a side says nothing of how much two runs of the same"),
        ("one-each", "B has 3 whole seconds: an interval takes 10."),
    ],
)
def test_what_is_said(name: str, told: str) -> None:
    assert told in flat(name)


def test_the_hop_to_blame_is_named_with_its_share() -> None:
    told = answer(MADE["regression"].comparison)
    assert told[2].startswith("kafka explains it: +1.7")
    assert " at p50, +" in told[2]
    assert told[2].endswith(" at p99.")


def test_nothing_is_left_out_without_a_word() -> None:
    text = flat("left-out")
    assert "and 3 more" in text
    assert "ticks" not in text.split("Left out")[1].split("and 3 more")[0]


def test_a_comparison_without_files_has_its_own_words() -> None:
    """As of two variants measured in turn."""
    comparison = MADE["regression"].comparison
    told = Told(
        comparison,
        ("latbench ab", "10 pairs in 1 min 52 s"),
        Labels("--linger 0", "--linger 5"),
        notes=("a note",),
        open_ends=("an open end",),
    )
    text = printed(ComparisonReport(told), 80)
    assert text.startswith("latbench ab\n10 pairs in 1 min 52 s\nA  --linger 0 · 10 runs\n")
    assert "\na note\n" in text
    assert "– an open end" in text


def test_calibrated_noise_is_called_that() -> None:
    comparison = MADE["regression"].comparison
    gates = tuple(
        msgspec.structs.replace(each, allowed=0.14, allowed_by=Allowed.CALIBRATION)
        for each in comparison.gates
    )
    told = answer(msgspec.structs.replace(comparison, gates=gates))
    assert "14 % is allowed (what this machine's own noise came to)" in told[0]


# --- figures in words ---------------------------------------------------------------------------


def change(ratio: float | None, low: float | None = None, high: float | None = None) -> Change:
    return msgspec.structs.replace(
        MADE["pass"].comparison.gates[0].change, ratio=ratio, ratio_low=low, ratio_high=high
    )


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (1.123, "+12.3 %"),
        (0.88, "−12.0 %"),
        (1.0, "0.0 %"),
        (0.9999, "0.0 %"),
        (7.43, "+643 %"),
        (25.2, "+2,420 %"),
        (0.0004, "−100 %"),
    ],
)
def test_a_ratio_is_told_as_a_change(ratio: float, text: str) -> None:
    assert signed_percent(ratio) == text


@given(st.floats(0.001, 1000))
def test_a_change_has_its_sign_or_is_none(ratio: float) -> None:
    text = signed_percent(ratio)
    assert text[0] == ("+" if ratio > 1 else "−") or text == "0.0 %"


@pytest.mark.parametrize(
    ("given_", "text"),
    [
        ((1.12, 1.09, 1.14), "is slower by 12.0 % (9.0 % to 14.0 %)"),
        ((0.88, 0.86, 0.91), "is faster by 12.0 % (9.0 % to 14.0 %)"),
        ((1.01, 0.99, 1.03), "changed by +1.0 % (−1.0 % to +3.0 %)"),
        ((1.5, None, None), "changed by +50.0 %, without a bound from so few"),
        ((None, None, None), "is not known"),
    ],
)
def test_a_change_is_described(given_: tuple[float | None, ...], text: str) -> None:
    assert describe_change(change(*given_)) == text


def test_an_interval_and_a_shift_have_signs() -> None:
    assert signed_interval(change(1.0, 0.995, 1.029)) == "−0.5 to +2.9 %"
    assert signed_interval(change(1.0)) == "no bound"
    assert signed_latency(5_020_000) == "+5.02 ms"
    assert signed_latency(-1500) == "−1.50 µs"


@pytest.mark.parametrize(
    ("allowed", "text"),
    [(0.1, "+10 %"), (0.0869, "+8.6 %"), (0.05, "+5 %"), (0.29, "+29 %"), (35.71, "+3,571 %")],
)
def test_what_is_allowed_is_never_rounded_up(allowed: float, text: str) -> None:
    result = msgspec.structs.replace(MADE["pass"].comparison.gates[0], allowed=allowed)
    assert allowed_percent(result) == text


def open_gate(ratio: float, low: float, high: float) -> str:
    """What is said to be needed to decide a gate that allows 10 %."""
    comparison = MADE["inconclusive"].comparison
    gate = msgspec.structs.replace(
        comparison.gates[0], change=change(ratio, low, high), allowed=0.1,
        verdict=Verdict.INCONCLUSIVE,
    )  # fmt: skip
    return next(iter(limits(msgspec.structs.replace(comparison, gates=(gate,), changes=()))))


def test_one_new_run_that_has_enough_of_the_base_is_not_told_to_have_too_few() -> None:
    short = tuple(make_hop(hop.name, count=4000) for hop in HOPS)
    p99 = DEFAULT_GATES[1:]
    stored = compare(*sides(counts=(40, 1), hops=short), p99)
    assert stored.comparison.gates[0].change.ratio is None
    assert why_no_verdict(stored) == ""
    fewer = compare(*sides(counts=(38, 1)), p99)
    assert "39 base runs (1 gate)" in why_no_verdict(fewer)


def test_how_many_runs_would_decide_is_told() -> None:
    assert open_gate(1.05, 0.96, 1.15) == (
        "end_to_end.p50: about 39 runs a side would make it a pass, if it stays where it is."
    )
    assert "would make it a regression" in open_gate(1.2, 1.05, 1.4)
    assert "no number of runs decides it" in open_gate(1.1, 0.9, 1.3)
    assert "no number of runs decides it" in open_gate(1.0999, 0.9, 1.3)


def test_gross_scatter_is_said_below_its_gate() -> None:
    stored = MADE["regression"]
    for ratio, told in ((5.0, "5.0 times as widely in B as in A"), (0.2, "in A as in B")):
        wide = tuple(
            msgspec.structs.replace(each, spread_ratio=ratio) for each in stored.dominances
        )
        notes = list(stored_notes(msgspec.structs.replace(stored, dominances=wide)))
        assert told in notes[1]
    assert len(list(stored_notes(stored))) == 1


def test_several_mismatches_are_counted_and_one_is_named() -> None:
    comparison = MADE["incomparable"].comparison
    one = msgspec.structs.replace(comparison, mismatches=comparison.mismatches[:1])
    assert answer(one)[0].endswith("cpus is 2 in A and 8 in B.")
    assert Difference(name="cpus", base="2", new="8") in comparison.mismatches


def test_one_run_a_side_names_what_like_runs_differ_by() -> None:
    told = list(stored_limits(within_runs((60, 60))))
    assert len(told) == 1
    assert "of 28 pairs of like runs" in told[0]
    assert why_no_verdict(MADE["incomparable"]) == why_no_verdict(MADE["pass"]) == ""
    assert make_run(1) != make_run(2)


def test_the_first_three_gates_are_told_and_the_others_counted() -> None:
    fifth = Gate(hop="kafka", statistic="mean", margin=0.05)
    told = answer(compare(*sides(1.3), (*FOUR_GATES[:3], fifth)).comparison)
    assert told[3] == "1 more: see the table."


def test_a_gate_without_a_bound_is_said_to_have_too_few_runs() -> None:
    comparison = MADE["inconclusive"].comparison
    gate = msgspec.structs.replace(comparison.gates[0], change=change(1.05))
    told = next(iter(limits(msgspec.structs.replace(comparison, gates=(gate,)))))
    assert told == "end_to_end.p50 has no bound from so few runs."
