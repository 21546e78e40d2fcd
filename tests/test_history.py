"""Trends, change points and what they are called, for made-up weeks of runs."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latbench.errors import UsageError
from latbench.history import build_history
from latbench.history_result import Change, History, Latest, Scenario
from latbench.result import RunResult
from latbench.trend_key import Unused
from tests.histories import BAD, as_stored, make_history, revision
from tests.results import make_config, make_environment, make_hiccups, make_hops, make_result


def only(results: list[RunResult], **options: Any) -> Scenario:
    (scenario,) = build_history(as_stored(results), **options).scenarios
    return scenario


def changes_of(scenario: Scenario, subject: str = "end_to_end.p50") -> tuple[Change, ...]:
    trend = scenario.trend(*subject.split(".", 1))
    assert trend is not None
    return trend.changes


@pytest.fixture(scope="module")
def weeks() -> Scenario:
    return only(make_history())


def test_a_change_point_has_its_revision_and_its_magnitude(weeks: Scenario) -> None:
    faster, slower = changes_of(weeks)
    assert (faster.run, slower.run) == (30, 70)
    assert (faster.revision_before, faster.revision_after) == (revision(9), revision(10))
    assert faster.started_unix_ns == weeks.runs[30].started_unix_ns
    assert not faster.is_worse
    assert slower.is_worse
    assert slower.magnitude == pytest.approx(0.15, abs=0.02)
    assert slower.magnitude == slower.to_ns / slower.from_ns - 1
    assert slower.p_value < 1e-6
    assert (faster.runs_before, faster.runs_after) == (29, 38)
    assert (slower.runs_before, slower.runs_after) == (38, 49)


def test_the_hop_that_moved_is_named(weeks: Scenario) -> None:
    for percentile in ("p50", "p99"):
        faster, slower = changes_of(weeks, f"end_to_end.{percentile}")
        assert [move.hop for move in faster.moved if move.is_change_point] == ["schedule"]
        assert [move.hop for move in slower.moved if move.is_change_point] == ["kafka"]
        assert slower.moved[0].hop == "kafka"
        assert slower.moved[0].to_ns / slower.moved[0].from_ns == pytest.approx(1.18, abs=0.02)
        assert [move.hop for move in slower.moved][-1] == "hiccup"


def test_what_changed_besides_the_code_is_named(weeks: Scenario) -> None:
    first, second = weeks.events
    assert first.differing == ()
    assert [(each.name, each.before, each.after) for each in second.differing] == [
        ("librdkafka", "2.12.2", "2.13.0")
    ]
    assert (second.revision_before, second.revision_after) == (revision(23), revision(23))


def test_change_points_of_one_moment_are_one_event(weeks: Scenario) -> None:
    subjects = {change.subject for change in weeks.events[1].changes}
    assert {"end_to_end.p50", "kafka.p99", "ack.p90", "service.p50"} <= subjects
    assert not any(subject.startswith(("websocket", "schedule")) for subject in subjects)
    told = sum(len(event.changes) for event in weeks.events)
    assert told == sum(len(trend.changes) for trend in weeks.trends)


def test_the_newest_runs_are_held_against_those_before() -> None:
    def latest(*steps: tuple[int, str, float], count: int = 60) -> Latest:
        trend = only(make_history(count, steps=steps, bad={})).trend("end_to_end", "p50")
        assert trend is not None
        return trend.latest

    assert latest() is Latest.UNCHANGED
    assert latest((40, "kafka", 1.3)) is Latest.WORSE
    assert latest((20, "kafka", 1.3), (40, "kafka", 0.7)) is Latest.BETTER
    assert latest(count=11) is Latest.TOO_FEW_RUNS
    assert latest((6, "kafka", 2.0), count=12) is Latest.WORSE


def test_levels_lie_between_change_points(weeks: Scenario) -> None:
    trend = weeks.trend("end_to_end", "p50")
    assert trend is not None
    assert [(level.first_run, level.last_run) for level in trend.levels] == [
        (0, 29), (30, 69), (70, 119)
    ]  # fmt: skip
    assert sum(level.runs for level in trend.levels) == len(trend.runs) == weeks.used


@settings(max_examples=25)
@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_bad_runs_poison_nothing(seed: int, factor: float) -> None:
    rng = random.Random(seed)
    good = make_history(80, steps=((40, "kafka", 1.3),), bad={}, seed=seed)
    wrong = list(BAD.values())
    mixed = list(good)
    for number in range(8):
        at = rng.randrange(len(mixed))
        bad = msgspec.structs.replace(
            mixed[at], run_id=f"bad{number}", hops=make_hops(scale=factor), **wrong[number % 4]
        )
        mixed.insert(at, bad)
    clean, dirty = only(good), only(mixed)
    assert dirty.used == clean.used == 80
    assert len(dirty.runs) == 88
    for one, other in zip(clean.trends, dirty.trends, strict=True):
        assert one.values_ns == other.values_ns
        assert [_without_places(each) for each in one.changes] == [
            _without_places(each) for each in other.changes
        ]


def _without_places(change: Change) -> Change:
    return msgspec.structs.replace(change, run=0)


def test_bad_runs_are_shown(weeks: Scenario) -> None:
    unused = {place: run for place, run in enumerate(weeks.runs) if run.unused}
    assert {place: run.unused for place, run in unused.items()} == {
        12: Unused.FAILED, 44: Unused.INVALID, 45: Unused.INTERRUPTED, 93: Unused.DELAYS_INJECTED
    }  # fmt: skip
    assert unused[44].why == "ticks-lost"
    trend = weeks.trend("end_to_end", "p50")
    assert trend is not None
    assert trend.unused_runs == tuple(unused)
    assert not set(trend.unused_runs) & set(trend.runs)


@given(st.randoms())
@settings(max_examples=10)
def test_the_order_of_files_does_not_matter(rng: random.Random) -> None:
    results = make_history(40, steps=((20, "kafka", 1.4),))
    shuffled = list(results)
    rng.shuffle(shuffled)
    assert build_history(as_stored(shuffled)) == build_history(as_stored(results))


def test_a_percentile_that_some_runs_lack_is_told_from_the_others() -> None:
    results = make_history(60, steps=((30, "kafka", 1.3),), bad={})
    for place in range(0, 60, 3):
        hops = tuple(
            msgspec.structs.replace(hop, percentiles_ns={**hop.percentiles_ns, "p99.99": None})
            for hop in results[place].hops
        )
        results[place] = msgspec.structs.replace(results[place], hops=hops)
    scenario = only(results)
    (change,) = changes_of(scenario, "kafka.p99.99")
    assert abs(change.run - 30) <= 2
    assert change.runs_before + change.runs_after == 40
    assert len(scenario.events) == 1


def test_latencies_of_zero_and_hops_that_are_not_there_do_no_harm() -> None:
    results = make_history(20, bad={})
    hops = tuple(
        msgspec.structs.replace(hop, percentiles_ns={"p50": 0 if hop.hop == "relay" else None})
        for hop in results[0].hops
    )
    empty = [
        msgspec.structs.replace(result, hops=hops if number % 2 else hops[:1], hiccups=None)
        for number, result in enumerate(results)
    ]
    assert only(empty).trends == ()
    assert only(empty).events == ()


def test_a_change_of_the_machines_own_timers_is_told() -> None:
    results = [
        msgspec.structs.replace(
            result,
            hiccups=make_hiccups()
            if number < 30
            else msgspec.structs.replace(
                make_hiccups(), percentiles_ns={"p50": 122_400, "p99": 250_000}
            ),
        )
        for number, result in enumerate(make_history(60, steps=((30, "websocket", 2.5),), bad={}))
    ]
    (change,) = changes_of(only(results))
    assert [move.hop for move in change.moved if move.is_change_point] == ["websocket", "hiccup"]


# --- scenarios ------------------------------------------------------------------------------------


def three_scenarios() -> list[RunResult]:
    slow = make_result(config=make_config(tick_rate_hz=1000, name="nightly"))
    moved = make_result(environment=make_environment(hostname="bench-2"))
    return [
        *make_history(20, bad={}),
        *make_history(9, base=slow, seed=2),
        *make_history(5, base=moved, seed=3),
    ]


def test_the_scenario_with_most_used_runs_is_shown_and_all_are_listed() -> None:
    found = build_history(as_stored(three_scenarios()))
    assert [(each.runs, each.used) for each in found.listed] == [(20, 20), (9, 9), (5, 5)]
    assert [len(scenario.runs) for scenario in found.scenarios] == [20]
    everything = build_history(as_stored(three_scenarios()), everything=True)
    assert [each.scenario_id for each in everything.scenarios] == [
        each.scenario_id for each in found.listed
    ]
    assert found.hosts_alone == 1
    together = build_history(as_stored(three_scenarios()), any_host=True)
    assert [each.runs for each in together.listed] == [25, 9]
    assert together.hosts_alone == 0


def test_a_scenario_is_chosen_by_its_id_or_its_name() -> None:
    def chosen(wanted: str) -> History:
        return build_history(as_stored(three_scenarios()), wanted=wanted)

    listed = chosen("nightly").listed
    assert [len(each.runs) for each in chosen("nightly").scenarios] == [9]
    assert [len(each.runs) for each in chosen(listed[2].scenario_id[:4]).scenarios] == [5]
    with pytest.raises(UsageError, match="--scenario 'weekly' is not there") as told:
        chosen("weekly")
    assert all(each.scenario_id in told.value.hint for each in listed)
