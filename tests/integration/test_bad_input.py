"""Whatever can be given wrongly: one line that says so, one that helps, an exit code, no traces."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.captures import write_capture
from tests.cli import Caller, Finished, run_latbench, start_latbench

USAGE, FAILURE = 2, 1
BRIEF = ("--duration", "0.3", "--warmup", "0")


def check_told(run: Finished, code: int, told: str) -> None:
    """One line of error with `told` in it, at most one hint, nothing on stdout, no traceback."""
    assert run.code == code, run.talk
    assert run.stdout == ""
    lines = run.stderr.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    hints = [line for line in lines if line.startswith("hint: ")]
    assert len(errors) == 1, run.talk
    assert len(hints) <= 1, run.talk
    assert told in errors[0], run.talk
    assert not errors[0].endswith(".")
    assert "Traceback" not in run.stderr
    # before an error a run may have told of its phases, after it comes nothing but the hint
    assert lines[lines.index(errors[0]) :] == errors + hints


def names(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


OPTIONS = [
    ("--tick-rate 0", "tick rate '0' is not between 1 and 1,000,000"),
    ("--tick-rate -5", "tick rate '-5' is not between 1 and 1,000,000"),
    ("--tick-rate nan", "tick rate 'nan' is not between 1 and 1,000,000"),
    ("--tick-rate inf", "tick rate 'inf' is not between"),
    ("--tick-rate 1000001", "tick rate '1000001' is not between"),
    ("--tick-rate 2.5", "tick rate '2.5' is not a whole number"),
    ("--tick-rate fast", "tick rate 'fast' is not a number"),
    ("--duration 0", "duration '0' is not above 0"),
    ("--duration -1", "duration '-1' is not a time"),
    ("--duration nan", "duration 'nan' is not a time"),
    ("--duration 1w", "duration '1w' is not a time"),
    ("--duration 31d", "duration '31d' is longer than 30 days"),
    ("--warmup -1", "warm-up '-1' is not a time"),
    ("--warmup soon", "warm-up 'soon' is not a time"),
    ("--warmup Auto", "warm-up 'Auto' is not a time"),
    ("--allow tick-lost", "finding 'tick-lost' is not there to allow"),
    ("--allow ticks-lost --allow all", "finding 'all' is not there to allow"),
    ("--drain-timeout 0", "drain time-out '0' is not above 0"),
    ("--symbols ,", "symbols ',' names none"),
    ("--symbols A,A", "symbol 'A' is named twice"),
    ("--arrivals often", "--arrivals"),
    ("--seed -1", "--seed"),
    ("--seed x", "--seed"),
    ("--ws-engine aiohttp", "--ws-engine 'aiohttp' is not there"),
    ("--ws-port 70000", "--ws-port"),
    ("--ws-port http", "--ws-port"),
    ("--pin 4711", "CPU 4711 is not there to pin to"),
    ("--pin x", "pin 'x' is not a list of CPU numbers"),
    ("--broker localhost", "broker 'localhost' is not host:port"),
    ("--broker localhost:kafka", "broker 'localhost:kafka' is not host:port"),
    ("--broker localhost:99999", "port 99999 of broker 'localhost:99999'"),
    ("--topic a/b", "topic 'a/b' is not a Kafka topic name"),
    ("--partitions 0", "--partitions"),
    ("--acks 2", "--acks '2' is not there"),
    ("--linger -1", "--linger"),
    ("--linger nan", "--linger"),
    ("--compression brotli", "--compression 'brotli' is not there"),
    ("--producer linger.ms", "--producer 'linger.ms' is not key=value"),
    ("--producer no.such=1", "no producer property is called 'no.such'"),
    ("--consumer no.such=1", "no consumer property is called 'no.such'"),
    ("--producer batch.size=none", "producer property batch.size can't be 'none'"),
    ("--producer fetch.min.bytes=1", "fetch.min.bytes is a consumer property"),
    ("--producer bootstrap.servers=x:1", "has an option of its own"),
    ("--name a/b", "name 'a/b' can't be part of a file name"),
    ("--speed 2", "--speed is for a replay"),
    ("--loop", "--loop is for a replay"),
    ("--colour", "--colour"),
    ("more", "more"),
]


@pytest.mark.parametrize(("options", "told"), OPTIONS, ids=[options for options, _ in OPTIONS])
def test_a_wrong_option_is_told(
    options: str, told: str, call_latbench: Caller, tmp_path: Path
) -> None:
    run = call_latbench("run", *BRIEF, *options.split(), cwd=tmp_path)
    check_told(run, USAGE, told)
    assert names(tmp_path) == set()


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("sweep --colour", "latbench sweep --help"),
        ("report", "latbench report --help"),
        ("floor --samples", "latbench floor --help"),
        ("--colour", "latbench --help"),
        ("sweeep", "latbench --help"),
    ],
)
def test_the_hint_for_a_wrong_word_is_the_help_of_its_command(
    words: str, hint: str, call_latbench: Caller, tmp_path: Path
) -> None:
    run = call_latbench(*words.split(), cwd=tmp_path)
    assert run.code == USAGE, run.talk
    assert run.stderr.splitlines()[-1] == f"hint: {hint}"


STARTED = {
    "--tick-rate 0": (USAGE, "tick rate '0' is not between 1 and 1,000,000"),
    "--ws-host 203.0.113.7": (FAILURE, "the relay can't listen on 203.0.113.7:0"),
    "--partitions 5": (USAGE, "the embedded broker has 4 partitions, not 5"),
    "--colour": (USAGE, "--colour"),
}


@pytest.mark.parametrize("options", STARTED)
def test_a_program_that_is_started_wrongly_leaves_nothing_behind(
    options: str, tmp_path: Path
) -> None:
    run = run_latbench("run", *BRIEF, *options.split(), cwd=tmp_path)
    check_told(run, *STARTED[options])
    assert names(tmp_path) <= {"bench-results"}


CSV = "timestamp,symbol,price,volume,bid,ask,bid_size,ask_size\n"
SOURCES = {
    "missing.csv": (None, "missing.csv is not there"),
    "empty.ws": (b"", "empty.ws is empty"),
    "blank.ws": (b"\n\n", "blank.ws holds no message"),
    "prose.txt": (b"It was a dark night.\n", "prose.txt holds no message"),
    "binary.bin": (bytes(range(256)) * 40, "binary.bin holds no message"),
    "header.csv": (CSV.encode(), "header.csv holds no message"),
    "price.csv": (CSV.encode() + b"1,TCS,cheap,1,1,1,1,1\n", "line 2: price 'cheap' is not a"),
    "short.csv": (CSV.encode() + b"1,TCS\n", "line 2: 2 values, not 8"),
    "column.csv": (b"timestamp,symbol\n1,TCS\n", "column.csv has no column 'price'"),
    "latin.csv": (CSV.encode() + b"1,\xff,1,1,1,1,1,1\n", "latin.csv is not UTF-8"),
    "cut.parquet": (b"PAR1 and no end", "cut.parquet can't be read as Parquet"),
    "not.parquet": (b"hello", "not.parquet is not a Parquet file"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_file_that_cannot_be_replayed_is_told(
    name: str, call_latbench: Caller, tmp_path: Path
) -> None:
    content, told = SOURCES[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    before = names(tmp_path)
    run = call_latbench("run", "--source", name, "--warmup", "0", cwd=tmp_path)
    check_told(run, USAGE, told)
    assert names(tmp_path) == before


def test_a_directory_cannot_be_replayed(call_latbench: Caller, tmp_path: Path) -> None:
    run = call_latbench("run", "--source", tmp_path, cwd=tmp_path)
    check_told(run, USAGE, f"{tmp_path} is a directory")


@pytest.mark.parametrize("options", ["--tick-rate 5", "--symbols A", "--seed 2", "--warmup 2s"])
def test_what_does_not_go_with_a_replay_is_told(
    options: str, call_latbench: Caller, tmp_path: Path
) -> None:
    source = write_capture(tmp_path / "small.ws")
    run = call_latbench("run", "--source", source, *options.split(), cwd=tmp_path)
    name = options.split(maxsplit=1)[0]
    check_told(run, USAGE, "within the warm-up" if name == "--warmup" else f"{name} has no meaning")


def test_a_finding_that_is_not_looked_for_is_told_with_the_nearest(
    call_latbench: Caller, tmp_path: Path
) -> None:
    run = call_latbench("run", *BRIEF, "--allow", "tick-lost", cwd=tmp_path)
    check_told(run, USAGE, "finding 'tick-lost' is not there to allow")
    assert run.stderr.endswith("hint: did you mean ticks-lost?\n")
    run = call_latbench("run", *BRIEF, "--allow", "everything", cwd=tmp_path)
    assert "hint: there are nothing-measured, ticks-lost, " in run.stderr


@pytest.mark.parametrize("more", [(), ("--duration", "5"), ("--speed", "max")])
def test_a_replay_that_ends_has_no_warm_up_that_ends_by_itself(
    more: tuple[str, ...], call_latbench: Caller, tmp_path: Path
) -> None:
    source = write_capture(tmp_path / "small.ws")
    run = call_latbench("run", "--source", source, "--warmup", "auto", *more, cwd=tmp_path)
    check_told(run, USAGE, "--warmup auto needs a source without end")
    assert "hint: add --loop" in run.stderr
    assert names(tmp_path) == {"small.ws"}


CONFIGS = {
    "missing": (None, "latbench.toml can't be read: no such file"),
    "unknown key": ("tickrate = 5", "latbench.toml sets 'tickrate', which is no option"),
    "a wrong value": ("tick-rate = 0", "tick rate '0' is not between"),
    "a wrong type": ("tick-rate = [1]", "latbench.toml sets 'tick-rate' to [1]"),
    "no TOML": ("tick-rate: 5", "latbench.toml is not TOML"),
    "itself": ('config = "x.toml"', "latbench.toml sets 'config', which is no option"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_wrong_configuration_file_is_told(
    name: str, call_latbench: Caller, tmp_path: Path
) -> None:
    content, told = CONFIGS[name]
    if content is not None:
        (tmp_path / "latbench.toml").write_text(content)
    run = call_latbench("run", *BRIEF, "--config", "latbench.toml", cwd=tmp_path)
    check_told(run, USAGE, told)
    assert names(tmp_path) <= {"latbench.toml"}


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port where connections are taken and nothing is ever answered."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_port_in_use_is_told(deaf_port: int, tmp_path: Path) -> None:
    run = run_latbench("run", *BRIEF, "--ws-port", deaf_port, cwd=tmp_path)
    check_told(run, FAILURE, f"the relay can't listen on 127.0.0.1:{deaf_port}: address already in")
    assert "--ws-port 0" in run.stderr
    assert not list(tmp_path.glob("bench-results/*"))


def test_a_broker_that_is_not_there_is_told_within_seconds(deaf_port: int, tmp_path: Path) -> None:
    with socket.socket() as closed:  # bound, so nobody else gets it, but not listening
        closed.bind(("127.0.0.1", 0))
        closed_port = closed.getsockname()[1]
        brokers = [f"127.0.0.1:{closed_port}", f"127.0.0.1:{deaf_port}", "no-such.invalid:9092"]
        with contextlib.ExitStack() as stack:
            started = [
                stack.enter_context(start_latbench("run", *BRIEF, "--broker", it, cwd=tmp_path))
                for it in brokers
            ]
            runs = [background.finish(20) for background in started]
    for broker, run in zip(brokers, runs, strict=True):
        check_told(run, FAILURE, f"no broker answers at {broker} after 5 s")
    assert names(tmp_path) <= {"bench-results"}


def test_an_output_that_is_there_is_not_replaced(call_latbench: Caller, tmp_path: Path) -> None:
    path = tmp_path / "run.parquet"
    path.write_bytes(b"something dear")
    run = call_latbench("run", *BRIEF, "--output", path, cwd=tmp_path)
    check_told(run, USAGE, f"{path} is there already")
    assert path.read_bytes() == b"something dear"


def test_an_output_that_is_a_directory_is_told(call_latbench: Caller, tmp_path: Path) -> None:
    run = call_latbench("run", *BRIEF, "--output", tmp_path, cwd=tmp_path)
    check_told(run, USAGE, f"{tmp_path} is a directory")


def test_what_a_killed_run_left_is_not_overwritten(call_latbench: Caller, tmp_path: Path) -> None:
    left = tmp_path / "run.parquet.partial"
    left.mkdir()
    (left / "run.json").write_text("{}")
    run = call_latbench("run", *BRIEF, "--output", tmp_path / "run.parquet", cwd=tmp_path)
    check_told(run, FAILURE, f"{left} is there")
    assert (left / "run.json").read_text() == "{}"


@pytest.mark.parametrize("directory", ["/proc/latbench", "file"])
def test_an_output_where_nothing_can_be_written_is_told(
    directory: str, call_latbench: Caller, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no directory")
    run = call_latbench("run", *BRIEF, "--output", f"{directory}/run.parquet", cwd=tmp_path)
    check_told(run, FAILURE, f"can't write to {directory}/run.parquet.partial")
    assert names(tmp_path) == {"file"}


def not_a_result(path: Path) -> None:
    pq.write_table(pa.table({"seq": [1, 2, 3]}), path)


def newer(path: Path) -> None:
    metadata = {b"latbench": b'{"schema":999,"all":"new"}'}
    pq.write_table(pa.table({"seq": [1]}).replace_schema_metadata(metadata), path)


def damaged(path: Path) -> None:
    metadata = {b"latbench": b'{"schema":1,"run_id":7}'}
    pq.write_table(pa.table({"seq": [1]}).replace_schema_metadata(metadata), path)


def truncated(path: Path) -> None:
    not_a_result(path)
    path.write_bytes(path.read_bytes()[:-20])


REPORTS = {
    "missing": (lambda path: None, "run.parquet does not exist"),
    "empty": (lambda path: path.write_bytes(b""), "run.parquet is not a Parquet file"),
    "text": (lambda path: path.write_text("hello there"), "run.parquet is not a Parquet file"),
    "truncated": (truncated, "run.parquet is cut off: a Parquet file without its end"),
    "of another program": (not_a_result, "run.parquet is Parquet, but not a latbench result"),
    "newer": (newer, "run.parquet has result schema 999; this latbench reads up to"),
    "damaged": (damaged, "run.parquet has damaged metadata"),
    "a directory": (lambda path: path.mkdir(), "is a directory"),
}


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("as_json", [False, True])
def test_a_file_that_is_no_result_is_told(
    name: str, as_json: bool, call_latbench: Caller, tmp_path: Path
) -> None:
    make, told = REPORTS[name]
    make(tmp_path / "run.parquet")
    run = call_latbench("report", "run.parquet", *["--json"] * as_json, cwd=tmp_path)
    check_told(run, FAILURE, told)


def test_the_report_of_a_missing_file_points_to_what_a_killed_run_left(
    call_latbench: Caller, tmp_path: Path
) -> None:
    (tmp_path / "run.parquet.partial").mkdir()
    run = call_latbench("report", "run.parquet", cwd=tmp_path)
    check_told(run, FAILURE, "run.parquet is not there, but what its run has recorded is")
    assert "hint: latbench report run.parquet.partial" in run.stderr
    again = call_latbench("report", "run.parquet.partial", cwd=tmp_path)
    check_told(again, FAILURE, "run.parquet.partial holds no run")


def test_a_command_that_is_not_there_is_told(call_latbench: Caller, tmp_path: Path) -> None:
    check_told(call_latbench("measure", cwd=tmp_path), USAGE, "measure")
    assert re.match(r"latbench \d", call_latbench("--version", cwd=tmp_path).stdout)
