"""An A/B session from run to run, with runs that are made up."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench.ab import (
    AbOutcome,
    check_plan,
    compare,
    conduct,
    expected_run_ns,
    noise_of,
)
from latbench.ab_result import (
    AbPlan,
    AbResult,
    AbRun,
    AbStatus,
    Phase,
    Side,
    Variant,
    order_of_pairs,
)
from latbench.clock import NS_PER_S
from latbench.comparison import Allowed, Comparison, Verdict
from latbench.config import RunConfig
from latbench.errors import LatbenchError, UsageError
from latbench.findings import Code
from latbench.result import Finding, RunResult
from latbench.signals import Interrupted
from tests.ab import make_plan, make_session, noisy_result, write_run
from tests.results import make_environment

LOST = Finding(code=Code.TICKS_LOST, values={"lost": 3, "sent": 1000})

Script = Callable[[int, Variant], dict[str, Any]]
"""Number of a run and what it is of, to how it differs from A's."""


class Rig:
    """Makes runs, and notes what a session asks for and tells."""

    def __init__(self, script: Script | None = None, *, spread: float = 0.02) -> None:
        self.script: Script = script or (lambda number, variant: {})
        self.chooser = np.random.default_rng(1)
        self.spread = spread
        self.variants: list[Variant] = []
        self.paths: list[Path] = []
        self.begun: list[tuple[Phase, int, Side]] = []
        self.ended: list[AbRun] = []
        self.looks: list[tuple[Verdict, int]] = []

    def make(self, variant: Variant, path: Path) -> None:
        self.variants.append(variant)
        self.paths.append(path)
        changes = self.script(len(self.variants), variant)
        write_run(path, noisy_result(self.chooser, **{"spread": self.spread} | changes))

    def begin(self, phase: Phase, pair: int, side: Side) -> None:
        self.begun.append((phase, pair, side))

    def end(self, run: AbRun) -> None:
        self.ended.append(run)

    def look(self, comparison: Comparison, pairs: int) -> None:
        self.looks.append((comparison.verdict, pairs))

    def conduct(self, directory: Path, plan: AbPlan | None = None, **options: Any) -> AbOutcome:
        directory.mkdir(exist_ok=True)
        return conduct(plan or make_plan(), directory, self, self.make, **options)


def slower(times: float) -> Script:
    """B takes so many times as long."""
    return lambda number, variant: {"times": times if is_b(variant) else 1.0}


def is_b(variant: Variant) -> bool:
    return variant == make_plan().b


def at(
    number: int, action: Callable[[], dict[str, Any]], otherwise: Script | None = None
) -> Script:
    """Something else happens in one run."""

    def script(count: int, variant: Variant) -> dict[str, Any]:
        if count == number:
            return action()
        return otherwise(count, variant) if otherwise else {}

    return script


def raise_(error: Exception) -> Callable[[], dict[str, Any]]:
    def action() -> dict[str, Any]:
        raise error

    return action


def compared(outcome: AbOutcome) -> Comparison:
    assert outcome.result.comparison is not None
    return outcome.result.comparison


# --- the order


@given(st.integers(0, 2**63 - 1))
def test_in_each_block_of_two_pairs_each_side_is_first_once(seed: int) -> None:
    order = list(itertools.islice(order_of_pairs(seed), 40))
    for first, second in zip(order[::2], order[1::2], strict=True):
        assert set(first) == {Side.A, Side.B}
        assert second == first[::-1]


def test_the_order_depends_on_the_seed_alone() -> None:
    orders = {seed: list(itertools.islice(order_of_pairs(seed), 40)) for seed in range(20)}
    for seed, order in orders.items():
        assert list(itertools.islice(order_of_pairs(seed), 40)) == order
    assert len({tuple(order) for order in orders.values()}) == 20
    firsts = [order[0][0] for order in orders.values()]
    assert 4 <= firsts.count(Side.A) <= 16


@pytest.mark.parametrize("calibrate", [False, True])
def test_neither_side_is_first_more_often_in_the_pairs_that_count(
    calibrate: bool, tmp_path: Path
) -> None:
    for seed in range(6):
        rig = Rig()
        rig.conduct(tmp_path, make_plan(seed=seed, calibrate=calibrate))
        for phase in Phase:
            sides = [side for each, _, side in rig.begun if each is phase]
            blocks = [sides[at_ : at_ + 4] for at_ in range(0, len(sides), 4)]
            assert all(block == block[::-1] for block in blocks if len(block) == 4)


# --- the course


def test_a_first_look_that_decides_is_the_last(tmp_path: Path) -> None:
    rig = Rig()
    outcome = rig.conduct(tmp_path / "runs")
    result = outcome.result
    assert (result.status, outcome.signal, outcome.hint) == (AbStatus.COMPLETE, 0, "")
    assert compared(outcome).verdict is Verdict.PASS
    assert (compared(outcome).base_runs, compared(outcome).new_runs) == (10, 10)
    assert rig.looks == [(Verdict.PASS, 10)]
    assert [run.number for run in result.runs] == list(range(1, 23))
    assert tuple(rig.ended) == result.runs
    assert [(run.phase, run.pair, run.side) for run in result.runs] == rig.begun
    by_phase = [phase for phase, *_ in rig.begun]
    assert by_phase == [Phase.DISCARDED] * 2 + [Phase.MEASURED] * 20
    pairs = [pair for phase, pair, _ in rig.begun if phase is Phase.MEASURED]
    assert pairs == [pair for pair in range(1, 11) for _ in range(2)]
    assert rig.variants == [
        make_plan().a if side is Side.A else make_plan().b for *_, side in rig.begun
    ]
    assert result.elapsed_ns > 0
    assert all(run.histograms["end_to_end"] for run in result.runs)


def test_the_first_pair_has_no_say(tmp_path: Path) -> None:
    script = lambda number, variant: {"times": 50.0 if number < 3 else 1.0}  # noqa: E731
    outcome = Rig(script).conduct(tmp_path)
    assert compared(outcome).verdict is Verdict.PASS
    lost = lambda number, variant: {"findings": (LOST,) if number < 3 else ()}  # noqa: E731
    assert compared(Rig(lost).conduct(tmp_path)).verdict is Verdict.PASS


def test_a_slower_side_is_a_regression_and_the_options_are_told(tmp_path: Path) -> None:
    def script(number: int, variant: Variant) -> dict[str, Any]:
        if not is_b(variant):
            return {}
        config = msgspec.structs.replace(
            noisy_result(np.random.default_rng(1)).config, linger_ms=5.0
        )
        return {"by_us": {"kafka": 400.0}, "config": config}

    outcome = Rig(script).conduct(tmp_path)
    found = compared(outcome)
    assert found.verdict is Verdict.REGRESSION
    assert [(each.name, each.new) for each in found.differences] == [("linger", "5 ms")]
    assert {blame.hop for blame in found.blames} == {"kafka"}
    assert found.mismatches == ()
    assert len(found.changes) == 28


def test_what_the_first_look_does_not_decide_goes_on_to_the_most_pairs(tmp_path: Path) -> None:
    rig = Rig(slower(1.1), spread=0.08)
    outcome = rig.conduct(tmp_path, make_plan("p99=10%"))
    assert rig.looks == [(Verdict.INCONCLUSIVE, 10), (Verdict.INCONCLUSIVE, 20)]
    assert len(outcome.result.runs) == 42
    assert compared(outcome).base_runs == 20
    assert outcome.result.status is AbStatus.COMPLETE


def test_each_of_two_looks_has_half_of_the_errors(tmp_path: Path) -> None:
    one = Rig().conduct(tmp_path, make_plan("p50=5%", most_pairs=10))
    two = Rig().conduct(tmp_path, make_plan("p50=5%"))
    assert compared(one).gates[0].change.confidence == pytest.approx(0.95)
    assert compared(two).gates[0].change.confidence == pytest.approx(0.975)
    rig = Rig(slower(1.1), spread=0.2)
    rig.conduct(tmp_path, make_plan("p99=10%", most_pairs=10))
    assert rig.looks == [(Verdict.INCONCLUSIVE, 10)]


def test_a_run_that_can_not_be_believed_ends_it_at_once(tmp_path: Path) -> None:
    rig = Rig(at(5, lambda: {"findings": (LOST,)}))
    outcome = rig.conduct(tmp_path)
    assert len(outcome.result.runs) == 6  # its pair is made whole
    assert rig.looks == [(Verdict.INCOMPARABLE, 2)]
    found = compared(outcome)
    assert outcome.result.status is AbStatus.COMPLETE
    assert [unfit.run for unfit in found.unfit] == ["run 5"]
    assert found.unfit[0].side == rig.begun[4][2].upper()
    assert found.unfit[0].why.startswith("3 of 1,000 ticks")


def test_sides_that_are_unlike_end_it_at_once(tmp_path: Path) -> None:
    def script(number: int, variant: Variant) -> dict[str, Any]:
        return {"environment": make_environment(cpus=4 if is_b(variant) else 2)}

    rig = Rig(script)
    outcome = rig.conduct(tmp_path)
    assert rig.looks == [(Verdict.INCOMPARABLE, 1)]
    assert [each.name for each in compared(outcome).mismatches] == ["cpus"]
    assert len(outcome.result.runs) == 4


# --- calibration


def test_a_calibration_runs_a_alone_and_comes_before(tmp_path: Path) -> None:
    rig = Rig(spread=0.05)
    outcome = rig.conduct(tmp_path, make_plan(calibrate=True))
    phases = [phase for phase, *_ in rig.begun]
    assert phases[:22] == [Phase.DISCARDED] * 2 + [Phase.CALIBRATION] * 20
    assert set(phases[22:]) == {Phase.MEASURED}
    of_calibration = [
        variant
        for variant, phase in zip(rig.variants, phases, strict=True)
        if phase is Phase.CALIBRATION
    ]
    assert of_calibration == [make_plan().a] * 20
    sides = [side for phase, _, side in rig.begun if phase is Phase.CALIBRATION]
    assert sides.count(Side.A) == sides.count(Side.B) == 10
    noise = outcome.result.noise
    assert noise.keys() == {"end_to_end.p50", "end_to_end.p99"}
    assert all(0 < share < 0.3 for share in noise.values())
    assert noise == noise_of(outcome.result)


def test_what_a_differs_from_a_by_is_allowed_of_b(tmp_path: Path) -> None:
    plan = make_plan("p50=1%", calibrate=True, pairs=12, most_pairs=12)
    base = [msgspec.structs.replace(gate, floor_ns=0) for gate in plan.gates]
    plan = msgspec.structs.replace(plan, gates=tuple(base))
    outcome = Rig(spread=0.1).conduct(tmp_path, plan)
    (gate,) = compared(outcome).gates
    assert gate.allowed_by is Allowed.CALIBRATION
    assert gate.allowed == outcome.result.noise["end_to_end.p50"]


def test_a_calibration_without_a_percentile_says_nothing_of_it(tmp_path: Path) -> None:
    result = make_session(make_plan("p50=5%"))
    assert noise_of(result) == {}


def test_a_calibration_that_can_not_be_believed_ends_it_at_once(tmp_path: Path) -> None:
    rig = Rig(at(4, lambda: {"findings": (LOST,)}))
    outcome = rig.conduct(tmp_path, make_plan(calibrate=True))
    assert len(rig.begun) == 4
    found = compared(outcome)
    assert found.verdict is Verdict.INCOMPARABLE
    assert (found.base_runs, found.new_runs) == (0, 0)
    assert [(unfit.run, unfit.side) for unfit in found.unfit] == [("run 4", "A")]
    assert rig.looks == [(Verdict.INCOMPARABLE, 0)]


def test_a_machine_that_changes_in_the_calibration_ends_it_at_once(tmp_path: Path) -> None:
    rig = Rig(at(6, lambda: {"environment": make_environment(governor="powersave")}))
    outcome = rig.conduct(tmp_path, make_plan(calibrate=True))
    assert rig.looks == [(Verdict.INCOMPARABLE, 0)]
    (found,) = compared(outcome).mismatches
    assert "powersave" in found.base + found.new


# --- endings


@pytest.mark.parametrize("number", [6, 7])
def test_an_interruption_leaves_the_whole_pairs(number: int, tmp_path: Path) -> None:
    rig = Rig(at(number, raise_(Interrupted(signal.SIGTERM))))
    outcome = rig.conduct(tmp_path)
    assert outcome.signal == signal.SIGTERM
    assert outcome.result.status is AbStatus.INTERRUPTED
    assert len(outcome.result.runs) == number - 1
    found = compared(outcome)
    assert (found.base_runs, found.new_runs) == ((1, 1) if number == 6 else (2, 2))
    assert found.verdict is Verdict.INCONCLUSIVE


def test_an_interruption_before_a_pair_was_measured_compares_nothing(tmp_path: Path) -> None:
    outcome = Rig(at(4, raise_(Interrupted(signal.SIGINT)))).conduct(tmp_path)
    assert outcome.result.comparison is None
    assert len(outcome.result.runs) == 3


def test_an_interruption_before_the_first_run_has_ended_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        Rig(at(1, raise_(Interrupted(signal.SIGINT)))).conduct(tmp_path)


def test_a_failure_keeps_what_was_measured(tmp_path: Path) -> None:
    rig = Rig(at(8, raise_(LatbenchError("the relay died", "see its log"))))
    outcome = rig.conduct(tmp_path)
    result = outcome.result
    assert (result.status, result.failure) == (AbStatus.FAILED, "the relay died")
    assert (outcome.hint, outcome.signal) == ("see its log", 0)
    assert compared(outcome).base_runs == 2


def test_a_failure_of_the_first_run_is_that_of_the_session(tmp_path: Path) -> None:
    with pytest.raises(LatbenchError, match="the relay died"):
        Rig(at(1, raise_(LatbenchError("the relay died")))).conduct(tmp_path)


def test_a_result_file_that_can_not_be_read_is_a_failure(tmp_path: Path) -> None:
    rig = Rig()

    def make(variant: Variant, path: Path) -> None:
        rig.make(variant, path)
        if len(rig.paths) == 5:
            path.write_text("no Parquet")

    outcome = conduct(make_plan(), tmp_path, rig, make)
    assert outcome.result.status is AbStatus.FAILED
    assert "is not a Parquet file" in outcome.result.failure


# --- files


def test_no_run_is_kept_unless_that_was_asked_for(tmp_path: Path) -> None:
    outcome = Rig().conduct(tmp_path / "runs")
    assert list((tmp_path / "runs").iterdir()) == []
    assert {run.file for run in outcome.result.runs} == {""}


def test_runs_are_kept_under_names_that_sort_in_their_order(tmp_path: Path) -> None:
    rig = Rig()
    outcome = rig.conduct(tmp_path / "runs", keep=True)
    kept = sorted((tmp_path / "runs").iterdir())
    assert [str(path) for path in kept] == [run.file for run in outcome.result.runs]
    assert kept == rig.paths
    first, third = outcome.result.runs[0], outcome.result.runs[2]
    assert kept[0].name == f"001-discarded-1-{first.side}.parquet"
    assert kept[2].name == f"003-measured-1-{third.side}.parquet"


def test_a_file_of_that_name_from_before_is_replaced(tmp_path: Path) -> None:
    for side in Side:
        (tmp_path / f"001-discarded-1-{side}.parquet").write_text("old")
    assert Rig().conduct(tmp_path, keep=True).result.status is AbStatus.COMPLETE


def test_no_secret_gets_into_a_result(tmp_path: Path) -> None:
    word = ("--producer", "sasl.password=hunter2")
    plan = make_plan(
        a=Variant(command=("env", "KAFKA_PASSWORD=hunter2", "latbench"), options=word),
        b=Variant(command=(), options=("--producer=sasl.password=hunter2",)),
        common=("--tick-rate", "5000", *word),
    )
    rig = Rig()
    outcome = rig.conduct(tmp_path, plan)
    assert set(rig.variants) == {plan.a, plan.b}  # runs are made with them
    assert "hunter2" not in msgspec.json.encode(outcome.result).decode()
    shown = outcome.result.plan
    assert shown.common == ("--tick-rate", "5000", "--producer", "sasl.password=[secret]")
    assert shown.b.options == ("--producer=sasl.password=[secret]",)


# --- plans


@pytest.mark.parametrize(
    ("gates", "pairs", "most_pairs", "least"),
    [
        (("p50=5%",), 6, 6, 6),
        (("p50=5%",), 7, 14, 7),
        (("p50=5%", "p99=5%"), 8, 16, 8),
        (("p50=5%", "p99=5%", "kafka.p50=5%", "kafka.p99=5%"), 9, 18, 9),
    ],
)
def test_a_plan_whose_first_look_could_decide_nothing_is_refused(
    gates: tuple[str, ...], pairs: int, most_pairs: int, least: int
) -> None:
    check_plan(make_plan(*gates, pairs=pairs, most_pairs=most_pairs))
    few = make_plan(*gates, pairs=pairs - 1, most_pairs=most_pairs - (pairs == most_pairs))
    with pytest.raises(UsageError) as told:
        check_plan(few)
    count = "1 gate" if len(gates) == 1 else f"{len(gates)} gates"
    assert told.value.message == (
        f"--pairs {pairs - 1} can't decide {count}: it takes {least} pairs until an interval has "
        "two ends"
    )
    assert told.value.hint == f"write --pairs {least}"


def test_the_default_plan_can_decide() -> None:
    check_plan(make_plan())
    assert make_plan().looks == (10, 20)
    assert make_plan(pairs=6, most_pairs=6).looks == (6,)


def test_a_run_takes_its_warm_up_its_duration_and_its_start() -> None:
    config = RunConfig(warmup_ns=NS_PER_S, duration_ns=3 * NS_PER_S)
    assert 5 * NS_PER_S <= expected_run_ns(config) <= 6 * NS_PER_S
    assert expected_run_ns(RunConfig(source="feed.ws")) == 0
    assert expected_run_ns(None) == 0


# --- results


def whole(result: AbResult, *keep: int) -> AbResult:
    """With the runs of these numbers alone."""
    runs = tuple(run for run in result.runs if run.number in keep)
    return msgspec.structs.replace(result, runs=runs)


def test_results_are_those_of_whole_pairs_in_their_order() -> None:
    result = make_session(make_plan("p50=5%"))
    assert len(result.results(Side.A)) == len(result.results(Side.B)) == 10
    part = whole(result, 1, 2, 6, 5, 4, 3, 7)
    of: dict[tuple[Side, int], RunResult] = {
        (run.side, run.pair): run.result for run in result.runs if run.phase is Phase.MEASURED
    }
    for side in Side:
        assert part.results(side) == (of[side, 1], of[side, 2])
    assert len(part.results(Side.A, Phase.DISCARDED)) == 1
    assert part.results(Side.A, Phase.CALIBRATION) == ()
    assert compare(whole(result, 1, 2, 3)) is None


def test_a_session_that_is_made_up_is_like_a_real_one(tmp_path: Path) -> None:
    made = make_session()
    assert made.comparison is not None
    assert made.comparison.verdict is Verdict.PASS
    real = Rig().conduct(tmp_path).result
    assert [(r.number, r.pair, r.side, r.phase) for r in made.runs] == [
        (r.number, r.pair, r.side, r.phase) for r in real.runs
    ]
