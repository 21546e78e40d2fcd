from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latbench import replay
from latbench.errors import UsageError
from latbench.replay import RecordingFormat, ReplaySummary, read_recorded, recognise, scan
from latbench.tickfile import COLUMNS
from tests.captures import (
    HEADERS,
    MESSAGES,
    STAMPS_NS,
    SYMBOLS,
    capture_lines,
    rows,
    write_capture,
)

REAL_CAPTURE = Path(__file__).parents[2] / "shared" / "data" / "coinbase-2021-04-17.ws"


def test_a_captures_messages_are_carried_byte_for_byte_in_their_order(tmp_path: Path) -> None:
    read = rows(write_capture(tmp_path / "feed.ws"))
    assert [document + b"}" for _, _, document in read] == list(MESSAGES)
    assert [unix_ns for unix_ns, _, _ in read] == list(STAMPS_NS)
    assert [symbol for _, symbol, _ in read] == list(SYMBOLS)


def test_a_captures_summary_counts_headers_and_blank_lines_as_skipped(tmp_path: Path) -> None:
    assert scan(write_capture(tmp_path / "feed.ws")) == ReplaySummary(
        format=RecordingFormat.CAPTURE,
        messages=len(MESSAGES),
        skipped=4,
        span_ns=STAMPS_NS[-1] - STAMPS_NS[0],
        symbols=("", "BAND-GBP", "SKL-GBP"),
    )


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"   ",
        HEADERS[0],
        HEADERS[1],
        b"# a comment: {}",
        b"5: [1,2]",
        b"5: 7",
        b'5: "text"',
        b"5: {",
        b'5: {"symbol":"A"',
        b'5: {"symbol":"A"}}',
        b'5: {"symbol":"A"} {"symbol":"B"}',
        b'5: {"symbol":"A","price":NaN}',
        b"5: {}",
        b"5: {   }",
        b'5: {"symbol":7}',
        b'5: {"product_id":null}',
        b'5: {"symbol":"\xff\xfe"}',
        b'5: {"note":"\xff\xfe"}',
        b'5: {"latbench":{"seq":1}}',
        b'5: {"latbench":null}',
        b'5: {"lat\\u0062ench":1}',
        b'5: {"symbol":"A","latency_t1":0.01}',
        b'5: {"symbol":"A","latency_t2":0.01}',
        b'-5: {"symbol":"A"}',
        b'5.: {"symbol":"A"}',
        b'5.x: {"symbol":"A"}',
        b'.5: {"symbol":"A"}',
        b'5e3: {"symbol":"A"}',
        b'1618677817061: {"symbol":"A"}',
        b'9999999999: {"symbol":"A"}',
        b'5:{"symbol":"A"}',
        b"5: " + b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    ],
    ids=lambda line: line[:32].decode("latin-1") or "empty",
)
def test_a_line_without_a_message_that_can_be_sent_is_skipped_and_counted(
    tmp_path: Path, line: bytes
) -> None:
    path = write_capture(tmp_path / "feed.ws", [b'1: {"symbol":"A"}', line, b'6: {"symbol":"B"}'])
    summary = scan(path)
    assert (summary.messages, summary.skipped, summary.symbols) == (2, 1, ("A", "B"))


@pytest.mark.parametrize(
    "message",
    [
        b'{"symbol":"A","note":"latbench"}',
        b'{"inner":{"latbench":1},"symbol":"A"}',
        b'{ "symbol" : "A" , "x" : "\\u00e9" }',
        b'{"symbol":"A","x":{}}',
    ],
)
def test_a_message_that_only_looks_odd_is_carried(tmp_path: Path, message: bytes) -> None:
    assert rows(write_capture(tmp_path / "feed.ws", [b"5: " + message])) == [
        (5_000_000_000, "A", message[:-1])
    ]


def test_windows_line_ends_and_a_last_line_without_one_are_no_part_of_a_message(
    tmp_path: Path,
) -> None:
    path = tmp_path / "feed.ws"
    path.write_bytes(b'1: {"symbol":"A"}\r\n2: {"symbol":"B"}')
    assert [document for _, _, document in rows(path)] == [b'{"symbol":"A"', b'{"symbol":"B"']


def test_a_line_over_the_limit_is_skipped_without_being_held_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "MAX_LINE_BYTES", 100)
    long = b'2: {"symbol":"B","x":"' + b"x" * 300 + b'"}'
    path = write_capture(tmp_path / "feed.ws", [b'1: {"symbol":"A"}', long, b'3: {"symbol":"C"}'])
    assert [symbol for _, symbol, _ in rows(path)] == ["A", "C"]


def test_timestamps_that_go_backwards_keep_the_files_order_and_the_widest_span(
    tmp_path: Path,
) -> None:
    lines = [b'10: {"symbol":"A"}', b'12: {"symbol":"B"}', b'11: {"symbol":"C"}']
    path = write_capture(tmp_path / "feed.ws", lines)
    assert [symbol for _, symbol, _ in rows(path)] == ["A", "B", "C"]
    assert scan(path).span_ns == 2_000_000_000


def test_batches_end_at_a_count_of_ticks_and_at_a_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "BATCH_TICKS", 3)
    monkeypatch.setattr(replay, "BATCH_BYTES", 200)
    small, large = b'1: {"symbol":"A"}', b'1: {"symbol":"A","x":"' + b"x" * 200 + b'"}'
    path = write_capture(tmp_path / "feed.ws", [small] * 4 + [large] + [small] * 2 + [b"#"])
    batches = list(read_recorded(path))
    assert [len(batch.documents) for batch in batches] == [3, 2, 2]
    assert [batch.skipped for batch in batches] == [0, 0, 1]
    whole = write_capture(tmp_path / "whole.ws", [small] * 6)
    assert [len(batch.documents) for batch in read_recorded(whole)] == [3, 3]


@pytest.mark.skipif(not REAL_CAPTURE.exists(), reason="the capture is not part of the repository")
def test_the_real_capture_is_read_whole() -> None:
    summary = scan(REAL_CAPTURE)
    assert (summary.messages, summary.skipped) == (9946, 6)
    assert summary.span_ns == 30_784_624_900
    assert len(summary.symbols) == 11
    lines = REAL_CAPTURE.read_bytes().splitlines()
    messages = [line.partition(b": ")[2] for line in lines if line[:1].isdigit()]
    assert [document + b"}" for _, _, document in rows(REAL_CAPTURE)] == messages


def test_csv_and_captures_do_not_pay_for_importing_pyarrow() -> None:
    code = "import sys, latbench.source; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_parquet_name_without_parquet_content_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_text(",".join(COLUMNS) + "\n")
    with pytest.raises(UsageError, match="is not a Parquet file"):
        recognise(path)


def test_a_file_that_is_missing_or_no_file_or_empty_is_a_usage_error_with_a_hint(
    tmp_path: Path,
) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "headers").write_bytes(HEADERS[0] + b"\n")
    for path, message in (
        (tmp_path / "none", "is not there"),
        (tmp_path, "is a directory"),
        (Path("/dev/null"), "is not a regular file"),
        (tmp_path / "empty", "is empty"),
        (tmp_path / "headers", "holds no message"),
        (tmp_path / ("x" * 300), "can't be read: file name too long"),
    ):
        with pytest.raises(UsageError) as raised:
            scan(path)
        assert raised.value.message == f"{path} {message}"
        assert raised.value.hint


def test_a_file_without_the_right_to_read_it_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_capture(tmp_path / "feed.ws")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UsageError, match="can't be read: permission denied"):
        scan(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from(capture_lines())), max_size=8))
def test_any_bytes_are_either_read_as_valid_documents_or_refused(
    tmp_path: Path, lines: list[bytes]
) -> None:
    path = tmp_path / "any"
    path.write_bytes(b"\n".join(lines))
    try:
        read = rows(path)
    except UsageError:
        return
    for unix_ns, symbol, document in read:
        message = msgspec.json.decode(document + b',"latbench":{}}')
        assert 0 <= unix_ns < 2**63
        assert (message.get("symbol") or message.get("product_id") or "") == symbol
