"""What a comparison found, in sentences: the answer, what is to be noted, what it can't tell."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from latbench.block_bootstrap import MIN_INTERVALS
from latbench.comparing import MIN_RUNS, Dominance, StoredComparison
from latbench.comparison import Allowed, Blame, Change, Comparison, Difference, GateResult, Verdict
from latbench.deciding import ALPHA
from latbench.units import format_count, format_latency

MAX_TOLD: Final = 3
"""Gates that get a sentence; all are in the table."""
_MAX_RUNS: Final = 1_000
"""Beyond so many runs nobody is told how many it would take."""


class Labels(NamedTuple):
    """How the two sides are called."""

    base: str
    new: str


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """A comparison with all words that its reports share."""

    comparison: Comparison
    heading: tuple[str, ...]
    """The first line is the title."""
    labels: Labels
    reason: str = ""
    """Why there can be no verdict, in words."""
    notes: tuple[str, ...] = ()
    """What stands below the gates."""
    open_ends: tuple[str, ...] = ()
    """What stands below what the comparison can't tell."""

    @property
    def answer(self) -> list[str]:
        """The verdict in sentences."""
        return answer(self.comparison, self.reason)

    @property
    def limits(self) -> list[str]:
        """What it can't tell, in sentences."""
        return [*limits(self.comparison), *self.open_ends]

    @property
    def all_notes(self) -> list[str]:
        """What stands below the gates, where there are some."""
        bounded = [each for each in self.comparison.gates if each.change.ratio_low is not None]
        together = [TOGETHER] if len(bounded) > 1 else []
        return [*together, *self.notes] if self.comparison.gates else []


SURE: Final = "*"
SURE_LEGEND: Final = (
    f"{SURE} its {1 - ALPHA:.0%} interval lies to one side of no change; by chance 1 of 20 does."
).replace("%", " %")
TOGETHER: Final = "Intervals of all gates hold together with 95 %, so each is wider than below."


# --- figures ------------------------------------------------------------------------------------


def signed_percent(ratio: float) -> str:
    """A ratio as a change: `+12.3 %`, `−0.4 %`, `+543 %`."""
    return f"{_signed((ratio - 1) * 100)} %"


def _signed(percent: float) -> str:
    text = _plain(abs(percent))
    if not text.strip("0."):
        return text
    return f"{'+' if percent > 0 else '−'}{text}"


def _plain(percent: float) -> str:
    return f"{percent:.1f}" if percent < 99.95 else f"{percent:,.0f}"


def signed_interval(change: Change) -> str:
    """`−0.5 to +2.9 %`; "no bound" where there are too few runs."""
    low, high = change.ratio_low, change.ratio_high
    if low is None or high is None:
        return "no bound"
    return f"{_signed((low - 1) * 100)} to {_signed((high - 1) * 100)} %"


def signed_latency(value_ns: float) -> str:
    """`+5.02 ms`."""
    return f"{'−' if value_ns < 0 else '+'}{format_latency(abs(value_ns))}"


def allowed_percent(result: GateResult) -> str:
    """What a gate allows: `+10 %`, `+8.6 %`; rounded down, as a limit is."""
    percent = math.floor(round(result.allowed * 1000, 6)) / 10
    return f"+{percent:g} %" if percent < 1000 else f"+{percent:,.0f} %"


# --- the answer ---------------------------------------------------------------------------------


def answer(comparison: Comparison, reason: str = "") -> list[str]:
    """The verdict in sentences, the first with the verdict's name.

    `reason`: why there can be none, where that is so.
    """
    match comparison.verdict:
        case Verdict.INCOMPARABLE:
            return [_incomparable(comparison)]
        case Verdict.REGRESSION:
            chosen = [each for each in comparison.gates if each.verdict is Verdict.REGRESSION]
            first, *told = _told(chosen, _against_allowed)
            told = [f"Regression: {first}", *told]
        case Verdict.PASS:
            first, *told = _told(comparison.gates, _against_allowed)
            told = [f"Pass: {first}", *told]
        case _ if reason:
            told = [f"Inconclusive: {reason}.", *_told(comparison.gates, _changed)]
        case _:
            chosen = [each for each in comparison.gates if each.verdict is Verdict.INCONCLUSIVE]
            first, *told = _told(chosen, _doubt)
            told = [f"Inconclusive: {first}", *told]
    told += blamed(comparison.blames)
    if comparison.mismatches:
        told.append("The sides did not measure the same thing, and were compared all the same.")
    return told


def _incomparable(comparison: Comparison) -> str:
    for side, runs in (("A", comparison.base_runs), ("B", comparison.new_runs)):
        if not runs:
            return f"Incomparable: no run of {side} counts; see what is left out."
    if not comparison.mismatches:
        bad = comparison.unfit[0]
        return f"Incomparable: {bad.run} ({bad.side}) does not count: {bad.why}."
    first, *more = comparison.mismatches
    rest = f", and {len(more)} more" if more else ""
    return (
        f"Incomparable: the sides did not measure the same thing: {first.name} is {first.base} in "
        f"A and {first.new} in B{rest}."
    )


def _told(results: Sequence[GateResult], describe: Callable[[GateResult], str]) -> list[str]:
    """A sentence for each of the first few gates."""
    told = [f"{describe(result)}." for result in results[:MAX_TOLD]]
    if len(results) > MAX_TOLD:
        told.append(f"{len(results) - MAX_TOLD} more: see the table.")
    return told


def sentence(result: GateResult) -> str:
    """One gate's, without its verdict and without a full stop."""
    return (_doubt if result.verdict is Verdict.INCONCLUSIVE else _against_allowed)(result)


def _changed(result: GateResult) -> str:
    return f"{result.gate.subject} {describe_change(result.change)}"


def _against_allowed(result: GateResult) -> str:
    return f"{_changed(result)}; {_allowed(result)}"


def describe_change(change: Change) -> str:
    """`is slower by 12.3 % (9.1 % to 14.0 %)`, `is faster by …`, `changed by …`."""
    ratio, low, high = change.ratio, change.ratio_low, change.ratio_high
    if ratio is None:
        return "is not known"
    if low is None or high is None:
        return f"changed by {signed_percent(ratio)}, without a bound from so few"
    if low > 1:
        told = [_plain((each - 1) * 100) for each in (ratio, low, high)]
        return f"is slower by {told[0]} % ({told[1]} % to {told[2]} %)"
    if high < 1:
        told = [_plain((1 - each) * 100) for each in (ratio, high, low)]
        return f"is faster by {told[0]} % ({told[1]} % to {told[2]} %)"
    return f"changed by {signed_percent(ratio)} ({signed_percent(low)} to {signed_percent(high)})"


def _allowed(result: GateResult) -> str:
    allowed = allowed_percent(result).removeprefix("+")
    match result.allowed_by:
        case Allowed.FLOOR:
            floor = format_latency(result.gate.floor_ns)
            return f"{allowed} is allowed ({floor}, the least that counts)"
        case Allowed.CALIBRATION:
            return f"{allowed} is allowed (what this machine's own noise came to)"
        case _:
            return f"{allowed} is allowed"


def _doubt(result: GateResult) -> str:
    change = result.change
    if change.ratio is None or change.ratio_low is None:
        return _changed(result)
    whether = "whether by" if change.is_sure and change.ratio > 1 else "whether it got worse by"
    allowed = allowed_percent(result).removeprefix("+")
    return f"{_changed(result)}; {whether} more than the {allowed} allowed can't be told"


def blamed(blames: Sequence[Blame]) -> list[str]:
    """`kafka explains it: +5.02 ms of +5.10 ms at p50`, a sentence a hop."""
    told = []
    for hop in dict.fromkeys(each.hop for each in blames):
        moved = [
            f"{signed_latency(each.shift_ns)} of {signed_latency(each.total_shift_ns)} at "
            f"{each.subject.partition('.')[2]}"
            for each in blames
            if each.hop == hop
        ]
        is_sure = any(each.is_sure for each in blames if each.hop == hop)
        explains = "explains it" if is_sure else "explains it most likely"
        told.append(f"{hop} {explains}: {', '.join(moved)}.")
    return told


# --- what it can't tell -------------------------------------------------------------------------


def limits(comparison: Comparison) -> Iterator[str]:
    """What stays open, and what it would take to tell."""
    for result in comparison.gates:
        if result.change.ratio is None:
            yield (
                f"{result.gate.subject} is not known: it takes "
                f"{format_count(result.gate.ticks_needed)} measured ticks in each run."
            )
    if any(change.ratio is None for change in comparison.changes):
        yield "n/a: in a run fewer than 100 ticks lie above that percentile, or the hop has none."
    if min(comparison.base_runs, comparison.new_runs) >= MIN_RUNS:
        for result in comparison.gates:
            if result.verdict is Verdict.INCONCLUSIVE and result.change.ratio is not None:
                yield _runs_needed(result, min(comparison.base_runs, comparison.new_runs))


def _runs_needed(result: GateResult, runs: int) -> str:
    """How many runs a side would decide: an interval narrows with the root of their number."""
    change, subject = result.change, result.gate.subject
    assert change.ratio is not None
    if change.ratio_low is None or change.ratio_high is None:
        return f"{subject} has no bound from so few runs."
    bound, centre = math.log1p(result.allowed), math.log(change.ratio)
    is_above = centre > bound
    reach = (
        centre - math.log(change.ratio_low) if is_above else math.log(change.ratio_high) - centre
    )
    distance = abs(centre - bound)
    needed = math.ceil(runs * (reach / distance) ** 2) if distance else math.inf
    if needed > _MAX_RUNS:
        return f"{subject} lies so near what is allowed that no number of runs decides it."
    verdict = "a regression" if is_above else "a pass"
    return (
        f"{subject}: about {format_count(max(int(needed), runs + 1))} runs a side would make it "
        f"{verdict}, if it stays where it is."
    )


# --- of stored results --------------------------------------------------------------------------


def why_no_verdict(stored: StoredComparison) -> str:
    """Why stored results can have no verdict, without a full stop; "": they can have one."""
    comparison = stored.comparison
    base, new = comparison.base_runs, comparison.new_runs
    if comparison.verdict is Verdict.INCOMPARABLE:
        return ""
    if stored.within_runs:
        return "one run a side says nothing of how much two runs of the same thing differ"
    if not stored.enough_runs:
        missing = [
            f"{MIN_RUNS - runs} more of {side}"
            for side, runs in (("A", base), ("B", new))
            if runs < MIN_RUNS
        ]
        return f"a verdict takes {MIN_RUNS} runs on each side: {' and '.join(missing)}"
    needed = math.ceil(round(2 * len(comparison.gates) / ALPHA, 6)) - 1
    if new == 1 and base < needed:
        gates = "1 gate" if len(comparison.gates) == 1 else f"{len(comparison.gates)} gates"
        return (
            f"one new run has a verdict against {needed} base runs ({gates}), or {MIN_RUNS} new "
            f"runs against {MIN_RUNS}; the base has {base}"
        )
    return ""


def stored_notes(stored: StoredComparison) -> Iterator[str]:
    """What holds where the sides scatter differently, and where they do."""
    if stored.dominances:
        told = [_dominance(each) for each in stored.dominances]
        is_tested = any(each.p_value is not None for each in stored.dominances)
        source = "However the sides scatter (Brunner–Munzel): a" if is_tested else "A"
        yield f"{source} run of B is above one of A in {', '.join(told)}."
    if gross := [spread for each in stored.dominances if (spread := _gross_spread(each))]:
        yield (
            f"{', '.join(gross)}: the interval takes both to scatter alike, so rely on what is "
            "said above."
        )


def _gross_spread(each: Dominance) -> str:
    """`p50 scatters 7.5 times as widely in A as in B`; "" where the sides scatter alike."""
    ratio = each.spread_ratio
    if not each.is_gross or ratio is None:
        return ""
    wide, other = ("B", "A") if ratio > 1 else ("A", "B")
    subject = each.subject.removeprefix("end_to_end.")
    return f"{subject} scatters {max(ratio, 1 / ratio):.1f} times as widely in {wide} as in {other}"


def _dominance(each: Dominance) -> str:
    """`63 % of all pairs at p50, p 0.34`."""
    where = f"{each.superiority * 100:.0f} % of pairs at {each.subject.removeprefix('end_to_end.')}"
    if each.p_value is None:
        return where
    return f"{where} (p {each.p_value:.2g})" if each.p_value >= 0.001 else f"{where} (p < 0.001)"


def stored_limits(stored: StoredComparison) -> Iterator[str]:
    """What stored results in particular can't tell."""
    if stored.least_ticks and any(each.ratio is None for each in stored.comparison.changes):
        yield f"The run with the fewest ticks measured {format_count(stored.least_ticks)}."
    if stored.interval_counts is not None:
        yield (
            "The intervals are from each run's own seconds (block bootstrap). Two runs of the same "
            "thing differ by more: of 28 pairs of like runs of 10 s, all on one machine, 6 had an "
            "interval of end_to_end.p99 that leaves no change out, and 20 one of schedule.p50, "
            "where 1 or 2 should. Make 10 runs of each side."
        )
        for side, count in zip(("A", "B"), stored.interval_counts, strict=True):
            if count < MIN_INTERVALS:
                seconds = "1 whole second" if count == 1 else f"{count} whole seconds"
                yield f"{side} has {seconds}: an interval takes {MIN_INTERVALS}."


def rare_statistic(changes: Sequence[Change]) -> str:
    """What stands beside the p50 in a table of hops: the p99, unless no hop's is known."""
    has_p99 = any(each.ratio is not None for each in changes if each.statistic == "p99")
    return "p99" if has_p99 else "p90"


def listed(differences: Sequence[Difference]) -> Iterator[tuple[str, str]]:
    """What is not the same: its name, and both values."""
    for each in differences:
        yield each.name, f"{each.base} → {each.new}"
