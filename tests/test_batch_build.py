"""The compiled module is what its source says, and both sides of it agree on sizes and places."""

from __future__ import annotations

import ctypes
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from latbench.batch import build, ticks
from latbench.batch.ticks import MESSAGE_BYTES, MOST, ConsumerBatch, RelayBatch
from latbench.stages.librdkafka import MESSAGE, Message
from latbench.tick import relayed_suffix, sent_suffix_format, splice_relayed
from latbench.tickmatrix import relayed_end, sent_end
from tests.websocket_client import TEXT, frame

RUN_ID = "5f1c09ab"
SOURCE = build.SOURCE.read_text()


@pytest.fixture(autouse=True)
def zig_starts_from_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It compiles anew, and leaves nothing in the user's cache."""
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(tmp_path / "cache"))


def test_the_module_is_what_its_source_compiles_to(tmp_path: Path) -> None:
    made = tmp_path / "ticks.wasm"
    build.compile_to(made)
    assert made.read_bytes() == build.MODULE.read_bytes(), (
        "ticks.c was changed: python -m latbench.batch.build"
    )


def test_it_is_the_same_wherever_it_is_compiled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere" / "ticks.c"
    elsewhere.parent.mkdir()
    elsewhere.write_text(SOURCE)
    monkeypatch.setattr(build, "SOURCE", elsewhere)
    build.compile_to(tmp_path / "ticks.wasm")
    assert (tmp_path / "ticks.wasm").read_bytes() == build.MODULE.read_bytes()
    assert [path.name for path in elsewhere.parent.iterdir()] == ["ticks.c"]


def test_a_warning_of_the_compiler_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    doubtful = tmp_path / "doubtful.c"
    doubtful.write_text("int f(int unused) { return 7; }\n")
    monkeypatch.setattr(build, "SOURCE", doubtful)
    with pytest.raises(subprocess.CalledProcessError):
        build.compile_to(tmp_path / "doubtful.wasm")
    assert "unused" in capfd.readouterr().err
    assert not (tmp_path / "doubtful.wasm").exists()


# --- what both sides say


def in_c(name: str) -> int:
    """A constant of `ticks.c` that is a number, shifted perhaps."""
    found = re.search(rf"\b{name} = (\d+)(?: << (\d+))?,", SOURCE)
    assert found is not None, name
    return int(found[1]) << int(found[2] or 0)


@pytest.mark.parametrize("name", ["MOST", "FRAMES_BYTES", "WAITING", "SEEN", "PARTITIONS"])
def test_sizes_are_the_same_on_both_sides(name: str) -> None:
    assert getattr(ticks, name) == in_c(name)


def test_the_regions_are_numbered_as_the_module_numbers_them() -> None:
    numbered = re.findall(r"case (\d+): return &?(\w+);", SOURCE)
    assert {region.value: region.name for region in ticks._Region} == {
        int(number): name.upper() for number, name in numbered
    }


def test_the_ends_of_a_message_find_room() -> None:
    # they are compared sixteen characters at once
    for end in (sent_end(RUN_ID), relayed_end(RUN_ID)):
        assert len(end) + 15 <= in_c("END_BYTES")
    assert len(relayed_suffix(0, 0, 0)) <= in_c("SUFFIX_BYTES")


# --- librdkafka's messages


def taken(batch: RelayBatch, message: bytes) -> None:
    data = frame(TEXT, message)
    batch.frames[: len(data)] = data
    assert batch.take_frames(0, len(data), 1) == 1


def test_what_is_relayed_stands_where_librdkafka_reads_it() -> None:
    document = b'{"timestamp":1732470000.123456,"symbol":"NIFTY", "price":1'
    message = document + sent_suffix_format(RUN_ID) % (7, 8, 9)
    batch = RelayBatch(RUN_ID, 1)
    batch.messages[:] = b"\xaa" * len(batch.messages)
    taken(batch, message)
    assert batch.relay(0, 1, 10, 12) == 1
    assert batch.messages_address == ctypes.addressof(ctypes.c_char.from_buffer(batch.messages))
    assert MESSAGE_BYTES == MESSAGE.itemsize == ctypes.sizeof(Message)

    for made in (
        Message.from_address(batch.messages_address),
        np.frombuffer(batch.messages, dtype=MESSAGE)[0].view(np.recarray),
    ):
        value = splice_relayed(message, 9, 10, 12)
        assert ctypes.string_at(int(made.payload), int(made.payload_bytes)) == value
        assert ctypes.string_at(int(made.key), int(made.key_bytes)) == b"NIFTY"
        assert (made.error, made.partition, made.opaque) == (0, 0, 7 + 1)
        # librdkafka fills these in
        assert made.topic == int.from_bytes(b"\xaa" * 8, "little")
        assert made.offset == int.from_bytes(b"\xaa" * 8, "little", signed=True)
    assert bytes(batch.messages[MESSAGE_BYTES:]) == b"\xaa" * ((MOST - 1) * MESSAGE_BYTES)


def test_answers_are_read_where_librdkafka_writes_them() -> None:
    batch = RelayBatch(RUN_ID, 0)
    messages = np.frombuffer(batch.messages, dtype=MESSAGE)
    messages["partition"], messages["offset"], messages["opaque"] = 3, 1 << 40, 5 + 1
    batch.waiting[5] = 77
    assert batch.answer(1, 99) == 1
    assert batch.rows.cast("q")[:5].tolist() == [5, 77, 99, 3, 1 << 40]
    messages["error"] = -185
    assert batch.answer(1, 99) == 0


def test_values_are_found_where_librdkafka_says() -> None:
    batch = ConsumerBatch(RUN_ID)
    messages = np.frombuffer(batch.messages, dtype=MESSAGE)
    messages["payload"], messages["payload_bytes"] = 1 << 46, batch.end_chars + 5
    assert batch.find_ends(2) == 2
    assert batch.addresses[:2].tolist() == [(1 << 46) + 5] * 2
    messages["error"][1] = -185
    assert batch.find_ends(2) == 1
