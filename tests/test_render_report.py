"""The report, against `tests/golden/`; `LATBENCH_UPDATE_GOLDEN=1` writes that anew."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latbench.clock import NS_PER_S
from latbench.config import MAX_SPEED
from latbench.render.console import PIPED_WIDTH, open_console
from latbench.render.ink import Ink
from latbench.render.report import Report
from latbench.render.scenario import scenario
from latbench.result import Finding, MachineFigures, RunStatus
from latbench.tick import HOPS
from tests.rendering import (
    STATISTICS,
    Terminal,
    assert_golden,
    plain,
    printed,
    report,
    widest,
)
from tests.results import (
    SCHEMA_1,
    make_broker,
    make_client,
    make_config,
    make_counts,
    make_environment,
    make_floor,
    make_hiccups,
    make_hop,
    make_hops,
    make_process,
    make_processes,
    make_result,
    make_stalls,
    make_tail,
    make_without,
)

scales = st.floats(1e-4, 1e6)
counts = st.integers(0, 10**10)
words = st.text(max_size=90)
widths = st.integers(60, 200)


EMBEDDED = make_result(
    config=make_config(broker="embedded"),
    broker=make_broker(embedded=True),
    hops=make_hops(count=60_000),
    counts=make_counts(sent=70_000),
    tail=make_tail(count=600),
    hiccups=make_hiccups(count=300_000, rate_hz=5000.0),
    stalls=make_stalls(ticks=412, tail_ticks=290, without=make_without(59_588)),
    processes=make_processes(embedded=True),
    advice=(Finding(code="mock-fetch-wait", values={"held": 461_000.0, "mean": 619_710.0}),),
)
FAILED = make_result(
    status=RunStatus.FAILED,
    failure="the relay died: signal 9",
    measured_ns=34 * NS_PER_S,
    hops=make_hops(count=161_250),
    counts=make_counts(
        sent=171_250, lost=1_204, delivery_errors=7, relay_backpressure=4,
        relay_backpressure_ns=33_000_000,
    ),
    lost_ranges=((170_046, 171_249),),
    lost_range_count=1,
    tail=make_tail(count=1_612),
    hiccups=make_hiccups(count=136_000),
    stalls=make_stalls(ticks=1_902, tail_ticks=1_204, without=make_without(159_348)),
)  # fmt: skip
LOST = make_result(
    config=make_config(name="nightly"),
    counts=make_counts(lost=12, duplicates=3, reordered=1),
    lost_ranges=((1_200, 1_208), (2_004, 2_004), (99_001, 99_002)),
    lost_range_count=3,
    findings=(Finding(code="ticks-lost", values={"lost": 12, "sent": 1_510_000}, allowed=True),),
)
RESULTS = {
    "quiet": make_result(),
    "embedded": EMBEDDED,
    "failed": FAILED,
    "lost": LOST,
    "schema-1": make_result(**SCHEMA_1),
    "floor": make_result(floor=make_floor()),
}


@pytest.mark.parametrize("width", [80, 140, 160])
@pytest.mark.parametrize("name", RESULTS)
def test_report_looks_as_before(name: str, width: int) -> None:
    text = printed(report(RESULTS[name]), width)
    assert widest(text) <= width
    assert_golden(f"report-{name}-{width}", text)


@pytest.mark.parametrize("width", [80, 140])
def test_report_looks_as_before_in_ascii(width: int) -> None:
    text = printed(report(EMBEDDED), width, {"LANG": "C"})
    text.encode("ascii")
    assert widest(text) <= width
    assert_golden(f"report-ascii-{width}", text)


@settings(max_examples=150, deadline=None)
@given(widths, scales, counts, words, st.booleans(), st.none() | counts)
def test_no_line_of_a_report_is_wider_than_the_terminal(
    width: int, scale: float, count: int, word: str, ascii_only: bool, floor_count: int | None
) -> None:
    result = make_result(
        status=RunStatus.FAILED,
        failure=word,
        hops=make_hops(scale=scale, count=count),
        config=make_config(symbols=(word, "TCS"), name=word),
        environment=make_environment(cpu_model=word),
        hiccups=make_hiccups(scale=scale, count=count),
        stalls=make_stalls(ticks=count // 2, without=make_hop(scale=scale, count=count // 2)),
        processes=tuple(make_process(involuntary_switches=count, minor_faults=count) for _ in "ab"),
        client=make_client(queue_mean_ns=scale * 1e5, batches=count, batch_bytes=scale),
        lost_ranges=tuple((seq * count, seq * count + 9) for seq in range(9)),
        floor=None if floor_count is None else make_floor(count=floor_count),
    )
    drawn = Report(result, [("invalid", word)], word, advice=[word]).draw(width, Ink(ascii_only))
    text = plain(drawn)
    assert widest(text) <= width
    if count:
        assert all(re.search(rf"\b{re.escape(name)}\b", text) for name in STATISTICS)
        assert all(hop.name in text for hop in HOPS)
    if ascii_only:
        text.encode("ascii")


def test_a_report_without_measured_ticks_shows_no_figures() -> None:
    nothing = make_result(
        status=RunStatus.INTERRUPTED, hops=make_hops(count=0), tail=None, measured_ns=0
    )
    text = printed(Report(nothing), 80)
    assert text.startswith("INTERRUPTED; no tick was measured before that\n")
    assert "No tick was measured." in text
    assert "Where the time goes" not in text


def test_a_recovered_run_says_so_first() -> None:
    text = printed(Report(make_result(status=RunStatus.RECOVERED)), 120)
    assert text.startswith("RECOVERED from what a killed run left behind; the figures cover")


def test_an_invalid_measurement_says_so_in_the_heading() -> None:
    text = printed(Report(make_result(), [("invalid", "a ring was full 3 times")]), 120)
    assert "complete, but not a valid measurement" in text.splitlines()[1]


def test_findings_that_weigh_most_come_first() -> None:
    found = [("info", "third"), ("invalid", "first"), ("warning", "second")]
    text = printed(Report(make_result(), found), 120)
    assert text.index("first") < text.index("second") < text.index("third")


def test_without_a_tail_the_shares_of_all_ticks_are_shown_alone() -> None:
    text = printed(Report(make_result(tail=None)), 80)
    assert "mean of all ticks" in text
    assert "slowest" not in text


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"source": "btc.jsonl", "speed": 1.0}, "at its own speed, 5,000 ticks/s achieved"),
        ({"source": "btc.jsonl", "speed": 2.5, "loop": True}, "at 2.5× its own speed"),
        ({"source": "btc.jsonl", "speed": MAX_SPEED}, "as fast as the pipeline took it"),
        ({"source": "btc.jsonl", "loop": True}, "replay of btc.jsonl, again and again"),
        ({"producer": {"batch.size": "1"}, "linger_ms": 0.5}, "linger 0.5 ms, compression none, b"),
        ({"consumer": {"fetch.wait.max.ms": "5"}}, "fetch.wait.max.ms=5"),
        ({"pin": (0, 1)}, "to CPUs 0, 1"),
        ({"coalesce_ns": 300_000}, "300 µs or more between the generator's writes"),
        ({"coalesce_ns": 2_000_000}, "2.00 ms or more between the generator's writes"),
        ({"spin": True}, "spinning"),
        ({"realtime": True}, "real-time where permitted"),
        ({"hiccups": False}, "no hiccup meters"),
        ({"kafka_client": "confluent-kafka"}, "Kafka by confluent-kafka"),
        ({"compiled": False}, "one tick at a time, without compiled code"),
        (
            {"kafka_client": "confluent-kafka", "compiled": False, "spin": True, "hiccups": False},
            "Kafka by confluent-kafka, one tick at a time, without compiled code, spinning, "
            "no hiccup meters",
        ),
    ],
)
def test_the_scenario_is_told(changes: dict[str, object], told: str) -> None:
    assert told in printed(Report(make_result(config=make_config(**changes))), 160)


def test_what_is_done_as_by_default_is_not_told() -> None:
    settings_of = dict(scenario(make_result(config=make_config())))
    assert "how" not in settings_of
    changed = make_config(coalesce_ns=300_000, realtime=True)
    assert dict(scenario(make_result(config=changed)))["how"] == (
        "300 µs or more between the generator's writes, real-time where permitted"
    )


def test_values_counted_apart_are_told() -> None:
    hops = (
        make_hop("schedule", negative=3),
        *make_hops()[1:-1],
        make_hop("service", out_of_range=1),
    )
    text = printed(Report(make_result(hops=hops)), 160)
    assert "in no figure above: 3 of schedule below 0, 1 of service above 24 h" in text


def test_backpressure_of_the_generator_is_told() -> None:
    counts = make_counts(generator_backpressure=1, generator_backpressure_ns=1_500_000)
    text = printed(Report(make_result(counts=counts)), 160)
    assert "the generator waited for the relay once, 1.50 ms in all" in text


def test_uncommitted_changes_are_told() -> None:
    environment = make_environment(git_revision="2419d19+", governor="", memory_bytes=0)
    text = printed(Report(make_result(environment=environment)), 160)
    assert "git 2419d19, uncommitted changes" in text
    assert "governor" not in text


def test_terminal_escapes_in_a_text_are_not_printed() -> None:
    failed = make_result(status=RunStatus.FAILED, failure="\x1b[2Jgone\nnext line")
    text = printed(Report(failed), 80)
    assert "\x1b" not in text
    assert text.startswith("FAILED: ?[2Jgone next line;")


def test_piped_output_has_a_row_a_hop_and_no_escapes() -> None:
    stream = io.StringIO()
    console = open_console(stream, {})
    console.print(report(make_result()))
    assert console.width == PIPED_WIDTH
    assert "\x1b" not in stream.getvalue()
    assert re.search(r"^kafka +T3 .* ms ", stream.getvalue(), re.MULTILINE)


def test_no_color_leaves_out_colours() -> None:
    stream = Terminal()
    environ = {"NO_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "80"}
    open_console(stream, environ).print(report(LOST))
    styles = {
        code
        for codes in re.findall(r"\x1b\[([\d;]*)m", stream.getvalue())
        for code in codes.split(";")
    }
    assert styles <= {"0", "1", "2"}  # bold and dim remain


def test_a_warm_up_that_ended_by_itself_says_how_long_it_was() -> None:
    settled = make_result(
        config=make_config(warmup_auto=True), warmup_ns=23 * NS_PER_S + 400_000_000
    )
    text = printed(Report(settled), 160)
    assert "5 min measured after a warm-up of 23 s (auto)\n" in text


def test_what_was_allowed_says_so_and_leaves_the_measurement_valid() -> None:
    text = printed(report(LOST), 120)
    assert re.search(r"^allowed   12 of 1,510,000 ticks never reached", text, re.MULTILINE)
    assert "UTC · complete\n" in text


def test_the_first_lost_ticks_are_named() -> None:
    lost = make_result(
        counts=make_counts(lost=900),
        lost_ranges=tuple((seq, seq + seq % 2) for seq in range(1001, 1091, 9)),
        lost_range_count=211,
    )
    text = printed(Report(lost), 160)
    named = "1001–1002, 1010, 1019–1020, 1028, 1037–1038, 1046, 1055–1056, 1064"
    assert f"lost seq  {named} and 203 more ranges\n" in text


@pytest.mark.parametrize(
    ("ticks", "tail_ticks", "is_told"),
    [
        (16_412, 7_493, False),  # half of the slowest
        (16_412, 7_494, True),
        (600_000, 11_000, False),  # 73 % of the slowest, but 40 % of all: they just live long
        (540_000, 11_000, True),
    ],
)
def test_a_tail_of_stalls_is_told_where_they_are_most_of_it_and_not_by_chance(
    ticks: int, tail_ticks: int, is_told: bool
) -> None:
    stalls = make_stalls(ticks=ticks, tail_ticks=tail_ticks)
    text = printed(Report(make_result(stalls=stalls)), 160)
    assert f"{ticks:,} of 1,500,000 ticks (" in text
    assert f"; of the slowest, {tail_ticks:,} of 14,987 ticks (" in text
    assert ("The tail is mostly of stalls" in text) is is_told


def test_without_p99_nothing_is_said_of_the_slowest() -> None:
    text = printed(Report(make_result(tail=None)), 160)
    assert (
        "16,412 of 1,500,000 ticks (1.1 %) overlap a stall (timer late by 1 ms or more).\n" in text
    )


def test_a_run_without_a_stall_is_counted_two_ways() -> None:
    stalls = make_stalls(count=0, ticks=0, tail_ticks=0, without=make_hop())
    text = printed(Report(make_result(stalls=stalls)), 80)
    assert "End to end, counted two ways" in text
    assert "No tick overlaps a stall (timer late by 1 ms or more)." in text
    assert "without stalls" not in text


def test_total_and_uncorrected_service_stand_side_by_side() -> None:
    lines = printed(Report(make_result()), 80).splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("End to end"))
    assert lines[first + 2].startswith("end_to_end            from due    581 µs")
    assert lines[first + 4].startswith("service, uncorrected  from sent   498 µs")


def test_at_full_speed_both_counts_are_known_to_hide_a_late_generator() -> None:
    config = make_config(source="btc.jsonl", speed=MAX_SPEED)
    text = printed(Report(make_result(config=config)), 160)
    assert "At --speed max nothing is due: both count from sending" in text


def test_what_the_clients_did_not_count_is_not_available() -> None:
    client = make_client(
        queue_mean_ns=None, queue_max_ns=None, batches=0, batch_messages=None, batch_bytes=None
    )
    text = printed(Report(make_result(client=client)), 80)
    assert re.search(r"in the producer's queue +n/a +n/a  until a request takes it", text)
    assert "batches" not in text


def test_batches_without_a_size_are_counted() -> None:
    client = make_client(batch_messages=None, batch_bytes=None, throttle_max_ns=None)
    assert "batches   750,113\n" in printed(Report(make_result(client=client)), 80)


def test_a_broker_that_throttles_gets_a_row() -> None:
    client = make_client(throttle_mean_ns=1.2e6, throttle_max_ns=100_000_000)
    text = printed(Report(make_result(client=client)), 80)
    assert re.search(r"^throttled +1.20 ms   100 ms  what the broker", text, re.MULTILINE)
    assert "812 bytes on average\n" in text


def test_a_process_sampled_once_has_no_rates() -> None:
    processes = (make_process(span_ns=0, hiccups=None),)
    text = printed(Report(make_result(processes=processes)), 160)
    row = next(line for line in text.splitlines() if re.match(r"relay +n/a", line))
    assert row.split() == ["relay", "n/a", "n/a", "1,235", "0", "88", "MiB", "31"]
    assert "hiccup" not in text[text.index("Processes") :]  # nor columns of meters that were off


def test_own_cost_is_held_against_the_total() -> None:
    text = printed(Report(make_result()), 160)
    told = "generator 2.11 µs, relay 4.39 µs, consumer 1.98 µs, 1.5 % of end_to_end's p50\n"
    assert told in text


def test_own_cost_without_a_measured_tick_stands_alone() -> None:
    nothing = make_result(hops=make_hops(count=0), tail=None, processes=(), machine=None)
    text = printed(Report(nothing), 160)
    assert text.count("Processes") == 1
    assert "consumer 1.98 µs\n" in text


def test_advice_follows_where_the_kafka_hop_goes() -> None:
    text = printed(report(make_result()), 140)
    assert text.index("Where T3 goes") < text.index("What to change") < text.index("Processes")
    assert "\n– each tick waits 101 µs of the kafka hop's 461 µs" in text


def test_a_report_fits_two_screens() -> None:
    assert printed(report(EMBEDDED), 140).count("\n") <= 80


def test_a_share_that_is_not_nothing_does_not_look_like_it() -> None:
    machine = MachineFigures(busy=0.0951, steal=0.0001, iowait=0.0)
    text = printed(Report(make_result(machine=machine, processes=())), 160)
    others = "19 % of a CPU by other processes, such as a broker here"
    waits = "under 0.1 % stolen by the hypervisor, 0 % waiting for a disk\n"
    assert f"9.5 % busy ({others}), {waits}" in text


def test_what_linger_takes_in_the_queue_is_told_by_the_linger_there_was() -> None:
    config = make_config(linger_ms=1.0, producer={"linger.ms": "5"})
    assert "linger (5 ms), mostly" in printed(Report(make_result(config=config)), 80)


def test_a_run_without_a_warm_up_says_nothing_of_one() -> None:
    assert "5 min measured\n" in printed(Report(make_result(warmup_ns=0)), 160)


def test_each_hop_stands_beside_its_floor() -> None:
    lines = printed(Report(make_result(floor=make_floor())), 80).splitlines()
    (row,) = [line for line in lines if line.startswith("×floor  ")]
    # p50 of 55.0, 430, 581 and 340 µs against 22.95, 330, 352.95 and 216
    assert row.replace("│", "").split() == [
        "×floor",
        "–",
        "2.40",
        "–",
        "1.30",
        "1.65",
        "1.57",
        "–",
    ]
    told = " ".join(lines)
    assert "websocket 22.9 µs, kafka 330 µs, end_to_end 353 µs" in told


def test_a_floor_that_could_not_be_told_is_no_figure() -> None:
    text = printed(Report(make_result(floor=make_floor(count=50))), 160)
    assert "×floor: nothing to compare with, the probes had too few samples." in text
