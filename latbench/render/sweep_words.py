"""What a sweep found, in sentences: the answer, what speaks against it, what the curve is worth."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import Final

from latbench.findings import Code, Severity, describe, severity
from latbench.knee import CONFIRMATIONS, Purpose
from latbench.queueing import Fit
from latbench.render.hops import MOCK, NOT_AVAILABLE
from latbench.sweep_points import describe_reason
from latbench.sweep_result import SweepPoint, SweepResult, SweepStatus, steady_values
from latbench.units import format_count, format_latency, format_rate

RELIABLE_ERROR: Final = 0.25
"""A curve whose predictions are off by more than this at the median is not to be relied on."""
PREDICTED_SHARES: Final = (0.25, 0.5, 0.75, 0.9, 1.1)
"""Of the answer: where latency is predicted, unless it was measured within 5 % of there."""
_NEAR: Final = 0.05
_WARNINGS_SHOWN: Final = 4


def answer(result: SweepResult) -> list[str]:
    """What was found, in sentences, the answer itself first."""
    slos = " and ".join(str(slo) for slo in result.plan.slos)
    knee = result.knee
    match result.status:
        case SweepStatus.FOUND:
            assert knee is not None
            assert knee.rate_hz is not None
            told = [f"{format_count(knee.rate_hz)} ticks/s hold {slos}."]
            if knee.fails_hz is None:
                told.append(
                    "That is --to, the highest rate that was allowed: the limit lies above."
                )
            else:
                told.append(f"{format_count(knee.fails_hz)} ticks/s do not.")
            told.append(
                f"The answer was measured again {_times(CONFIRMATIONS)}: {knee.held} of "
                f"{CONFIRMATIONS} held{_values_again(result)}."
            )
        case SweepStatus.NONE_HOLDS:
            rate = format_count(result.plan.from_hz)
            told = [f"Not even {rate} ticks/s, the lowest rate asked for, hold {slos}."]
            told += _reasons_at(result, result.plan.from_hz)
        case SweepStatus.INCONCLUSIVE:
            told = [
                f"No answer: each of {len(knee.rejected_hz) if knee else 0} rates held {slos} "
                "once, and failed when it was measured again.",
                "What is looked for is smaller than this machine's noise.",
            ]
        case _:
            told = [_unfinished(result)]
            if result.highest_held_hz is not None:
                told.append(
                    f"So far {format_count(result.highest_held_hz)} ticks/s held more often "
                    "than not; nothing is confirmed."
                )
    for recovered_hz in knee.recovered_hz if knee else ():
        told.append(
            f"{format_count(recovered_hz)} ticks/s failed at first and held when measured again "
            "later: the machine's failure, not the rate's."
        )
    for rejected_hz in knee.rejected_hz if knee else ():
        told.append(
            f"{format_count(rejected_hz)} ticks/s held at first and failed when measured again: "
            "not accepted."
        )
    return told


def predictions(result: SweepResult) -> list[tuple[int, float]]:
    """Latencies by rate around the answer where none was measured; none without a curve."""
    base_hz = result.highest_held_hz
    if result.fit is None or base_hz is None:
        return []
    measured = steady_values(result.points)
    found = []
    for share in PREDICTED_SHARES:
        rate_hz = int(float(f"{base_hz * share:.2g}"))  # one that is easy to type
        value_ns = result.fit.curve.latency_ns(rate_hz)
        is_near = any(abs(rate_hz / rate - 1) <= _NEAR for rate in measured)
        if value_ns is not None and not is_near and rate_hz > 0:
            found.append((rate_hz, value_ns))
    return found


def _unfinished(result: SweepResult) -> str:
    if result.status is SweepStatus.FAILED:
        return f"FAILED before an answer was found: {result.failure}."
    return "INTERRUPTED before an answer was found."


def _times(count: int) -> str:
    return {1: "once", 2: "twice", 3: "three times"}.get(count, f"{count} times")


def _values_again(result: SweepResult) -> str:
    """What the confirmations measured of the first SLO."""
    knee, slo = result.knee, result.plan.slos[0]
    values = [
        point.values_ns[0]
        for point in result.points
        if knee is not None and point.rate_hz == knee.rate_hz and point.purpose is Purpose.CONFIRM
    ]
    told = ", ".join(NOT_AVAILABLE if v is None else format_latency(v) for v in values)
    return f" ({slo.statistic} {told})" if told else ""


def _reasons_at(result: SweepResult, rate_hz: int) -> list[str]:
    """Why the last measurement of a rate failed."""
    point = next(
        (each for each in reversed(result.points) if each.rate_hz == rate_hz and each.reasons), None
    )
    if point is None:
        return []
    return [f"It fails by this: {'; '.join(map(describe_reason, point.reasons))}."]


def rounded(rate_hz: float) -> str:
    """A rate to three digits: what a model says of it is no more exact."""
    return format_rate(float(f"{rate_hz:.3g}"))


def describe_error(fitted: Fit) -> str:
    """How far a curve is off, and whether to rely on it."""
    if not fitted.left_out:
        return "How far it is off is not known: that takes five rates at which latency was steady."
    median, known = fitted.median_error, [e for e in fitted.errors if e is not None]
    beyond = len(fitted.errors) - len(known)
    told = []
    if median is not None:
        told.append(f"{median * 100:.0f} % off at the median")
    if known:
        told.append(f"{max(map(abs, known)) * 100:.0f} % at worst")
    if beyond:
        told.append(f"{beyond} of {len(fitted.errors)} beyond the capacity that the others give")
    text = f"Each rate left out of the fit and predicted from the others: {', '.join(told)}."
    if median is None or median > RELIABLE_ERROR:
        text += " Don't rely on it: measure the rate that you need."
    return text


def doubts(result: SweepResult) -> Iterator[str]:
    """What speaks for and against the answer."""
    at_answer = [
        point for point in result.points if point.rate_hz == result.highest_held_hz and point.hops
    ]
    if result.broker is not None and result.broker.kind == "embedded":
        yield f"The broker was {MOCK}: the answer is about the pipeline, not about a Kafka."
    if at_answer:
        yield from _margins(result, at_answer)
    if unsettled := sum(
        any(found.code == Code.WARMUP_UNSETTLED for found in point.findings)
        for point in result.points
    ):
        yield (
            f"{unsettled} of {len(result.points)} points had not settled after their warm-up, and "
            "were measured regardless: usual above the answer, a doubt below it."
        )
    told: dict[str, str] = {}
    for point in at_answer:
        for found in point.findings:
            if severity(found) is Severity.WARNING:
                told.setdefault(found.code, describe(found))
    for text in list(told.values())[:_WARNINGS_SHOWN]:
        yield f"{_place(result)}: {text}."


def _margins(result: SweepResult, at_answer: Sequence[SweepPoint]) -> Iterator[str]:
    """How far from its limit each statistic was, and how much it scattered."""
    for number, slo in enumerate(result.plan.slos):
        values = [v for point in at_answer if (v := point.values_ns[number]) is not None]
        if len(values) < 2:
            continue
        median_ns = statistics.median(values)
        margin = 1 - median_ns / slo.limit_ns
        text = (
            f"{_place(result)} {slo.subject} was {format_latency(min(values))} to "
            f"{format_latency(max(values))} in {len(values)} measurements, at the median "
            f"{_distance(margin)} its limit"
        )
        spread = max(values) / min(values)
        yield f"{text}: they scatter more than they should." if spread > 2 else f"{text}."


def _distance(margin: float) -> str:
    if margin > 0.9:
        return "far below"
    return f"{abs(margin) * 100:.0f} % {'below' if margin >= 0 else 'above'}"


def _place(result: SweepResult) -> str:
    if result.knee is not None or result.highest_held_hz is None:
        return "At the answer"
    return f"At {format_rate(result.highest_held_hz)}"
