"""Frames made by compiled code: the same as NumPy makes, for any document and any mask."""

from __future__ import annotations

import itertools
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench.batch.ticks import FRAMES_BYTES, MOST, SentBatch
from latbench.source import TickBlock
from latbench.stages.framing import framed
from latbench.tickmatrix import sent_end
from tests.stages import RUN_ID

MAX = 2**63 - 1
END_CHARS = len(sent_end(RUN_ID))
BATCH = SentBatch(RUN_ID)
WIDTHS = (1, 125 - END_CHARS, 126 - END_CHARS, 160, 1024, 0xFFFF - END_CHARS)
"""Where a header grows lie 125 and 126 characters; the last is the longest that is framed."""


def masks(count_bytes: int) -> bytes:
    """In the place of random ones, so that both ways have the same: every byte, over and over."""
    return bytes(itertools.islice(itertools.cycle(range(251)), count_bytes))


def both(*blocks: TickBlock) -> list[tuple[TickBlock, TickBlock]]:
    with mock.patch("latbench.stages.framing.os.urandom", masks):
        compiled = list(framed((block for block in blocks), RUN_ID, BATCH))
        plain = list(framed((block for block in blocks), RUN_ID))
    return list(zip(compiled, plain, strict=True))


def assert_alike(compiled: TickBlock, plain: TickBlock) -> None:
    first, second = compiled.framed, plain.framed
    assert first is not None
    assert second is not None
    assert first.sent_slot == second.sent_slot
    # the moment of sending is filled in when they are sent
    assert np.array_equal(first.rows[:, :3], second.rows[:, :3])
    assert np.array_equal(first.frames, second.frames)


def block_of(documents: list[bytes], due_ns: list[int]) -> TickBlock:
    bounds = [0, *itertools.accumulate(map(len, documents))]
    return TickBlock(due_ns, [i % 3 for i in range(len(documents))], b"".join(documents), bounds)


@given(st.data(), st.sampled_from(WIDTHS[:-1]), st.integers(1, 12))
def test_compiled_frames_are_those_that_numpy_makes(
    data: st.DataObject, width: int, count: int
) -> None:
    documents = [bytes([data.draw(st.integers(0, 255))]) * width for _ in range(count)]
    due_ns = data.draw(st.lists(st.integers(0, MAX), min_size=count, max_size=count))
    (made,) = both(block_of(documents, due_ns))
    assert_alike(*made)


@pytest.mark.parametrize("width", WIDTHS)
def test_more_documents_than_there_is_room_for_are_made_in_parts(width: int) -> None:
    at_once = BATCH.most(width)
    assert at_once == min(MOST, FRAMES_BYTES // width)
    # the same masks stand in each part of a compiled block, so a part is compared with a block
    for count in (1, at_once):
        documents = [b"%*d" % (width, i % 10) for i in range(count)]
        (made,) = both(block_of(documents, list(range(count))))
        assert_alike(*made)
    documents = [b"%*d" % (width, i % 10) for i in range(at_once + 3)]
    due_ns = list(range(at_once + 3))
    ((whole, _),) = both(block_of(documents, due_ns))
    parts = both(
        block_of(documents[:at_once], due_ns[:at_once]),
        block_of(documents[at_once:], due_ns[at_once:]),
    )
    assert whole.framed is not None
    frames = [part.framed.frames for part, _ in parts if part.framed is not None]
    assert np.array_equal(whole.framed.frames, np.concatenate(frames))


def test_each_frame_has_a_mask_of_its_own() -> None:
    (made,) = framed((block for block in [block_of([b"{"] * 600, [0] * 600)]), RUN_ID, BATCH)
    assert made.framed is not None
    header = 2 if END_CHARS + 1 < 126 else 4
    found = {frame[header : header + 4].tobytes() for frame in made.framed.frames}
    assert len(found) > 597  # two of 600 are the same once in 24,000 times


@pytest.mark.parametrize(
    ("count", "width"), [(MOST + 1, 10), (1, 0x10000), (300, 1024), (2**31, 2), (2, 2**31)]
)
def test_what_has_no_room_is_refused_as_a_whole(count: int, width: int) -> None:
    assert BATCH.make_frames(count, width, 0) == 0
