"""Gates as people write them, and what they allow."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench.arrivals import Arrivals
from latbench.clock import NS_PER_S
from latbench.config import RunConfig
from latbench.errors import UsageError
from latbench.gates import DEFAULT_GATES, Gate, check_ticks, parse_gate, parse_gates
from latbench.thresholds import STATISTICS
from latbench.tick import HOPS, Hop


def gate(hop: str = "end_to_end", statistic: str = "p99", margin: float = 0.1) -> Gate:
    return Gate(hop=hop, statistic=statistic, margin=margin)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("end_to_end.p99=10%", gate()),
        ("p99=10%", gate()),
        ("  p99 = 10 % ", gate()),
        ("p99.9=10%", gate(statistic="p99.9")),
        ("end_to_end.p99.99=10%", gate(statistic="p99.99")),
        ("kafka.p50=2.5%", gate("kafka", "p50", 0.025)),
        ("relay.mean=7%", gate("relay", "mean", 0.07)),
        ("mean=1e1%", gate(statistic="mean")),
        ("p50=1000%", gate(statistic="p50", margin=10.0)),
    ],
)
def test_a_gate_is_read(text: str, expected: Gate) -> None:
    assert parse_gate(text) == expected


@given(
    st.sampled_from(HOPS),
    st.sampled_from([each for each in STATISTICS if each != "max"]),
    st.integers(1, 100_000),
    st.sampled_from(["", " ", "  "]),
)
def test_any_gate_is_read_as_it_was_written(
    hop: Hop, statistic: str, hundredths: int, blank: str
) -> None:
    text = f"{hop.name}.{statistic}{blank}={blank}{hundredths / 100}{blank}%"
    read = parse_gate(text)
    assert read.subject == f"{hop.name}.{statistic}"
    assert read.margin == pytest.approx(hundredths / 10_000)


@given(st.text(max_size=30) | st.from_regex(r"\w{1,9}(\.\w{1,5})?=\S{0,5}%?", fullmatch=True))
def test_any_other_text_is_told_in_one_line_and_a_hint(text: str) -> None:
    try:
        read = parse_gate(text)
    except UsageError as error:
        told = (error.message, error.hint)
        assert all(told)
        assert not any("\n" in each for each in told)
    else:
        assert 0 < read.margin <= 10


EXAMPLE = "write --gate end_to_end.p99=10%"


@pytest.mark.parametrize(
    ("text", "complaint", "hint"),
    [
        ("", "--gate '' is not HOP.STATISTIC=PERCENT", EXAMPLE),
        ("p99", "--gate 'p99' is not HOP.STATISTIC=PERCENT", EXAMPLE),
        ("p99<5ms", "--gate 'p99<5ms' is not HOP.STATISTIC=PERCENT", EXAMPLE),
        ("P99=10%", "--gate 'P99=10%' is not HOP.STATISTIC=PERCENT", EXAMPLE),
        ("p99=10", "--gate 'p99=10' ends in no share: '10'", EXAMPLE),
        ("p99=5ms", "--gate 'p99=5ms' ends in no share: '5ms'", EXAMPLE),
        ("p99=", "--gate 'p99=' ends in no share: ''", EXAMPLE),
        ("p99=0%", "--gate 'p99=0%' is not between 0% and 1000%", EXAMPLE),
        ("p99=-5%", "--gate 'p99=-5%' is not between 0% and 1000%", EXAMPLE),
        ("p99=1001%", "--gate 'p99=1001%' is not between 0% and 1000%", EXAMPLE),
        ("p99=nan%", "--gate 'p99=nan%' is not between 0% and 1000%", EXAMPLE),
        ("p99=x%", "--gate 'p99=x%' is not between 0% and 1000%", EXAMPLE),
        ("p98=5%", "--gate names the statistic 'p98', which is not there", "did you mean p99?"),
        ("kafak.p99=5%", "--gate names the hop 'kafak', which is not there", "did you mean kafka?"),
        (
            "kafka.max=5%",
            "--gate 'kafka.max=5%' gates the maximum, which is one tick and no property of a run",
            "gate a percentile: --gate kafka.p99=10%",
        ),
    ],
)
def test_what_is_no_gate_is_told(text: str, complaint: str, hint: str) -> None:
    with pytest.raises(UsageError) as told:
        parse_gate(text)
    assert (told.value.message, told.value.hint) == (complaint, hint)


def test_another_option_is_named_in_its_errors() -> None:
    with pytest.raises(UsageError, match=r"^--fail-on 'p99' is not") as told:
        parse_gate("p99", "--fail-on")
    assert told.value.hint == "write --fail-on end_to_end.p99=10%"


def test_without_a_gate_there_are_the_default_ones() -> None:
    assert parse_gates([]) == DEFAULT_GATES
    assert [str(each) for each in DEFAULT_GATES] == ["end_to_end.p50 +5 %", "end_to_end.p99 +10 %"]


def test_gates_keep_their_order_and_each_has_its_own_subject() -> None:
    read = parse_gates(["kafka.p99=10%", "p50=5%", "p99=5%"])
    assert [each.subject for each in read] == ["kafka.p99", "end_to_end.p50", "end_to_end.p99"]
    with pytest.raises(UsageError, match=r"--gate names end_to_end\.p99 twice"):
        parse_gates(["p99=10%", "kafka.p99=10%", "end_to_end.p99=5%"])


@pytest.mark.parametrize(
    ("base_ns", "allowed"),
    [(10_000_000, 0.1), (500_000, 0.1), (400_000, 0.125), (50_000, 1.0), (1, 50_000.0)],
)
def test_a_change_of_50_microseconds_is_always_allowed(base_ns: float, allowed: float) -> None:
    assert gate().allowed(base_ns) == pytest.approx(allowed)


def test_what_is_allowed_of_nothing_is_a_number_that_json_has() -> None:
    # at --speed max *due* is *sent*: schedule takes 0 ns
    assert gate("schedule").allowed(0) == gate("schedule").allowed(1)
    assert math.isfinite(gate("schedule").allowed(0))


@pytest.mark.parametrize(
    ("statistic", "ticks"),
    [("mean", 1), ("p50", 200), ("p99", 10_000), ("p99.9", 100_000), ("p99.99", 1_000_000)],
)
def test_a_gate_takes_a_hundred_ticks_above_its_percentile(statistic: str, ticks: int) -> None:
    assert gate(statistic=statistic).ticks_needed == ticks


def config(ticks: int, **changes: object) -> RunConfig:
    given_ = {"tick_rate_hz": 1000, "duration_ns": ticks * NS_PER_S // 1000}
    return RunConfig(**given_ | changes)  # type: ignore[arg-type]


def test_a_run_with_too_few_ticks_for_a_gate_is_refused() -> None:
    check_ticks(DEFAULT_GATES, config(10_000))
    with pytest.raises(UsageError) as told:
        check_ticks(DEFAULT_GATES, config(9_999))
    assert told.value.message == (
        "end_to_end.p99 takes 10,000 ticks a run to be known, there are 9,999"
    )
    assert told.value.hint == "lengthen --duration, raise --tick-rate, or gate a lower percentile"
    check_ticks(DEFAULT_GATES[:1], config(200))


def test_a_duration_that_is_not_given_is_a_minute() -> None:
    check_ticks(DEFAULT_GATES, config(0, duration_ns=None))


def test_only_a_run_tells_how_many_ticks_come_at_random_or_from_a_file() -> None:
    check_ticks(DEFAULT_GATES, config(10, arrivals=Arrivals.POISSON))
    check_ticks(DEFAULT_GATES, config(10, source="feed.ws"))
