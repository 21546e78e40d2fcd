"""`latbench run` with the embedded broker: nothing but latbench is needed."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest

from latbench.arrivals import Arrivals
from latbench.clock import NS_PER_S
from latbench.config import MAX_AUTO_WARMUP_NS, WS_ENGINES
from latbench.pacing import offset_blocks
from tests.captures import MESSAGES, write_capture
from tests.cli import SHORT, cmdline, report, run_latbench, start_latbench
from tests.runs import check_whole, read_rows


@pytest.mark.parametrize("engine", WS_ENGINES)
def test_a_run_loses_nothing_and_its_file_says_what_it_printed(engine: str, tmp_path: Path) -> None:
    path = tmp_path / "run.parquet"
    run = run_latbench("run", *SHORT, "--ws-engine", engine, "--output", path, cwd=tmp_path)
    rows = check_whole(path, run)
    assert len(rows) == 1200
    assert "none lost" in run.stdout
    assert "not Kafka" in run.stdout
    told = run_latbench("report", path, cwd=tmp_path)  # in a process of its own
    assert (told.code, told.stderr) == (0, "")
    assert told.stdout == run.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["run.parquet"]


def test_json_is_all_that_stands_on_stdout_and_the_file_gives_the_same(tmp_path: Path) -> None:
    path = tmp_path / "run.parquet"
    run = run_latbench("run", *SHORT, "--json", "--output", path, cwd=tmp_path)
    rows = check_whole(path, run)
    result = json.loads(run.stdout)
    told = report(path, "--json", cwd=tmp_path)
    assert (told.code, told.stderr) == (0, "")
    assert told.stdout == run.stdout
    measured = [row for row in rows if not row["warmup"]]
    assert result["counts"]["measured"] == len(measured) == 1000
    assert result["status"] == "complete"
    hops = {hop["hop"]: hop for hop in result["hops"]}
    for name, start, end in (
        ("schedule", "due_ns", "sent_ns"),
        ("websocket", "sent_ns", "relay_in_ns"),
        ("relay", "relay_in_ns", "relay_out_ns"),
        ("kafka", "relay_out_ns", "consumed_ns"),
        ("end_to_end", "due_ns", "consumed_ns"),
        ("ack", "relay_out_ns", "acked_ns"),
        ("service", "sent_ns", "consumed_ns"),
    ):
        latencies_ns = np.sort([row[end] - row[start] for row in measured])
        hop = hops[name]
        assert hop["count"] == 1000
        # an HDR histogram keeps three digits; half of the ticks took so long at most
        assert hop["percentiles_ns"]["p50"] == pytest.approx(latencies_ns[499], rel=1e-3)
        assert hop["max_ns"] == pytest.approx(latencies_ns.max(), rel=1e-3)
        assert hop["min_ns"] == pytest.approx(latencies_ns.min(), rel=1e-3)
        assert hop["mean_ns"] == pytest.approx(latencies_ns.mean(), rel=1e-3)


@pytest.mark.parametrize(
    ("arrivals", "way"),
    [(Arrivals.POISSON, "--no-compiled"), (Arrivals.BURST, "--compiled")],
)
def test_ticks_are_due_as_the_arrivals_and_the_seed_say(
    arrivals: Arrivals, way: str, tmp_path: Path
) -> None:
    path = tmp_path / "run.parquet"
    more = ("--arrivals", arrivals, "--seed", "7", "--tick-rate", "2000", way, "--json")
    run = run_latbench("run", *SHORT, *more, "--output", path, cwd=tmp_path)
    rows = check_whole(path, run)
    assert run.result["config"]["compiled"] is (way == "--compiled")
    offsets = next(offset_blocks(arrivals, 2000, 7))
    expected = offsets[offsets < 1_200_000_000].tolist()
    assert [row["due_ns"] - run.result["start_ns"] for row in rows] == expected


def test_keys_are_spread_over_the_partitions_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "run.parquet"
    more = ("--partitions", "3", "--symbols", "A,B,C,D,E,F,G,H", "--json", "--output", path)
    run = run_latbench("run", *SHORT, *more, cwd=tmp_path)
    rows = check_whole(path, run)
    offsets = defaultdict(list)
    for row in rows:
        assert row["partition"] == crc32(row["symbol"].encode()) % 3
        offsets[row["symbol"]].append(row["offset"])
    assert len(offsets) == 8
    assert all(numbers == sorted(numbers) for numbers in offsets.values())
    assert run.result["counts"]["reordered"] == 0


def test_every_process_is_recognised_by_its_name_and_stays_where_it_is_pinned(
    tmp_path: Path,
) -> None:
    one, *others = sorted(os.sched_getaffinity(0))
    other = others[0] if others else one
    more = ("--duration", "60", "--pin", f"{other},{one}", "--output", tmp_path / "run.parquet")
    with start_latbench("run", *more, cwd=tmp_path) as background:
        background.wait_for_phase("measuring")
        stages = background.stages()
        assert sorted(stages) == ["broker", "consumer", "generator", "relay"]
        allowed = {}
        for stage, pid in stages.items():
            assert f"latbench {stage}" in cmdline(pid)
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            assert name == f"latbench {stage}"[:15].strip()
            assert Path(f"/proc/{pid}/timerslack_ns").read_text().strip() == "1"
            allowed[stage] = os.sched_getaffinity(pid)
    assert allowed["generator"] == allowed["consumer"] == {other}
    assert allowed["relay"] == {one}
    assert allowed["broker"] == os.sched_getaffinity(0)


def test_without_output_the_file_lies_among_the_results(tmp_path: Path) -> None:
    more = ("--duration", "0.2", "--warmup", "0", "--name", "mine")
    run = run_latbench("run", *more, cwd=tmp_path)
    assert run.code == 0, run.talk
    (path,) = (tmp_path / "bench-results").iterdir()
    assert path.name.endswith("-mine.parquet")
    assert path.name in run.stdout
    assert len(check_whole(path)) == 200


def test_a_file_that_is_there_is_replaced_only_when_told_and_only_by_a_whole_one(
    tmp_path: Path,
) -> None:
    path = tmp_path / "run.parquet"
    path.write_bytes(b"something dear")
    more = ("--duration", "1", "--warmup", "0", "--overwrite", "--output", path)
    with start_latbench("run", *more, cwd=tmp_path) as background:
        background.wait_for_phase("measuring")
        assert path.read_bytes() == b"something dear"
        assert background.finish().code == 0
    assert len(check_whole(path)) == 1000


@pytest.mark.parametrize("host", ["::1", "0.0.0.0"])
def test_the_relay_listens_on_any_address_of_the_machine(host: str, tmp_path: Path) -> None:
    path = tmp_path / "run.parquet"
    more = ("--duration", "0.2", "--warmup", "0", "--ws-host", host, "--output", path)
    run = run_latbench("run", *more, cwd=tmp_path)
    assert len(check_whole(path, run)) == 200


def test_a_warm_up_ends_by_itself_and_what_is_measured_is_as_long_as_asked_for(
    tmp_path: Path,
) -> None:
    path = tmp_path / "run.parquet"
    options = ("--warmup", "auto", "--duration", "1.5", "--tick-rate", "400", "--json")
    # a machine at its limit settles late, but at 2 min it is measured all the same
    run = run_latbench("run", *options, "--output", path, cwd=tmp_path, timeout_s=200)
    rows, result = check_whole(path, run), run.result
    warmup_ns = result["warmup_ns"]
    assert warmup_ns % NS_PER_S == 0
    assert 11 * NS_PER_S <= warmup_ns <= MAX_AUTO_WARMUP_NS + 2 * NS_PER_S
    begins_ns = result["start_ns"] + warmup_ns
    assert [row["warmup"] for row in rows] == [row["due_ns"] < begins_ns for row in rows]
    warm_up_ticks = warmup_ns * 400 // NS_PER_S
    assert result["counts"]["warmup"] == warm_up_ticks
    assert result["counts"]["measured"] == 600
    assert len(rows) == warm_up_ticks + 600
    assert result["measured_ns"] == pytest.approx(1.5 * NS_PER_S, rel=1e-6)
    (found,) = {"warmup-settled", "warmup-unsettled"} & run.findings.keys()
    assert run.findings[found]["values"] == {"waited": warmup_ns}
    assert "until settled" in run.stderr
    assert report(path, "--json", cwd=tmp_path).stdout == run.stdout


def test_a_finding_that_was_allowed_makes_no_run_invalid_and_the_file_remembers_it(
    tmp_path: Path,
) -> None:
    large = b'{"product_id":"SKL-GBP","note":"%b"}' % (b"x" * 3_000)
    lines = [b"1618677817.%d: " % i + (large if i == 4 else MESSAGES[2]) for i in range(10)]
    source = ("--source", write_capture(tmp_path / "large.ws", lines), "--warmup", "0")
    options = (*source, "--producer", "message.max.bytes=2000", "--drain-timeout", "1s")
    run = run_latbench("run", *options, "--json", cwd=tmp_path)
    assert run.code == 4, run.talk
    assert run.findings["ticks-lost"]["allowed"] is False

    # another finding than the one that makes it invalid does not help
    run = run_latbench("run", *options, "--allow", "delivery-errors", "--json", cwd=tmp_path)
    assert run.code == 4, run.talk
    assert run.findings["delivery-errors"]["allowed"] is True

    path = tmp_path / "run.parquet"
    run = run_latbench("run", *options, "--allow", "ticks-lost", "--output", path, cwd=tmp_path)
    assert run.code == 0, run.talk
    (line,) = [line for line in run.stdout.splitlines() if "1 of 10 ticks never" in line]
    assert "allowed" in line
    told = report(path, cwd=tmp_path)
    assert (told.code, told.stdout) == (0, run.stdout)
    kept = report(path, "--json", cwd=tmp_path)
    assert kept.result["config"]["allow"] == ["ticks-lost"]
    assert kept.findings["ticks-lost"]["allowed"] is True
    assert kept.findings["ticks-lost"]["severity"] == "invalid"
    assert kept.result["lost_ranges"] == [[4, 4]]
    assert [row["stall"] is None for row in read_rows(path)] == [seq == 4 for seq in range(10)]
