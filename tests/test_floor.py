"""Which probe is the limit of which hop, and by how much a hop is above it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench.clock import NS_PER_S
from latbench.config import MAX_TOPIC_CHARS, RunConfig, parse_topic
from latbench.floor import (
    INTERVAL_NS,
    MIN_SAMPLES,
    PROBES,
    SAMPLES,
    WARM_SAMPLES,
    floor_ns_by_hop,
    hop_floor_ns,
    run_interval_ns,
    summarise_probe,
    times_floor,
)
from latbench.probing import TOPIC_SUFFIX, floor_topic
from latbench.tick import HOPS
from tests.results import make_floor, make_hop, make_hops

latencies = st.integers(1, 10**12)


@given(latencies, latencies, latencies, latencies)
def test_each_hop_has_the_floor_of_its_probes(timer: int, web: int, ack: int, out: int) -> None:
    floor = make_floor(timer=timer, websocket=web, ack=ack, consume=out)
    floors = floor_ns_by_hop(floor)
    assert floors["websocket"] == web / 2
    assert floors["kafka"] == out
    assert floors["ack"] == ack
    assert floors["end_to_end"] == pytest.approx(web / 2 + out, rel=1e-12)
    # the generator wakes early: no timer is the limit of what it does
    assert floors.keys() == {"websocket", "kafka", "ack", "end_to_end"}


@given(st.floats(0.001, 1000))
def test_a_hop_is_told_as_a_multiple_of_its_floor(scale: float) -> None:
    floor = make_floor()
    hops = make_hops(scale=scale)
    multiples = times_floor(floor, hops)
    assert multiples.keys() == floor_ns_by_hop(floor).keys()
    for hop in hops:
        if hop.hop in multiples:
            floor_ns = hop_floor_ns(floor, hop.hop)
            assert floor_ns is not None
            assert multiples[hop.hop] * floor_ns == pytest.approx(hop.percentiles_ns["p50"])


def test_without_answers_only_the_acknowledgement_has_no_floor() -> None:
    whole = make_floor()
    floor = msgspec.structs.replace(
        whole, probes=tuple(probe for probe in whole.probes if probe.hop != "ack")
    )
    assert floor_ns_by_hop(whole).keys() - floor_ns_by_hop(floor).keys() == {"ack"}


def test_a_probe_that_is_no_more_than_a_guess_is_no_floor() -> None:
    whole = make_floor()
    floor = msgspec.structs.replace(
        whole,
        probes=tuple(
            make_hop("hiccup", count=50) if probe.hop == "consume" else probe
            for probe in whole.probes
        ),
    )
    assert floor_ns_by_hop(floor).keys() == {"websocket", "ack"}


def test_hops_without_ticks_have_no_multiple() -> None:
    assert times_floor(make_floor(), make_hops(count=0)) == {}
    assert times_floor(make_floor(), ()) == {}


@given(st.lists(st.integers(0, 10**9), max_size=3000))
def test_the_first_samples_are_left_out_and_no_other(values: list[int]) -> None:
    figures = summarise_probe("timer", values, INTERVAL_NS)
    left_out = min(WARM_SAMPLES, len(values) // 6)
    kept = values[left_out:]
    assert figures.hop == "timer"
    assert figures.count == len(kept)
    assert figures.min_ns == min(kept, default=0)
    assert figures.max_ns == max(kept, default=0)
    assert figures.negative == figures.out_of_range == 0


@given(st.integers(1, 1_000_000))
def test_a_runs_floor_is_measured_at_the_runs_own_pace_within_bounds(rate_hz: int) -> None:
    interval_ns = run_interval_ns(RunConfig(tick_rate_hz=rate_hz))
    assert interval_ns == min(max(NS_PER_S // rate_hz, 500_000), 2_000_000)


def test_the_floor_alone_has_the_pace_of_a_run_that_is_told_nothing() -> None:
    assert run_interval_ns(RunConfig()) == INTERVAL_NS
    # a replay's pace is its file's: what the rate says is of no meaning
    assert run_interval_ns(RunConfig(source="day.parquet", tick_rate_hz=2000)) == INTERVAL_NS


@pytest.mark.parametrize(("samples", "known"), [(MIN_SAMPLES, "p90"), (SAMPLES, "p99")])
def test_there_are_as_many_samples_as_a_percentile_needs(samples: int, known: str) -> None:
    enough = summarise_probe("tcp", range(samples + WARM_SAMPLES), INTERVAL_NS)
    assert enough.count == samples
    assert enough.percentiles_ns[known] is not None
    fewer = summarise_probe("tcp", range(samples + WARM_SAMPLES - 2), INTERVAL_NS)
    assert fewer.percentiles_ns[known] is None


@given(st.text("abc.-_09", min_size=1, max_size=MAX_TOPIC_CHARS).filter(lambda t: t.strip(".")))
def test_the_floors_topic_is_another_one_and_a_topic(topic: str) -> None:
    other = floor_topic(topic)
    assert parse_topic(other) == other
    assert other.endswith(TOPIC_SUFFIX)
    assert other != topic or topic.endswith(TOPIC_SUFFIX)


def test_every_hop_that_is_not_all_the_pipelines_own_has_a_floor() -> None:
    without = {hop.name for hop in HOPS} - floor_ns_by_hop(make_floor()).keys()
    assert without == {"schedule", "relay", "service"}
    assert len({probe.name for probe in PROBES}) == len(PROBES)
